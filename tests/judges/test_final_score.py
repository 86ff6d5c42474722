"""How a final score is read from a judge's reply."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.final_score import FinalScore
from alphabench.questions import Reply
from tests.support.replies import fuzzed

both = pytest.mark.parametrize("strict", [False, True])


def read(text: str, *, strict: bool, lowest: int = 1, highest: int = 5) -> tuple[float, ...] | None:
    answer_format = FinalScore(strict=strict, lowest=lowest, highest=highest)
    return answer_format.parse(Reply(text=text, model="m"))


@both
@given(
    st.integers(1, 5),
    st.sampled_from(
        ["Final Score: %d", "**Final Score**: %d", "Good.\n\n**Final Score:** **%d**",
         "final score:\n\n%d", "Final Scores: %d", "Reason: fine.\nFinal Score: %d/5"],
    ),
)  # fmt: skip
def test_one_number_behind_the_words_is_read(strict: bool, score: int, frame: str) -> None:
    assert read(frame % score, strict=strict) == (float(score),)


@pytest.mark.parametrize(
    "text",
    ["Final Score: 6", "Final Score: 0", "Final Score: 4.5", "Final Score: 4, 5", "4", "",
     "Final Score: 4 or 5", "Final Score: N/A\nFinal Score: 3", "Final Score: 4/10",
     "Final Score: -4", "Final Score 4", "Final Score: \u0664", "Score: 4"],
)  # fmt: skip
def test_strictly_anything_but_one_number_of_the_scale_stated_once_is_not_read(text: str) -> None:
    assert read(text, strict=True) is None


def test_strictly_brackets_and_a_wide_colon_are_read_where_upstream_reads_nothing() -> None:
    for text in ("Final Score: [4]", "Final Score\uff1a4", "Final score is 4."):
        assert read(text, strict=True) == (4.0,)
    assert read("Final Score: [4]", strict=False) is None


def test_the_scale_of_logical_items_is_no_or_yes() -> None:
    assert read("Final Score: 1", strict=True, lowest=0, highest=1) == (1.0,)
    assert read("Final Score: 0", strict=True, lowest=0, highest=1) == (0.0,)
    assert read("Final Score: 5", strict=True, lowest=0, highest=1) is None


def test_officially_what_stops_upstreams_script_is_not_read() -> None:
    assert read(f"Final Score: {'9' * 5000}", strict=False) is None
    assert read(f"Final Score: {'9' * 300}", strict=False) is None
    assert read("Final Score: 12", strict=False) == (12.0,)


SEEDS = (
    "Reason: fine.\nFinal Score: 4",
    "**Final Score**: **5**",
    "Final Scores: 3 2",
    "Final Score: 4/5",
    "FINAL SCORE:\n\n1, 0\n",
)


@both
def test_ten_thousand_fuzzed_final_scores_raise_nothing_and_invent_no_number(strict: bool) -> None:
    n_read = 0
    for text in fuzzed(SEEDS, 10_000, seed=int(strict)):
        values = read(text, strict=strict)
        if values is None:
            continue
        n_read += 1
        plain = re.sub(r"[*_`#]+", "", text)
        runs = [run for one in (text, plain) for run in re.findall(r"\d+", one)]
        assert {float(run) for run in runs if len(run) < 102} >= set(values), text
        assert not strict or (len(values) == 1 and 1 <= values[0] <= 5), text
    assert 1_000 < n_read < 9_500
