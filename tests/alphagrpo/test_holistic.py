"""The judge that grades a whole image."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import ImagePart, Reply
from alphabench.types import Verdict
from alphagrpo.holistic import Grades, holistic_questions, score_holistic

SHOWN = ImagePart(path=Path("kite.png"), sha256="0" * 64)


def graded(consistency: ScriptedReply, quality: ScriptedReply) -> Verdict:
    questions = holistic_questions("0/0", SHOWN, 'a "red" kite {')
    judge = ScriptedJudge({"consistency": consistency, "quality": quality})
    return score_holistic("0/0", list(judge.ask(questions)), question_id="reward")


def test_the_grade_is_the_geometric_mean_of_consistency_and_the_worse_quality() -> None:
    verdict = graded('{"why": "", "grades": [8]}', '{"why": "", "grades": [9, 4.5]}')
    assert verdict.value == pytest.approx(math.sqrt(8 * 4.5) / 10)
    assert [entry["grades"] for entry in verdict.detail["questions"]] == [[8.0], [9.0, 4.5]]


def test_full_grades_are_one_and_none_are_zero() -> None:
    assert graded('{"grades": [10]}', '{"grades": [10, 10]}').value == 1.0
    assert graded('{"grades": [0]}', '{"grades": [10, 10]}').value == 0.0


@pytest.mark.parametrize(
    "reply",
    [
        "7", "[7]", '{"grades": 7}', '{"grades": [7, 7]}', '{"grades": []}', '{"grades": ["7"]}',
        '{"grades": [11]}', '{"grades": [-1]}', '{"grades": [true]}', '{"grades": [NaN]}', "{",
        "8/10", "",
    ],
)  # fmt: skip
def test_grades_that_are_not_stated_clearly_are_no_grades(reply: str) -> None:
    verdict = graded(reply, '{"grades": [10, 10]}')
    assert verdict.value is None
    assert verdict.status == "unparsed"


def test_one_failed_call_leaves_the_image_without_a_grade() -> None:
    verdict = graded(Mishap(kind="server_error"), '{"grades": [10, 10]}')
    assert (verdict.value, verdict.status) == (None, "failed")
    assert verdict.detail["questions"][1]["grades"] == [10.0, 10.0]


def test_the_prompt_reaches_the_judge_as_it_is_and_after_the_image() -> None:
    consistency, quality = holistic_questions("0/0", SHOWN, 'a "red" {kite}')
    picture, text = consistency.parts
    assert picture == SHOWN
    assert isinstance(text, str)
    assert json.dumps('a "red" {kite}') in text
    assert "{{" not in text
    assert "{{" not in str(quality.parts[1])


def test_no_reply_makes_the_parser_stumble_or_invent() -> None:
    rng = random.Random(1)
    pieces = [
        '{"grades": ',
        "[",
        "]",
        "}",
        "7",
        ".5",
        ",",
        '"x"',
        "1e400",
        "-",
        "null",
        "\x00",
        " ",
    ]
    answer_format = Grades(name="quality")
    for _ in range(10_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(10)))
        values = answer_format.parse(Reply(text=text, model="m"))
        assert values is None or (len(values) == 2 and all(0.0 <= v <= 10.0 for v in values))
