"""Tells the thought of a reasoning model from its answer, by the marks that models put around it.

A thought that is not closed is no answer, whatever stands in it. A close without an opening ends a
thought that the chat template opened. Knows no answer format.
"""

from __future__ import annotations

import re
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
"""What many models are trained to put behind their thought."""


class SplitReply(NamedTuple):
    """A reply taken apart."""

    answer: str | None
    """All outside the thought; None where the thought has no end."""
    thought: str
    """Empty where there is none."""


def split_thought(text: str) -> SplitReply:
    """The answer and the thought of a reply; text without any mark is all answer."""
    kept: list[str] = []
    dropped: list[str] = []
    at, inside = 0, False
    for mark in _MARK.finditer(text):
        before = text[at : mark.start()]
        if any(mark.groupdict().values()):
            if not inside:  # the template opened it, or another mark inside closed it too early
                dropped, kept = [*dropped, *kept], []
            dropped.append(before)
            inside = False
        elif inside:
            dropped.append(before)
        else:
            kept.append(before)
            inside = True
        at = mark.end()
    if at == 0:
        return SplitReply(_BOX.sub("", text), "")
    if inside:
        return SplitReply(None, "".join([*dropped, text[at:]]).strip())
    answer = _BOX.sub("", "".join([*kept, text[at:]])).strip()
    framed = _FRAME.fullmatch(answer)
    return SplitReply(framed[1].strip() if framed else answer, "".join(dropped).strip())
