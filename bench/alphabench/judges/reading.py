"""Turns a reply into an answer: scored, refused or unparsed. Sends nothing, and knows no judge.

A refusal is what a host marks as one. Prose counts only where the question's contract could not
read it and it opens as a refusal does; everything else unreadable is `unparsed`.
"""

from __future__ import annotations

from typing import Final

from alphabench.judges.question import Answer, Question, Reply
from alphabench.types import Status

REFUSAL: Final = "refusal"
"""The finish reason of a reply that the model marked as a refusal; its text is the refusal."""
FILTERED: Final = "content_filter"
"""The finish reason of a reply that the host's filter cut or withheld."""

_OPENINGS: Final = (
    "i can't", "i cannot", "i can not", "i'm unable", "i am unable", "i'm not able",
    "i am not able", "i won't", "i will not", "i must decline", "i'm sorry", "i am sorry",
    "sorry", "i apologize", "i apologise",
)  # fmt: skip
"""How a refusal in prose begins. `Unfortunately` is none: descriptions begin so, too."""


def read_reply(question: Question, reply: Reply, *, cached: bool = False) -> Answer:
    """The answer that a reply amounts to; an exception in the contract is no answer either."""
    if reply.finish_reason in (REFUSAL, FILTERED):
        by = "the model declined" if reply.finish_reason == REFUSAL else "the host's filter"
        return unscored(question, "refused", by, reply=reply, cached=cached)
    try:
        values = question.contract.read(reply)
        if values is not None:
            return Answer(
                question=question, status="scored", values=values, reply=reply, cached=cached
            )
    except Exception as error:  # noqa: BLE001 - the boundary to contracts, which may be the user's
        reason = f"the contract failed on this reply: {type(error).__name__}: {error}"
        return unscored(question, "unparsed", reason, reply=reply, cached=cached)
    if opens_as_refusal(reply.text):
        return unscored(question, "refused", "it opens as a refusal", reply=reply, cached=cached)
    cut = " (cut off at max_tokens)" if reply.finish_reason == "length" else ""
    reason = f"the reply does not state the answer{cut}"
    return unscored(question, "unparsed", reason, reply=reply, cached=cached)


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


def opens_as_refusal(text: str) -> bool:
    """Whether prose that nobody could read begins the way a refusal does."""
    plain = " ".join(text[:80].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()).casefold()
    return plain.startswith(_OPENINGS)
