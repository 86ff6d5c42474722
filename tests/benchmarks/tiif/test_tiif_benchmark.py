"""TIIF from prompts to report, with judges that answer from truth or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from alphabench.benchmarks.tiif.benchmark import Tiif, open_tiif, tiif_group_names
from alphabench.benchmarks.tiif.scoring import GROUPS
from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphabench.reports.comparison import basis_of
from alphabench.runs.plan import requests_for
from alphabench.scenes.geneval_scenes import why_not_renderable
from alphabench.statistics import estimate
from alphabench.types import GeneratedImage, ProtocolName, Report, Verdict
from alphabench.upstream import UpstreamData
from tests.support.truth import replies

NOWHERE = UpstreamData(cache_dir=Path("nowhere"))


def mini(protocol: ProtocolName = "official") -> Tiif:
    found = open_tiif("mini", protocol=protocol, data=NOWHERE)
    assert isinstance(found, Tiif)
    return found


def drawn(
    folder: Path, **options: str
) -> tuple[list[GeneratedImage], Callable[[Question], ScriptedReply]]:
    """All images of the mini split as `scene:` draws them, and a judge's true replies."""
    checkpoint = open_scene("", options={"size": "64", **options})
    truths: dict[str, dict[str, str]] = {}
    made = []
    for request in requests_for(mini().samples(), 1, seed=0):
        path = folder / f"{request.sample.id}.png"
        checkpoint.render_request(request).image.save(path)
        truths[request.id] = replies("tiif", checkpoint, request)
        made.append(GeneratedImage(request=request, path=path, sha256=path.name, seconds=0.0))
    return made, lambda q: truths[q.image_id][q.id]


def judged(
    made: Sequence[GeneratedImage], script: Callable[[Question], ScriptedReply]
) -> list[Verdict]:
    return list(mini().evaluator(judge=ScriptedJudge(script)).evaluate(made))


def report_of(verdicts: Sequence[Verdict], protocol: ProtocolName = "official") -> Report:
    benchmark = mini(protocol)
    samples = benchmark.samples()
    return benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)


@pytest.mark.parametrize(
    ("split", "items", "questions"), [("testmini", 277, 1446), ("test", 2538, 12160)]
)
def test_every_official_item_is_two_samples(
    shared: Path, tmp_path: Path, split: str, items: int, questions: int
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("tiif", source=shared / "upstream")
    benchmark = open_tiif(split, data=data)
    samples = benchmark.samples()
    assert len(samples) == len({sample.id for sample in samples}) == 2 * items
    assert sum(len(benchmark.questions(sample)) for sample in samples) == 2 * questions
    assert [s.id for s in samples[:2]] == ["shape+color-0-short", "shape+color-0-long"]
    assert samples[0].prompt != samples[1].prompt
    assert samples[0].facts["questions"] == samples[1].facts["questions"]
    assert benchmark.card.id == f"tiif@3aae750:{split}"


def test_a_whole_official_run_is_reported_under_both_protocols(
    shared: Path, tmp_path: Path
) -> None:
    data = UpstreamData(cache_dir=tmp_path)
    data.fetch("tiif", source=shared / "upstream")
    for protocol in ("official", "strict"):
        benchmark = open_tiif("testmini", protocol=protocol, data=data)
        samples = benchmark.samples()
        evaluator = benchmark.evaluator("judge?wording=own", judge=ScriptedJudge("yes"))
        made = [
            GeneratedImage(request=request, path=Path("x"), sha256="0", seconds=0.0)
            for request in requests_for(samples, 1, seed=0)
        ]
        verdicts = list(evaluator.evaluate(made))
        report = benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)
        assert report.statuses == {"scored": 2892}
        assert not report.partial
        assert report.groups["Style Control short"].value == 1.0
        value = report.headline.value
        assert value is not None
        assert 0.95 < value < 1.0, "34 of 1446 answers are no"


def test_the_two_official_splits_and_mini_never_share_an_identity() -> None:
    digests = {
        open_tiif(split, data=NOWHERE).card.data_digest for split in ("testmini", "test", "mini")
    }
    assert len(digests) == 3
    assert open_tiif(data=NOWHERE).card == open_tiif("testmini", data=NOWHERE).card


def test_official_data_that_is_not_here_names_the_command() -> None:
    with pytest.raises(AlphaBenchError) as caught:
        open_tiif("testmini", data=NOWHERE).samples()
    assert "alphabench fetch tiif" in caught.value.hint


@pytest.mark.parametrize(("split", "version"), [("tset", None), ("mini", "2"), ("mini-text", None)])
def test_an_unknown_split_or_version_is_refused(split: str, version: str | None) -> None:
    with pytest.raises(AlphaBenchError, match="there is no"):
        open_tiif(split, version=version, data=NOWHERE)


def test_the_mini_split_can_be_drawn_and_touches_all_nine_groups() -> None:
    samples = mini().samples()
    assert [s.id for s in samples if why_not_renderable(s.facts) is not None] == []
    attributes = {sample.facts["type"] for sample in samples}
    assert all(attributes.intersection(of) for of in GROUPS.values())
    assert all(
        len(s.facts["check"]) == len(s.facts["questions"]) == len(s.facts["answers"])
        for s in samples
    )
    assert len({s.prompt for s in samples}) == len(samples)


@pytest.mark.parametrize("protocol", ["official", "strict"])
def test_true_scenes_judged_truly_are_perfect(tmp_path: Path, protocol: ProtocolName) -> None:
    made, script = drawn(tmp_path)
    report = report_of(judged(made, script), protocol)
    assert report.headline.value == 1.0
    assert all(figure.value == 1.0 for figure in report.groups.values())
    assert list(report.groups) == tiif_group_names()
    assert (report.coverage, report.partial) == (1.0, False)


def test_every_planted_error_costs_its_image_at_least_one_question(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="1.0")
    verdicts = judged(made, script)
    wrong = {verdict.image_id for verdict in verdicts if verdict.value == 0.0}
    assert wrong == {image.id for image in made}
    report = report_of(verdicts)
    assert report.headline.value is not None
    assert 0.2 < report.headline.value < 0.7


def test_faults_change_no_verdict_that_is_scored_and_are_counted(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.3")
    sound = {(v.image_id, v.question_id): v.value for v in judged(made, script)}
    faults = ("garbage", "refusal", "server_error")

    def faulty(question: Question) -> ScriptedReply:
        number = sum(map(ord, question.image_id + question.id))
        return Mishap(kind=faults[number % 3]) if number % 10 < 3 else script(question)  # type: ignore[arg-type]

    verdicts = judged(made, faulty)
    assert all(v.value in (None, sound[v.image_id, v.question_id]) for v in verdicts)
    report = report_of(verdicts)
    assert sum(report.statuses.values()) == len(sound)
    assert set(report.statuses) == {"scored", "unparsed", "refused", "failed"}
    assert report.coverage == report.statuses["scored"] / len(sound)
    assert report.bounds is not None
    whole = report_of(judged(made, script)).headline.value
    assert whole is not None
    assert report.bounds[0] <= whole <= report.bounds[1]


def test_verdicts_that_never_came_are_missing_and_make_the_report_partial(tmp_path: Path) -> None:
    made, script = drawn(tmp_path)
    report = report_of(judged(made[:10], script))
    assert report.partial
    assert report.statuses["missing"] > 0
    assert report.headline.value == 1.0
    assert report_of(judged(made[:10], script), "strict").headline.value is None


def test_both_protocols_stand_in_each_report(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.4")
    verdicts = judged(made, script)
    official, strict = report_of(verdicts), report_of(verdicts, "strict")
    assert official.extras["overall short, strict"] == strict.groups["overall short"]
    assert strict.extras["overall long, official"] == official.groups["overall long"]


def test_the_headline_follows_from_what_a_comparison_uses(tmp_path: Path) -> None:
    made, script = drawn(tmp_path, error="0.4")
    verdicts = judged(made, script)
    basis = basis_of(mini())
    assert basis.gather is not None
    clusters = basis.gather(basis.samples, verdicts)
    assert estimate(clusters, basis.formula) == report_of(verdicts).headline


PROMPT = '{"type": "ATTRIBUTE", "short_description": "a", "long_description": "b"}'
ANSWERS = '{"type": "ATTRIBUTE", "yn_question_list": ["q"], "yn_answer_list": ["yes"]}'


def official_like(prompt: str, answers: str) -> Tiif:
    """A benchmark with one item for each attribute."""

    class Files(UpstreamData):
        def read(self, name: str, path: str) -> bytes:
            name = path.rpartition("/")[2].removesuffix("_prompts.jsonl")
            attribute = name.removesuffix("_eval")
            line = answers if "eval" in path else prompt
            return line.replace("ATTRIBUTE", attribute).encode()

    return dataclasses.replace(mini(), split="testmini", data=Files(cache_dir=Path("nowhere")))


@pytest.mark.parametrize(
    ("prompt", "answers", "complaint"),
    [
        (PROMPT.replace("ATTRIBUTE", "text"), ANSWERS, "is of type 'text'"),
        (PROMPT, ANSWERS.replace('"yes"', "1"), "has not one answer to each question"),
        (PROMPT, ANSWERS.replace('"yes"', '"yes", "no"'), "has not one answer to each question"),
        (PROMPT, "[]", "is not a JSON object"),
        (PROMPT[:-2], ANSWERS, "line 1 of .* is not JSON"),
        (PROMPT.replace("short_", ""), ANSWERS, "has no short description"),
        (PROMPT, "", "has 1 items and .* 0"),
    ],
)
def test_damaged_lines_are_named(prompt: str, answers: str, complaint: str) -> None:
    assert len(official_like(PROMPT, ANSWERS).samples()) == 78
    with pytest.raises(AlphaBenchError, match=complaint):
        official_like(prompt, answers).samples()
