"""Scores on a scale: read where they stand alone, and never guessed."""

from __future__ import annotations

import pytest

from alphabench.judges.score_text import ScoreText
from alphabench.questions import Reply

TEN = ScoreText(lowest=0, highest=10)


def value(text: str, scale: ScoreText = TEN) -> float | None:
    values = scale.parse(Reply(text=text, model="m"))
    return None if values is None else values[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7.0),
        (" 10. ", 10.0),
        ("0", 0.0),
        ("7/10", 7.0),
        ("8 out of 10", 8.0),
        ("Score: 6", 6.0),
        ("**Rating:** 9/10", 9.0),
        ("The score is 7.5", 7.5),
    ],
)
def test_a_number_that_stands_alone_is_the_score(text: str, expected: float) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "good", "11", "-3", "7 or 8", "7/5", "I would say 7", "70%", "seven", "1e1", "7, since"],
)
def test_anything_else_is_not_parsed(text: str) -> None:
    assert value(text) is None


def test_a_scale_that_begins_at_1_has_no_0() -> None:
    five = ScoreText(lowest=1, highest=5)
    assert (value("0", five), value("1", five), value("5/5", five)) == (None, 1.0, 5.0)
    assert five.text("How good is it?").startswith("How good is it?\nAnswer with one whole number")
    assert five.identity != TEN.identity
