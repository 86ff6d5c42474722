"""What benchmarks share whose images a judge scores: names, options, rows of data.

Knows no benchmark and no question.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.core.options import fill, split_spec
from alphabench.interfaces import Benchmark
from alphabench.questions import Judge

B = TypeVar("B", bound=Benchmark)
T = TypeVar("T")


def with_known_names(opened: B, *, splits: Collection[str], version: str | None) -> B:
    """The benchmark itself.

    Args:
        opened: with the requested split.
        splits: those that there are beside the official prompts.
        version: the requested one; None takes the one there is.

    Raises:
        AlphaBenchError: no such split or version.
    """
    benchmark, split = opened.card.name, opened.card.split
    if split and split not in splits:
        raise unknown_name(f"split of {benchmark}", split, list(splits))
    if version not in (None, known := opened.card.version):
        name = f"version of {benchmark}:{split}".rstrip(":")
        raise unknown_name(name, str(version), [known])
    return opened


def judge_options(spec: str | None, options: type[T], *, benchmark: str) -> T:
    """The options of `judge?key=value`, the one evaluator of a benchmark.

    Raises:
        AlphaBenchError: another evaluator, an unknown option, or a value that does not fit.
    """
    name, values = split_spec(spec or "judge")
    if name != "judge":
        raise unknown_name(f"evaluator of {benchmark}", name, ["judge"])
    return fill(options, values, owner=name)


def needed_judge(judge: Judge | None, *, benchmark: str, example: str = "URL#model") -> Judge:
    """The judge.

    Raises:
        AlphaBenchError: none is named.
    """
    if judge is None:
        raise AlphaBenchError(
            f"{benchmark} asks a judge about every image, and none is named",
            hint=f"name one: --judge {example} (or --judge nano for :mini, offline)",
        )
    return judge


def rows_of_lines(content: bytes, fits: Callable[[Any], bool], *, where: str) -> list[Any]:
    """The rows of a file of JSON lines.

    Args:
        content: UTF-8.
        fits: whether a value is a row; False, KeyError or TypeError for anything else.
        where: the file, for the error.

    Raises:
        AlphaBenchError: a line that is no row; the error names it.
    """
    rows = []
    for number, line in enumerate(content.decode("utf-8").rstrip("\n").split("\n"), start=1):
        try:
            row = parse_json(line)
            is_row = fits(row)
        except (UnreadableFileError, KeyError, TypeError):
            is_row = False
        if not is_row:
            raise AlphaBenchError(
                f"line {number} of {where!r} is no row of this benchmark's data",
                hint="restore the file from its source",
            )
        rows.append(row)
    return rows
