"""Images, verdicts and headlines are those of the version before the restructuring."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.conftest import HERE, Commands, only_run, run_words
from tests.compatibility.recording import record

BOTH = pytest.mark.parametrize("name", ["plain", "think"])


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "image_digests.json").read_text(encoding="utf-8"))
    return dict(found[name])


def assert_as_recorded(name: str, run: Path, said: str) -> None:
    before = recorded(name)
    shown = before.pop("shown").split()
    assert run.name == before.pop("folder")
    assert record(run) == before
    (line,) = [line for line in said.splitlines() if line.startswith("score ")]
    assert line.split()[1:4] == shown


@BOTH
def test_a_sample_of_the_images_is_the_same_to_the_last_byte(
    sampled: Callable[[str], Path], name: str
) -> None:
    run = sampled(name)
    said = (run.parents[2] / "said.txt").read_text(encoding="utf-8")
    assert_as_recorded(f"{name}-sample", run, said)


@pytest.mark.whole
@BOTH
def test_all_images_of_the_benchmark_are_the_same_to_the_last_byte(
    alphabench: Commands, same_arithmetic: None, name: str
) -> None:
    said = alphabench(*run_words(name))
    assert_as_recorded(name, only_run(alphabench.folder), said)


def test_the_recorded_headlines_are_those_of_the_published_results() -> None:
    assert recorded("plain")["report"]["headline"]["value"] == 0.6916666666666668
    assert recorded("plain")["shown"].split()[0] == "0.692"
    assert recorded("think")["report"]["headline"]["value"] == 0.8875000000000001
    assert recorded("think")["shown"].split()[0] == "0.888"
