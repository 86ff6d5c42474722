"""Turns a reply into an answer: scored, refused or unparsed. Sends nothing, and knows no judge.

The rules for all answer formats: a reply that ends inside its thought is unparsed; a closed thought
is no part of the answer; a reply that was cut off is unparsed, unless the format declares that its
answer comes first; a refusal is no answer, whatever word it begins with.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from alphabench.judges.refusals import opens_as_refusal, refuses
from alphabench.judges.thoughts import SplitReply, split_thought
from alphabench.questions import Answer, AnswerFormat, Question, Reply
from alphabench.types import Status

HINT_WITHOUT_LOGPROBS: Final = (
    "choose a judge that gives log-probabilities, or have the word itself parsed: "
    "--evaluator 'judge?reading=text', or 'dvreward?answer=text'"
)
RULES: Final = "2"
"""The version of what is decided here; part of an evaluator's identity."""
REFUSAL: Final = "refusal"
"""The finish reason of a reply that the model marked as a refusal; its text is the refusal."""
FILTERED: Final = "content_filter"
"""The finish reason of a reply that the host's filter cut or withheld."""
_CUT: Final = (
    "length", "maxtokens", "maxoutputtokens", "maxcompletiontokens", "maxnewtokens", "maxlength",
    "modellength", "tokenlimit", "contextlength", "modelcontextwindowexceeded",
)  # fmt: skip
"""Finish reasons of replies that a bound on their length cut off, letters only."""
_LONGEST: Final = 2**16
"""Characters of the longest answer that is parsed; beyond it, the model did not stop."""


def read_reply(question: Question, reply: Reply, *, cached: bool = False) -> Answer:
    """The answer in a reply; an exception in its format makes it unparsed."""
    text = text_of(reply, question.answer_format)
    if (verdict := _before_reading(question, reply, text)) is not None:
        return unscored(question, *verdict, reply=reply, cached=cached)
    try:
        values = question.answer_format.parse(replace(reply, text=text))
        if values:
            return Answer(
                question=question, status="scored", values=values, reply=reply, cached=cached
            )
    except Exception as error:  # noqa: BLE001 - the boundary to contracts, which may be the user's
        reason = f"the answer format failed on this reply: {type(error).__name__}: {error}"
        return unscored(question, "unparsed", reason, reply=reply, cached=cached)
    if opens_as_refusal(text):
        return unscored(question, "refused", "it opens as a refusal", reply=reply, cached=cached)
    return unscored(question, "unparsed", why_unparsed(question, reply), reply=reply, cached=cached)


def _before_reading(question: Question, reply: Reply, text: str) -> tuple[Status, str] | None:
    """Status and reason of a reply that is not passed to its answer format."""
    if reply.finish_reason in (REFUSAL, FILTERED):
        declined = reply.finish_reason == REFUSAL
        return "refused", "the model declined" if declined else "the host's filter"
    if _split(reply, question.answer_format).answer is None:
        return "unparsed", why_unparsed(question, reply)
    if len(text) > _LONGEST:
        return "unparsed", f"the reply has {len(text)} characters, which no answer needs"
    answer_format = question.answer_format
    # Upstream's parser takes any number in the reply, and so does the official protocol.
    if refuses(text) and not getattr(answer_format, "as_upstream", False):
        return "refused", "it is a refusal"
    if is_cut(reply.finish_reason) and not getattr(answer_format, "answer_comes_first", False):
        return "unparsed", why_unparsed(question, reply)
    return None


def unscored(
    question: Question,
    status: Status,
    reason: str,
    *,
    reply: Reply | None = None,
    cached: bool = False,
) -> Answer:
    """An answer without values."""
    return Answer(question=question, status=status, reply=reply, reason=reason, cached=cached)


def text_of(reply: Reply, answer_format: AnswerFormat | None = None) -> str:
    """The part of a reply that an answer format parses: all but a closed thought."""
    answer_text = _split(reply, answer_format).answer
    return reply.text if answer_text is None or reply.thoughts_kept else answer_text


def _split(reply: Reply, answer_format: AnswerFormat | None) -> SplitReply:
    """The reply's answer and thought; tags that the format asks for mark no thought."""
    return split_thought(reply.text, answer_tags=getattr(answer_format, "answer_tags", ()))


def is_cut(finish_reason: str | None) -> bool:
    """Whether a bound on the reply's length ended it, under any of the names for that."""
    letters = "".join(letter for letter in (finish_reason or "").casefold() if letter.isalnum())
    return letters in _CUT


def thinks(reply: Reply) -> bool:
    """Whether the judge thought before its answer, or instead of one."""
    return bool(reply.thought or split_thought(reply.text).thought) or (
        split_thought(reply.text).answer is None
        or (is_cut(reply.finish_reason) and not reply.text.strip() and not reply.first_token)
    )


def why_unparsed(question: Question, reply: Reply) -> str:
    """Why no answer was found in a reply."""
    split = _split(reply, question.answer_format)
    cut = ""
    if is_cut(reply.finish_reason):
        n_tokens = max(question.sampling.max_tokens, reply.tokens_out)
        cut = f"it was cut off at {n_tokens} tokens (max_tokens)"
    if split.answer is None or (reply.thought and not split.answer):
        return f"{cut} inside its thought" if cut else "it thinks and gives no answer"
    if not split.answer:
        return f"{cut} before it said anything" if cut else "the reply is empty"
    if question.sampling.top_logprobs and reply.first_token:
        token, logprob = max(reply.first_token, key=lambda one: one[1])
        share = math.exp(min(0.0, logprob))
        return f"no P(yes) follows from its first token, {token!r} with {share:.2f}"
    return cut or "the reply does not state the answer"
