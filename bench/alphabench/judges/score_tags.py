"""A list of scores in tags, one for each item that was asked about: `<score>[1, 0]</score>`.

official: as UniGenBench++'s script reads a reply and then its own result file (eval_common.py of
CodeGoat24/UniGenBench at 49d0bce): an item is right where its score equals 1.
strict: one list in tags, of as many 0 and 1 as there are items. Knows no template and no benchmark.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from alphabench.questions import Reply

_TAGS: Final = {
    name: re.compile(rf"<{name}>(.*?)</{name}>", re.DOTALL) for name in ("analysis", "score")
}
_BINARY: Final = re.compile(r"\[\s*[01](?:\s*,\s*[01])*\s*\]")
_UNREADABLE: Final = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


class TaggedLists(NamedTuple):
    """What a reply holds in its tags, as Python values: not always lists."""

    analysis: Any
    score: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTags:
    """Reads one list of scores; the values are 1.0 for each item that is right, else 0.0."""

    answer_tags: ClassVar[tuple[str, ...]] = ("analysis", "score")
    """No thought, though some models put theirs in tags of these names."""
    strict: bool
    n_items: int

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may take scores out of a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        reading = "strict" if self.strict else "official"
        return {"contract": "score/tags", "reading": reading, "version": "1"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        """A value for each item; None where the list is not there, or of another length."""
        if self.strict:
            return self._strict(reply.text)
        found = tagged_lists(reply.text, self.n_items)
        stored = None if found is None else as_stored(found)
        if stored is None or not isinstance(stored.score, list):
            return None
        return tuple(float(is_met(score)) for score in stored.score)

    def _strict(self, text: str) -> tuple[float, ...] | None:
        lists = _TAGS["score"].findall(text)
        if len(lists) != 1 or not _BINARY.fullmatch(lists[0].strip()):
            return None
        scores = tuple(map(float, re.findall("[01]", lists[0])))
        return scores if len(scores) == self.n_items else None


def tagged_lists(text: str | None, n_items: int) -> TaggedLists | None:
    """The first analysis and score, as upstream accepts them (`parse_evaluation_response`).

    Accepts all literals of Python with so many parts: also strings, sets and dictionaries. None
    also where upstream's script would stop: at a value without a length.
    """
    matches = [pattern.search(text or "") for pattern in _TAGS.values()]
    if None in matches:
        return None
    try:
        analysis, score = (literal(match[1]) for match in matches if match)
        fits = len(analysis) == len(score) == n_items
    except _UNREADABLE:
        return None
    return TaggedLists(analysis, score) if fits else None


def as_stored(found: TaggedLists) -> TaggedLists | None:
    """The same after upstream wrote it as JSON and read it as Python; None where that fails.

    JSON has words for true, false, null and infinity that Python does not read, and none for sets.
    """
    try:
        analysis, score = literal(json.dumps(list(found), ensure_ascii=False))
    except _UNREADABLE:
        return None
    return TaggedLists(analysis, score)


def stored_scores(result: str) -> list[Any] | None:
    """The scores in a result that upstream has stored, a dictionary as text.

    Returns:
        None where it has others than a list, so that upstream takes those that stand beside it;
        empty where it cannot be read.
    """
    try:
        scores = literal(result)["score"]
    except (*_UNREADABLE, KeyError):
        return []
    return scores if isinstance(scores, list) else None


def is_met(score: object) -> bool:
    """Whether a score counts: 1, and what Python holds equal to it."""
    return bool(score == 1)


def literal(text: str) -> Any:
    """The value of a literal of Python.

    Raises:
        ValueError, SyntaxError, TypeError, MemoryError, RecursionError: it is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python does not know
        return ast.literal_eval(text.strip())


def literal_parts(text: str) -> list[Any]:
    """The parts of a literal of Python as a loop over it meets them; none where it has none."""
    try:
        return list(literal(text))
    except _UNREADABLE:
        return []


def readable_analysis(text: str, n_items: int) -> Sequence[str]:
    """The analysis of each item, as far as the reply holds one that can be read; else none."""
    found = tagged_lists(text, n_items)
    if found is None or not isinstance(found.analysis, list):
        return ()
    return [one if isinstance(one, str) else repr(one) for one in found.analysis]
