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
from alphabench.benchmarks.reporting import published_scope
from alphabench.benchmarks.rise import scoring
from alphabench.benchmarks.rise.benchmark import RiseBench, rise_facts
from alphabench.benchmarks.rise.questions import combined_scores
from alphabench.benchmarks.rise.scoring import CONSISTENCY, PLAUSIBILITY, REASONING, RiseItem
from alphabench.core.errors import AlphaBenchError
from alphabench.judges.final_score import numbers_after_final_score
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import UpstreamData, formats, layouts
from alphabench.upstream.plain_pickle import read_plain_pickle

MODEL: Final = "alphabench"
ITEMS: Final = "data_total.json"
_CALLS: Final = {CONSISTENCY: "judge1", REASONING: "judge2", PLAUSIBILITY: "judge3"}
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
    file = formats.file_of(path, "*.pkl", kind="files *.pkl", hint=_HINT)
    judgements = read_plain_pickle(file, hint=_HINT)
    if (beside := file.parent / ITEMS).exists():
        facts = rise_facts(read_items(beside, hint="restore upstream's file of items"))
    else:
        facts = RiseBench.open(split, data=data).rows()
    if lacking := [row["index"] for row in facts if row["index"] not in judgements]:
        raise AlphaBenchError(
            f"{str(file)!r} has no judgement of {len(lacking)} items, {lacking[0]!r} first; "
            "upstream's script stops there",
            hint=f"have them judged, or put a {ITEMS} of the judged ones beside it",
        )
    return [RiseItem(row, _scores(row["index"], judgements, file)) for row in facts]


def summarise_rise_results(path: Path, data: UpstreamData, split: str = "") -> Report:
    """What upstream's script finds in these items, where what it cannot read is wrong.

    Raises:
        AlphaBenchError: as `read_rise_results`.
    """
    items = read_rise_results(path, data, split)
    n_failed = sum(item.scores is None for item in items)
    is_whole = len(items) >= RiseBench.about.sizes[split]
    counts = (len(items) - n_failed, len(items))
    scope = published_scope("rise", "", *counts, split=split, has_all_samples=is_whole)
    scope = replace(scope, evaluator="published judgements")
    note = f"{n_failed} items could not be read and count as wrong, as upstream has it"
    complete = {item.index: item.complete for item in items}
    report = scoring.rise_report(items, complete, scope)
    return replace(report, notes=(note,) if n_failed else ())


def rise_results_text(report: Report) -> str:
    """MODEL_judge.csv as upstream's script writes it; a value that does not exist is empty."""
    metrics = {"accuracy": report.headline, **report.groups, **report.extras}
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
    titles = {name: name.partition("_")[0].capitalize() for name in scoring.CATEGORIES}
    titles = {"": "Overall", **titles}
    for part, title in titles.items():
        yield title, f"score {part}".strip(), part or "accuracy"
    for part, title in titles.items():
        for dimension, labels in _LABELS.items():
            if (part, dimension) != (scoring.LOGICAL, PLAUSIBILITY):
                yield f"{title}_{labels[bool(part)]}", f"{dimension} {part}".strip(), ""
    for subtask in scoring.SUBTASKS:
        yield subtask, f"score {subtask}", f"accuracy {subtask}"


def rise_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | bytes | Path]]:
    """Images, judgements and metrics as upstream names them, and the items that they are of."""
    folder = PurePosixPath(MODEL)
    for sample in samples:
        if (path := images.get(f"{sample.id}/0")) is not None:
            yield folder / f"images/{sample.group}/{sample.id}.png", path
    by_sample = {statistics.sample_of(v): v for v in verdicts if v.status != "missing"}
    judged = [sample for sample in samples if sample.id in by_sample]
    table = {sample.id: _replies(sample, by_sample[sample.id]) for sample in judged}
    yield folder / f"{MODEL}.pkl", pickle.dumps(table, protocol=4)
    rows = [{**s.facts, "index": s.id, "instruction": s.prompt} for s in judged]
    yield folder / ITEMS, json.dumps(rows, indent=2)


def _scores(index: str, judgements: Mapping[str, Any], file: Path) -> dict[str, float] | None:
    """None where a reply cannot be read; AlphaBenchError where upstream's script stops."""
    entries = judgements[index] if isinstance(judgements[index], dict) else {}
    replies = {name: of for name, key in _CALLS.items() if (of := entries.get(key)) is not None}
    needed, what = REASONING if CONSISTENCY in replies else PLAUSIBILITY, "lacks a reply"
    if needed in replies and all(isinstance(text, str) for text in replies.values()):
        read = {name: numbers_after_final_score(text) for name, text in replies.items()}
        known = {name: numbers for name, numbers in read.items() if numbers is not None}
        if len(known) < len(read):
            return None
        if (scores := combined_scores(known)) is not None:
            return scores
        what = f"states {sum(map(len, known.values()))} scores"
    raise AlphaBenchError(
        f"the judgement of {index!r} in {str(file)!r} {what}; upstream's script stops there",
        hint="have that item judged again",
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


OFFICIAL: Final = formats.OfficialFormat(
    summarise=summarise_rise_results, text=rise_results_text, files=rise_export_files
)
OFFICIAL_64: Final = replace(OFFICIAL, summarise=partial(summarise_rise_results, split="64"))
LAYOUT: Final = layouts.Layout(
    form="DIR/MODEL/images/temporal_reasoning/temporal_reasoning_1.png",
    find=layouts.find_in_groups("images"),
    key=lambda sample: f"{sample.facts['category']}/{sample.id}",
    reads=("model",),
)
