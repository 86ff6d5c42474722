"""RISEBench: edits that need reasoning about time, causes, space or logic (Zhao, 2025).

Splits: the full benchmark of 360 items (no name), which is read from the authors' archive; `64`,
the smaller one in upstream's repository; and `mini`, authored here over the project's synthetic
scenes. Questions to the judge are in `questions`, scores and metrics in `scoring`, upstream's
result files in `official_files`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from alphabench import statistics
from alphabench.benchmarks import edit_sources, judged, mini_split
from alphabench.benchmarks.judged import JudgedBenchmark, JudgedRun, WordingOptions
from alphabench.benchmarks.reporting import mean_estimate
from alphabench.benchmarks.rise import questions, scoring
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Formula
from alphabench.types import Report, Sample
from alphabench.upstream import pin_of

AS_UPSTREAM: Final = "accuracy, failures as wrong"
"""Upstream's headline where some replies could not be read."""
ARCHIVE: Final = "upstream/PhoenixZ/RISEBench/data"
"""In the cache: where the authors' archive of the 360 items may be unpacked by hand."""
_ITEMS: Final = f"{ARCHIVE}/datav2_total_w_subtask.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RiseBench(JudgedBenchmark):
    """One split of RISEBench under one protocol."""

    about: ClassVar = judged.About(
        name="rise",
        titles={
            "": "RISEBench, 360 items",
            "64": "RISEBench-64, the smaller version in upstream's repository",
            "mini": "RISEBench's categories over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2504.02826",
        sizes={"": 360, "64": 64},
    )

    def source(self) -> mini_split.DataSource:
        """The package, upstream's repository, or the archive as it is here."""
        if self.split == "mini":
            return edit_sources.mini_edit_source("rise")
        pinned = mini_split.pinned_files_source(pin_of("rise"), pin_of("rise-images"))
        return pinned if self.split else edit_sources.archived_source(self.data, _ITEMS, pinned)

    def samples(self) -> Sequence[Sample]:
        """The items in upstream's order, with its ids; AlphaBenchError as `rows`, or for images."""
        if self.split == "mini":
            return edit_sources.mini_edits("rise", self.data, group="category")
        folder = "data" if self.split == "64" else ARCHIVE  # of which nothing is pinned
        images = edit_sources.SourceImages(
            data=self.data, pin="rise-images", folder=folder, archive=ARCHIVE
        )
        return [
            Sample(
                id=row["index"],
                prompt=row["instruction"],
                group=row["category"],
                facts={
                    **row,
                    questions.FIRST_IMAGE: str(images.needed(questions.first_image(row))),
                },
                source_image=images.needed(row["image"]),
            )
            for row in self.rows()
        ]

    def rows(self) -> list[dict[str, Any]]:
        """The official items, without their images; AlphaBenchError: not here, or changed."""
        if self.split == "64":
            return rise_facts(json.loads(self.data.read("rise", "data/data_total.json")))
        hint = "see docs/benchmarks/rise.md for the archive, or use rise:64, which can be fetched"
        return rise_facts(edit_sources.read_items(self.data.cache_dir / _ITEMS, hint=hint))

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (questions.COMPLETE,)

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With RISEBench's questions: `judge`, `judge?wording=own`."""
        options = judged.judge_options(spec, WordingOptions, benchmark="rise")
        return questions.open_rise_judge(self, judge, own=options.is_own(self.split))

    def formula(self) -> Formula:
        """The share of complete items from those of the categories, which weigh by their size."""
        return scoring.by_size(self.clusters(self.samples(), ()))

    def report(self, run: JudgedRun) -> Report:
        """See `rise_report`; beside it is upstream's headline, where unscored items are wrong."""
        there = {statistics.sample_of(v): v for v in run.verdicts if v.status != "missing"}
        scored = {name: v for name, v in there.items() if v.status == "scored"}
        as_upstream = mean_estimate({name: v.value or 0.0 for name, v in there.items()})
        values = {s.id: scored[s.id].value if s.id in scored else None for s in run.samples}
        items = [scoring.RiseItem.of(sample, scored.get(sample.id)) for sample in run.samples]
        report = scoring.rise_report(items, values, run.scope)
        extras = {AS_UPSTREAM: as_upstream} if len(there) > len(scored) else {}
        notes = () if self.split else ("its data is from an archive, which is not verified",)
        return replace(report, extras={**report.extras, **extras}, notes=notes)


open_rise: Final = RiseBench.open


def rise_facts(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as upstream's table holds them, with what its script makes of its columns.

    `consistency_free` counts in its score of every item of data that has the column, and
    `reasoning_wo_ins` for every item: it asks for the column, and takes an absent value for true.
    """
    known = [{key: value for key, value in row.items() if value == value} for row in rows]  # noqa: PLR0124
    free_by_default = any("consistency_free" in row for row in known)
    blind_as_upstream = any("reasoning_wo_ins" in row for row in known)
    return [
        {
            **row,
            "free": row.get("consistency_free") is not None,
            "free_as_upstream": bool(row.get("consistency_free", free_by_default)),
            "blind": row.get("reasoning_wo_ins") is not None,
            "blind_as_upstream": blind_as_upstream,
        }
        for row in known
    ]
