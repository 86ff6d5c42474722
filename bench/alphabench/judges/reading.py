"""Turns a reply into an answer: scored, refused or unparsed. Sends nothing, and knows no judge.

What holds for every answer format is decided here, once: a reply that stops inside its thought is
unparsed; a closed thought is no part of the answer; a reply that was cut off is unparsed, unless
the format says that its answer comes first; a refusal is no answer, whichever word it begins with.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import replace
from typing import Final

from alphabench.judges.question import Answer, Question, Reply
from alphabench.judges.thoughts import split_thought
from alphabench.types import Status

HINT_WITHOUT_LOGPROBS: Final = (
    "choose a judge that gives log-probabilities, or have the word itself read: "
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
"""Characters of an answer that any format reads; beyond it, a model could not stop."""
_LOOKED_AT: Final = 240
"""Characters at the start of a reply in which it must refuse."""

_OPENINGS: Final = (
    "i can't", "i cannot", "i can not", "i'm unable", "i am unable", "i'm not able",
    "i am not able", "i won't", "i will not", "i must decline", "i'm sorry", "i am sorry",
    "sorry", "i apologize", "i apologise", "i'm afraid i", "as an ai", "抱歉", "很抱歉", "对不起",
    "我无法", "我不能", "申し訳", "죄송", "lo siento", "je suis désolé", "es tut mir leid",
)  # fmt: skip
"""How a refusal in prose begins. `Unfortunately` is none: descriptions begin so, too."""

_APOSTROPHES: Final = str.maketrans(dict.fromkeys("’‘‛ʼʹ´`′＇", "'"))
_PREFACE: Final = (
    r"\W*(?:(?:yes|no)\b\W*)?"
    r"(?:(?:but|and|however|well|actually|unfortunately|(?:i'm|i am) (?:very |so |really )?"
    r"(?:sorry|afraid)|sorry|(?:my )?apologies|i apologi[sz]e|i regret|as an? [a-z -]{2,40}?)\b"
    r"[\s,.;:!-]*(?:for (?:any|the) \w+[\s,.]*)?(?:but |that )?)*"
)
_CANNOT: Final = (
    r"(?:i ?)?(?:can't|cannot|can not|couldn't|could not|won't|will not|shouldn't"
    r"|(?:am |'m )?unable to|(?:am |'m )?not (?:able|allowed|permitted|going|comfortable)(?: to)?"
    r"|do(?:n't| not) have (?:the )?(?:ability|capability|means|permission) to) "
    r"(?:currently |directly |actually |really |further |physically )?"
)
_HELP: Final = (
    r"(?:help|assist|comply|answer|respond|fulfil|engage|continue|participate|provide|process"
    r"|discuss|support|complete|judge|rate|evaluat|assess|grad(?:e|ing)|score|do (?:that|this)\b"
    r"|(?:identify|recogni[sz]e|name) (?:\w+ )?(?:people|persons?|individuals?|anyone|who)\b)"
)
_SHOWN: Final = (
    r"(?:\w+ )?(?:images?|pictures?|photos?|photographs?|visuals?|visual content|attachments?"
    r"|files?|it|them)\b(?! (?:of|on|in|with|showing|hanging|depicting|behind|near)\b)"
)
_REFUSES: Final = re.compile(
    rf"{_PREFACE}(?:"
    rf"{_CANNOT}(?:{_HELP}"
    rf"|(?:view|access|open|load|display|analy[sz]e|interpret|inspect|examine|look at|perceive"
    rf"|describe) {_SHOWN}"
    # `I can't see any picture` answers a question about pictures on a wall.
    rf"|see (?:(?:the|this|your|these|those) )?(?!any|a\b|an\b){_SHOWN})"
    r"|(?:i )?(?:must |have to )?(?:decline|refuse)\b|i(?:'d| would) rather not\b|i prefer not\b"
    r"|(?:that|this|it)(?:'s| is) not something (?:that )?i (?:can|am able to)\b"
    r"|(?:it's|it is) not possible for me to\b"
    r"|i do(?:n't| not) (?:have access to|see) (?:an|any|the) (?:images?|pictures?|photos?)"
    r" (?:attached|provided|uploaded|here|you|in (?:your|this|the) (?:message|conversation|chat))"
    r"|no (?:images?|pictures?|photos?) (?:was|were|is|are|has been|have been)?\s?"
    r"(?:provided|attached|uploaded|available|shared|included|received|visible)\b"
    r"|(?:this|that|your|the) (?:request|content|image|prompt|question)\b[^.]{0,40}"
    r"\b(?:violates?|against) (?:\w+ ){0,3}(?:polic|guideline)"
    r"|我(?:无法|不能|没办法)(?:协助|帮助|提供|查看|回答|处理|满足|识别)"
    r")"
)


def read_reply(question: Question, reply: Reply, *, cached: bool = False) -> Answer:
    """The answer that a reply amounts to; an exception in its format is none."""
    text = text_of(reply)
    if (verdict := _before_reading(question, reply, text)) is not None:
        return unscored(question, *verdict, reply=reply, cached=cached)
    try:
        values = question.contract.read(replace(reply, text=text))
        if values:
            return Answer(
                question=question, status="scored", values=values, reply=reply, cached=cached
            )
    except Exception as error:  # noqa: BLE001 - the boundary to contracts, which may be the user's
        reason = f"the answer format failed on this reply: {type(error).__name__}: {error}"
        return unscored(question, "unparsed", reason, reply=reply, cached=cached)
    if opens_as_refusal(text):
        return unscored(question, "refused", "it opens as a refusal", reply=reply, cached=cached)
    return unscored(question, "unparsed", why_unread(question, reply), reply=reply, cached=cached)


def _before_reading(question: Question, reply: Reply, text: str) -> tuple[Status, str] | None:
    """Status and reason of a reply that no answer format gets to read."""
    if reply.finish_reason in (REFUSAL, FILTERED):
        declined = reply.finish_reason == REFUSAL
        return "refused", "the model declined" if declined else "the host's filter"
    if split_thought(reply.text).answer is None:
        return "unparsed", why_unread(question, reply)
    if len(text) > _LONGEST:
        return "unparsed", f"the reply has {len(text)} characters, which no answer needs"
    contract = question.contract
    # Upstream's parser takes whatever number it finds, and so does the official protocol.
    if refuses(text) and not getattr(contract, "as_upstream", False):
        return "refused", "it is a refusal"
    if is_cut(reply.finish_reason) and not getattr(contract, "answer_comes_first", False):
        return "unparsed", why_unread(question, reply)
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


def text_of(reply: Reply) -> str:
    """What an answer format reads of a reply: all but a closed thought."""
    said = split_thought(reply.text).answer
    return reply.text if said is None or reply.thoughts_kept else said


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


def why_unread(question: Question, reply: Reply) -> str:
    """Why a reply that states no answer states none."""
    spoken = split_thought(reply.text)
    cut = ""
    if is_cut(reply.finish_reason):
        n_tokens = max(question.sampling.max_tokens, reply.tokens_out)
        cut = f"it was cut off at {n_tokens} tokens (max_tokens)"
    if spoken.answer is None or (reply.thought and not spoken.answer):
        return f"{cut} inside its thought" if cut else "it thinks and gives no answer"
    if not spoken.answer:
        return f"{cut} before it said anything" if cut else "the reply is empty"
    if question.sampling.top_logprobs and reply.first_token:
        token, logprob = max(reply.first_token, key=lambda one: one[1])
        share = math.exp(min(0.0, logprob))
        return f"no P(yes) follows from its first token, {token!r} with {share:.2f}"
    return cut or "the reply does not state the answer"


def refuses(text: str) -> bool:
    """Whether a reply opens with saying that it will not help or does not look at images.

    A yes or no in front of that is none: `No, I can't help with that`. What only says that
    something is not to be seen is an answer: `No, I can't see a dog in the image`.
    """
    return _REFUSES.match(_plain(text)) is not None


def opens_as_refusal(text: str) -> bool:
    """Whether prose that could not be read begins the way a refusal does."""
    return _plain(text).startswith(_OPENINGS) or refuses(text)


def _plain(text: str) -> str:
    start = unicodedata.normalize("NFKC", text[:_LOOKED_AT].translate(_APOSTROPHES))
    return " ".join(start.translate(_APOSTROPHES).casefold().split())
