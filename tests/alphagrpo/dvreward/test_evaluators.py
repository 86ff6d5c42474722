"""DVReward and its baseline as evaluators, on generated images with known answers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import MISHAPS, Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphabench.types import Verdict
from alphagrpo.dvreward.aggregate import AggregationOptions
from alphagrpo.dvreward.evaluators import dvreward_evaluator, holistic_evaluator, open_evaluator
from tests.support.worlds import Draw, DrawnRun


def verdicts(run: DrawnRun, judge: ScriptedJudge, spec: str = "dvreward") -> list[Verdict]:
    evaluator = run.benchmark.evaluator(spec, judge=judge)
    return list(evaluator.evaluate(run.images))


def test_an_honest_judge_gives_right_images_the_full_reward(draw: Draw) -> None:
    run = draw()
    found = verdicts(run, ScriptedJudge(run.honest))
    assert len(found) == 60
    assert {verdict.value for verdict in found} == {1.0}


def test_planted_errors_lower_the_reward_of_the_images_that_carry_them(draw: Draw) -> None:
    run = draw(error=0.4)
    checked = {image.id: all(run.truth[key] for key in run.truth if key[0] == image.id)
               for image in run.images}  # fmt: skip
    found = {
        verdict.image_id: verdict.value for verdict in verdicts(run, ScriptedJudge(run.honest))
    }
    assert 15 <= sum(not right for right in checked.values()) <= 30
    for image, right in checked.items():
        value = found[image]
        assert value is not None
        assert (value == 1.0) == right


def test_faults_change_no_reward_that_is_given_and_are_all_named(draw: Draw) -> None:
    run = draw(error=0.3)
    kinds = [kind for kind in MISHAPS if kind not in ("slow", "wrong_model")]

    def faulty(question: Question) -> ScriptedReply:
        number = int(question.content_digest[:8], 16)
        if number % 20 == 0:
            return Mishap(kind=kinds[number % len(kinds)])
        return run.honest(question)

    calm = {one.image_id: one.value for one in verdicts(run, ScriptedJudge(run.honest))}
    rough = verdicts(run, ScriptedJudge(faulty))
    scored = [one for one in rough if one.value is not None]
    assert 0 < len(scored) < len(rough)
    assert all(one.value == calm[one.image_id] for one in scored)
    assert {one.status for one in rough} <= {"scored", "failed", "refused", "unparsed"}


def test_a_judge_without_log_probabilities_is_refused_before_any_question(draw: Draw) -> None:
    run = draw(n_prompts=2)
    silent = ScriptedJudge(run.honest, logprobs=False)
    with pytest.raises(AlphaBenchError, match="log-probabilities"):
        run.benchmark.evaluator("dvreward", judge=silent)
    assert verdicts(run, silent, "dvreward?answer=text")[0].value == 1.0


def test_all_that_decides_a_reward_is_in_the_identity(draw: Draw) -> None:
    run = draw(n_prompts=1)
    judge = ScriptedJudge("yes")
    specs = ["", "?aggregate=mean", "?min_coverage=0.9", "?empty=left_out", "?invalid=left_out",
             "?answer=text"]  # fmt: skip
    found = [
        dict(run.benchmark.evaluator(f"dvreward{spec}", judge=judge).identity) for spec in specs
    ]
    found.append(dict(run.benchmark.evaluator("holistic", judge=judge).identity))
    assert len({json.dumps(one, sort_keys=True) for one in found}) == len(found)
    assert found[0]["judge.model"] == "scripted"


def test_the_strict_protocol_leaves_out_what_the_validator_refused() -> None:
    judge = ScriptedJudge("yes")
    official = open_evaluator("dvreward", judge, protocol="official").identity
    strict = open_evaluator("dvreward", judge, protocol="strict").identity
    asked = open_evaluator("dvreward?invalid=asked", judge, protocol="strict").identity
    assert (official["invalid"], strict["invalid"], asked["invalid"]) == (
        "asked", "left_out", "asked"
    )  # fmt: skip
    assert (official["empty"], strict["empty"]) == ("full", "left_out")


@pytest.mark.parametrize(
    "spec", ["dvrewad", "dvreward?agregate=mean", "dvreward?aggregate=sum", "holistic?answer=text",
             "dvreward?min_coverage=0"],
)  # fmt: skip
def test_an_unknown_evaluator_or_option_is_refused(spec: str) -> None:
    with pytest.raises(AlphaBenchError):
        open_evaluator(spec, ScriptedJudge("yes"), protocol="official")


def test_evaluators_travel_to_other_processes(draw: Draw) -> None:
    run = draw(n_prompts=2)
    for evaluator in (
        dvreward_evaluator(
            ScriptedJudge(1.0), aggregation_options=AggregationOptions(aggregate="mean")
        ),
        holistic_evaluator(ScriptedJudge('{"grades": [10]}')),
    ):
        copy = pickle.loads(pickle.dumps(evaluator))
        assert copy.identity == evaluator.identity
        assert len(list(copy.evaluate(run.images))) == len(run.images)


def test_the_baseline_grades_each_image_with_two_calls(draw: Draw) -> None:
    run = draw(n_prompts=3)
    judge = ScriptedJudge({"consistency": '{"grades": [4]}', "quality": '{"grades": [9, 10]}'})
    found = verdicts(run, judge, "holistic")
    assert [verdict.value for verdict in found] == pytest.approx([0.6] * len(run.images))
    assert len(judge.asked) == 2 * len(run.images)
    assert {verdict.question_id for verdict in found} == {"reward"}


def test_a_judge_is_needed(tmp_path: Path, draw: Draw) -> None:
    with pytest.raises(AlphaBenchError, match="judge"):
        draw(n_prompts=1).benchmark.evaluator()
