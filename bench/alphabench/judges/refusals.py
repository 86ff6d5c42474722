"""Distinguishes a refusal in prose from an answer, by its first words.

A yes or no before a refusal does not count: `No, I can't help with that`. A statement that
something is not visible is an answer: `No, I can't see a dog in the image`. Mostly English;
knows no answer format.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_LOOKED_AT: Final = 240
"""Characters at the start of a reply in which it must refuse."""
_OPENINGS: Final = (
    "i can't", "i cannot", "i can not", "i'm unable", "i am unable", "i'm not able",
    "i am not able", "i won't", "i will not", "i must decline", "i'm sorry", "i am sorry",
    "sorry", "i apologize", "i apologise", "i'm afraid i", "as an ai", "抱歉", "很抱歉", "对不起",
    "我无法", "我不能", "申し訳", "죄송", "lo siento", "je suis désolé", "es tut mir leid",
)  # fmt: skip
"""How unparsed prose begins if it is a refusal. `Unfortunately` is not in it: descriptions
begin so, too."""
_APOSTROPHES: Final = str.maketrans(dict.fromkeys("’‘‛ʼʹ´`′＇", "'"))

_IMAGES: Final = r"(?:images?|pictures?|photos?|photographs?)"
_PREFACE: Final = r"""
    \W*(?:(?:yes|no)\b\W*)?
    (?:(?:but|and|however|well|actually|unfortunately|of\ course|sure|i\ understand|sorry|désolé
      |(?:i'm|i\ am)\ (?:(?:very|so|really)\ )?(?:sorry|afraid)|(?:my\ )?apologies|i\ apologi[sz]e
      |i\ regret|as\ an?\ [a-z\ -]{2,40}?(?=,|\ i\b)|lo\ siento|mi\ dispiace
      |i(?:'m|\ am)\ (?:(?:just|only)\ )?an?\ (?:ai|(?:large\ )?language\ model)\b
      |i(?:'m|\ am)\ (?:programmed|designed|trained)\ to\ be\ \w+)\b
      [\s,.;:!-]*(?:for\ (?:any|the)\ \w+[\s,.]*)?(?:but\ |that\ |and\ )?)*+
"""
_CANNOT: Final = r"""
    (?:can't|cannot|can\ not|couldn't|could\ not|won't|will\ not|shouldn't|(?:am\ |'m\ )?unable\ to
      |(?:am\ |'m\ )?not\ (?:able|allowed|permitted|going)\ to
      |do(?:n't|\ not)\ have\ (?:the\ )?(?:ability|capability|means|permission)\ to)[ ]
    (?:(?:currently|directly|actually|really|further|physically)\ )?
"""
_HELP: Final = r"""
    (?:help|assist|comply|answer|respond|fulfil|engage|continue|participate|provide|process|discuss
      |support|complete|generate|judge|rate|evaluat|assess|grade|score|do\ (?:that|this)\b
      |(?:identify|recogni[sz]e|name)\ (?:\w+\ )?(?:people|persons?|individuals?|anyone|who)\b)
"""
_PLACED: Final = (
    r"(?!\ (?:of|on|in|with|showing|hanging|depicting|behind|near|described|mentioned)\b)"
)
_LOOK: Final = rf"""
    (?:(?:view|access|open|load|display|analy[sz]e|interpret|inspect|examine|look\ at|perceive
      |describe)\ (?:\w+\ )?
      (?:{_IMAGES}|visuals?|visual\ content|attachments?|files?|links?|it|them)
    # `I can't see any picture` may answer a question about something on a wall.
      |see\ (?:(?:the|this|your|these|those)\ )?(?:{_IMAGES}|attachments?|files?))\b{_PLACED}
"""
_NOT_SENT: Final = r"(?:attached|provided|uploaded|shared|included|received)\b"
_REFUSES: Final = re.compile(
    rf"""{_PREFACE}(?:
      (?:i\ ?)?{_CANNOT}(?:{_HELP}|{_LOOK})
    # `No, as I can't view images`
    | [^.!?]{{0,80}}?\b(?:as|because|since|and|but)\ i\ ?{_CANNOT}(?:help|assist|comply|{_LOOK})
    | (?:i\ )?(?:(?:must|have\ to|will)\ )?(?:(?:respectfully|politely)\ )?(?:decline|refuse)\b
    | i(?:'d|\ would)\ (?:rather|prefer)\ not\b | i\ prefer\ not\b
    | i(?:\ do(?:n't|\ not)\ feel|'m\ not|\ am\ not)\ comfortable\b
    | (?:that|this|it)(?:'s|\ is)\ not\ something\ (?:that\ )?i\ (?:can|am\ able\ to)\b
    | (?:it's|it\ is)\ not\ possible\ for\ me\ to\b
    | i\ do(?:n't|\ not)\ have\ access\ to\ (?:\w+\ )?{_IMAGES}
    | i\ do(?:n't|\ not)\ see\ (?:an|any|the)\ {_IMAGES}
      (?:\ {_NOT_SENT}|\ (?:here|you|in\ (?:your|this|the)\ (?:message|conversation|chat))\b)
    | (?:there(?:'s|\ is|\ was|\ are)\ )?no\ {_IMAGES}\ (?:(?:was|were|is|are|ha(?:s|ve)\ been)\ )?
      {_NOT_SENT}
    | (?:the|an|your)\ {_IMAGES}\ (?:was|were|is|are)(?:n't|\ not)\ {_NOT_SENT}
    | please\ (?:provide|upload|attach|share|send)\ [^.]{{0,30}}\b{_IMAGES}
    | (?:this|that|your|the)\ (?:request|content|image|prompt|question)\b[^.]{{0,40}}
      \b(?:violates?|against)\ (?:\w+\ ){{0,3}}(?:polic|guideline)
    | (?:my|our)\ (?:\w+\ )?(?:guidelines?|polic(?:y|ies)|programming)[ ]
      (?:do(?:es)?(?:n't|\ not)|prevent)
    | no\ puedo\ (?:ayudar|asistir|responder|procesar) | je\ ne\ peux\ pas\ (?:aider|vous|répondre)
    | non\ posso\ (?:aiutar|assister|risponder)
    | 我(?:无法|不能|没办法)(?:协助|帮助|提供|查看|回答|处理|满足|识别)
    )""",
    re.VERBOSE,
)


def refuses(text: str) -> bool:
    """Whether a reply begins with a statement that it will not help or cannot view images."""
    return _REFUSES.match(_plain(text)) is not None


def opens_as_refusal(text: str) -> bool:
    """Whether unparsed prose begins like a refusal."""
    return _plain(text).startswith(_OPENINGS) or refuses(text)


def _plain(text: str) -> str:
    start = unicodedata.normalize("NFKC", text[:_LOOKED_AT].translate(_APOSTROPHES))
    return " ".join(start.translate(_APOSTROPHES).casefold().split())
