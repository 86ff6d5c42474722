"""How TIIF's questions reach a judge, and what its replies amount to; the wording is invented."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from alphabench.benchmarks.tiif.benchmark import open_tiif
from alphabench.benchmarks.tiif.questions import (
    ANSWERS,
    TiifTemplates,
    TogetherQuestions,
    template_of,
    tiif_templates_of,
    tiif_verdicts,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.judges.retrying import RetryingJudge
from alphabench.judges.scripted import Mishap, ScriptedJudge
from alphabench.types import GeneratedImage, ImageRequest, Sample
from alphabench.upstream import UpstreamData

SCRIPT = b'''
raw_prompt = """First wording.
##YNQuestions##
End."""
raw_prompt_1 = "Second: ##YNQuestions##"
raw_prompt_2 = """Third:
##YNQuestions##"""

def ask(prompt, image):
    return [
        {"role": "system", "content": "You look at pictures."},
        {"role": "user", "content": [{"type": "text", "text": prompt}]},
    ]
'''
WORDING = tiif_templates_of(SCRIPT)
SAMPLE = Sample(
    id="style-0-short",
    prompt="a cat",
    group="style short",
    facts={
        "type": "style", "length": "short", "index": 0,
        "questions": [" Is there a cat? ", "Is there a dog?"], "answers": ["Yes", "no"],
    },
)  # fmt: skip


def image(sample: Sample = SAMPLE) -> GeneratedImage:
    request = ImageRequest(sample=sample, index=0, seed=0)
    return GeneratedImage(request=request, path=Path("a.png"), sha256="0" * 64, seconds=0.0)


def together(judge: ScriptedJudge | RetryingJudge, **kwargs: str) -> JudgeEvaluator:
    strict = kwargs.get("protocol") == "strict"
    ask = TogetherQuestions(wording=WORDING, protocol="strict" if strict else "official")
    return JudgeEvaluator(judge=judge, questions_about=ask, score=tiif_verdicts)


def test_the_wording_is_found_in_a_script_by_name_and_never_run() -> None:
    assert WORDING.system == "You look at pictures."
    assert [text.split()[0] for text in WORDING.templates] == ["First", "Second:", "Third:"]
    harmful = SCRIPT + b'\nraise SystemExit("executed")\n'
    assert tiif_templates_of(harmful) == WORDING


@pytest.mark.parametrize(
    "script",
    [
        SCRIPT.replace(b"raw_prompt_1", b"another"),
        SCRIPT.replace(b"##YNQuestions##", b"questions"),
        SCRIPT.replace(b'"system"', b'"user"'),
    ],
)
def test_another_script_is_refused_with_what_it_lacks(script: bytes) -> None:
    with pytest.raises(AlphaBenchError, match=r"eval_with_vlm\.py.* does not contain") as caught:
        tiif_templates_of(script)
    assert "wording=own" in caught.value.hint


def test_all_questions_go_in_one_call_one_a_line_before_the_picture() -> None:
    (question,) = TogetherQuestions(wording=WORDING, protocol="official")(image())
    text = question.parts[0]
    assert isinstance(text, str)
    assert "Is there a cat?\nIs there a dog?" in text
    assert len(question.parts) == 2
    assert question.system == WORDING.system
    assert question.sampling.temperature == 1.0


def test_strict_takes_the_first_wording_at_temperature_zero() -> None:
    (question,) = TogetherQuestions(wording=WORDING, protocol="strict")(image())
    assert str(question.parts[0]).startswith("First wording.")
    assert question.sampling.temperature == 0.0


def test_official_uses_all_three_wordings_and_the_same_one_for_a_sample_each_time() -> None:
    drawn = [template_of(f"style-{i}-long") for i in range(300)]
    assert drawn == [template_of(f"style-{i}-long") for i in range(300)]
    assert all(70 < drawn.count(index) < 130 for index in range(3))


def test_each_question_of_a_read_reply_gets_its_own_verdict() -> None:
    verdicts = list(together(ScriptedJudge("yes, a cat\nyes, a dog")).evaluate([image()]))
    assert [(v.question_id, v.value) for v in verdicts] == [("0", 1.0), ("1", 0.0)]
    assert [v.detail["answer"] for v in verdicts] == ["yes", "yes"]
    assert [v.detail["expected"] for v in verdicts] == ["Yes", "no"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("yes", "unparsed"),
        ("1. yes\n2. no", "unparsed"),
        (Mishap(kind="refusal"), "refused"),
        (Mishap(kind="server_error"), "failed"),
    ],
)
def test_a_reply_that_cannot_be_used_leaves_all_questions_unscored(
    said: str | Mishap, status: str
) -> None:
    verdicts = list(together(ScriptedJudge(lambda _: said)).evaluate([image()]))
    assert [(v.question_id, v.value, v.status) for v in verdicts] == [
        ("0", None, status),
        ("1", None, status),
    ]


def test_official_asks_again_for_what_it_cannot_read_and_gives_up_in_the_end() -> None:
    replies = {0: "hm", 1: "yes and no", 2: "yes\nno"}
    judge = ScriptedJudge(lambda question: replies[question.repeat])
    verdicts = list(together(RetryingJudge(judge=judge, tries=3)).evaluate([image()]))
    assert [v.value for v in verdicts] == [1.0, 1.0]
    assert len(judge.asked) == 3
    tired = ScriptedJudge("hm")
    verdicts = list(together(RetryingJudge(judge=tired, tries=3)).evaluate([image()]))
    assert {v.status for v in verdicts} == {"unparsed"}
    assert tired.asked == [("style-0-short/0", ANSWERS)] * 3


@pytest.mark.parametrize(
    ("text", "official", "strict"),
    [
        ("I can't help with that.\nyes\nno", [1.0, 1.0], [None, None]),
        ("Yes.\nNo, I can't help with that.", [None, None], [None, None]),
        ("Yes.\nNo image was provided.", [None, None], [None, None]),
        ("Yes.\nNo, I can't see a dog.", [1.0, 1.0], [1.0, 1.0]),
    ],
)
def test_a_refusal_is_no_answer_and_hides_none_from_upstreams_reader(
    text: str, official: list[float | None], strict: list[float | None]
) -> None:
    for protocol, expected in (("official", official), ("strict", strict)):
        evaluator = together(ScriptedJudge(text), protocol=protocol)
        assert [v.value for v in evaluator.evaluate([image()])] == expected


def test_the_own_wording_asks_each_question_alone_and_is_labelled() -> None:
    benchmark = open_tiif("mini", data=UpstreamData(cache_dir=Path("nowhere")))
    judge = ScriptedJudge({"0": "yes", "1": "Perhaps."})
    evaluator = benchmark.evaluator(judge=judge)
    verdicts = list(evaluator.evaluate([image()]))
    assert [(v.value, v.status) for v in verdicts] == [(1.0, "scored"), (None, "unparsed")]
    assert evaluator.identity["wording"].startswith("own:")
    assert pickle.loads(pickle.dumps(evaluator)).identity == evaluator.identity


def test_probabilities_are_turned_into_the_likelier_word_and_kept() -> None:
    benchmark = open_tiif("mini", data=UpstreamData(cache_dir=Path("nowhere")))
    judge = ScriptedJudge({"0": 0.8, "1": 0.3})
    evaluator = benchmark.evaluator("judge?reading=probability", judge=judge)
    first, second = evaluator.evaluate([image()])
    assert (first.value, first.detail["answer"]) == (1.0, "yes")
    assert (second.value, second.detail["answer"]) == (1.0, "no")
    assert first.detail["p_yes"] == pytest.approx(0.8)
    blind = ScriptedJudge("yes", logprobs=False)
    with pytest.raises(AlphaBenchError, match="log-probabilities"):
        benchmark.evaluator("judge?reading=probability", judge=blind)


def test_wording_protocol_and_tries_are_part_of_what_a_result_is() -> None:
    other = TiifTemplates(system=WORDING.system, templates=(*WORDING.templates[:2], "x"))
    assert other.digest != WORDING.digest
    (one,) = TogetherQuestions(wording=WORDING, protocol="official")(image())
    (two,) = TogetherQuestions(wording=WORDING, protocol="strict")(image())
    assert one.content_digest != two.content_digest


@pytest.mark.parametrize("spec", ["judge?wordings=own", "detector", "judge?tries=0"])
def test_an_unknown_evaluator_or_option_is_refused(spec: str) -> None:
    benchmark = open_tiif("mini", data=UpstreamData(cache_dir=Path("nowhere")))
    with pytest.raises(AlphaBenchError):
        benchmark.evaluator(spec, judge=ScriptedJudge("yes"))


def test_without_a_judge_or_without_the_wording_the_next_step_is_named() -> None:
    data = UpstreamData(cache_dir=Path("nowhere"))
    with pytest.raises(AlphaBenchError, match="judge") as caught:
        open_tiif("mini", data=data).evaluator()
    assert "--judge" in caught.value.hint
    with pytest.raises(AlphaBenchError, match="wording") as caught:
        open_tiif("testmini", data=data).evaluator(judge=ScriptedJudge("yes"))
    assert "wording=own" in caught.value.hint
