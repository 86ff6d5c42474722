"""RISEBench's published files: images, judgements and the table that upstream's script writes.

As gpt_eval.py at 5f22651 (PhoenixZ810/RISEBench), but for its Excel file. Pickled judgements are
read as what they are, a table of texts: a pickle that names any class is refused.

    images/CATEGORY/INDEX.png    the edited images
    MODEL.pkl                    index -> judge1, judge2, judge3, the replies
    MODEL_judge.csv              the metrics
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.edit_sources import read_items
from alphabench.benchmarks.reporting import published_scope, value_clusters
from alphabench.benchmarks.rise import scoring
from alphabench.benchmarks.rise.benchmark import N_ITEMS, open_rise, rise_facts
from alphabench.benchmarks.rise.questions import combined_scores
from alphabench.benchmarks.rise.scoring import CONSISTENCY, PLAUSIBILITY, REASONING, RiseItem
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.final_score import numbers_after_final_score
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import UpstreamData, layouts
from alphabench.upstream.formats import OfficialFormat, file_of
from alphabench.upstream.plain_pickle import read_plain_pickle

MODEL: Final = "alphabench"
ITEMS: Final = "data_total.json"
_CALLS: Final = {CONSISTENCY: "judge1", REASONING: "judge2", PLAUSIBILITY: "judge3"}
_OVERALL: Final = "accuracy"
_LABELS: Final = {
    REASONING: ("Reasoning", "Reasoning"),
    CONSISTENCY: ("ApprConsistency", "Consistency"),
    PLAUSIBILITY: ("VisualPlausibility_total", "Quality"),
}
"""Dimension -> what upstream's table calls it, over all items and in a category."""
_HINT: Final = "name upstream's MODEL.pkl, or its folder"


def read_rise_results(path: Path, data: UpstreamData, split: str = "") -> list[RiseItem]:
    """The items of a table of judgements, with scores as upstream's script combines them.

    Args:
        path: MODEL.pkl, or a folder with one.
        data: where the official items lie, unless a `data_total.json` is beside the judgements.
        split: whose items they are.

    Raises:
        AlphaBenchError: nothing to read, an item has no judgement, or numbers at which upstream's
            script stops.
    """
    file = file_of(path, "*.pkl", kind="files *.pkl", hint=_HINT)
    judgements = read_plain_pickle(file, hint=_HINT)
    if (beside := file.parent / ITEMS).exists():
        facts = rise_facts(read_items(beside, hint="restore upstream's file of items"))
    else:
        facts = open_rise(split, data=data).rows()
    if lacking := [row["index"] for row in facts if row["index"] not in judgements]:
        raise AlphaBenchError(
            f"{str(file)!r} has no judgement of {len(lacking)} items, {lacking[0]!r} first; "
            "upstream's script stops there",
            hint=f"have them judged, or put a {ITEMS} of the judged ones beside it",
        )
    scores = {
        row["index"]: _scores(judgements[row["index"]], f"{row['index']!r} in {str(file)!r}")
        for row in facts
    }
    return [RiseItem(row, scores[row["index"]]) for row in facts]


def summarise_rise_results(path: Path, data: UpstreamData, split: str = "") -> Report:
    """What upstream's script finds in judgements, with intervals: what it cannot read is wrong.

    Raises:
        AlphaBenchError: as `read_rise_results`.
    """
    items = read_rise_results(path, data, split)
    n_read = sum(item.scores is not None for item in items)
    scope = published_scope(
        "rise",
        "published judgements",
        n_read,
        len(items),
        split=split,
        has_all_samples=len(items) >= N_ITEMS[split],
    )
    n_failed = len(items) - n_read
    notes = [f"{n_failed} items could not be read and count as wrong, as upstream has it"]
    groups = {item.index: item.category for item in items}
    completed = value_clusters({item.index: item.complete for item in items}, groups)
    return scoring.rise_report(items, completed, scope, notes=notes if n_failed else ())


def rise_results_text(report: Report) -> str:
    """MODEL_judge.csv as upstream's script writes it; a value that does not exist is empty."""
    metrics = {_OVERALL: report.headline, **report.groups, **report.extras}
    values = {name: metric.value for name, metric in metrics.items()}
    lines = ["-,Score-Origin,Score-Percentage,Accuracy"]
    for title, score_name, accuracy_name in _table_rows():
        if title in scoring.SUBTASKS and score_name not in values:
            continue
        score, accuracy = values.get(score_name), values.get(accuracy_name)
        percent = None if score is None else 25 * (score - 1)
        cells = ("" if value is None else repr(value) for value in (score, percent, accuracy))
        lines.append(",".join([title, *cells]))
    return "\n".join(lines)


def _table_rows() -> Iterator[tuple[str, str, str]]:
    """Title of each row of upstream's table, and which metrics are its score and its accuracy."""
    yield "Overall", "score", _OVERALL
    titles = {category: category.partition("_")[0].capitalize() for category in scoring.CATEGORIES}
    for category, title in titles.items():
        yield title, f"score {category}", category
    for dimension, (label, _) in _LABELS.items():
        yield f"Overall_{label}", dimension, ""
    for category, title in titles.items():
        for dimension, (_, label) in _LABELS.items():
            if (category, dimension) != (scoring.LOGICAL, PLAUSIBILITY):
                yield f"{title}_{label}", f"{dimension} {category}", ""
    for subtask in scoring.SUBTASKS:
        yield subtask, f"score {subtask}", f"accuracy {subtask}"


def rise_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | bytes | Path]]:
    """Images, judgements and metrics as upstream names them, and the items that they are of."""
    for sample in samples:
        if (path := images.get(f"{sample.id}/0")) is not None:
            yield PurePosixPath(MODEL) / f"images/{sample.group}/{sample.id}.png", path
    by_sample = {statistics.sample_of(v): v for v in verdicts if v.status != "missing"}
    judged = [sample for sample in samples if sample.id in by_sample]
    table = {sample.id: _replies(sample, by_sample[sample.id]) for sample in judged}
    yield PurePosixPath(MODEL) / f"{MODEL}.pkl", pickle.dumps(table, protocol=4)
    rows = [{**s.facts, "index": s.id, "instruction": s.prompt} for s in judged]
    yield PurePosixPath(MODEL) / ITEMS, json.dumps(rows, indent=2)


def _scores(judgement: Any, where: str) -> dict[str, float] | None:
    """None where a reply cannot be read; AlphaBenchError where upstream's script stops."""
    entries = judgement if isinstance(judgement, dict) else {}
    replies = {name: of for name, key in _CALLS.items() if (of := entries.get(key)) is not None}
    needed, stops = REASONING if CONSISTENCY in replies else PLAUSIBILITY, ""
    if needed not in replies or not all(isinstance(text, str) for text in replies.values()):
        stops = "is no judgement: it lacks a reply"
    else:
        read = {name: numbers_after_final_score(text) for name, text in replies.items()}
        known = {name: numbers for name, numbers in read.items() if numbers is not None}
        if len(known) < len(read):
            return None
        if (scores := combined_scores(known)) is not None:
            return scores
        stops = f"states {sum(map(len, known.values()))} scores"
    raise AlphaBenchError(
        f"{where} {stops}, at which upstream's script stops", hint="have that item judged again"
    )


def _replies(sample: Sample, verdict: Verdict) -> dict[str, str | None]:
    """Upstream's entry of an item; an empty text where the judge gave none."""
    calls = {key: verdict.detail.get(f"{name}_call") or {} for name, key in _CALLS.items()}
    texts: dict[str, str | None] = {key: str(of.get("reply", "")) for key, of in calls.items()}
    if sample.group == scoring.LOGICAL:
        del texts["judge3"]
    elif sample.facts.get("free"):
        texts["judge1"] = None
    return texts


OFFICIAL: Final = OfficialFormat(
    summarise=summarise_rise_results, text=rise_results_text, files=rise_export_files
)
OFFICIAL_64: Final = replace(OFFICIAL, summarise=partial(summarise_rise_results, split="64"))
LAYOUT: Final = layouts.Layout(
    form="DIR/MODEL/images/temporal_reasoning/temporal_reasoning_1.png",
    find=layouts.find_in_groups("images"),
    key=lambda sample: f"{sample.facts['category']}/{sample.id}",
    reads=("model",),
)
