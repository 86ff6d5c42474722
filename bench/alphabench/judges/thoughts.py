"""Separates the thought of a reasoning model from its answer, by the marks around it.

A thought that is not closed is no answer, whatever it contains. A closing mark without an opening
one ends a thought that the chat template opened. Knows no answer format.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

_NAME: Final = (
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad|rationale|cot"
    r"|ponder(?:ing)?|(?:inner|internal)[_ -]monologue)"
)
_MARK: Final = re.compile(
    rf"""
    # <think>, </THINKING>, <seed:think>, <longcat_think>, <|begin_of_thought|>, <|END_THINKING|>
    (?:<|&lt;|＜)\s?\|?(?P<close>/|end[_ ](?:of[_ ])?)?(?:begin[_ ](?:of[_ ])?|start[_ ])?
      (?:[a-z]{{1,12}}[:_.-]?)??{_NAME}(?:\s[^<>]{{0,80}})?\|?\s?(?:>|&gt;|＞)
    | \[(?P<close_bracket>/)?think\]                                # Mistral
    | ◁(?P<close_triangle>/)?think▷                                 # Kimi
    | <\|channel\|?>\s?(?:analysis|commentary|thought)\b            # gpt-oss, Gemma
    | (?P<close_channel><\|channel\|?>\s?final\b(?:\s?<\|message\|>)?|<channel\|>)
    | <unused94>(?:thought)? | (?P<close_unused><unused95>)         # MedGemma
    | \Aanalysis(?=[a-z]) | (?P<close_bare>assistantfinal)          # gpt-oss without its marks
    """,
    re.VERBOSE | re.IGNORECASE,
)


_BOX: Final = re.compile(r"<\|(?:begin|end)_of_box\|>")
"""Control tokens that GLM-V leaves round an answer."""
_FRAME: Final = re.compile(r"<answer>(.*)</answer>", re.DOTALL | re.IGNORECASE)
"""What many models are trained to put after their thought."""


class SplitReply(NamedTuple):
    """A reply, split into answer and thought."""

    answer: str | None
    """All outside the thought; None where the thought has no end."""
    thought: str
    """Empty where there is none."""


def split_thought(text: str, *, answer_tags: Collection[str] = ()) -> SplitReply:
    """The answer and the thought of a reply; text without any mark is all answer.

    Args:
        text: of the reply.
        answer_tags: names of tags that the question asked for, so that they mark no thought.
    """
    requested = {f"{opening}{name}>" for name in answer_tags for opening in ("<", "</")}
    outside: list[str] = []
    thoughts: list[str] = []
    position, inside = 0, False
    for mark in _MARK.finditer(text):
        if mark[0] in requested:
            continue
        before = text[position : mark.start()]
        if any(mark.groupdict().values()):
            if not inside:  # the template opened it, or another mark inside closed it too early
                thoughts, outside = [*thoughts, *outside], []
            thoughts.append(before)
            inside = False
        elif inside:
            thoughts.append(before)
        else:
            outside.append(before)
            inside = True
        position = mark.end()
    if position == 0:
        return SplitReply(_BOX.sub("", text), "")
    if inside:
        return SplitReply(None, "".join([*thoughts, text[position:]]).strip())
    answer = _BOX.sub("", "".join([*outside, text[position:]])).strip()
    match = _FRAME.fullmatch(answer)
    return SplitReply(match[1].strip() if match else answer, "".join(thoughts).strip())
