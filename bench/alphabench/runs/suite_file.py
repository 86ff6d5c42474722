"""A suite as a YAML file: benchmarks with their own judges and limits, checkpoints with options.

    judge: nano                       # of benchmarks that name none
    benchmarks:
      - geneval:mini
      - {benchmark: "dpg:mini", judge: "http://localhost:8000/v1#MODEL", limit: 50}
    checkpoints:
      - nano
      - {checkpoint: ./my-model, lora: ./lora, options: {steps: 28}, name: mine}

What the command line gives replaces what the file has. A path that begins with `./` or `../`, and
any after `file:` and `images:`, starts at the folder of the file. Knows no benchmark and no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.core.options import option_text
from alphabench.core.strict_filling import YAML, fill_dataclass
from alphabench.core.yaml_parsing import Tree, parse_yaml
from alphabench.interfaces import Benchmark
from alphabench.runs import factories
from alphabench.runs.prepared_run import RunSettings
from alphabench.runs.suite import SuiteColumn, SuiteRow
from alphabench.types import ProtocolName

_SUFFIXES: Final = (".yaml", ".yml")
_MOST_BYTES: Final = 2**20
_ENTRIES: Final[Mapping[str, str]] = {"benchmarks": "benchmark", "checkpoints": "checkpoint"}
"""Lists of the file -> the key that an entry stands for which is text alone."""
_LOCAL: Final = re.compile(
    r"(?P<kind>[a-z]+:)?(?P<path>\.\.?/.*)|(?P<files>file:|images:)(?P<rest>.*)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFileBenchmark:
    """One benchmark of the file; what it leaves out is as in `alphabench run`."""

    benchmark: str
    """As `alphabench run` takes it."""
    judge: str | None = None
    """null takes the judge of the whole file."""
    evaluator: str | None = None
    """Several, separated by commas, score the same images."""
    protocol: ProtocolName = "official"
    wording: Literal["official", "own"] | None = None
    prompts: str | None = None
    """A file, for benchmarks that take one."""
    limit: int | None = None
    """null takes the limit of the whole file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteFileCheckpoint:
    """One checkpoint of the file."""

    checkpoint: str
    """As `--ckpt` takes it."""
    options: Mapping[str, object] = field(default_factory=dict)
    """As `--set` takes them."""
    lora: str | None = None
    think: bool = False
    layout: str | None = None
    name: str | None = None
    """What tables call it; also names its run folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteDefinition:
    """The content of a file."""

    benchmarks: tuple[SuiteFileBenchmark, ...]
    checkpoints: tuple[SuiteFileCheckpoint, ...] = ()
    """None where the command line names them."""
    judge: str | None = None
    """Of benchmarks that name none."""
    limit: int | None = None
    """Of benchmarks that name none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise ValueError("benchmarks is empty: name one at least")


class Suite(NamedTuple):
    """What is run: all benchmarks with all checkpoints."""

    columns: Sequence[SuiteColumn]
    rows: Sequence[SuiteRow]


def is_suite_file(name: str) -> bool:
    """Whether the argument of `alphabench run` names a suite's file and no benchmark."""
    return name.endswith(_SUFFIXES) and ":" not in name


def read_suite_file(path: Path) -> SuiteDefinition:
    """The suite in a file, with its paths as they are from the working directory.

    Raises:
        AlphaBenchError: it cannot be read, or has a key or a value that no suite has.
    """
    try:
        text = read_text(path, max_bytes=_MOST_BYTES)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the suite {str(path)!r} cannot be read: {error}",
            hint="name a YAML file, or benchmarks: geneval,dpg,wise",
        ) from error
    try:
        tree = parse_yaml(text, source=repr(str(path)))
        if "benchmarks" not in tree and tree.keys() & {"prompts", "questions"}:
            raise AlphaBenchError(
                f"{str(path)!r} is no suite: it names no benchmarks",
                hint=f"for a benchmark of your own write file:{path}",
            )
        definition = fill_dataclass(SuiteDefinition, _with_entries(tree), YAML)
    except AlphaBenchError as error:
        if str(path) in error.message:
            raise
        raise AlphaBenchError(f"{str(path)!r}: {error.message}", hint=error.hint) from error
    return _located(definition, path.parent)


def _with_entries(tree: Tree) -> dict[str, Any]:
    """The tree with mappings for all entries that are text alone."""
    written: dict[str, Any] = dict(tree)
    for name, key in _ENTRIES.items():
        entries = written.get(name)
        if isinstance(entries, list):
            written[name] = [{key: one} if isinstance(one, str) else one for one in entries]
    return written


def _located(definition: SuiteDefinition, folder: Path) -> SuiteDefinition:
    def here(text: str | None) -> str | None:
        if text is None or folder == Path() or (match := _LOCAL.fullmatch(text)) is None:
            return text
        kind = match["kind"] or match["files"] or ""
        return f"{kind}{folder / (match['path'] or match['rest'])}"

    def needed(text: str) -> str:
        return here(text) or text

    return replace(
        definition,
        judge=here(definition.judge),
        benchmarks=tuple(
            replace(
                one,
                benchmark=needed(one.benchmark),
                judge=here(one.judge),
                prompts=None if one.prompts is None else str(folder / one.prompts),
            )
            for one in definition.benchmarks
        ),
        checkpoints=tuple(
            replace(one, checkpoint=needed(one.checkpoint), lora=here(one.lora))
            for one in definition.checkpoints
        ),
    )


def open_suite(
    definition: SuiteDefinition,
    given: RunSettings,
    *,
    rows: Sequence[SuiteRow] = (),
    protocol: ProtocolName | None = None,
    seed: int | None = None,
) -> Suite:
    """What the file says, opened, except for what the command line says.

    Args:
        definition: of the file.
        given: settings of the command line; what is not None replaces the file's. Its seed does
            not count.
        rows: checkpoints of the command line, which replace all of the file.
        protocol: of the command line.
        seed: of the command line.

    Raises:
        AlphaBenchError: a benchmark, checkpoint or evaluator that does not exist, or no checkpoint
            at all.
    """
    if not rows and not definition.checkpoints:
        raise AlphaBenchError(
            "neither the suite's file nor the command line names a checkpoint",
            hint="add --ckpt CKPT, or `checkpoints:` to the file",
        )
    seed = definition.seed if seed is None else seed
    columns = []
    for one in definition.benchmarks:
        benchmark = factories.open_named_benchmark(
            one.benchmark,
            protocol or one.protocol,
            None if one.prompts is None else Path(one.prompts),
        )
        _check_evaluators(one, benchmark)
        settings = replace(
            given,
            judge=given.judge or one.judge or definition.judge,
            evaluator=given.evaluator or one.evaluator,
            wording=given.wording or one.wording,
            limit=_first(given.limit, one.limit, definition.limit),
            seed=seed,
        )
        columns.append(SuiteColumn(benchmark=benchmark, settings=settings))
    return Suite(columns, rows or [_row(one) for one in definition.checkpoints])


def _first(*limits: int | None) -> int | None:
    return next((limit for limit in limits if limit is not None), None)


def _check_evaluators(one: SuiteFileBenchmark, benchmark: Benchmark) -> None:
    """A benchmark of a file has its own evaluators only.

    Raises:
        AlphaBenchError: it names another one.
    """
    known = benchmark.card.evaluators
    for spec in factories.evaluator_specs(one.evaluator, known):
        name = "" if spec is None else spec.partition("?")[0]
        if name and name not in known:
            raise unknown_name(f"evaluator of {one.benchmark}", name, known)


def _row(one: SuiteFileCheckpoint) -> SuiteRow:
    options = [f"{key}={option_text(value)}" for key, value in one.options.items()]
    factory = factories.open_checkpoint_factory(
        one.checkpoint, options, layout=one.layout, lora=one.lora, think=one.think
    )
    return SuiteRow(checkpoint=factory, label=one.name)
