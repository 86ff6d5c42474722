"""How replies of a VIEScore judge are read."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.benchmarks.gedit.viescore_parser import LowestScore, repaired, strict_list
from alphabench.questions import Reply
from tests.support.replies import fuzzed

both = pytest.mark.parametrize("strict", [False, True])


def read(text: str, *, strict: bool) -> tuple[float, ...] | None:
    return LowestScore(strict).parse(Reply(text=text, model="m"))


scores = st.integers(0, 10)
frames = st.sampled_from(["%s", "```json\n%s\n```", "Here it is: %s", "%s\nI hope this helps."])


@both
@given(scores, scores, st.text("abc ,.", max_size=30), frames)
def test_two_scores_in_a_json_object_are_read_in_any_frame(
    strict: bool, first: int, second: int, reason: str, frame: str
) -> None:
    text = frame % json.dumps({"score": [first, second], "reasoning": reason})
    assert read(text, strict=strict) == (min(first, second), first, second)


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 7, "reasoning": "one"}',
        '{"score": [12, 15], "reasoning": "range"}',
        '{"score": [1, 2, 3], "reasoning": "three"}',
        '{"score": [true, 1]}',
        '{"score": [NaN, 1]}',
        '{"score": ["8", "9"]}',
        '{"score": [1, 2]} or rather {"score": [2, 3]}',
        "text [6, 0] text",
        "7",
        "",
    ],
)
def test_strictly_anything_but_two_scores_of_0_to_10_stated_once_is_not_read(text: str) -> None:
    assert read(text, strict=True) is None


def test_strictly_scores_are_found_behind_another_object() -> None:
    assert strict_list('{"a": 1} and {"score": [1, 2]}') == [1, 2]
    assert strict_list(" [6, 0]\n") == [6, 0]


@pytest.mark.parametrize(
    "text",
    ['{"score": [], "reasoning": "x"}', '{"score": ["8", "9"]}', '{"score": null}', '{"score": -1}',
     '{"score": [Infinity, 1]}', '{"score": [true, 1]}', '{"score": ' + "9" * 500 + "}",
     '{"score": ' + "9" * 5000 + "}", "{" * 5000, '{"a":' * 5000],
)  # fmt: skip
def test_officially_what_upstreams_script_stumbles_over_is_not_read(text: str) -> None:
    assert read(text, strict=False) is None


def test_the_official_repair_quotes_words_and_wraps_numbers() -> None:
    assert json.loads(repaired("{score: 8, reasoning: fine}")) == {
        "score": [8],
        "reasoning": "fine",
    }
    assert json.loads(repaired("{score: -8.5, done: True}".lower())) == {
        "score": [-8.5],
        "done": True,
    }


SEEDS = (
    '{"score": [8, 9], "reasoning": "ok"}',
    '```json\n{\n"score" : [3, 0],\n"reasoning" : "it\'s off"\n}\n```',
    '||V^=^V||\n{"score": [5, 10], "reasoning": "x"}\n||V^=^V||',
    "{score: 8, reasoning: fine}",
    "[6, 0]",
    "7",
    '{"score": 7, "reasoning": "single"}',
)


@both
def test_ten_thousand_fuzzed_replies_raise_nothing_and_invent_no_number(strict: bool) -> None:
    n_read = 0
    for text in fuzzed(SEEDS, 10_000, seed=int(strict)):
        values = read(text, strict=strict)
        if values is None:
            continue
        n_read += 1
        stated = {float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:[eE]\d+)?", text)}
        parts = {float(digits) for run in re.findall(r"[\d\s]+", text) for digits in run.split()}
        joined = {float(re.sub(r"\s", "", run)) for run in re.findall(r"\d[\d\n]*", text)}
        assert stated | parts | joined >= set(values), text
        assert not strict or all(0 <= value <= 10 for value in values), text
    assert 500 < n_read < 9_500


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("[6, 0]", (0.0, 6.0, 0.0)), ("[6,0]", (0.0, 6.0, 0.0)), ("so: [12, 3].", (3.0, 12.0, 3.0)),
        ("[6,  0]", None), ("[06, 0]", None), ("[6, 00]", None), ("[６, ０]", None),
        ("[٦, ٠]", None),
        ("[ 6, 0]", None), ("[6,\n0]", None), (f"[1, {'9' * 5000}]", None), ("[-1, 3]", None),
    ],
)  # fmt: skip
def test_a_bare_list_is_read_as_upstream_reads_it(
    text: str, scores: tuple[float, ...] | None
) -> None:
    assert read(text, strict=False) == scores


@both
@pytest.mark.parametrize(
    "text",
    ['{"score": [Infinity, 1]}', "{" + "a" * 60_000 + "}", '{"' * 30_000,
     '{"score": [1e999, 1]}', "[" * 100_000, '{"score":' * 50_000,
     '{"score": [' + "9" * 5000 + ', 1]}', '{"a\\ud83d": 1, "score": ["x\ud83d", 2]}'],
)  # fmt: skip
def test_numbers_without_measure_and_deep_json_are_not_read(strict: bool, text: str) -> None:
    assert read(text, strict=strict) is None
