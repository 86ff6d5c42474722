"""Entries for leaderboards of the hub: complete scores by a benchmark's own rules, no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from alphabench.core.errors import AlphaBenchError
from alphabench.reports.hub_entries import named_datasets
from alphabench.runs.records import Manifest
from alphabench.types import Estimate, Report
from alphagrpo.publishing.eval_results import write_eval_results
from alphagrpo.publishing.trained_weights import ValidatedRun, ValidatedScore
from alphatrainers.reporting.history import CurvePoint


def score(benchmark: str = "gedit", *, judge: str = "vllm", **changes: Any) -> ValidatedScore:
    """A complete score of 6.5 on 606 samples."""
    estimate = Estimate(
        value=6.5, low=6.25, high=6.75, n_samples=606, n_scored=1212, n_expected=1212
    )
    report = Report(
        benchmark=benchmark, split="", protocol="official", evaluator="judge", headline=estimate,
        groups={}, coverage=1.0, partial=False, bounds=None, statuses={"scored": 1212},
        notes=("read it twice",),
    )  # fmt: skip
    manifest = Manifest(
        benchmark=f"{benchmark}@1",
        checkpoint="m",
        pixels={
            "seed": "3",
            "benchmark.data_digest": "d",
            "benchmark.images_per_sample": "2",
        },
        limit=None,
        circumstances={"began": "2026-01-02T03:04:05+00:00", "packages": {"alphabench": "0.2.0"}},
    )
    run = ValidatedRun(
        manifest=manifest,
        report=replace(report, **changes),
        identity={"judge.kind": judge, "judge.model": "/machine/Qwen3-VL"},
    )
    point = CurvePoint(
        step=20, name=benchmark, view="ema", value=6.5, low=6.25, high=6.75, samples=606
    )
    return ValidatedScore(point=point, start=None, run=run, decided=True)


def entries(out: Path, name: str) -> list[EvalResultEntry]:
    stored = yaml.safe_load((out / ".eval_results" / f"{name}.yaml").read_text())
    return parse_eval_result_entries(stored)


def test_an_entry_has_the_score_and_all_that_makes_it_comparable(tmp_path: Path) -> None:
    assert write_eval_results(tmp_path, [score()], {}) == []
    (entry,) = entries(tmp_path, "gedit")
    assert (entry.dataset_id, entry.task_id) == ("stepfun-ai/GEdit-Bench", "default")
    assert (entry.value, entry.date) == (6.5, "2026-01-02T03:04:05+00:00")
    assert entry.notes == (
        "AlphaBench 0.2.0, gedit@1; official protocol, evaluator judge; judge Qwen3-VL; "
        "606 prompts, images per prompt: 2; 95% interval 6.250 to 6.750; seed 3; these weights "
        "were chosen by this score, so it is optimistic; read it twice"
    )


def test_a_benchmark_goes_to_the_dataset_that_the_user_names(tmp_path: Path) -> None:
    one = score("geneval")
    assert write_eval_results(tmp_path, [one], {}) == [
        "no entry for a leaderboard from geneval: no dataset of the hub is known for it; "
        "--dataset geneval=OWNER/NAME names one"
    ]
    assert not list(tmp_path.iterdir())
    assert write_eval_results(tmp_path, [one], named_datasets(["geneval=a/b#t"])) == []
    (entry,) = entries(tmp_path, "geneval")
    assert (entry.dataset_id, entry.task_id) == ("a/b", "t")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (score(partial=True), "some samples or images of the benchmark are not in this result"),
        (score(coverage=0.96), "of the expected verdicts have a value"),
        (score(split="mini"), "not comparable with published scores"),
        (score(judge="nano"), "not comparable with published scores"),
        (replace(score(), run=None), "its run folder cannot be read"),
        (
            replace(score(), point=CurvePoint(step=1, name="gedit", view="ema", value=None)),
            "could not be measured",
        ),
    ],
)
def test_a_score_that_would_mislead_has_no_entry(
    found: ValidatedScore, reason: str, tmp_path: Path
) -> None:
    (said,) = write_eval_results(tmp_path, [found], {"gedit": "a/b"})
    assert reason in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["geneval", "=a/b", "geneval=", "geneval=a b", "geneval=a"])
def test_a_dataset_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(AlphaBenchError, match="OWNER/NAME"):
        named_datasets([text])
