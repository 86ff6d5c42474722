"""What `alphabench list` says there is: nothing without a word, and nothing left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench import registry
from alphabench.cli.listing import CHECKPOINT_FORMS, Inventory, What, listing_text
from alphabench.upstream import UpstreamData


def inventory(folder: Path) -> Inventory:
    return Inventory(runs=folder, data=UpstreamData(cache_dir=folder))


def lines_of(what: What, folder: Path) -> list[str]:
    title, *lines = listing_text(what, inventory(folder)).splitlines()
    assert title == f"{what}:"
    return [line.strip() for line in lines]


def test_every_kind_of_checkpoint_is_described() -> None:
    assert set(CHECKPOINT_FORMS) == set(registry.CHECKPOINTS)


@pytest.mark.parametrize(
    ("evaluator", "takers"),
    [
        (
            "judge",
            "corebench, cvtg:mini, dpg, gedit, geneval2, imgedit, longtext, oneig, rise, "
            "tiif:testmini, tiif:test, tiif:mini, unigenbench, wise",
        ),
        ("mplug", "dpg"),
        ("clipscore", "cvtg, metrics"),
        ("ocr", "cvtg, tiif:testmini-text, tiif:test-text"),
        ("dvreward", "dvreward"),
        ("holistic", "dvreward"),
        ("mask2former:official", "geneval"),
    ],
)
def test_an_evaluator_is_listed_with_what_takes_it(
    tmp_path: Path, evaluator: str, takers: str
) -> None:
    found: dict[str, str] = {}
    for line in lines_of("evaluators", tmp_path):
        name, _, names = line.partition("  ")
        if names:
            found[name] = names.strip()
        else:  # the end of a long list
            found[list(found)[-1]] += f" {line}"
    assert found[evaluator] == takers


def test_all_detectors_are_among_the_evaluators(tmp_path: Path) -> None:
    named = {line.split()[0] for line in lines_of("evaluators", tmp_path)}
    assert set(registry.EVALUATORS) <= named
