"""WISE: 1,000 prompts that need world knowledge, one image each, judged by a model (Niu, 2025).

Two editions, `wise@verified` (the default) and `wise@legacy`, with different prompts, questions and
weights; their results are never compared. The split `mini` is authored here over the project's
synthetic scenes: riddles whose answer is one of their objects. Rules are in `scoring`, questions in
`questions`, upstream's files in `official_files`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks.mini_split import mini_bytes, mini_source, pinned_source
from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.benchmarks.wise.questions import WiseOptions, open_wise_judge
from alphabench.benchmarks.wise.scoring import (
    CATEGORIES,
    EDITIONS,
    METRICS,
    VERIFIED,
    WiseEdition,
    weighted_headline,
)
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Bootstrap, Cluster, Formula
from alphabench.types import Card, Estimate, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of

EVALUATOR: Final = "judge"
MINI_DATA: Final = "wise.jsonl"
_PINS: Final = {"verified": "wise", "legacy": "wise-legacy"}
_KEYS: Final = ("Prompt", "Explanation", "Category", "Subcategory")
_OF_METRICS: Final = Bootstrap(value_range=(0.0, 2.0))


def open_wise(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> Wise:
    """WISE's prompts and rules; opening it reads no file.

    Args:
        split: empty for the official prompts, or `mini`.
        version: `verified` or `legacy`; None is `verified`.
        protocol: how replies are read, and see `Wise.summarise`.
        data: where the official files lie.

    Raises:
        AlphaBenchError: no such split or version.
    """
    if split not in ("", "mini"):
        raise unknown_name("split of wise", split, ["mini"])
    if version not in (None, *EDITIONS):
        raise unknown_name("version of wise", str(version), list(EDITIONS))
    return Wise(edition=EDITIONS[version or "verified"], split=split, protocol=protocol, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wise:
    """One edition and split of WISE under one protocol."""

    edition: WiseEdition
    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        if self.split == "mini":
            origin = mini_source("wise")
            title = "WISE's six categories over AlphaBench's synthetic scenes"
        else:
            pin = pin_of(_PINS[self.edition.name])
            digest = hashlib.sha256("".join(f.digest for f in pin.files).encode()).hexdigest()
            origin = pinned_source(pin, digest=digest)
            title = "WISE_Verified" if self.edition is VERIFIED else "WISE, its first edition"
        return Card(
            name="wise",
            version=self.edition.name,
            split=self.split,
            protocol=self.protocol,
            title=title,
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2503.07265",
            data_digest=origin.digest,
            images_per_sample=1,
            evaluators=(EVALUATOR,),
        )

    def samples(self) -> Sequence[Sample]:
        """The prompts by id, which is also the sample's id and upstream's name of its image.

        Raises:
            AlphaBenchError: the official data is not fetched, or was changed.
        """
        if self.split == "mini":
            lines = mini_bytes("wise").decode().splitlines()
            # The mini split has the verified edition's ids, whichever edition asks.
            return _samples([json.loads(line) for line in lines], VERIFIED, where=MINI_DATA)
        pin = pin_of(_PINS[self.edition.name])
        rows: list[Any] = []
        for file in pin.files:
            rows += _rows(self.data.read(pin.name, file.path), where=file.path)
        return _samples(rows, self.edition, where=pin.repository)

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (self.edition.question,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with WISE's question: `judge`, `judge?wording=own`; see `WiseOptions`."""
        name, values = split_spec(spec or EVALUATOR)
        if name != EVALUATOR:
            raise unknown_name("evaluator of wise", name, [EVALUATOR])
        return open_wise_judge(
            judge,
            fill(WiseOptions, values, owner=name),
            self.edition,
            mini=self.split == "mini",
            protocol=self.protocol,
            data=self.data,
        )

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """Scores by sample."""
        return statistics.gather(samples, verdicts, n_expected=1)

    def formula(self) -> Formula:
        """The headline from the means of the categories."""
        return weighted_headline(self.edition)

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Category = mean over its images; headline = categories by their weights.

        Unscored images count in coverage and bounds, never in a mean. Upstream's script leaves
        them out as well. Under both protocols the headline is None while one of the six categories
        has no scored image, as upstream's script prints no overall score then.
        """
        scope = ReportScope(
            benchmark="wise",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statistics.count_statuses(samples, verdicts, n_expected=1),
            has_all_samples=len(samples) >= len(all_samples),
        )
        return grouped_report(
            scope,
            self.clusters(samples, verdicts),
            formula=self.formula(),
            needed=CATEGORIES,
            kind="categories",
            extras=metric_means(samples, verdicts),
        )


def metric_means(samples: Iterable[Sample], verdicts: Iterable[Verdict]) -> dict[str, Estimate]:
    """Consistency, realism and aesthetic quality, 0 to 2; empty where the judge gave one score."""
    groups = {sample.id: sample.group for sample in samples}
    found: dict[str, list[Cluster]] = {}
    for verdict in verdicts:
        sample_id = statistics.sample_of(verdict)
        for metric in METRICS:
            if sample_id in groups and verdict.status == "scored" and metric in verdict.detail:
                found.setdefault(metric, []).append(
                    Cluster(
                        sample_id=sample_id,
                        group=groups[sample_id],
                        total=verdict.number(metric),
                        n_scored=1,
                        n_expected=1,
                    )
                )
    return {
        metric: statistics.estimate(of, statistics.pooled(of), _OF_METRICS)
        for metric, of in found.items()
    }


def _rows(content: bytes, *, where: str) -> list[Any]:
    rows = json.loads(content)
    if not isinstance(rows, list):
        raise _malformed(where, "it is no list")
    return rows


def _samples(rows: Sequence[Any], edition: WiseEdition, *, where: str) -> list[Sample]:
    samples = []
    for row in rows:
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in _KEYS):
            raise _malformed(where, f"an item lacks one of {', '.join(_KEYS)}")
        number = row.get("prompt_id")
        category = edition.category(number) if isinstance(number, int) else None
        if category is None:
            raise _malformed(where, f"{number!r} is no prompt id of {edition.name}")
        samples.append(Sample(id=str(number), prompt=row["Prompt"], group=category, facts=row))
    if len({sample.id for sample in samples}) < len(samples):
        raise _malformed(where, "a prompt id occurs twice")
    return sorted(samples, key=lambda sample: int(sample.id))


def _malformed(where: str, what: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"{where!r} cannot be used: {what}", hint="restore the file from its source"
    )
