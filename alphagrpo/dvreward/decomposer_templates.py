"""Prompt templates of the decomposer and parsers of its replies, one answer format a call.

The template and the parser of a call stand together. A parser that is not sure returns None. The
examples were written for this file. Knows no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.questions import Reply
from alphagrpo.dvreward.question_files import TAGS, Aspect, DVQuestion

MOST_QUESTIONS: Final = 80
"""A longer list is taken for a model that does not stop."""

SYSTEM: Final = (
    "You prepare checklists for people who compare pictures with the text they were made from. "
    "You answer with JSON only: no preface, no explanation, no code fence."
)

_SEMANTIC: Final = """\
Below is a text from which a picture will be made. List the yes/no questions that somebody who sees
only the picture needs, to find out whether it shows what the text asks for.

Rules
- Every question must follow from the text. If a faithful picture could earn a "no", leave it out.
- "Yes" always means that the picture obeys the text. What must be absent is asked as an absence.
- One fact a question: one thing, one number, one property, one relation, one deed. Start with the
  things themselves, then ask about each.
- Name things fully; never write "it" or "they". A question must be clear on its own.
- Ask also for what the deed or scene plainly needs though the text does not spell it out: the
  hand that holds, the surface that carries, the tool that cuts.
- Quoted words, and words said to be written somewhere, are lettering to be checked letter by
  letter. Other quotation marks are emphasis.
- No question twice in other words. Praise such as "stunning" or "high quality" is no fact.

Tags
{tags}

Answer with a JSON list of objects {{"question": ..., "tag": ...}}.

{examples}

Text: {prompt}
Answer:"""

_SEMANTIC_TAGS: Final[Mapping[str, str]] = {
    "Existence": "a thing, creature or part is there",
    "Count": "how many there are",
    "Attribute": "colour, material, shape, size, state or mood of one thing",
    "Action": "what somebody or something does",
    "Spatial": "where things are in relation to each other or in the frame",
    "Environment": "place, season, weather, time of day, surroundings",
    "Style": "medium or manner of the picture",
    "Viewpoint": "camera angle, distance, framing, focus",
    "Text": "lettering in the picture",
    "Negative": "something that must not be there or must not happen",
}
SEMANTIC_EXAMPLES: Final[Sequence[tuple[str, Sequence[tuple[str, str]]]]] = (
    (
        "three copper kettles on a windowsill at dusk, none of them steaming",
        (
            ("Are there kettles in the picture?", "Existence"),
            ("Are there exactly three kettles?", "Count"),
            ("Are the kettles made of copper?", "Attribute"),
            ("Is there a windowsill in the picture?", "Existence"),
            ("Do the kettles stand on the windowsill?", "Spatial"),
            ("Is it dusk outside the window?", "Environment"),
            ("Is the air above every kettle free of steam?", "Negative"),
        ),
    ),
    (
        'a charcoal sketch of a baker slicing rye bread under a sign that says "CRUMB"',
        (
            ("Is the picture a charcoal sketch?", "Style"),
            ("Is there a baker in the picture?", "Existence"),
            ("Is there a loaf of rye bread in the picture?", "Existence"),
            ("Is the baker slicing the bread?", "Action"),
            ("Does a hand of the baker hold a knife?", "Existence"),
            ("Does the bread lie on a surface that carries it?", "Spatial"),
            ("Is there a sign in the picture?", "Existence"),
            ("Is the sign above the baker?", "Spatial"),
            ('Does the sign read "CRUMB"?', "Text"),
        ),
    ),
    (
        "seen from far above, a lone red kayak left of a sandbank",
        (
            ("Is the scene viewed from far above?", "Viewpoint"),
            ("Is there a kayak in the picture?", "Existence"),
            ("Is there exactly one kayak?", "Count"),
            ("Is the kayak red?", "Attribute"),
            ("Is there a sandbank in the picture?", "Existence"),
            ("Is the kayak to the left of the sandbank?", "Spatial"),
            ("Is there water around the kayak?", "Environment"),
        ),
    ),
)

_QUALITY: Final = """\
A picture was made from the text below, and the listed questions already check what it shows. List
yes/no questions that check how well it is made, for this very text.

Rules
- "Yes" always means well made. Ask for the virtue, never for the flaw.
- One virtue of one thing a question, and only of things that the text or the list names.
- Ask for nothing that the text leaves open, such as a colour or a pose.
- The text outranks nature: what it wants melting, floating or cartoonish must be done well as such.
- Skip a tag that does not fit: no anatomy without a body, no legibility without lettering.

Tags
{tags}

Answer with a JSON list of objects {{"question": ..., "tag": ...}}.

{examples}

Text: {prompt}
Already asked: {asked}
Answer:"""

_QUALITY_TAGS: Final[Mapping[str, str]] = {
    "Geometry": "shapes, proportions and perspective of objects",
    "Anatomy": "bodies of people and animals: limbs, fingers, faces",
    "Texture": "surfaces look like their material",
    "Coherence": "things are whole, separate and connected as they should be",
    "Lighting": "light, shadow and reflection agree",
    "Physics": "weight, support, motion and liquids behave as the text implies",
    "Legibility": "lettering is crisp and well formed",
    "Aesthetics": "composition, harmony of colours, no noise or artefacts",
}
QUALITY_EXAMPLES: Final[Sequence[tuple[str, Sequence[tuple[str, str]]]]] = (
    (
        'a charcoal sketch of a baker slicing rye bread under a sign that says "CRUMB"',
        (
            ("Do the baker's hands have natural fingers and joints?", "Anatomy"),
            ("Is the knife drawn with a straight, whole blade?", "Geometry"),
            ("Does the crust of the bread look like crust?", "Texture"),
            ("Are hand, knife and bread separate from each other and complete?", "Coherence"),
            ("Are the letters on the sign evenly formed and easy to read?", "Legibility"),
            ("Do the charcoal strokes form a balanced composition?", "Aesthetics"),
        ),
    ),
    (
        "seen from far above, a lone red kayak left of a sandbank",
        (
            ("Does the kayak have the proportions of a kayak seen from above?", "Geometry"),
            ("Does the water's surface look like water?", "Texture"),
            ("Does the light fall on kayak and sandbank from one direction?", "Lighting"),
            ("Is the picture free of blur and stray artefacts?", "Aesthetics"),
        ),
    ),
)

_REVIEW: Final = """\
A checklist question is to be reviewed before it is used.

Text from which pictures are made: {prompt}
Question about such a picture: {question}

Keep the question only if all of this holds:
1. A picture that follows the text must earn "yes"; nothing that the text leaves open is demanded.
2. Somebody who sees only the picture can answer it.
3. It asks one thing, and no word of the text is misread (a noun taken for a deed, a name for a
   description, emphasis for lettering).

Also choose the tag that fits best: {tags}.

Answer with one JSON object {{"keep": true or false, "tag": ..., "why": "a short reason"}}.
Answer:"""

_REWRITE: Final = """\
A checklist question about pictures made from the text below was rejected. Mend it, changing as
little as possible, or give it up when the text supports no such question.

Text: {prompt}
Rejected question: {question}
Reason: {reason}

A good question follows from the text, can be seen in the picture, asks one thing, can be answered
with yes or no, and "yes" means that the picture is right. Tags: {tags}.

Answer with one JSON object {{"question": ..., "tag": ...}}, or {{"question": null}} to give it up.
Answer:"""

WORDING: Final = hashlib.sha256(
    json.dumps(
        [
            SYSTEM, _SEMANTIC, _QUALITY, _REVIEW, _REWRITE,
            dict(_SEMANTIC_TAGS), dict(_QUALITY_TAGS),
            list(SEMANTIC_EXAMPLES), list(QUALITY_EXAMPLES),
        ]
    ).encode()
).hexdigest()  # fmt: skip
"""sha256 of all text that the decomposer receives besides prompts and questions."""


@dataclass(frozen=True, slots=True)
class Review:
    """The reviewer's verdict on a question."""

    keep: bool
    tag: str | None
    why: str


@dataclass(frozen=True, slots=True)
class ListOfQuestions:
    """The answer format of the two calls that write a list; the value is how many it holds."""

    aspect: Aspect

    @property
    def identity(self) -> Mapping[str, str]:
        return _identity(f"list-{self.aspect}")

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        questions = self.questions(reply.text)
        return None if questions is None else (float(len(questions)),)

    def questions(self, text: str) -> tuple[DVQuestion, ...] | None:
        """The questions in order, each once, with whatever faults they have; None if unreadable."""
        entries = _json(text, list)
        if not isinstance(entries, list) or len(entries) > MOST_QUESTIONS:
            return None
        if self.aspect == "semantic" and not entries:
            return None
        found = [_question(entry, self.aspect) for entry in entries]
        return None if None in found else tuple(q for q in found if q is not None)


@dataclass(frozen=True, slots=True)
class ReviewOfQuestion:
    """The answer format of the call that reviews one question; the value is 1 where it is kept."""

    aspect: Aspect

    @property
    def identity(self) -> Mapping[str, str]:
        return _identity(f"review-{self.aspect}")

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        review = self.review(reply.text)
        return None if review is None else (float(review.keep),)

    def review(self, text: str) -> Review | None:
        """The verdict; None if it cannot be parsed."""
        entry = _json(text, dict)
        if not isinstance(entry, dict) or not isinstance(entry.get("keep"), bool):
            return None
        tag, why = entry.get("tag"), entry.get("why")
        return Review(
            keep=entry["keep"],
            tag=_known_tag(tag, self.aspect) if isinstance(tag, str) else None,
            why=why if isinstance(why, str) and why.strip() else "the reviewer gave no reason",
        )


@dataclass(frozen=True, slots=True)
class RepairedQuestion:
    """Answer format of the call that repairs one question; the value is 0 where it is given up."""

    aspect: Aspect

    @property
    def identity(self) -> Mapping[str, str]:
        return _identity(f"mend-{self.aspect}")

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        entry = _json(reply.text, dict)
        if not isinstance(entry, dict) or "question" not in entry:
            return None
        if entry["question"] is None:
            return (0.0,)
        return None if _question(entry, self.aspect) is None else (1.0,)

    def question(self, text: str) -> DVQuestion | None:
        """The repaired question; None where it was given up or the reply cannot be parsed."""
        return _question(_json(text, dict), self.aspect)


def semantic_request(prompt: str) -> str:
    """Asks for the questions about what is shown."""
    return _SEMANTIC.format(
        tags=_described(_SEMANTIC_TAGS),
        examples=_shown(SEMANTIC_EXAMPLES, None),
        prompt=json.dumps(prompt, ensure_ascii=False),
    )


def quality_request(prompt: str, asked: Sequence[DVQuestion]) -> str:
    """Asks for the questions about how well it is made."""
    texts = {text: [q for q, _ in entries] for text, entries in SEMANTIC_EXAMPLES}
    return _QUALITY.format(
        tags=_described(_QUALITY_TAGS),
        examples=_shown(QUALITY_EXAMPLES, texts),
        prompt=json.dumps(prompt, ensure_ascii=False),
        asked=json.dumps([q.text for q in asked], ensure_ascii=False),
    )


def review_request(prompt: str, question: DVQuestion) -> str:
    """Asks whether one question may stay, and for its tag."""
    return _REVIEW.format(
        prompt=json.dumps(prompt, ensure_ascii=False),
        question=json.dumps(question.text, ensure_ascii=False),
        tags=", ".join(TAGS[question.aspect]),
    )


def repair_request(prompt: str, question: DVQuestion, reason: str) -> str:
    """Asks for one question anew."""
    return _REWRITE.format(
        prompt=json.dumps(prompt, ensure_ascii=False),
        question=json.dumps(question.text, ensure_ascii=False),
        reason=json.dumps(reason, ensure_ascii=False),
        tags=", ".join(TAGS[question.aspect]),
    )


def _identity(name: str) -> Mapping[str, str]:
    return {"contract": f"dvreward-{name}", "version": "1", "wording": WORDING}


def _described(tags: Mapping[str, str]) -> str:
    return "\n".join(f"- {tag}: {meaning}" for tag, meaning in tags.items())


def _shown(
    examples: Sequence[tuple[str, Sequence[tuple[str, str]]]],
    asked: Mapping[str, Sequence[str]] | None,
) -> str:
    blocks = []
    for text, entries in examples:
        answer = [{"question": question, "tag": tag} for question, tag in entries]
        lines = [f"Text: {json.dumps(text)}"]
        if asked is not None:
            lines.append(f"Already asked: {json.dumps(asked[text])}")
        blocks.append("\n".join([*lines, f"Answer: {json.dumps(answer)}"]))
    return "\n\n".join(blocks)


def _json(text: str, wanted: type) -> Any:
    """The one JSON value of the wanted kind that the text holds; None where it holds none.

    What a model writes around it (a fence, a greeting) is passed over.
    """
    first, last = ("[", "]") if wanted is list else ("{", "}")
    start, end = text.find(first), text.rfind(last)
    if start < 0 or end < start:
        return None
    try:
        return parse_json(text[start : end + 1])
    except UnreadableFileError:
        return None


def _question(entry: Any, aspect: Aspect) -> DVQuestion | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("question"), str):
        return None
    text, tag = entry["question"].strip(), entry.get("tag")
    if not text:
        return None
    known = _known_tag(tag, aspect) if isinstance(tag, str) else None
    return DVQuestion(aspect=aspect, text=text, tag=known)


def _known_tag(tag: str, aspect: Aspect) -> str | None:
    named = {known.casefold(): known for known in TAGS[aspect]}
    return named.get(tag.strip().casefold())
