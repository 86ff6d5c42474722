"""Where a thought ends, whatever a model puts around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.judges.thoughts import split_thought
from tests.support.replies import fuzzed

MARKS = (
    ("<think>", "</think>"), ("<THINK>", "</Think >"), ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"), ("<reasoning>", "</reasoning>"), ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"), ("<antThinking>", "</antThinking>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"), ("&lt;think&gt;", "&lt;/think&gt;"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysis", "assistantfinal"), ("<unused94>thought", "<unused95>"), ("<think>", "</thinking>"),
    ("<scratchpad>", "</scratchpad>"), ('<think time="3">', "</think>"),
)  # fmt: skip


@pytest.mark.parametrize(("start", "end"), MARKS)
def test_the_answer_stands_behind_a_closed_thought_and_never_in_an_open_one(
    start: str, end: str
) -> None:
    assert split_thought(f"{start}Perhaps 1.{end}\n\n4").answer == "4"
    assert split_thought(f"{start}Perhaps 1, but").answer is None
    assert "Perhaps 1" in split_thought(f"{start}Perhaps 1, but").thought


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It was 1.</think>4", "4"),  # opened by the chat template
        ("<think>a<think>b</think>c</think>4", "4"),
        ("<think>a</think>4<think>b", None),
        ("Well. <think>a</think> 4", "Well.  4"),
        ("<think>a</think>", ""),
        ("<think>a</think>\n<answer> 4 </answer>", "4"),
        ("<answer>4</answer>", "<answer>4</answer>"),
        ("<think>a</think><answer><|begin_of_box|>4<|end_of_box|></answer>", "4"),
        ("<|begin_of_box|>4<|end_of_box|>", "4"),
        (" Yes, I think so. My reasoning: <3 ", " Yes, I think so. My reasoning: <3 "),
        ('{"reasoning": "a < b > c"}', '{"reasoning": "a < b > c"}'),
        ("Analysis: a dog. [reasoning]", "Analysis: a dog. [reasoning]"),
    ],
)
def test_only_marks_make_a_thought(text: str, answer: str | None) -> None:
    assert split_thought(text).answer == answer


@given(st.text(st.sampled_from("<>/think|[]◁▷ \n4"), max_size=40))
def test_no_mark_is_left_in_an_answer(text: str) -> None:
    answer = split_thought(f"<think>{text}").answer
    assert answer is None or "think>" in text.casefold()


def test_any_text_can_be_split() -> None:
    for text in fuzzed(["<think>a</think>Yes", "no", '{"score": [1, 2]}'], 3000):
        spoken = split_thought(text)
        assert spoken.answer is None or len(spoken.answer) <= len(text)
