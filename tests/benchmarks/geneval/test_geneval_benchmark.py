"""GenEval as a benchmark: its prompts, its card, and what its averages leave out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.geneval.benchmark import open_geneval, read_facts
from alphabench.benchmarks.geneval.scoring import TAGS
from alphabench.core.errors import AlphaBenchError
from alphabench.types import ProtocolName, Report, Sample, Status, Verdict, image_id
from alphabench.upstream import UpstreamData

NOWHERE = UpstreamData(cache_dir=Path("never-made"))


@pytest.fixture
def fetched(shared: Path, tmp_path: Path) -> UpstreamData:
    data = UpstreamData(cache_dir=tmp_path / "cache")
    for name in ("geneval", "geneval-long"):
        data.fetch(name, source=shared / "upstream")
    return data


def samples_of(counts: dict[str, int]) -> list[Sample]:
    tags = [tag for tag, n in counts.items() for _ in range(n)]
    return [
        Sample(id=f"{n:05}", prompt=f"prompt {n}", group=tag, facts={"tag": tag})
        for n, tag in enumerate(tags)
    ]


def verdicts_of(
    samples: Iterable[Sample], value: Callable[[Sample, int], float | Status]
) -> list[Verdict]:
    found = []
    for sample in samples:
        for index in range(4):
            said = value(sample, index)
            scored = not isinstance(said, str)
            found.append(
                Verdict(
                    image_id=image_id(sample.id, index),
                    question_id="correct",
                    value=said if not isinstance(said, str) else None,
                    status="scored" if scored else said,  # type: ignore[arg-type]
                )
            )
    return found


def report_of(
    samples: list[Sample], verdicts: list[Verdict], protocol: ProtocolName = "official"
) -> Report:
    bench = open_geneval("mini", protocol=protocol, data=NOWHERE)
    return bench.summarise(samples, verdicts, evaluator="table", all_samples=samples)


def test_the_headline_weighs_tasks_alike_however_many_images_they_have() -> None:
    samples = samples_of({"counting": 2, "colors": 6})
    report = report_of(samples, verdicts_of(samples, lambda s, _: float(s.group == "counting")))
    assert report.headline.value == 0.5
    assert report.extras["correct_images"].value == 0.25
    assert report.groups["counting"].value == 1.0
    assert (report.coverage, report.partial) == (1.0, False)


def test_a_prompt_is_correct_when_one_of_its_images_is() -> None:
    samples = samples_of({"counting": 4})
    verdicts = verdicts_of(samples, lambda s, index: float(index == 3 and s.id != "00000"))
    report = report_of(samples, verdicts)
    assert report.extras["correct_prompts"].value == 0.75
    assert report.extras["correct_images"].value == 3 / 16


def test_an_unscored_image_lowers_coverage_and_leaves_the_mean_alone() -> None:
    samples = samples_of({"counting": 2})
    report = report_of(samples, verdicts_of(samples, lambda _, i: "failed" if i == 0 else 1.0))
    assert report.headline.value == 1.0
    assert report.coverage == 0.75
    assert report.bounds == (0.75, 1.0)
    assert report.statuses == {"scored": 6, "failed": 2}
    assert report.partial, "two of eight verdicts are lacking"
    assert report.incomplete


def test_a_verdict_that_was_never_given_counts_as_missing() -> None:
    samples = samples_of({"counting": 2})
    whole = verdicts_of(samples, lambda *_: 1.0)
    report = report_of(samples, whole[:-3])
    assert report.statuses == {"scored": 5, "missing": 3}
    assert report.headline.n_expected == 8
    assert report.partial


def test_nothing_scored_gives_no_figure() -> None:
    samples = samples_of({"counting": 2, "colors": 1})
    report = report_of(samples, verdicts_of(samples, lambda *_: "failed"))
    assert report.headline.value is None
    assert [group.value for group in report.groups.values()] == [None, None]
    assert report.coverage == 0.0
    assert report.bounds == (0.0, 1.0)


def test_official_leaves_an_unscored_task_out_and_strict_gives_no_headline() -> None:
    samples = samples_of(dict.fromkeys(TAGS, 2))
    verdicts = verdicts_of(samples, lambda s, _: "failed" if s.group == "position" else 1.0)
    assert report_of(samples, verdicts).headline.value == 1.0
    strict = report_of(samples, verdicts, "strict")
    assert strict.headline.value is None
    assert strict.headline.n_scored == 40
    assert strict.groups["colors"].value == 1.0


def test_strict_needs_all_six_tasks_and_then_agrees_with_official() -> None:
    samples = samples_of(dict.fromkeys(TAGS, 2))
    verdicts = verdicts_of(samples, lambda _, index: float(index == 0))
    assert report_of(samples, verdicts, "strict").headline.value == 0.25
    few = [sample for sample in samples if sample.group != "counting"]
    assert report_of(few, verdicts, "strict").headline.value is None


def test_strict_does_not_call_a_prompt_wrong_while_an_image_is_unscored() -> None:
    samples = samples_of({"counting": 1})
    verdicts = verdicts_of(samples, lambda _, index: "failed" if index == 0 else 0.0)
    assert report_of(samples, verdicts).extras["correct_prompts"].value == 0.0
    assert report_of(samples, verdicts, "strict").extras["correct_prompts"].value is None


def test_fewer_prompts_than_there_are_make_a_report_partial() -> None:
    every = samples_of({"counting": 3})
    bench = open_geneval("mini", data=NOWHERE)
    few = every[:2]
    verdicts = verdicts_of(few, lambda *_: 1.0)
    report = bench.summarise(few, verdicts, evaluator="table", all_samples=every)
    assert report.partial
    assert report.coverage == 1.0


@given(st.randoms(use_true_random=False))
def test_the_order_of_prompts_and_images_changes_no_figure(random: Any) -> None:
    samples = samples_of({"counting": 3, "colors": 2, "position": 1})
    verdicts = verdicts_of(samples, lambda s, index: float((int(s.id) + index) % 3 == 0))
    shuffled = report_of(random.sample(samples, 6), random.sample(verdicts, 24))
    assert shuffled == report_of(samples, verdicts)


def test_the_official_prompts_are_553_in_six_tasks(fetched: UpstreamData) -> None:
    samples = open_geneval(data=fetched).samples()
    assert len(samples) == 553
    assert (samples[0].id, samples[-1].id) == ("00000", "00552")
    assert list(dict.fromkeys(sample.group for sample in samples)) == list(TAGS)
    assert all(sample.facts["prompt"] == sample.prompt for sample in samples)


def test_the_long_prompts_ask_the_same_in_other_words(fetched: UpstreamData) -> None:
    short, long = open_geneval(data=fetched), open_geneval("long", data=fetched)
    for ours, theirs in zip(short.samples(), long.samples(), strict=True):
        assert ours.prompt != theirs.prompt
        assert {**ours.facts, "prompt": ""} == {**theirs.facts, "prompt": ""}
    assert short.card.data_digest != long.card.data_digest
    assert long.card.prompt_style == "rewritten"


def test_a_card_is_known_before_anything_is_fetched() -> None:
    card = open_geneval(data=NOWHERE).card
    assert card.id == "geneval@af4902f"
    assert (card.licence, card.images_per_sample) == ("MIT", 4)
    assert card.evaluators[0] == "mask2former"


def test_unfetched_prompts_name_the_command_and_the_split_that_needs_none() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_geneval(data=NOWHERE).samples()
    assert "`alphabench fetch geneval`" in caught.value.hint
    assert "geneval:mini" in caught.value.hint


def test_the_mini_split_needs_no_download_and_has_the_six_tasks() -> None:
    bench = open_geneval("mini", data=NOWHERE)
    samples = bench.samples()
    assert {sample.group for sample in samples} == set(TAGS)
    assert len({sample.prompt for sample in samples}) == len(samples)
    assert (bench.card.id, bench.card.evaluators[0]) == ("geneval@1:mini", "nano")


@pytest.mark.parametrize("name", ["lang", "minni"])
def test_an_unknown_split_names_the_nearest(name: str) -> None:
    with pytest.raises(AlphaBenchError, match="did you mean"):
        open_geneval(name, data=NOWHERE)


def test_an_unknown_version_is_refused() -> None:
    assert open_geneval(version="af4902f", data=NOWHERE).card.version == "af4902f"
    with pytest.raises(AlphaBenchError, match="version of geneval"):
        open_geneval(version="1", data=NOWHERE)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"tag": "colors"', "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"prompt": "p"}', "has no text 'tag'"),
        ('{"tag": "colors", "prompt": 1}', "has no text 'prompt'"),
        (
            json.dumps({"tag": "colors", "prompt": "p", "include": [{"class": "dog"}]}),
            "has no whole number 'count'",
        ),
    ],
)
def test_a_bad_metadata_line_is_named(line: str, complaint: str) -> None:
    with pytest.raises(AlphaBenchError, match=f"line 3 of 'x'.*{complaint}"):
        read_facts(line, where="line 3 of 'x'")


def test_one_image_judged_twice_is_our_mistake() -> None:
    samples = samples_of({"counting": 1})
    verdicts = verdicts_of(samples, lambda *_: 1.0)
    with pytest.raises(ValueError, match="scored twice"):
        report_of(samples, [*verdicts, replace(verdicts[0], value=0.0)])


def test_an_evaluators_options_are_its_detectors_and_the_selections() -> None:
    bench = open_geneval("mini", data=NOWHERE)
    identity = bench.evaluator("nano?cap=5&max_overlap=0.5&score=0.125").identity
    assert (identity["cap"], identity["max_overlap"]) == ("5", "0.5")
    assert identity["threshold.score"] == "0.125"
    assert bench.evaluator().identity["cap"] == "16"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nanno", "no evaluator of geneval named 'nanno'; did you mean 'nano'"),
        ("nano?cap=0", "nano: cap and batch_size"),
        ("nano?max_overlap=much", "option 'max_overlap' cannot be 'much'"),
        ("nano?scoer=1", "no option of .*'scoer'; did you mean 'score'"),
    ],
)
def test_an_evaluator_that_cannot_be_had_is_a_sentence(spec: str, complaint: str) -> None:
    with pytest.raises(AlphaBenchError, match=complaint):
        open_geneval("mini", data=NOWHERE).evaluator(spec)
