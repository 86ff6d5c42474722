"""The questions of a prompt, and the file that holds them: one JSON object a line.

Reads and writes the schema of AlphaGRPO's released question files; a line of ours has one more key,
`alphabench`, with the schema's version, a hash of prompt and questions, who wrote them, and what
was dropped and why. Lines are only ever appended. Knows no model.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.core.locking import HeldError, has_no_locks
from alphabench.core.writing import appending, writing

SCHEMA: Final = 1
"""Raised when a line written before could be misread."""
SEMANTIC_TAGS: Final = (
    "Style", "Environment", "Viewpoint", "Existence", "Count", "Attribute", "Action", "Spatial",
    "Text", "Negative",
)  # fmt: skip
QUALITY_TAGS: Final = (
    "Geometry", "Anatomy", "Texture", "Coherence", "Lighting", "Physics", "Legibility",
    "Aesthetics",
)  # fmt: skip
OURS: Final = "alphabench"
"""The key of a line that the released files do not have."""
LONGEST: Final = 400
"""Characters of a question."""
_OPENING = re.compile(
    r"(is|are|was|were|does|do|did|has|have|had|can|could|will|would|should)\b", re.IGNORECASE
)

Aspect = Literal["semantic", "quality"]
"""semantic: does the image show what the prompt asks for. quality: is it well made."""
TAGS: Final[Mapping[Aspect, tuple[str, ...]]] = {
    "semantic": SEMANTIC_TAGS,
    "quality": QUALITY_TAGS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DVQuestion:
    """One yes/no question; yes is always the better answer."""

    aspect: Aspect
    text: str
    tag: str | None = None
    """One of `TAGS[aspect]`; None where a released file gives none."""
    valid: bool = True
    """Verdict of the decomposer's validator; the release asks invalid questions as well."""
    check: Mapping[str, Any] | None = None
    """For synthetic scenes: GenEval facts that hold exactly when yes is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedQuestion:
    """A question that was written, rejected, and not repaired."""

    aspect: Aspect
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """All questions about images made for one prompt."""

    prompt: str
    semantic: tuple[DVQuestion, ...]
    quality: tuple[DVQuestion, ...]
    original_index: int | None = None
    """The prompt's position in the list that it came from."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Model and templates that wrote the questions; empty for files that do not tell."""
    dropped: tuple[DroppedQuestion, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the line, kept as they are (`include` and `exclude` for synthetic scenes)."""

    @property
    def questions(self) -> tuple[DVQuestion, ...]:
        return (*self.semantic, *self.quality)

    @property
    def digest(self) -> str:
        """sha256 over the prompt and all that decides which question is put."""
        content = [self.prompt, [[q.aspect, q.text, q.tag, q.valid] for q in self.questions]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def fault_of(question: DVQuestion) -> str | None:
    """What makes a question unusable by its form alone; None when nothing does."""
    text = question.text.strip()
    if not text.endswith("?"):
        return "it is no question"
    if not _OPENING.match(text):
        return "it cannot be answered with yes or no"
    if "?" in text[:-1]:
        return "it asks more than one thing"
    if len(text) > LONGEST or not text.isprintable():
        return f"it is longer than {LONGEST} characters, or some of them cannot be printed"
    if question.tag not in TAGS[question.aspect]:
        return f"its tag {question.tag!r} is none of {', '.join(TAGS[question.aspect])}"
    return None


def question_key(text: str) -> str:
    """Equal for two questions that differ in case, spacing or punctuation alone."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def to_row(questions: QuestionSet) -> dict[str, Any]:
    """A line of a question file."""
    ours: dict[str, Any] = {
        "schema": SCHEMA,
        "sha256": questions.digest,
        "made_by": dict(questions.made_by),
    }
    if questions.dropped:
        ours["dropped"] = [
            {"question_type": d.aspect, "question": d.text, "reason": d.reason}
            for d in questions.dropped
        ]
    return {"prompt": questions.prompt, **facts_of(questions), OURS: ours}


def facts_of(questions: QuestionSet) -> dict[str, Any]:
    """The line without the prompt and without what is ours."""
    return {
        "original_index": questions.original_index,
        "semantic_questions": [_question_row(q) for q in questions.semantic],
        "quality_questions": [_question_row(q) for q in questions.quality],
        **questions.extra,
    }


def from_row(row: Mapping[str, Any], *, where: str) -> QuestionSet:
    """The inverse of `to_row`; takes released lines, and questions that are bare texts.

    Args:
        row: one line.
        where: file and line, for the error.

    Raises:
        AlphaBenchError: a key is missing or of another type, a schema this version cannot read,
            or questions that were changed since they were hashed.
    """
    prompt, index = row.get("prompt"), row.get("original_index")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _unusable(where, "it has no text 'prompt'")
    if not (index is None or (isinstance(index, int) and not isinstance(index, bool))):
        raise _unusable(where, f"its 'original_index' is {index!r}")
    ours = row.get(OURS, {})
    if not isinstance(ours, Mapping) or ours.get("schema", SCHEMA) != SCHEMA:
        raise _unusable(where, f"its {OURS!r} is not of schema {SCHEMA}")
    known = {"prompt", "original_index", "semantic_questions", "quality_questions", OURS}
    read = QuestionSet(
        prompt=prompt,
        semantic=_questions(row, "semantic", where),
        quality=_questions(row, "quality", where),
        original_index=index,
        made_by=_made_by(ours, where),
        dropped=_dropped(ours, where),
        extra={key: value for key, value in row.items() if key not in known},
    )
    if "sha256" in ours and ours["sha256"] != read.digest:
        raise AlphaBenchError(
            f"{where} was changed since its questions were hashed",
            hint=f"restore it; if the change is meant, delete {OURS!r} from the line",
        )
    return read


def read_question_sets(path: Path) -> list[QuestionSet]:
    """All lines of a question file, in order; a last line that a crash tore is left out.

    Raises:
        AlphaBenchError: no such file, or a line that cannot be used.
    """
    try:
        content = read_bytes(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be read ({error})", hint="name a file of questions"
        ) from error
    return list(parse_question_sets(content, name=path.name))


def parse_question_sets(content: bytes, *, name: str) -> Iterator[QuestionSet]:
    """As `read_question_sets`, from a file's bytes."""
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number} of {name!r}"
        try:
            row = json.loads(line)  # as it stands: its hash is over these very letters
        except (ValueError, RecursionError) as error:
            # Torn by a crash; anything else at a file's end is not ours to leave out, or cut off.
            if number == len(lines) and line.lstrip().startswith(b"{"):
                return
            raise _unusable(where, "it is not JSON") from error
        if not isinstance(row, dict):
            raise _unusable(where, "it is not a JSON object")
        yield from_row(row, where=where)


@contextmanager
def appending_question_sets(path: Path) -> Iterator[Callable[[Sequence[QuestionSet]], None]]:
    """Opens the file for one process at a time; cuts off a torn last line first.

    Yields:
        A function that adds question sets and returns once they are on disk.

    Raises:
        AlphaBenchError: another process is writing it, it may not be written, or it is no question
            file, whose end would be cut off.
    """
    if path.exists():
        read_question_sets(path)
    with ExitStack() as stack:
        with _writing(path):
            try:
                append = stack.enter_context(appending(path, locking="refuse"))
            except HeldError as error:
                raise AlphaBenchError(
                    f"another process is writing {str(path)!r}", hint="wait for it, or name another"
                ) from error
            except OSError as error:
                if not has_no_locks(error):
                    raise
                raise AlphaBenchError(
                    f"{str(path)!r} cannot be locked ({error.strerror})",
                    hint="name a file on a file system that has locks, such as a local disk",
                ) from error

        def append_sets(sets: Sequence[QuestionSet]) -> None:
            with _writing(path):
                append(b"".join(_line(to_row(one)) for one in sets))

        yield append_sets


def _writing(path: Path) -> AbstractContextManager[None]:
    return writing(path, elsewhere="name another file with --out")


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, as models write now and then, can only be escaped.
        return (json.dumps(row) + "\n").encode()


def _question_row(question: DVQuestion) -> dict[str, Any]:
    row: dict[str, Any] = {
        "question_type": question.aspect,
        "question": question.text,
        "is_valid": question.valid,
        "tag": question.tag,
    }
    return row if question.check is None else {**row, "check": dict(question.check)}


def _questions(row: Mapping[str, Any], aspect: Aspect, where: str) -> tuple[DVQuestion, ...]:
    entries = row.get(f"{aspect}_questions", [])
    if not isinstance(entries, list):
        raise _unusable(where, f"its '{aspect}_questions' is not a list")
    return tuple(_question(entry, aspect, where) for entry in entries)


def _question(entry: Any, aspect: Aspect, where: str) -> DVQuestion:
    if isinstance(entry, str):
        entry = {"question": entry}
    if not isinstance(entry, Mapping):
        raise _unusable(where, f"one of its {aspect} questions is {entry!r}")
    text, tag, valid = entry.get("question"), entry.get("tag"), entry.get("is_valid", True)
    check = entry.get("check")
    if not isinstance(text, str) or not text.strip():
        raise _unusable(where, f"one of its {aspect} questions has no text")
    if not isinstance(tag, str | None) or not isinstance(valid, bool):
        raise _unusable(where, f"the tag or validity of {text!r} is of another type")
    if not isinstance(check, Mapping | None):
        raise _unusable(where, f"the check of {text!r} is of another type")
    return DVQuestion(aspect=aspect, text=text, tag=tag, valid=valid, check=check)


def _made_by(ours: Mapping[str, Any], where: str) -> dict[str, str]:
    made_by = ours.get("made_by", {})
    if not isinstance(made_by, Mapping):
        raise _unusable(where, f"its 'made_by' is {made_by!r}")
    return {str(key): str(value) for key, value in made_by.items()}


def _dropped(ours: Mapping[str, Any], where: str) -> tuple[DroppedQuestion, ...]:
    try:
        return tuple(
            DroppedQuestion(aspect=d["question_type"], text=d["question"], reason=d["reason"])
            for d in ours.get("dropped", ())
        )
    except (KeyError, TypeError) as error:
        raise _unusable(where, "its 'dropped' is of another form") from error


def _unusable(where: str, what: str) -> AlphaBenchError:
    hint = "a line needs prompt, semantic_questions and quality_questions"
    return AlphaBenchError(f"{where} cannot be used: {what}", hint=hint)
