"""What benchmarks whose images a judge scores have in common."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from alphabench.benchmarks import judged
from alphabench.benchmarks.judged import About, JudgedBenchmark, JudgedRun, WordingOptions
from alphabench.benchmarks.mini_split import DataSource
from alphabench.benchmarks.reporting import grouped_report, scored_counts
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import verdict_from
from alphabench.interfaces import Evaluator
from alphabench.judges.scripted import ScriptedJudge
from alphabench.questions import Answer, Judge
from alphabench.runs.plan import requests_for
from alphabench.types import GeneratedImage, Report, Sample, Verdict
from alphabench.upstream import UpstreamData

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))
SAMPLES = [Sample(id=name, prompt=name, group="all", facts={"of": ["a?", "b?"]}) for name in "xy"]


def wanted(sample: Sample) -> list[str]:
    return list(sample.facts["of"])


def score(_: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    return [verdict_from(answer) for answer in answers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny(JudgedBenchmark):
    """A benchmark of two prompts."""

    about: ClassVar = About(
        name="tiny", titles={"en": "Tiny", "mini": "Tiny, mini"}, citation="none", images=2
    )

    def source(self) -> DataSource:
        return DataSource(licence="MIT", source="here", version="7", digest="0" * 64)

    def samples(self) -> Sequence[Sample]:
        return SAMPLES

    def questions(self, sample: Sample) -> Sequence[str]:
        return judged.index_ids(wanted(sample))

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        judged.judge_options(spec, WordingOptions, benchmark="tiny")
        judge = judged.needed_judge(judge, benchmark="tiny")
        return judged.own_yes_no_evaluator(judge, score, wanted, rule="none")

    def report(self, run: JudgedRun) -> Report:
        return grouped_report(run.scope, self.clusters(run.samples, run.verdicts))


def test_the_first_split_is_the_one_where_none_is_named() -> None:
    card = Tiny.open(data=NOWHERE).card
    assert (card.split, card.title, card.version, card.images_per_sample) == ("en", "Tiny", "7", 2)
    assert Tiny.open("mini", version="7", data=NOWHERE).card.title == "Tiny, mini"


@pytest.mark.parametrize(
    ("split", "version", "complaint"),
    [
        ("fr", None, "no split of tiny named 'fr'; known are: en, mini"),
        ("mini", "8", "no version of tiny:mini named '8'; known are: 7"),
    ],
)
def test_an_unknown_split_or_version_is_refused_when_opening(
    split: str, version: str | None, complaint: str
) -> None:
    with pytest.raises(AlphaBenchError, match=complaint):
        Tiny.open(split, version=version, data=NOWHERE)


def test_own_yes_no_questions_go_from_image_to_report(tmp_path: Path) -> None:
    tiny = Tiny.open(data=NOWHERE)
    made = [
        GeneratedImage(request=request, path=tmp_path / "none.png", sha256="0" * 64, seconds=0.0)
        for request in requests_for(SAMPLES, 2, seed=0)
    ]
    evaluator = tiny.evaluator(judge=ScriptedJudge("yes"))
    verdicts = list(pickle.loads(pickle.dumps(evaluator)).evaluate(made))
    assert evaluator.identity["rule"] == "none"
    assert [verdict.question_id for verdict in verdicts] == ["0", "1"] * 4
    report = tiny.summarise(SAMPLES, verdicts[:-1], evaluator="judge", all_samples=SAMPLES)
    assert (report.headline.value, report.statuses) == (1.0, {"scored": 7, "missing": 1})
    values = judged.values_by_image(SAMPLES, verdicts[:-1], tiny.questions, images=2)
    assert [one.image_id for one in values] == ["x/0", "x/1", "y/0", "y/1"]
    assert [one.values for one in values] == [(1.0, 1.0)] * 3 + [(1.0, None)]
    assert scored_counts(value for one in values for value in one.values) == (7, 8)


def test_a_judge_is_needed_and_is_the_only_evaluator() -> None:
    tiny = Tiny.open(data=NOWHERE)
    with pytest.raises(AlphaBenchError, match="none is named"):
        tiny.evaluator()
    with pytest.raises(AlphaBenchError, match="no evaluator of tiny named 'clip'"):
        tiny.evaluator("clip", judge=ScriptedJudge("yes"))


@pytest.mark.parametrize(
    ("wording", "split", "own"),
    [("auto", "mini", True), ("auto", "", False), ("own", "", True), ("official", "mini", False)],
)
def test_the_own_wording_is_asked_of_mini_and_where_it_is_chosen(
    wording: str, split: str, own: bool
) -> None:
    options = judged.judge_options(f"judge?wording={wording}", WordingOptions, benchmark="tiny")
    assert options.is_own(split) is own


@pytest.mark.parametrize("line", ["{", "[]", '{"a": 1}', "null"])
def test_a_line_that_is_no_row_is_named(line: str) -> None:
    rows = b'{"id": "a"}\n'
    assert judged.rows_of_lines(rows, lambda row: row["id"] == "a", where="f") == [{"id": "a"}]
    with pytest.raises(AlphaBenchError, match="line 2 of 'f' is no row"):
        judged.rows_of_lines(rows + line.encode(), lambda row: row["id"] == "a", where="f")
