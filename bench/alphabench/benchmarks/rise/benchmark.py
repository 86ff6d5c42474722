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
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks import edit_sources
from alphabench.benchmarks.edit_marks import EditJudgeOptions
from alphabench.benchmarks.judged import judge_options, with_known_names
from alphabench.benchmarks.mini_split import MINI_VERSION, DataSource, pinned_files_source
from alphabench.benchmarks.reporting import mean_estimate, run_scope
from alphabench.benchmarks.rise import questions
from alphabench.benchmarks.rise.scoring import RiseItem, by_size, rise_report
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of

SPLITS: Final[Mapping[str, str]] = {
    "": "RISEBench, 360 items",
    "64": "RISEBench-64, the smaller version in upstream's repository",
    "mini": "RISEBench's categories over AlphaBench's synthetic scenes",
}
N_ITEMS: Final = {"": 360, "64": 64}
AS_UPSTREAM: Final = "accuracy, failures as wrong"
"""Upstream's headline where some replies could not be read."""
ARCHIVE: Final = "upstream/PhoenixZ/RISEBench/data"
"""In the cache: where the authors' archive of the 360 items may be unpacked by hand."""
_ITEMS: Final = f"{ARCHIVE}/datav2_total_w_subtask.json"


def open_rise(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> RiseBench:
    """RISEBench's instructions and rules, as `open_benchmark` says; opening it reads no prompt."""
    opened = RiseBench(split=split, protocol=protocol, data=data)
    return with_known_names(opened, splits=[name for name in SPLITS if name], version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiseBench:
    """One split of RISEBench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def version(self) -> str:
        """Upstream's commit, or a number of our own."""
        return MINI_VERSION if self.split == "mini" else pin_of("rise").commit[:7]

    @property
    def card(self) -> Card:
        origin = self._source()
        return Card(
            name="rise",
            version=self.version,
            split=self.split,
            protocol=self.protocol,
            title=SPLITS.get(self.split, ""),
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2504.02826",
            data_digest=origin.digest,
            images_per_sample=1,
            evaluators=("judge",),
        )

    def samples(self) -> Sequence[Sample]:
        """The items in upstream's order; a sample's id is upstream's index.

        Raises:
            AlphaBenchError: the official data is not here or was changed, or the cache cannot be
                written.
        """
        if self.split == "mini":
            return edit_sources.mini_edits("rise", self.data, group="category")
        return [
            Sample(
                id=row["index"],
                prompt=row["instruction"],
                group=row["category"],
                facts={
                    **row,
                    questions.FIRST_IMAGE: str(
                        self._images.needed(row[questions.first_image(row)])
                    ),
                },
                source_image=self._images.needed(row["image"]),
            )
            for row in self.rows()
        ]

    def rows(self) -> list[dict[str, Any]]:
        """The official items, completed; needs none of their images.

        Raises:
            AlphaBenchError: they are not here, or were changed.
        """
        if self.split == "64":
            return rise_facts(json.loads(self.data.read("rise", "data/data_total.json")))
        hint = "see docs/benchmarks/rise.md for the archive, or use rise:64, which can be fetched"
        return rise_facts(edit_sources.read_items(self.data.cache_dir / _ITEMS, hint=hint))

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (questions.COMPLETE,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with RISEBench's questions: `judge`, `judge?wording=own`."""
        options = judge_options(spec, EditJudgeOptions, benchmark="rise")
        return questions.open_rise_judge(
            judge, options, split=self.split, protocol=self.protocol, data=self.data
        )

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """Complete or not, by item; without a verdict, unscored."""
        return statistics.gather(samples, verdicts, n_expected=1)

    def formula(self) -> Formula:
        """The share of complete items from those of the categories, which weigh by their size."""
        return by_size(self.clusters(self.samples(), ()))

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `scoring.rise_report`. Items that could not be scored are in no mean; beside the
        headline stands upstream's, in which they are wrong.
        """
        scope = run_scope(self, samples, verdicts, evaluator=evaluator, all_samples=all_samples)
        if len(samples) < N_ITEMS.get(self.split, 0):
            scope = replace(scope, has_all_samples=False)
        there = {statistics.sample_of(v): v.value or 0.0 for v in verdicts if v.status != "missing"}
        as_upstream = {AS_UPSTREAM: mean_estimate(there)}
        scored = {statistics.sample_of(v): v for v in verdicts if v.status == "scored"}
        items = [RiseItem.of(sample, scored.get(sample.id)) for sample in samples]
        return rise_report(
            items,
            self.clusters(samples, verdicts),
            scope,
            extras=as_upstream if len(there) > len(scored) else None,
            notes=() if self.split else ["its data is from an archive, which is not verified"],
        )

    @property
    def _images(self) -> edit_sources.SourceImages:
        pinned = "data" if self.split == "64" else ARCHIVE  # of which nothing is pinned
        return edit_sources.SourceImages(
            data=self.data, pin="rise-images", folder=pinned, archive=ARCHIVE
        )

    def _source(self) -> DataSource:
        if self.split == "mini":
            return edit_sources.mini_edit_source("rise")
        pinned = pinned_files_source(pin_of("rise"), pin_of("rise-images"))
        return pinned if self.split else edit_sources.archived_source(self.data, _ITEMS, pinned)


def rise_facts(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as upstream's table holds them, with what its script makes of its columns.

    `consistency_free` counts in its score of every item of data that has the column, and
    `reasoning_wo_ins` for every item: it asks for the column, and takes an absent value for true.
    """
    known = [{key: value for key, value in row.items() if value == value} for row in rows]  # noqa: PLR0124
    columns = {key for row in known for key in row}
    return [
        {
            **row,
            "free": row.get("consistency_free") is not None,
            "free_as_upstream": "consistency_free" in columns
            and bool(row.get("consistency_free", True)),
            "blind": row.get("reasoning_wo_ins") is not None,
            "blind_as_upstream": "reasoning_wo_ins" in columns,
        }
        for row in known
    ]
