"""RISEBench: edits that need reasoning about time, causes, space or logic (Zhao, 2025).

Splits: the full benchmark of 360 items (no name), which is read from the authors' archive; `64`,
the smaller one in upstream's repository; and `mini`, authored here over the project's synthetic
scenes. Questions to the judge are in `questions`, scores and metrics in `scoring`, upstream's
result files in `official_files`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.edit_sources import SourceImages, mini_edit_source, mini_edits
from alphabench.benchmarks.mini_split import MINI_VERSION, DataSource, pinned_files_source
from alphabench.benchmarks.reporting import ReportScope, mean_estimate
from alphabench.benchmarks.rise.questions import (
    COMPLETE,
    RiseOptions,
    first_image,
    item_of,
    open_rise_judge,
)
from alphabench.benchmarks.rise.scoring import DIMENSIONS, by_size, rise_report
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.core.options import fill, split_spec
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
EVALUATOR: Final = "judge"
N_ITEMS: Final = {"": 360, "64": 64}
AS_UPSTREAM: Final = "accuracy, failures as wrong"
"""Upstream's headline where some replies could not be read."""
ARCHIVE: Final = "upstream/PhoenixZ/RISEBench/data"
"""In the cache: where the authors' archive of the 360 items may be unpacked by hand."""
FULL_DATA: Final = "datav2_total_w_subtask.json"


def open_rise(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> RiseBench:
    """RISEBench's instructions and rules; opening it reads no file.

    Raises:
        AlphaBenchError: no such split (empty, `64` or `mini`) or version.
    """
    if split not in SPLITS:
        raise unknown_name("split of rise", split, [name for name in SPLITS if name])
    opened = RiseBench(split=split, protocol=protocol, data=data)
    if version not in (None, opened.version):
        raise unknown_name("version of rise", str(version), [opened.version])
    return opened


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
            title=SPLITS[self.split],
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2504.02826",
            data_digest=origin.digest,
            images_per_sample=1,
            evaluators=(EVALUATOR,),
        )

    def samples(self) -> Sequence[Sample]:
        """The items in upstream's order; a sample's id is upstream's index.

        Raises:
            AlphaBenchError: the official data is not here or was changed, or the cache cannot be
                written.
        """
        if self.split == "mini":
            return mini_edits("rise", self.data, group="category")
        if self.split == "64":
            rows = json.loads(self.data.read("rise", "data/data_total.json"))
        else:
            rows = _archived_rows(self.data)
        return [self._sample(row) for row in rise_facts(rows, self.protocol)]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (COMPLETE,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with RISEBench's questions: `judge`, `judge?wording=own`."""
        name, values = split_spec(spec or EVALUATOR)
        if name != EVALUATOR:
            raise unknown_name("evaluator of rise", name, [EVALUATOR])
        options = fill(RiseOptions, values, owner=name)
        mini = self.split == "mini"
        return open_rise_judge(judge, options, mini=mini, protocol=self.protocol, data=self.data)

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
        statuses = statistics.count_statuses(samples, verdicts, n_expected=1)
        scope = ReportScope(
            benchmark="rise",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statuses,
            has_all_samples=len(samples) >= max(len(all_samples), N_ITEMS.get(self.split, 0)),
        )
        there = {statistics.sample_of(v): v.value or 0.0 for v in verdicts if v.status != "missing"}
        as_upstream = {AS_UPSTREAM: mean_estimate(there)}
        scored = {statistics.sample_of(v): v for v in verdicts if v.status == "scored"}
        items = [item_of(s, _scores_in(scored[s.id]) if s.id in scored else None) for s in samples]
        return rise_report(
            items,
            self.clusters(samples, verdicts),
            scope,
            extras=as_upstream if len(there) > len(scored) else None,
            notes=() if self.split else ["its data is from an archive, which is not verified"],
        )

    def _sample(self, row: Mapping[str, Any]) -> Sample:
        source = self._images.path(row["image"])
        reference = row.get("reference_img")
        paths = [source]
        if reference is not None and first_image(row, row["category"]):
            paths.append(self._images.path(reference))
        if None in paths:
            raise AlphaBenchError(
                f"an image of {row['index']!r} is not here",
                hint="unpack the authors' archive again: see docs/benchmarks/rise.md",
            )
        return Sample(
            id=row["index"],
            prompt=row["instruction"],
            group=row["category"],
            facts={**row, "reference_path": str(paths[-1])},
            source_image=source,
        )

    @property
    def _images(self) -> SourceImages:
        pinned = "data" if self.split == "64" else ARCHIVE  # of which nothing is pinned
        return SourceImages(data=self.data, pin="rise-images", folder=pinned, archive=ARCHIVE)

    def _source(self) -> DataSource:
        if self.split == "mini":
            return mini_edit_source("rise")
        pinned = pinned_files_source(pin_of("rise"), pin_of("rise-images"))
        if self.split == "64":
            return pinned
        path = self.data.cache_dir / ARCHIVE / FULL_DATA
        content = path.read_bytes() if path.is_file() else b""
        return DataSource(
            licence=pinned.licence,
            source="PhoenixZ/RISEBench",
            digest=hashlib.sha256(content).hexdigest(),
        )


def rise_facts(rows: Iterable[Mapping[str, Any]], protocol: ProtocolName) -> list[dict[str, Any]]:
    """Rows as upstream's table holds them, with what its script makes of its columns.

    official: `consistency_free` counts in the score of every item of data that has the column, and
    `reasoning_wo_ins` for every item, as upstream asks for the column and not for its value.
    """
    known = [{k: v for k, v in row.items() if not _is_nan(v)} for row in rows]
    columns = {key for row in known for key in row}
    return [
        {
            **row,
            "free": row.get("consistency_free") is not None,
            "free_as_upstream": "consistency_free" in columns
            and bool(row.get("consistency_free", True)),
            "without_instruction": row.get("reasoning_wo_ins") is not None
            or (protocol == "official" and "reasoning_wo_ins" in columns),
        }
        for row in known
    ]


def _scores_in(verdict: Verdict) -> dict[str, float]:
    return {name: verdict.number(name) for name in DIMENSIONS if name in verdict.detail}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _archived_rows(data: UpstreamData) -> list[dict[str, Any]]:
    path = data.cache_dir / ARCHIVE / FULL_DATA
    try:
        rows: list[dict[str, Any]] = read_json(path)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the 360 items of RISEBench are not on this machine: {str(path)!r}: {error}",
            hint="unpack the authors' archive there (docs/benchmarks/rise.md), or use rise:64",
        ) from error
    return rows
