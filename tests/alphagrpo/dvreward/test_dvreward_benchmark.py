"""DVReward as a benchmark, from prompts with questions to a report."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from alphabench.checkpoints.scene import open_scene
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Judge, Question
from alphabench.runs.plan import CheckpointFactory, open_evaluation, plan_run
from alphabench.runs.run import Outcome, Work, execute_plan
from alphabench.scenes.scene_questions import check_holds
from alphabench.types import Verdict
from alphabench.upstream import UpstreamData
from alphagrpo.dvreward.dvreward_benchmark import DVReward, open_dvreward
from alphagrpo.dvreward.prompt_sources import questions_of
from alphagrpo.dvreward.verification import VerificationOptions, questions_to_ask
from tests.alphagrpo.dvreward.test_question_files import RELEASED


@pytest.fixture
def data(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path / "cache")


@pytest.fixture
def released(tmp_path: Path) -> Path:
    path = tmp_path / "some prompts.jsonl"
    path.write_text(json.dumps(RELEASED) + "\n" + json.dumps({**RELEASED, "prompt": "a kite"}))
    return path


def honest(benchmark: DVReward, scene: str) -> ScriptedJudge:
    """Answers from what `scene:` truly drew."""
    checkpoint = open_scene("", options={"error": scene})
    plan = plan_run(
        benchmark, CheckpointFactory(name="scene:", open=partial(lambda device: checkpoint))
    )
    truth = {}
    for request in plan.requests:
        drawn = checkpoint.render_request(request).truth
        for name, one in questions_to_ask(questions_of(request.sample), VerificationOptions()):
            assert one.check is not None
            truth[request.id, name] = "yes" if check_holds(one.check, drawn) else "no"
    return ScriptedJudge(truth)


def run(benchmark: DVReward, judge: Judge, out: Path, *, error: str = "0.0") -> Outcome:
    checkpoint = open_scene("", options={"error": error})
    plan = plan_run(
        benchmark,
        CheckpointFactory(name="scene:", open=partial(lambda device: checkpoint)),
        out=out,
    )
    return execute_plan(plan, open_evaluation(benchmark, "dvreward", judge=judge), Work())


def test_a_run_of_the_mini_split_with_an_honest_judge_reports_one(
    data: UpstreamData, tmp_path: Path
) -> None:
    benchmark = open_dvreward("mini", data=data)
    report = run(benchmark, honest(benchmark, "0.0"), tmp_path / "run").report
    assert report.headline.value == 1.0
    assert report.coverage == 1.0
    assert not report.partial
    assert set(report.groups) == {
        "single_object", "two_object", "counting", "colors", "position", "color_attr"
    }  # fmt: skip
    assert report.extras["tag Attribute"].value == 1.0
    assert report.extras["aspect quality"].n_scored == 120


def test_planted_errors_show_in_the_report_where_they_were_planted(
    data: UpstreamData, tmp_path: Path
) -> None:
    benchmark = open_dvreward("mini", data=data)
    report = run(benchmark, honest(benchmark, "0.5"), tmp_path / "run", error="0.5").report
    assert report.headline.value is not None
    assert 0.5 < report.headline.value < 0.95
    assert report.extras["aspect quality"].value == 1.0
    semantic = report.extras["aspect semantic"].value
    assert semantic is not None
    assert semantic < 1.0


def test_a_second_run_asks_only_about_images_without_a_reward(
    data: UpstreamData, tmp_path: Path
) -> None:
    benchmark = open_dvreward("mini", data=data)
    truth = honest(benchmark, "0.0").answer
    assert isinstance(truth, dict)

    def faulty(question: Question) -> ScriptedReply:
        if question.image_id.startswith("0000"):
            return Mishap(kind="server_error")
        said: ScriptedReply = truth[question.image_id, question.id]
        return said

    first = run(benchmark, ScriptedJudge(faulty), tmp_path / "run").report
    assert first.headline.value == 1.0
    assert first.statuses == {"scored": 50, "failed": 10}
    assert first.bounds == pytest.approx((50 / 60, 1.0))
    again = ScriptedJudge(truth)
    second = run(benchmark, again, tmp_path / "run").report
    assert second.statuses == {"scored": 60}
    assert all(image.startswith("0000") for image, _ in again.asked)


def test_a_question_file_becomes_samples_and_the_card_names_its_content(
    data: UpstreamData, released: Path
) -> None:
    benchmark = open_dvreward(str(released), data=data)
    first, second = benchmark.samples()
    assert (first.prompt, second.prompt) == (RELEASED["prompt"], "a kite")
    assert [q.text for q in questions_of(first).semantic] == [
        "Is there a kite?",
        "Is the kite red?",
    ]
    assert benchmark.card.split.startswith("some-prompts-")
    assert benchmark.questions(first) == ("reward",)
    assert {sample.group for sample in benchmark.samples()} == {"all"}


def test_what_a_run_was_about_outlives_the_file(data: UpstreamData, released: Path) -> None:
    benchmark = open_dvreward(str(released), data=data)
    before = benchmark.samples()
    released.write_text(json.dumps({**RELEASED, "prompt": "something else"}) + "\n")
    again = open_dvreward(benchmark.card.split, data=data)
    assert again.samples() == before
    assert again.card == benchmark.card
    changed = open_dvreward(str(released), data=data)
    assert changed.card.split != benchmark.card.split
    assert changed.card.data_digest != benchmark.card.data_digest


def test_prompts_without_questions_are_refused_with_the_command_that_writes_them(
    data: UpstreamData, tmp_path: Path
) -> None:
    for name, content in (("p.txt", "a kite\n"), ("p.jsonl", '{"prompt": "a kite"}\n')):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(AlphaBenchError, match="without questions") as caught:
            open_dvreward(str(path), data=data)
        assert f"alphabench dvreward decompose {path}" in caught.value.hint
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        open_dvreward(str(tmp_path / "absent.jsonl"), data=data)
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(json.dumps(RELEASED) + '\n{"prompt": "a kite"}\n')
    with pytest.raises(AlphaBenchError, match="the first is number 2"):
        open_dvreward(str(mixed), data=data)


def test_without_a_file_there_is_a_card_but_nothing_to_run(data: UpstreamData) -> None:
    benchmark = open_dvreward(data=data)
    assert benchmark.card.id == "dvreward@1"
    with pytest.raises(AlphaBenchError, match="prompts") as caught:
        benchmark.samples()
    assert "--prompts" in caught.value.hint


def test_verdicts_that_are_missing_lower_the_coverage_and_make_the_report_partial(
    data: UpstreamData,
) -> None:
    benchmark = open_dvreward("mini", data=data)
    samples = benchmark.samples()
    one = Verdict(image_id="00000/0", question_id="reward", value=0.5, status="scored")
    absent = [
        Verdict(image_id=f"{sample.id}/0", question_id="reward", value=None, status="missing")
        for sample in samples[1:]
    ]
    report = benchmark.summarise(samples, [one, *absent], evaluator="dvreward", all_samples=samples)
    assert report.headline.value == 0.5
    assert report.coverage == pytest.approx(1 / 60)
    assert report.statuses == {"scored": 1, "missing": 59}
    assert report.partial
    quality = report.extras["aspect quality"]
    assert (quality.value, quality.n_scored, quality.n_expected) == (None, 0, 120)
    nothing = benchmark.summarise(samples, [], evaluator="dvreward", all_samples=samples)
    assert nothing.headline.value is None
    assert nothing.bounds == (0.0, 1.0)
