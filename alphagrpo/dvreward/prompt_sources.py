"""Lists of prompts with questions: a user's file, or the synthetic world.

A file is copied into the cache under its content hash, so that a run stays scorable after the file
changes. Knows no judge and no score.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.core.writing import replace_file, writing
from alphabench.scenes.scene_questions import QuestionKind, fact_questions
from alphabench.types import Sample
from alphabench.upstream import UpstreamData
from alphagrpo.dvreward.question_files import (
    DVQuestion,
    QuestionSet,
    facts_of,
    from_row,
    parse_question_sets,
    to_row,
)

_TAG_OF: Final[Mapping[QuestionKind, str]] = {
    "existence": "Existence",
    "absence": "Negative",
    "count": "Count",
    "colour": "Attribute",
    "position": "Spatial",
}
_ALWAYS: Final[Mapping[str, Any]] = {"include": [], "exclude": []}
_MINI_QUALITY: Final = (
    DVQuestion(
        aspect="quality",
        text="Is every object a whole, clearly outlined shape?",
        tag="Geometry",
        check=_ALWAYS,
    ),
    DVQuestion(
        aspect="quality",
        text="Is the picture free of smears and objects melting into each other?",
        tag="Coherence",
        check=_ALWAYS,
    ),
)
"""Yes is the right answer for every rendered image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionList:
    """A list of prompts with their questions."""

    sets: tuple[QuestionSet, ...]
    digest: str
    """sha256 over all of it."""


@functools.cache
def mini(data: UpstreamData) -> QuestionList:
    """GenEval's mini prompts with the questions that a perfect decomposer would write."""
    samples = open_benchmark("geneval:mini", data=data).samples()
    sets = tuple(questions_from_facts(index, sample) for index, sample in enumerate(samples))
    content = json.dumps([to_row(one) for one in sets], sort_keys=True)
    return QuestionList(sets=sets, digest=hashlib.sha256(content.encode()).hexdigest())


def save_question_file(path: Path, folder: Path) -> str:
    """Copies a question file into the cache; returns the name that `load_saved` takes.

    Raises:
        AlphaBenchError: no such file, or it holds prompts without questions.
    """
    try:
        content = read_bytes(path.expanduser())
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the question file {str(path)!r} cannot be read ({error})",
            hint="name one that exists, or take dvreward:mini",
        ) from error
    if not content.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        raise _without_questions(path)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem)[:40].strip("-") or "questions"
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:12]}"
    target = folder / f"{name}.jsonl"
    if not target.is_file():
        with writing(folder, elsewhere="choose another cache folder with ALPHABENCH_CACHE"):
            replace_file(target, content)
    try:
        _all_have_questions(load_saved(name, folder).sets, path)
    except AlphaBenchError:
        target.unlink(missing_ok=True)
        raise
    return name


@functools.cache
def load_saved(name: str, folder: Path) -> QuestionList:
    """The cached list of this name; names contain a content hash, so it never changes."""
    content = (folder / f"{name}.jsonl").read_bytes()
    return QuestionList(
        sets=tuple(parse_question_sets(content, name=name.rpartition("-")[0])),
        digest=hashlib.sha256(content).hexdigest(),
    )


def is_saved(name: str, folder: Path) -> bool:
    """Whether a list of this name is cached."""
    return "/" not in name and (folder / f"{name}.jsonl").is_file()


def to_sample(index: int, questions: QuestionSet) -> Sample:
    """Its facts are the line without the prompt, with `group` and facts of synthetic scenes."""
    group = questions.extra.get("group")
    return Sample(
        id=f"{index:05}",
        prompt=questions.prompt,
        group=group if isinstance(group, str) and group else "all",
        facts=facts_of(questions),
    )


def questions_of(sample: Sample) -> QuestionSet:
    """The inverse of `to_sample`."""
    row = {**sample.facts, "prompt": sample.prompt}
    return from_row(row, where=f"sample {sample.id!r}")


def questions_from_facts(index: int, sample: Sample) -> QuestionSet:
    """The questions that a perfect decomposer would write; `made_by` states that rules wrote them.

    The two quality questions fit images of the synthetic world only.
    """
    questions = fact_questions(sample.facts)
    semantic = tuple(
        DVQuestion(aspect="semantic", text=q.text, tag=_TAG_OF[q.kind], check=q.check)
        for q in questions
    )
    return QuestionSet(
        prompt=sample.prompt,
        semantic=semantic,
        quality=_MINI_QUALITY,
        original_index=index,
        made_by={"llm.kind": "facts"},
        extra={"group": sample.group, **sample.facts},
    )


def _all_have_questions(sets: Sequence[QuestionSet], path: Path) -> None:
    bare = [number for number, one in enumerate(sets, start=1) if not one.questions]
    if len(bare) == len(sets):
        raise _without_questions(path)
    if bare:
        raise AlphaBenchError(
            f"{len(bare)} prompts of {str(path)!r} have no question, the first is number {bare[0]}",
            hint="remove those lines, or decompose those prompts",
        )


def _without_questions(path: Path) -> AlphaBenchError:
    return AlphaBenchError(
        f"{str(path)!r} holds prompts without questions",
        hint=f"alphabench dvreward decompose {shlex.quote(str(path))} "
        f"--llm http://host:8000/v1#model --out {path.stem}.questions.jsonl, then name that file",
    )
