"""TIIF's text items by OCR."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.benchmarks.tiif.benchmark import open_tiif
from alphabench.benchmarks.tiif.ocr_split import TiifText, quoted_words
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import ScriptedJudge
from alphabench.types import Sample, Verdict, image_id
from alphabench.upstream import UpstreamData


def official(shared: Path, cache: Path, split: str = "testmini-text") -> TiifText:
    data = UpstreamData(cache_dir=cache)
    data.fetch("tiif", source=shared / "upstream")
    found = open_tiif(split, data=data)
    assert isinstance(found, TiifText)
    return found


def verdict(sample: Sample, question: str, value: float | None) -> Verdict:
    return Verdict(
        image_id=image_id(sample.id, 0),
        question_id=question,
        value=value,
        status="failed" if value is None else "scored",
    )


def test_the_words_are_those_that_the_questions_quote(shared: Path, tmp_path: Path) -> None:
    benchmark = official(shared, tmp_path)
    samples = benchmark.samples()
    assert len(samples) == 60
    assert {sample.facts["type"] for sample in samples} == {"text"}
    assert all(len(sample.facts["text"]) >= len(sample.facts["questions"]) for sample in samples)
    assert len(official(shared, tmp_path, "test-text").samples()) > 60
    assert benchmark.card.split == "testmini-text"


def test_words_with_apostrophes_and_blanks_are_kept_whole_and_split() -> None:
    def asks(question: str) -> Sample:
        return Sample(id="a", prompt="p", group="g", facts={"questions": [question]})

    assert quoted_words(asks("Is 'don't stop' there?")) == ["don't", "stop"]
    with pytest.raises(AlphaBenchError, match="quotes no word"):
        quoted_words(asks("Is it there?"))


def test_recall_is_the_headline_and_the_error_stands_beside_it(
    shared: Path, tmp_path: Path
) -> None:
    benchmark = official(shared, tmp_path)
    samples = benchmark.samples()
    verdicts = [
        verdict(sample, question, value if number else None)
        for number, sample in enumerate(samples)
        for question, value in (("recall", 0.75), ("gned", 0.25))
    ]
    report = benchmark.summarise(samples, verdicts, evaluator="ocr", all_samples=samples)
    assert report.headline.value == pytest.approx(0.75)
    assert report.groups["text long"].value == pytest.approx(0.75)
    assert report.extras["GNED short, lower is better"].value == pytest.approx(0.25)
    assert report.coverage == pytest.approx(59 / 60)
    assert report.statuses == {"scored": 118, "failed": 2}
    assert report.bounds == pytest.approx((59 * 0.75 / 60, (59 * 0.75 + 1) / 60))


def test_it_takes_ocr_and_nothing_else() -> None:
    benchmark = open_tiif("testmini-text", data=UpstreamData(cache_dir=Path("nowhere")))
    assert benchmark.card.evaluators == ("ocr",)
    for spec, judge in (("judge", None), ("ocr?x=1", None), ("ocr", ScriptedJudge("yes"))):
        with pytest.raises(AlphaBenchError):
            benchmark.evaluator(spec, judge=judge)
