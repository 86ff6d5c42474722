"""`alphabench run metrics`: several metrics on the same images, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.runs.factories import evaluator_specs
from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.page_commands import ROOT
from tests.support.tiny_models import save_clip

PROMPTS = ROOT / "examples" / "own_prompts.jsonl"


def test_several_metrics_score_the_same_images_with_a_report_each(
    alphabench: Shell, tmp_path: Path
) -> None:
    options = f"clip={save_clip(tmp_path / 'clip')}&self_test=off"
    metrics = f"clipscore?{options},pickscore?{options}"
    run = ("run", "metrics", "--prompts", PROMPTS, "--ckpt", "scene:", "--out", "x")
    said = alphabench(*run, "--evaluator", metrics).out
    assert "own_prompts" in said
    assert said.count("coverage 100%") == 2
    folder = RunFolder.open(tmp_path / "x")
    images = {name: one.sha256 for name, one in folder.images().items()}
    assert sorted(one.partition("-")[0] for one in folder.evaluations()) == [
        "clipscore", "pickscore",
    ]  # fmt: skip
    again = alphabench("score", "x", "--evaluator", f"pickscore?{options}&dtype=bfloat16").out
    assert "coverage 100%" in again
    assert {name: one.sha256 for name, one in folder.images().items()} == images


def test_a_metric_without_weights_stops_before_the_first_image(
    alphabench: Shell, tmp_path: Path
) -> None:
    options = f"clip={save_clip(tmp_path / 'clip')}&self_test=off"
    refused = alphabench(
        "run", "metrics", "--prompts", PROMPTS, "--ckpt", "scene:", "--out", "x",
        "--evaluator", f"clipscore?{options},hpsv2", code=2,
    )  # fmt: skip
    assert "is a pickle" in " ".join(refused.err.split()) or "are a pickle" in " ".join(
        refused.err.split()
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, [None]),
        ("clipscore", ["clipscore"]),
        ("clipscore, hpsv2?a=b", ["clipscore", "hpsv2?a=b"]),
        ("clipscore?prefix=A photo, of", ["clipscore?prefix=A photo, of"]),
    ],
)
def test_commas_separate_evaluators_that_the_benchmark_has(
    spec: str | None, expected: list[str | None]
) -> None:
    assert evaluator_specs(spec, ("clipscore", "hpsv2")) == expected
