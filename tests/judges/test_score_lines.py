"""How lines of scores are read from a judge's reply."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.parsing import read_reply
from alphabench.judges.score_lines import ScoreLines
from alphabench.questions import Question, Reply, ReplySampling
from tests.support.replies import fuzzed

both = pytest.mark.parametrize("strict", [False, True])
NAMES = ("Prompt Compliance", "Visual Naturalness", "Physical & Detail Integrity")


def read(text: str, *, strict: bool, n_scores: int = 3) -> tuple[float, ...] | None:
    return ScoreLines(strict=strict, n_scores=n_scores).parse(Reply(text=text, model="m"))


def reply_of(*scores: object, frame: str = "{name}: {score}") -> str:
    lines = [
        frame.format(name=name, score=score) for name, score in zip(NAMES, scores, strict=False)
    ]
    return "\n".join(["Brief reasoning: the sky has 2 seams.", *lines])


@both
@given(st.lists(st.integers(1, 5), min_size=3, max_size=3))
def test_three_lines_are_their_mean_and_their_scores(strict: bool, scores: list[int]) -> None:
    assert read(reply_of(*scores), strict=strict) == (sum(scores) / 3, *map(float, scores))


@pytest.mark.parametrize(
    "frame",
    [
        "**{name}:** {score}", "**{name}**: {score}/5", "- {name}: {score}.", "{name}:{score}",
        "{name}:  **{score}**", "Scores: {name}: {score}", "{name}\uff1a {score} / 5",
        "# {name}: {score} out of 5",
    ],
)  # fmt: skip
def test_strictly_decoration_and_the_scale_change_nothing(frame: str) -> None:
    assert read(reply_of(4, 5, 3, frame=frame), strict=True) == (4.0, 4.0, 5.0, 3.0)


@pytest.mark.parametrize(
    "text",
    [
        reply_of(4, 5),
        reply_of(4, 5, 6),
        reply_of(4, 5, 0),
        reply_of(4, 5, "3.5"),
        reply_of(4, 5, "-3"),
        reply_of(4, 5, "3/10"),
        reply_of(4, 5, "3 or 4"),
        reply_of(4, 5, "\uff13"),
        reply_of(4, 5, "\u00b2"),
        reply_of(4, 5, 3) + "\nTotal: 12",
        reply_of(4, 5, 3) + "\nOverall: 4",
        reply_of(4, 5, 3) + "\nPrompt Compliance: 4",
        "4\n5\n3",
        "I'd give it 4: 5: 3",
        "",
    ],
)
def test_strictly_anything_but_each_score_once_and_in_range_is_not_read(text: str) -> None:
    assert read(text, strict=True) is None


def test_officially_a_digit_only_reason_and_a_total_count_as_they_do_upstream() -> None:
    assert read("Brief reasoning: 2\nA: 1\nB: 3", strict=False) == (2.0, 2.0, 1.0, 3.0)
    assert read("A: 4\nTotal: 12", strict=False) == (8.0, 4.0, 12.0)
    assert read("A: 4/5\n**B:** 3\nC:5", strict=False) is None


@pytest.mark.parametrize("text", ["A: 4\nB: \u00b2", f"A: {'9' * 5000}", f"A: {'9' * 200}"])
def test_officially_what_stops_upstreams_script_is_not_read(text: str) -> None:
    assert read(text, strict=False) is None


def test_one_score_can_be_asked_for() -> None:
    assert read("Brief reasoning: fine.\nScore: 4", strict=True, n_scores=1) == (4.0, 4.0)
    assert read(reply_of(4, 5, 3), strict=True, n_scores=1) is None


@pytest.mark.parametrize(("strict", "status"), [(False, "scored"), (True, "refused")])
def test_numbers_behind_a_refusal_are_read_as_upstream_would_and_never_strictly(
    strict: bool, status: str
) -> None:
    question = Question(
        image_id="1/0",
        id="score",
        parts=("?",),
        sampling=ReplySampling(max_tokens=9),
        answer_format=ScoreLines(strict=strict),
    )
    text = "I'm sorry, but I can't judge these images.\n" + reply_of(1, 1, 1)
    assert read_reply(question, Reply(text=text, model="m")).status == status


SEEDS = (
    reply_of(4, 5, 3),
    reply_of(1, 1, 2, frame="**{name}**: {score}"),
    reply_of(5, 5, 5, frame="- {name}: {score}/5"),
    "Style Fidelity: 4\r\nContent Preservation: 5\r\nRendering Quality: 2\r\n",
    "A: 3\x0bB: 4\u2028C: 5",
    "Score: 4",
)


@both
def test_ten_thousand_fuzzed_replies_of_lines_raise_nothing_and_invent_no_number(
    strict: bool,
) -> None:
    n_read = 0
    for text in fuzzed(SEEDS, 10_000, seed=int(strict)):
        values = read(text, strict=strict)
        if values is None:
            continue
        n_read += 1
        mean, *scores = values
        runs = [run for one in (text, _MARKUP.sub("", text)) for run in re.findall(r"\d+", one)]
        stated = {float(run) for run in runs if len(run) < 102}
        assert stated >= set(scores), text
        assert min(scores) * (1 - 1e-12) <= mean <= max(scores) * (1 + 1e-12), text
        assert not strict or (len(scores) == 3 and all(1 <= s <= 5 for s in scores)), text
    assert 300 < n_read < 9_700


_MARKUP = re.compile(r"[*_`#>|]+")
