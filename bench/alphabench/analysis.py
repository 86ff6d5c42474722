"""Stored runs from Python: load one, compare two, rank or export many, merge the shards of one.

`alphabench compare` and `alphabench leaderboard` print what these functions return. Generates and
scores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import replace_file, writing
from alphabench.interfaces import Benchmark
from alphabench.python_arguments import text_or_none
from alphabench.reports.comparison import (
    ComparisonBasis,
    RunComparison,
    basis_of,
    compare_runs,
    shared_evaluation,
)
from alphabench.reports.leaderboard import Leaderboard, rank_runs
from alphabench.reports.published import read_published
from alphabench.results.run_result import RunResult
from alphabench.runs import factories
from alphabench.runs.folder_search import run_folders
from alphabench.runs.merging import merge_folders
from alphabench.runs.run import summarise_all
from alphabench.runs.store import RunFolder
from alphabench.runs.stored_run import StoredRun
from alphabench.types import ProtocolName

if TYPE_CHECKING:
    from alphabench.results.exported_tables import TableFormat

StoredRunPath = str | PathLike[str]
"""A run folder."""


def load_run(
    folder: StoredRunPath,
    *,
    evaluation: str | None = None,
    benchmark: str | Benchmark | None = None,
) -> RunResult:
    """A run that was made before: what `evaluate` returns, read from its folder.

    Args:
        folder: the run folder.
        evaluation: which one, where the run was scored by several evaluators; see
            `RunResult.evaluations`.
        benchmark: your own benchmark that the run is of, as `python:module:factory` or as object,
            where no installed package registers it.

    Raises:
        AlphaBenchError: there is no run in the folder, or no such evaluation.
    """
    run = StoredRun.open(_path(folder), verify_images=True)

    def open_benchmark(protocol: ProtocolName, /) -> Benchmark:
        return factories.benchmark_of_run(
            run.manifest.benchmark, protocol, benchmark, folder=run.folder
        )

    result = RunResult(run, open_benchmark)
    return result if evaluation is None else result.select(evaluation)


def merge_runs(
    folders: StoredRunPath | Iterable[StoredRunPath],
    *,
    out: StoredRunPath | None = None,
    benchmark: str | Benchmark | None = None,
) -> RunResult:
    """Merge the shards of a run into one run folder, as `alphabench merge` does.

    The same call again changes nothing; with further shards it adds them. The folders that are
    merged are not changed.

    Args:
        folders: run folders of one run; or the folder of the whole run, for all shards beside it.
        out: the folder of the merged run; None puts it beside its shards.
        benchmark: your own benchmark that the run is of, where no installed package registers it.

    Returns:
        The merged run. What it still lacks lowers its coverage; `evaluate` without `shard` and
        with `out` at its folder makes it.

    Raises:
        AlphaBenchError: the folders are not of one run, contradict each other, or one is damaged
            or being written.
    """
    one = isinstance(folders, str | PathLike)
    if not one and not isinstance(folders, Iterable):
        raise _no_run(folders)
    given: Any = [folders] if one else folders

    def open_benchmark(folder: RunFolder) -> Benchmark:
        return factories.benchmark_of_run(
            folder.manifest.benchmark, "official", benchmark, folder=folder
        )

    merged = merge_folders(
        [_path(path) for path in given], open_benchmark, out=None if out is None else _path(out)
    )
    if merged.folder.evaluations():
        opener = partial(factories.benchmark_of_run, given=benchmark, folder=merged.folder)
        summarise_all(merged.folder, opener)
    return load_run(merged.folder.root, benchmark=benchmark)


def export_tables(
    runs: StoredRunPath | Iterable[StoredRunPath],
    out: StoredRunPath,
    *,
    file_format: TableFormat = "csv",
    benchmark: str | Benchmark | None = None,
) -> list[Path]:
    """Write the verdicts and the estimates of runs as two tables.

    Args:
        runs: run folders, or folders above some.
        out: the folder of the tables `verdicts` and `estimates`; those that exist are replaced.
        file_format: `csv`, or `parquet` (extra `data`).
        benchmark: your own benchmark that all runs are of, where no installed package registers it.

    Raises:
        AlphaBenchError: there is no such run, or one was not scored.
    """
    from alphabench.results.exported_tables import write_tables

    results = list(open_runs(runs, benchmark=benchmark))
    with writing(Path(out), elsewhere="name another folder"):
        return write_tables(results, Path(out), file_format)


def open_runs(
    runs: StoredRunPath | Iterable[StoredRunPath],
    *,
    benchmark: str | Benchmark | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[RunResult]:
    """The runs in folders and in folders above some, as `load_run` returns them.

    Raises:
        AlphaBenchError: there is no such folder, or no run in one.
    """
    given: Any = [runs] if isinstance(runs, str | PathLike) else runs
    for path in given:
        folders = run_folders(_path(path), note=note)
        if not folders:
            raise AlphaBenchError(
                f"there is no run in {str(path)!r}", hint="`alphabench list runs` shows them"
            )
        yield from (load_run(folder.root, benchmark=benchmark) for folder in folders)


def compare(
    baseline: StoredRunPath | RunResult,
    candidate: StoredRunPath | RunResult,
    *,
    evaluation: str | None = None,
    benchmark: str | Benchmark | None = None,
) -> RunComparison:
    """Whether two runs of one benchmark differ: paired by sample, with 95% intervals.

    Args:
        baseline: what is compared against: a run folder or a result.
        candidate: a positive difference means that this one scores higher.
        evaluation: which one, if both runs have several.
        benchmark: your own benchmark, where no installed package registers it.

    Raises:
        AlphaBenchError: the runs are not measured alike, or not by exactly one evaluation.
    """
    pair = _open_pair(baseline, candidate, evaluation, benchmark)
    return compare_runs(*pair.runs, basis_of(pair.benchmark), evaluation=pair.evaluation)


def write_comparison_gallery(
    baseline: StoredRunPath | RunResult,
    candidate: StoredRunPath | RunResult,
    file: str | PathLike[str],
    *,
    evaluation: str | None = None,
    benchmark: str | Benchmark | None = None,
) -> Path:
    """Write a page with the images of two runs side by side; the arguments are those of `compare`.

    Args:
        baseline: A on the page.
        candidate: B on the page.
        file: the HTML file to write; one that exists is replaced.
        evaluation: as in `compare`.
        benchmark: as in `compare`.

    Raises:
        AlphaBenchError: the runs cannot be compared, or the file cannot be written.
    """
    from alphabench.reports.comparison_gallery import comparison_gallery_parts

    pair = _open_pair(baseline, candidate, evaluation, benchmark)
    basis = basis_of(pair.benchmark)
    path = Path(file).expanduser()
    parts = comparison_gallery_parts(
        pair.runs,
        compare_runs(*pair.runs, basis, evaluation=pair.evaluation),
        basis.samples,
        evaluation=pair.evaluation,
        page_folder=path.parent,
    )
    with writing(path, elsewhere="name another file"):
        replace_file(path, parts)
    return path


class _Pair(NamedTuple):
    runs: tuple[StoredRun, StoredRun]
    evaluation: str
    benchmark: Benchmark


def _open_pair(
    baseline: StoredRunPath | RunResult,
    candidate: StoredRunPath | RunResult,
    evaluation: str | None,
    benchmark: str | Benchmark | None,
) -> _Pair:
    before, after = (StoredRun.open(_path(one)) for one in (baseline, candidate))
    chosen = text_or_none("evaluation", evaluation) or shared_evaluation(before, after)
    protocol = before.protocol(chosen)
    bench = factories.benchmark_of_run(
        before.manifest.benchmark, protocol, benchmark, folder=before.folder
    )
    before.check_same_data(bench)
    return _Pair((before, after), chosen, bench)


def leaderboard(
    runs: StoredRunPath | RunResult | Iterable[StoredRunPath | RunResult],
    *,
    published: StoredRunPath | None = None,
    benchmark: str | Benchmark | None = None,
    note: Callable[[str], None] | None = None,
) -> Leaderboard:
    """Rank runs; results that are not comparable never share a table.

    Args:
        runs: run folders, folders above run folders, or results.
        published: a folder with scores that others published; listed, never ranked.
        benchmark: your own benchmark that all runs are of, where no installed package registers it.
        note: called with a sentence for each run that is skipped; `Leaderboard.skipped` has them.

    Raises:
        AlphaBenchError: there is no such folder, or none of the runs has a report.
    """
    one = isinstance(runs, str | PathLike | RunResult)
    if not one and not isinstance(runs, Iterable):
        raise _no_run(runs)
    skipped: list[str] = []

    def skip(text: str) -> None:
        skipped.append(text)
        if note is not None:
            note(text)

    chosen: Any = [runs] if one else runs
    folders = [folder for path in chosen for folder in run_folders(_path(path), note=skip)]
    scores = [] if published is None else read_published(Path(published))
    basis = partial(_basis, benchmark)
    ranked = rank_runs(folders, basis, published=scores, note=skip)
    return replace(ranked, skipped=tuple(skipped))


def _basis(
    benchmark: str | Benchmark | None, run: StoredRun, protocol: ProtocolName
) -> ComparisonBasis:
    bench = factories.benchmark_of_run(
        run.manifest.benchmark, protocol, benchmark, folder=run.folder
    )
    run.check_same_data(bench)
    return basis_of(bench)


def _path(run: Any) -> Path:
    if isinstance(run, RunResult):
        return run.folder
    if not isinstance(run, str | PathLike):
        raise _no_run(run)
    return Path(run).expanduser()


def _no_run(given: object) -> AlphaBenchError:
    return AlphaBenchError(
        f"a {type(given).__name__} is no run", hint="give a run folder, or what evaluate returned"
    )
