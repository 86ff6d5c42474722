"""A judge proves itself before any image is made for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.handshake import ANCHORS, HandshakeLevel, VettedJudge, shake_hands
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Capabilities, ImagePart, Question, Reply

NEEDS = Capabilities(images_per_question=1, logprobs=True)
PAIRS = Capabilities(images_per_question=2, logprobs=True)
FALSE_TEXTS = {anchor.false for anchor in ANCHORS}


def sees(question: Question) -> ScriptedReply:
    """What somebody with eyes would say: reads the drawn pictures by their names."""
    *shown, text = question.parts
    assert isinstance(text, str)
    asked = text.splitlines()[0]
    names = [picture.path.stem for picture in shown if isinstance(picture, ImagePart)]
    if "first picture" in asked:
        return 0.9 if names[0] == "apple" else 0.1
    if "the second" in asked:
        return 0.9 if names[1] == "apple" else 0.1
    return 0.1 if asked in FALSE_TEXTS else 0.9


def test_a_judge_that_sees_passes() -> None:
    judge = ScriptedJudge(sees)
    shake_hands(judge, PAIRS)
    assert len(judge.asked) == 2 * len(ANCHORS) + 4


@pytest.mark.parametrize("script", ["yes", "no", lambda _: 0.5], ids=["yes", "no", "undecided"])
def test_a_judge_that_always_says_the_same_is_refused_with_what_it_got_wrong(
    script: ScriptedReply | Callable[[Question], ScriptedReply],
) -> None:
    with pytest.raises(AlphaBenchError, match=f"6 of {2 * len(ANCHORS)}") as refused:
        shake_hands(ScriptedJudge(script), NEEDS)  # type: ignore[arg-type]
    assert "?" in refused.value.message
    assert "handshake=protocol" in refused.value.hint


def test_a_judge_that_looks_at_one_of_two_pictures_only_is_refused() -> None:
    def last_only(question: Question) -> ScriptedReply:
        shown = question.parts[:-1]
        assert isinstance(shown[-1], ImagePart)
        if len(shown) == 2:
            return 0.9 if shown[-1].path.stem == "apple" else 0.1
        return sees(question)

    shake_hands(ScriptedJudge(last_only), NEEDS)
    with pytest.raises(AlphaBenchError, match="first of two images from the second"):
        shake_hands(ScriptedJudge(last_only), PAIRS)


@pytest.mark.parametrize("level", ["full", "protocol"])
def test_missing_log_probabilities_are_found_out_only_where_they_are_needed(
    level: HandshakeLevel,
) -> None:
    def without(question: Question) -> ScriptedReply:
        said = sees(question)
        assert isinstance(said, float)
        return Mishap(kind="no_logprobs", answer="yes" if said > 0.5 else "no")

    with pytest.raises(AlphaBenchError, match="no log-probabilities"):
        shake_hands(ScriptedJudge(without), NEEDS, level=level)
    shake_hands(
        ScriptedJudge(without), Capabilities(images_per_question=2, logprobs=False), level=level
    )


@pytest.mark.parametrize("level", ["full", "protocol"])
def test_a_judge_that_does_not_answer_is_refused(level: HandshakeLevel) -> None:
    judge = ScriptedJudge(lambda _: Mishap(kind="server_error"))
    with pytest.raises(AlphaBenchError, match="does not answer"):
        shake_hands(judge, NEEDS, level=level)


def replying(text: str = "", **fields: Any) -> ScriptedJudge:
    return ScriptedJudge(lambda _: Reply(text=text, model="m", **fields))


THINKING = [
    (replying(finish_reason="length"), False),
    (replying(finish_reason="length", thought="Let me look"), False),
    (replying("<think>\nYes, look", finish_reason="length"), False),
    (replying("<think>", first_token=(("<think>", -1e-8), ("Yes", -17.0), ("No", -19.0))), True),
]


@pytest.mark.parametrize("level", ["full", "protocol"])
@pytest.mark.parametrize(("judge", "logprobs"), THINKING)
def test_a_judge_that_thinks_is_told_from_one_that_is_wrong(
    judge: ScriptedJudge, logprobs: bool, level: HandshakeLevel
) -> None:
    needs = replace(NEEDS, logprobs=logprobs)
    with pytest.raises(AlphaBenchError, match="cannot be parsed") as refused:
        shake_hands(judge, needs, level=level)
    assert "thinking=false" in refused.value.hint
    assert "sees" not in refused.value.hint


def test_a_cut_reply_names_the_bound() -> None:
    with pytest.raises(AlphaBenchError, match="cut off at 8 tokens"):
        shake_hands(THINKING[0][0], replace(NEEDS, logprobs=False))


def test_an_empty_reply_does_not_pass_the_protocol_and_gibberish_does() -> None:
    words = replace(NEEDS, logprobs=False)
    with pytest.raises(AlphaBenchError, match="empty"):
        shake_hands(replying(finish_reason="stop"), words, level="protocol")
    shake_hands(replying("xq", finish_reason="length"), words, level="protocol")
    with pytest.raises(AlphaBenchError, match=r"12 of 12 .* it replied 'xq'"):
        shake_hands(replying("xq"), words)


def test_a_judge_with_a_single_alternative_gives_no_p_of_yes() -> None:
    def certain(question: Question) -> ScriptedReply:
        says_yes = float(str(sees(question))) > 0.5
        word = "Yes" if says_yes else "No"
        return Reply(text=word, model="m", first_token=((word, -0.001),))

    with pytest.raises(AlphaBenchError, match="one alternative") as refused:
        shake_hands(ScriptedJudge(certain), NEEDS)
    assert "reading=text" in refused.value.hint


def test_the_protocol_alone_asks_one_question_with_as_many_pictures_as_needed() -> None:
    asked: list[Question] = []

    def blind(question: Question) -> ScriptedReply:
        asked.append(question)
        return 0.5

    shake_hands(ScriptedJudge(blind), PAIRS, level="protocol")
    (only,) = asked
    assert sum(isinstance(part, ImagePart) for part in only.parts) == 2


def test_nothing_is_asked_when_it_is_off() -> None:
    judge = ScriptedJudge("yes")
    shake_hands(judge, NEEDS, level="off")
    assert judge.asked == []


@pytest.mark.parametrize(
    ("level", "label"), [("full", "on"), ("protocol", "protocol"), ("off", "off")]
)
def test_what_it_had_to_prove_stands_in_the_identity(level: HandshakeLevel, label: str) -> None:
    judge = ScriptedJudge("yes")
    vetted = VettedJudge(judge=judge, tested=judge, level=level)
    assert vetted.identity == {**judge.identity, "self_test": label}


def test_the_one_without_the_cache_is_tested() -> None:
    behind, before = ScriptedJudge(sees), ScriptedJudge("yes")
    VettedJudge(judge=before, tested=behind).shake_hands(NEEDS)
    assert before.asked == []
    assert behind.asked


def test_the_pictures_show_what_they_are_said_to_show() -> None:
    """By their mean colour: enough to tell that an apple is red and a picture not empty."""
    means: dict[str, tuple[float, ...]] = {}

    def look(question: Question) -> ScriptedReply:
        (picture, *_) = question.parts
        assert isinstance(picture, ImagePart)
        assert hashlib.sha256(picture.path.read_bytes()).hexdigest() == picture.sha256
        with Image.open(picture.path) as image:
            middle = image.convert("RGB").crop((96, 96, 160, 160)).resize((1, 1))
            pixel = middle.getpixel((0, 0))
        assert isinstance(pixel, tuple)
        means[picture.path.stem] = pixel
        return sees(question)

    shake_hands(ScriptedJudge(look), NEEDS)
    assert set(means) == {anchor.category for anchor in ANCHORS}
    red, green, blue = means["apple"]
    assert red > green + 50
    red, green, blue = means["umbrella"]
    assert blue > red + 30
