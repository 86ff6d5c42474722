"""DPG-Bench's published results summarised, and a run written in upstream's format.

Metrics are 0 to 1 in a report and times 100 in upstream's text.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from alphabench.benchmarks.dpg.benchmark import dpg_report, judged_items, question_table
from alphabench.benchmarks.dpg.official_files import (
    CELLS,
    TABLE_FILE,
    ResultFile,
    cell_box,
    item_of_file,
    make_grid,
    read_details,
    read_results,
    read_table,
)
from alphabench.benchmarks.dpg.scoring import (
    ALL,
    JudgedItem,
    Proposition,
    category_estimates,
    dpg_headline,
    image_score,
)
from alphabench.benchmarks.reporting import ReportScope, build_report
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.images import open_rgb
from alphabench.statistics import Cluster, estimate, mean_of_groups
from alphabench.types import Estimate, ProtocolName, Report, Sample, Status, Verdict, image_id
from alphabench.upstream import UpstreamData
from alphabench.upstream.formats import Files, OfficialFormat

IMAGES: Final = PurePosixPath("images")
RESULTS: Final = PurePosixPath("results.txt")
DETAILS: Final = PurePosixPath("results_detail.txt")
N_ITEMS: Final = 1065


def summarise_dpg_results(
    path: Path, *, protocol: ProtocolName = "official", data: UpstreamData | None = None
) -> Report:
    """What upstream's script found, with intervals.

    With `<res>_detail.txt` and the table of questions (`dpg_bench.csv` beside the file, or fetched)
    all is computed anew from the answers, under either protocol. Without them only the headline
    is, from the items' scores; categories are then as printed, and nothing is known of their
    spread: their interval is 0 to 1.

    Args:
        path: the result file, `<res>.txt`.
        protocol: strict needs the answers.

    Raises:
        AlphaBenchError: a file is not of the format, or strict without the answers.
    """
    results = read_results(path)
    details = path.with_name(f"{path.stem}_detail.txt")
    table = _table(path.with_name(TABLE_FILE), data) if details.is_file() else None
    if table is not None:
        items = list(read_details(details, table).values())
        scope = ReportScope(
            benchmark="dpg",
            split="",
            protocol=protocol,
            evaluator=path.name,
            statuses=_statuses(items),
            has_all_samples=_n_items(item.id for item in items) >= N_ITEMS,
        )
        report = dpg_report(items, scope)
        scores = [score for one in items if (score := one.score(protocol)) is not None]
        return replace(report, headline=_in_order(report.headline, scores))
    if protocol == "strict":
        raise AlphaBenchError(
            f"{str(path)!r} alone does not say what was answered",
            hint=f"put {details.name!r} and {TABLE_FILE!r} beside it",
        )
    return _report_of_scores(results, path.name)


def _n_items(files: Iterable[str]) -> int:
    return len({item_of_file(file) for file in files})


def _table(beside: Path, data: UpstreamData | None) -> Mapping[str, tuple[Proposition, ...]] | None:
    """The questions: from the file beside the results, else as fetched, else None."""
    if beside.is_file():
        try:
            return read_table(read_bytes(beside))
        except UnreadableFileError as error:
            raise AlphaBenchError(
                f"{str(beside)!r} cannot be read: {error}", hint="restore it from its source"
            ) from error
    if data is None:
        return None
    try:
        return read_table(question_table(data))
    except AlphaBenchError:
        return None


def _statuses(items: Sequence[JudgedItem]) -> dict[Status, int]:
    """Answers in the file, and questions of the table that were never asked."""
    n_asked = sum(len(answers) for item in items for answers in item.images)
    n_all = sum(len(item.propositions) * len(item.images) for item in items)
    counts: dict[Status, int] = {"scored": n_asked, "missing": n_all - n_asked}
    return {status: n for status, n in counts.items() if n}


def _report_of_scores(results: ResultFile, name: str) -> Report:
    clusters = [
        Cluster(
            sample_id=item,
            group=ALL,
            total=sum(scores) / len(scores),
            n_scored=1,
            n_expected=1,
        )
        for item, scores in results.scores.items()
    ]
    found = _in_order(estimate(clusters, mean_of_groups), [cluster.total for cluster in clusters])
    assert found.value is not None, "a result file has a score"
    scope = ReportScope(
        benchmark="dpg",
        split="",
        protocol="official",
        evaluator=name,
        statuses={"scored": len(clusters)},
        has_all_samples=_n_items(results.scores) >= N_ITEMS,
    )
    return build_report(
        scope,
        found,
        {category: _as_printed(value) for category, value in results.broad.items()},
        coverage=1.0,
        bounds=(found.value, found.value),
        extras={f"L2 {name}": _as_printed(value) for name, value in results.narrow.items()},
    )


def _in_order(dpg_headline: Estimate, scores: Sequence[float]) -> Estimate:
    """The same, added up in the order of the file: upstream prints every decimal of its mean."""
    return dpg_headline.restated(float(np.mean(scores))) if scores else dpg_headline


def _as_printed(value: float) -> Estimate:
    if math.isnan(value):
        return Estimate(value=None, low=None, high=None, n_samples=0, n_scored=0, n_expected=0)
    return Estimate(value=value, low=0.0, high=1.0, n_samples=0, n_scored=0, n_expected=0)


def dpg_results_text(report: Report) -> str:
    """The summary as upstream's script prints it, less the lines that name its files."""
    narrow = {
        name.removeprefix("L2 "): metric
        for name, metric in report.extras.items()
        if name.startswith("L2 ")
    }
    return "\n".join(
        [
            "L1 category scores:",
            *[f"\t{name}: {_percent(metric)}" for name, metric in report.groups.items()],
            "L2 category scores:",
            *[f"\t{name}: {_percent(metric)}" for name, metric in sorted(narrow.items())],
            f"DPG-Bench score: {_percent(report.headline)}",
        ]
    )


def _percent(metric: Estimate) -> str:
    return "nan" if metric.value is None else repr(100 * metric.value)


def dpg_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Files:
    """Upstream's folder of grids, and its two result files beside it.

    An item has a grid only if all four images were made, and lines only if all its questions were
    answered; an item that upstream drops has no line of scores. Answers are written `yes` or `no`,
    whatever the judge's words were.

    Args:
        samples: in the order wanted.
        images: image id -> stored PNG.
        verdicts: of DPG's evaluator.
    """
    sides: dict[str, int] = {}
    for sample in samples:
        paths = [images.get(image_id(sample.id, index)) for index in range(CELLS)]
        stored = [path for path in paths if path is not None]
        if len(stored) == CELLS:
            grid = make_grid([open_rgb(path) for path in stored])
            sides[sample.id] = grid.width // 2
            content = io.BytesIO()
            grid.save(content, format="PNG")
            yield IMAGES / f"{sample.id}.png", content.getvalue()
    items = [item for item in judged_items(samples, verdicts) if item.id in sides]
    items = [item for item in items if _is_complete(item)]
    yield RESULTS, "".join(f"{line}\n" for line in _result_lines(items))
    yield DETAILS, "".join(f"{line}\n" for line in _detail_lines(items, sides))


def _is_complete(item: JudgedItem) -> bool:
    return all(
        answers.get(one.id) is not None for answers in item.images for one in item.propositions
    )


def _result_lines(items: Sequence[JudgedItem]) -> Iterator[str]:
    for item in items:
        kept = item.counted_propositions("official")
        if kept is None:
            continue
        scores = [image_score(kept, answers) or 0.0 for answers in item.images]
        metrics = ", ".join(map(repr, [*scores, sum(scores) / len(scores)]))
        yield f"{IMAGES / item.id}.png, {metrics}"
    yield "Model: images"
    for level, broad in (("L1", True), ("L2", False)):
        yield f"{level} category scores:"
        for name, metric in category_estimates(items, "official", broad=broad).items():
            yield f"\t{name}: {_percent(metric)}"
    yield f"Image path: {IMAGES}"
    yield f"Save results to: {RESULTS}"
    yield f"DPG-Bench score: {_percent(dpg_headline(items, 'official'))}"


def _detail_lines(items: Sequence[JudgedItem], sides: Mapping[str, int]) -> Iterator[str]:
    for item in items:
        for index, answers in enumerate(item.images):
            box = cell_box(index, sides[item.id])
            for one in item.propositions:
                said = "yes" if answers[one.id] == 1 else "no"
                yield f"{IMAGES / item.id}.png, {box}, {one.question}, {said}"


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, data: summarise_dpg_results(path, data=data),
    text=dpg_results_text,
    files=dpg_export_files,
)
