"""How DPG's questions reach a judge, and what its replies amount to."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from alphabench.benchmarks.dpg.benchmark import open_dpg
from alphabench.benchmarks.dpg.questions import BareWord
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Evaluator
from alphabench.judges.parsing import read_reply
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Question, Reply, ReplySampling
from alphabench.types import GeneratedImage, ImageRequest, Verdict
from alphabench.upstream import UpstreamData
from tests.support.replies import fuzzed

BENCHMARK = open_dpg("mini", data=UpstreamData(cache_dir=Path("nowhere")))
SAMPLE = BENCHMARK.samples()[0]


def image() -> GeneratedImage:
    request = ImageRequest(sample=SAMPLE, index=2, seed=0)
    return GeneratedImage(request=request, path=Path("a.png"), sha256="0" * 64, seconds=0.0)


def examined(evaluator: Evaluator) -> list[Verdict]:
    return list(evaluator.evaluate([image()]))


def test_every_question_is_asked_in_the_order_of_the_table_after_the_picture() -> None:
    judge = ScriptedJudge("yes")
    evaluator = BENCHMARK.evaluator(judge=judge)
    assert [v.question_id for v in examined(evaluator)] == list(BENCHMARK.questions(SAMPLE))
    assert isinstance(evaluator, JudgeEvaluator)
    for question in evaluator.questions_about(image()):
        assert isinstance(question.parts[0], ImagePart)
        assert question.sampling.temperature == 0.0


def test_answers_are_stored_before_any_dependency() -> None:
    """Dependencies differ between protocols, and a report can be made under either."""
    verdicts = examined(
        BENCHMARK.evaluator(judge=ScriptedJudge({"1": "no", **dict.fromkeys("23456", "yes")}))
    )
    assert [v.value for v in verdicts] == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert verdicts[0].detail["question"] == "Is there a dog in the picture?"


def test_what_is_no_answer_gets_its_status() -> None:
    script: dict[str, ScriptedReply] = {
        "1": Mishap(kind="refusal"),
        "2": Mishap(kind="server_error"),
        "3": "Maybe.",
    }
    verdicts = examined(
        BENCHMARK.evaluator(judge=ScriptedJudge({**script, **dict.fromkeys("456", "No.")}))
    )
    assert [v.status for v in verdicts[:3]] == ["refused", "failed", "unparsed"]
    assert [v.value for v in verdicts] == [None] * 3 + [0.0] * 3


def test_a_chat_judges_word_is_read_in_reply_to_the_bare_question() -> None:
    said = {"1": "yes", "2": "Yes.", "3": "NO", "4": "two", "5": "No, I can't help.", "6": "  "}
    evaluator = BENCHMARK.evaluator("judge?wording=official", judge=ScriptedJudge(said))
    verdicts = examined(evaluator)
    assert [v.value for v in verdicts] == [1.0, 1.0, 0.0, None, None, None]
    assert [v.status for v in verdicts[3:]] == ["unparsed", "refused", "unparsed"]
    assert isinstance(evaluator, JudgeEvaluator)
    assert evaluator.questions_about(image())[0].parts[1] == "Is there a dog in the picture?"
    assert evaluator.identity["wording"] == "official:bare"


@pytest.mark.parametrize("text", ["Yes", "yes ", "", "two", "no", "i can't help with that"])
def test_upstreams_own_model_says_the_very_word_or_no(text: str) -> None:
    asked = Question(
        image_id="1", id="1", parts=("?",), sampling=ReplySampling(max_tokens=16),
        answer_format=BareWord(empty_is_no=True),
    )  # fmt: skip
    assert read_reply(asked, Reply(text=text, model="m")).values == (0.0,)
    assert read_reply(asked, Reply(text="yes", model="m")).values == (1.0,)


@pytest.mark.parametrize("spec", ["judge", "judge?wording=official"])
def test_no_reply_whatever_breaks_the_parser_or_makes_it_invent_a_yes(spec: str) -> None:
    evaluator = BENCHMARK.evaluator(spec, judge=ScriptedJudge("yes"))
    assert isinstance(evaluator, JudgeEvaluator)
    answer_format = evaluator.questions_about(image())[0].answer_format
    n_yes = 0
    for text in fuzzed(["yes", "no", "Yes.", "No, it is not", "two"], 10_000):
        values = answer_format.parse(Reply(text=text, model="m"))
        if values == (1.0,):
            n_yes += 1
            assert "yes" in text.casefold()
        else:
            assert values in (None, (0.0,))
    assert n_yes > 10


def test_probabilities_are_turned_into_the_likelier_word_and_kept() -> None:
    judge = ScriptedJudge({"1": 0.9, "2": 0.4, **dict.fromkeys("3456", "yes")})
    verdicts = examined(BENCHMARK.evaluator("judge?reading=probability", judge=judge))
    assert [v.value for v in verdicts[:2]] == [1.0, 0.0]
    assert verdicts[1].detail["p_yes"] == pytest.approx(0.4)


def test_the_three_ways_of_asking_are_three_identities_and_travel_to_workers() -> None:
    specs = ("judge", "judge?reading=probability", "judge?wording=official")
    evaluators = [BENCHMARK.evaluator(spec, judge=ScriptedJudge("yes")) for spec in specs]
    assert len({str(sorted(one.identity.items())) for one in evaluators}) == 3
    assert pickle.loads(pickle.dumps(evaluators[2])).identity == evaluators[2].identity
    assert BareWord().parse(Reply(text="yes", model="m")) == (1.0,)


def test_without_a_judge_the_next_step_is_named() -> None:
    with pytest.raises(AlphaBenchError, match="judge") as caught:
        BENCHMARK.evaluator()
    assert "--judge" in caught.value.hint
    with pytest.raises(AlphaBenchError):
        BENCHMARK.evaluator("mplug", judge=ScriptedJudge("yes"))
