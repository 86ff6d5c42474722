"""Plain metrics on prompts of the user: `alphabench run metrics --prompts FILE --evaluator NAME`.

One image for each prompt and one number for each image, by the metric that is the evaluator. The
headline is the mean over images, as published tables of these metrics have it. A run folder keeps a
copy of the prompts. Knows no model: see `evaluators.metrics`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.prompt_file import PromptEntry, prompt_entries, read_prompt_list
from alphabench.benchmarks.reporting import metric_report, run_scope
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.evaluators.metrics.image_metric import SCORE
from alphabench.evaluators.metrics.metric_table import METRICS, open_metric
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Bootstrap, Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData

NAME: Final = "metrics"
VERSION: Final = "1"
_LONGEST_STEM: Final = 40
_NOT_CALIBRATED: Final = "means of this metric compare images of the same prompts alone"


def open_metrics(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> Metrics:
    """The prompts of a file.

    Args:
        split: path of a `.txt`, `.jsonl` or `.csv` file; empty where only an evaluator is wanted.
        version: None takes the one there is.
        protocol: must be `official`; a metric has one formula.
        data: where fetched files lie.

    Raises:
        AlphaBenchError: no such version, or a file that holds no prompts.
    """
    if version not in (None, VERSION):
        raise unknown_name(f"version of {NAME}", str(version), [VERSION])
    _require_official(protocol)
    if not split:
        return Metrics(title="", prompts=(), data=data)
    path = Path(split).expanduser()
    return Metrics(title=path.stem, prompts=tuple(read_prompt_list(path)), data=data)


def metrics_from(text: str, *, protocol: ProtocolName, data: UpstreamData) -> Metrics | None:
    """What `Metrics.portable` wrote; None for the copy of another benchmark.

    Raises:
        AlphaBenchError: something in it is wrong.
    """
    try:
        tree = parse_json(text)
    except UnreadableFileError:
        return None
    if not isinstance(tree, dict) or tree.get("kind") != NAME:
        return None
    _require_official(protocol)
    rows = tree.get("prompts")
    if not isinstance(rows, list) or not isinstance(tree.get("title"), str):
        raise AlphaBenchError(
            "the copy of the prompts in the run folder is damaged",
            hint="name the benchmark with its file: --benchmark metrics:FILE",
        )
    places = [(f"prompts[{index}] of the run folder", row) for index, row in enumerate(rows)]
    return Metrics(title=tree["title"], prompts=tuple(prompt_entries(places)), data=data)


def _require_official(protocol: ProtocolName) -> None:
    if protocol != "official":
        raise AlphaBenchError(f"{NAME} has no {protocol} protocol", hint="leave out --protocol")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The prompts of a file, to be measured by one metric at a time."""

    title: str
    """The file's name without its ending."""
    prompts: tuple[PromptEntry, ...]
    data: UpstreamData

    @property
    def card(self) -> Card:
        return Card(
            name=NAME,
            version=VERSION,
            split=self._split,
            protocol="official",
            title=f"Plain metrics on the prompts of {self.title or 'a file'}",
            licence="that of the prompts' file",
            source="a file of the user",
            citation="see docs/benchmarks/metrics.md",
            data_digest=self._digest,
            images_per_sample=1,
            evaluators=tuple(METRICS),
        )

    @property
    def portable(self) -> str:
        """The prompts as text, which a run folder keeps."""
        content = {"kind": NAME, "title": self.title, "prompts": [_row(p) for p in self.prompts]}
        return json.dumps(content, ensure_ascii=False, indent=1)

    def samples(self) -> list[Sample]:
        """One for each prompt, in the order of the file.

        Raises:
            AlphaBenchError: no file was named.
        """
        if not self.prompts:
            raise AlphaBenchError(
                f"{NAME} needs prompts", hint="name a .txt, .jsonl or .csv file: --prompts FILE"
            )
        return [
            Sample(id=one.id, prompt=one.prompt, group=one.group, facts=dict(one.scene))
            for one in self.prompts
        ]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (SCORE,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,  # noqa: ARG002  (metrics ask none)
        device: str = "cpu",
    ) -> Evaluator:
        """A metric: `clipscore`, `pickscore?dtype=bfloat16`; see `metric_table.METRICS`."""
        return open_metric(spec or next(iter(METRICS)), device=device, data=self.data)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """Values by prompt."""
        return statistics.gather(samples, verdicts, n_expected=1)

    def formula(self) -> Formula:
        """The mean over all prompts: a group weighs as many times as it has prompts."""
        sizes = [
            Cluster(sample_id=one.id, group=one.group, total=0.0, n_scored=1, n_expected=1)
            for one in self.prompts
        ]
        return statistics.pooled(sizes)

    def settings(self) -> Bootstrap:
        """The widest scale, as a comparison does not say which metric it is of."""
        ranges = [entry.value_range for entry in METRICS.values()]
        return Bootstrap(value_range=(min(low for low, _ in ranges), max(r[1] for r in ranges)))

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `metric_report`."""
        scope = run_scope(self, samples, verdicts, evaluator=evaluator, all_samples=all_samples)
        entry = METRICS.get(evaluator.partition("?")[0])
        value_range = entry.value_range if entry else self.settings().value_range
        clusters = self.clusters(samples, verdicts)
        return metric_report(scope, clusters, value_range, notes=(_NOT_CALIBRATED,))

    @property
    def _digest(self) -> str:
        decisive = [[p.id, p.prompt, p.group, dict(p.scene)] for p in self.prompts]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    @property
    def _split(self) -> str:
        """The file's name and the content's digest, so that two files never share a table."""
        if not self.prompts:
            return ""
        stem = re.sub(r"[^a-z0-9_]+", "-", self.title.casefold()).strip("-")[:_LONGEST_STEM]
        return f"{stem}-{self._digest[:8]}" if stem else self._digest[:8]


def _row(entry: PromptEntry) -> Mapping[str, object]:
    return {
        "id": entry.id,
        "prompt": entry.prompt,
        "group": entry.group,
        "scene": dict(entry.scene),
    }
