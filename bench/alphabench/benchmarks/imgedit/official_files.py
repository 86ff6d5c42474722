"""ImgEdit-Bench's published files: images, replies, and the scores that upstream's scripts store.

As at 547185d (PKU-YuanGroup/ImgEdit). Knows neither judges nor run folders.

    KEY.png               the edited images
    result.json           key -> the judge's reply
    average_score.json    key -> an edit's score
    typescore.json        type of edit -> its score
    basic_edit.json       key -> prompt and type; where it is absent, the fetched one
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.imgedit.benchmark import DATA
from alphabench.benchmarks.imgedit.scoring import N_EDITS, UGE, imgedit_report, mean_as_upstream
from alphabench.benchmarks.reporting import ReportScope
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.score_lines import ABSURD, scores_in_lines
from alphabench.statistics import Cluster, pooled
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import UpstreamData
from alphabench.upstream.formats import OfficialFormat, read_json_object
from alphabench.upstream.layouts import Layout, find_numbered, id_with_fact

REPLIES, AVERAGES, TYPE_SCORES = "result.json", "average_score.json", "typescore.json"
EDITS: Final = "basic_edit.json"
WITH_STRAYS: Final = "mean of edits, BAGEL's fork"
"""Over all scores, also those of keys that are no edits, and rounded."""


def read_imgedit_results(path: Path) -> dict[str, float | None]:
    """Key -> score, in the file's order; None for a reply in which upstream finds no score.

    Args:
        path: a file of replies or of average scores, or a folder with one; average scores first.

    Raises:
        AlphaBenchError: no such file, or an entry at which upstream's script stops.
    """
    file = path
    if path.is_dir():
        file = path / (AVERAGES if (path / AVERAGES).exists() else REPLIES)
    rows = read_json_object(file, hint=f"name a {REPLIES} or {AVERAGES} of ImgEdit-Bench")
    return {key: _score(value, f"{key!r} in {str(file)!r}") for key, value in rows.items()}


def summarise_imgedit_results(path: Path, data: UpstreamData, *, uge: bool = False) -> Report:
    """What upstream's scripts find, with both overall scores and intervals.

    Sums are taken in the order of the file. A key that is no edit is in no type. Edits without an
    entry are missing; the UGE suite's summary does not know its edits, so all that is there counts.

    Raises:
        AlphaBenchError: as `read_imgedit_results`, or the types of the edits are not known.
    """
    scores = read_imgedit_results(path)
    kinds = dict.fromkeys(scores, UGE) if uge else _types(path, data)
    every = [_cluster(key, kinds.get(key, ""), score) for key, score in scores.items()]
    edits = [edit for edit in every if edit.group]
    missing = [_cluster(key, kind, None) for key, kind in kinds.items() if key not in scores]
    n_scored = sum(edit.n_scored for edit in edits)
    scope = ReportScope(
        benchmark="imgedit",
        split=UGE if uge else "",
        protocol="official",
        evaluator="published scores",
        statuses={
            "scored": n_scored,
            "unparsed": len(edits) - n_scored,
            "missing": len(missing),
        },
        has_all_samples=len(kinds) >= N_EDITS[UGE if uge else ""],
    )
    n_stray, extras = len(every) - len(edits), {}
    if known := [score for score in scores.values() if score is not None]:
        whole = statistics.estimate(every, pooled(every))
        extras = {} if uge else {WITH_STRAYS: whole.restated(mean_as_upstream(known))}
    notes = [f"{n_stray} keys are no edits, and are in no type"] if n_stray else []
    types = list(dict.fromkeys([e.group for e in edits if e.n_scored] + list(kinds.values())))
    return imgedit_report([*edits, *missing], scope, types, extras=extras, notes=notes)


def imgedit_results_text(report: Report) -> str:
    """typescore.json as upstream writes it; of the UGE suite, the number that it prints."""
    values = {name: one.value for name, one in report.groups.items() if one.value is not None}
    if report.split == UGE:
        return str(values.get(UGE, "No valid scores found."))
    return json.dumps(values, indent=2)


def imgedit_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images as upstream names them, and the files of its scripts; see the module."""
    for name, path in images.items():
        yield PurePosixPath(f"{name.rpartition('/')[0]}.png"), path
    by_sample = {statistics.sample_of(verdict): verdict for verdict in verdicts}
    judged = [(sample, by_sample[sample.id]) for sample in samples if sample.id in by_sample]
    scores = {s.id: round(v.value, 2) for s, v in judged if v.value is not None}
    by_type: dict[str, list[float]] = {}
    for sample in samples:
        if sample.id in scores:
            by_type.setdefault(sample.group, []).append(scores[sample.id])
    tables: dict[str, Any] = {
        REPLIES: {s.id: v.detail["reply"] for s, v in judged if "reply" in v.detail},
        AVERAGES: scores,
        TYPE_SCORES: {kind: mean_as_upstream(of) for kind, of in by_type.items()},
        EDITS: {s.id: {"prompt": s.prompt, "edit_type": s.group, **s.facts} for s in samples},
    }
    for name, table in tables.items():
        yield PurePosixPath(name), json.dumps(table, indent=2)


def _score(value: Any, where: str) -> float | None:
    scores = scores_in_lines(value) if isinstance(value, str) else None
    if scores is not None:
        return mean_as_upstream(scores) if scores else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= ABSURD:
        return float(value)
    raise AlphaBenchError(
        f"{where} is {str(value)[:60]!r}, neither a reply that can be read nor a score; upstream's "
        "script stops there",
        hint="have that edit judged again, or remove its entry",
    )


def _types(path: Path, data: UpstreamData) -> dict[str, str]:
    """Key -> type of edit, from the table beside the results, else from the official data."""
    beside = (path if path.is_dir() else path.parent) / EDITS
    if beside.exists():
        rows = read_json_object(beside, hint="restore upstream's file of that name, or remove it")
    else:
        rows = json.loads(data.read("imgedit", DATA[""]))
    known = {key: row.get("edit_type") for key, row in rows.items() if isinstance(row, dict)}
    return {key: kind for key, kind in known.items() if isinstance(kind, str)}


def _cluster(key: str, kind: str, score: float | None) -> Cluster:
    scored = int(score is not None)
    return Cluster(sample_id=key, group=kind, total=score or 0.0, n_scored=scored, n_expected=1)


OFFICIAL: Final = OfficialFormat(
    summarise=summarise_imgedit_results, text=imgedit_results_text, files=imgedit_export_files
)
OFFICIAL_UGE: Final = replace(OFFICIAL, summarise=partial(summarise_imgedit_results, uge=True))
LAYOUT: Final = Layout(form="DIR/1082.png", find=find_numbered, key=id_with_fact("edit_type"))
