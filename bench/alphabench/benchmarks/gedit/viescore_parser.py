"""Parsers for the replies of a VIEScore judge: a list of scores from 0 to 10, and a reason.

`official_list` is upstream's parser (mllm_output_to_dict of stepfun-ai/Step1X-Edit at 570eba6) in
its first attempt, which still parses; in later attempts upstream takes a random number for every
reply without braces, which nothing here does. `strict_list` takes only what is stated beyond doubt.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.questions import Reply

HIGHEST: Final = 10.0
_DELIMITER: Final = "||V^=^V||"
_N_SCORES: Final = 2
_MOST_BROKEN: Final = 200
"""Braces without an object after them, after which a reply is not searched any further."""
_ABSURD: Final = 1e100
"""Beyond it, products of two scores leave the floating-point numbers."""


@dataclass(frozen=True, slots=True)
class LowestScore:
    """Reads the list of scores; the value is its lowest, as VIEScore has it, and then the list.

    official: as upstream's reader, with any number of scores of any size above 0, but only numbers:
    on texts or an empty list upstream's script fails and asks without end.
    strict: exactly two scores of 0 to 10.
    """

    strict: bool

    @property
    def as_upstream(self) -> bool:
        """Whether upstream's reader may take a number out of a refusal."""
        return not self.strict

    @property
    def identity(self) -> Mapping[str, str]:
        return {"contract": "viescore 2", "reading": "strict" if self.strict else "official"}

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        found = strict_list(reply.text) if self.strict else official_list(reply.text)
        scores = _numbers(found)
        # The overall score is a root: upstream's script fails on less than 0 as well.
        if not scores or min(scores) < 0 or max(scores) > _ABSURD:
            return None
        return (min(scores), *scores)


def official_list(text: str) -> list[Any] | None:
    """The list that upstream's reader finds, whatever is in it; None where it finds none."""
    inner = _marked(text)
    if inner is None:
        return _bare_list(text)
    inner = inner.replace("\n", "")
    found = _object(inner)
    if found is None:
        found = _object(repaired(inner))
    if found is None or "score" not in found:
        return None
    score = found["score"]
    return score if isinstance(score, list) else [score]


def has_braces(text: str) -> bool:
    """Whether upstream goes on trying to read the reply; without braces it would guess."""
    return _marked(text) is not None


def repaired(text: str) -> str:
    """Upstream's repair (fix_json): every `word:` is quoted, every value in quotes or brackets.

    It serves `{score: 8, reasoning: fine}` and breaks on lists.
    """

    def value_of(match: re.Match[str]) -> str:
        key, value, end = match[1], match[2].strip(), match[3]
        if re.match(r"-?\d+(\.\d+)?$", value):
            return f"{key}: [{value}]{end}"
        if re.match(r"(?i)(true|false|null)$", value):
            return f"{key}: {value}{end}"
        return f'{key}: "{value}"{end}'

    # `\b` changes no result and keeps long words from being tried from each of their letters.
    return re.sub(r'("[^"\n]*"):([^,}]*)([,}])', value_of, re.sub(r"\b(\w+):", r'"\1":', text))


def strict_list(text: str) -> list[Any] | None:
    """The two scores of the one JSON object that has a `score`, or of a reply that is a list."""
    found = [one["score"] for one in _objects(text) if "score" in one]
    if not found and (bare := re.fullmatch(r"\s*(\[[^\[\]]*\])\s*", text)):
        parsed = _parsed(bare[1])
        found = [parsed] if parsed is not None else []
    if len(found) != 1 or not isinstance(found[0], list) or len(found[0]) != _N_SCORES:
        return None
    scores = _numbers(found[0])
    return found[0] if scores and all(0 <= score <= HIGHEST for score in scores) else None


def _marked(text: str) -> str | None:
    """What stands between upstream's delimiters, or between the outermost braces."""
    if text.count(_DELIMITER) == 2:
        return text.split(_DELIMITER)[1]
    start, end = text.find("{"), text.rfind("}") + 1
    return None if start == -1 or end == 0 else text[start:end]


def _bare_list(text: str) -> list[Any] | None:
    start, end = text.find("["), text.rfind("]") + 1
    bare = text[start:end] if start >= 0 else ""
    if re.fullmatch(r"\[\d+, ?\d+\]", bare):
        # Upstream hands it to JSON, which knows no leading zero and no digits but ASCII's.
        parsed = _parsed(bare)
        return parsed if isinstance(parsed, list) else None
    number = _whole(text)
    return [number] if number is not None and 0 <= number <= HIGHEST else None


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _object(text: str) -> dict[str, Any] | None:
    parsed = _parsed(text)
    return parsed if isinstance(parsed, dict) else None


def _parsed(text: str) -> Any | None:
    try:
        return parse_json(text)
    except UnreadableFileError:
        return None


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a reply, one after the other; none that stands inside another."""
    decoder = json.JSONDecoder(strict=False)
    found, at, failures = [], text.find("{"), 0
    while at != -1 and failures < _MOST_BROKEN:
        try:
            value, end = decoder.raw_decode(text, at)
        except RecursionError:
            return []
        except ValueError:
            failures += 1
            at = text.find("{", at + 1)
            continue
        found.append(value)
        at = text.find("{", end)
    return found


def _numbers(values: list[Any] | None) -> list[float]:
    """All values as finite floats; empty where one of them is no number."""
    numbers: list[float] = []
    for value in values or []:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return []
        try:
            number = float(value)
        except OverflowError:
            return []
        if not math.isfinite(number):
            return []
        numbers.append(number)
    return numbers
