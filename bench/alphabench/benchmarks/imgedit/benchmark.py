"""ImgEdit-Bench: edits of nine types and hard edits, one image each, judged by a model (Ye, 2025).

Splits: the basic suite of 737 edits (no name), `uge` (understanding, grounding, editing: 47 hard
edits without types), and `mini`, authored here over the project's synthetic scenes, in seven of the
nine types. The question to the judge is in `questions`, averages in `scoring`, upstream's result
files in `official_files`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alphabench import statistics
from alphabench.benchmarks.edit_marks import EditJudgeOptions
from alphabench.benchmarks.edit_sources import SourceImages, mini_edit_source, mini_edits
from alphabench.benchmarks.imgedit.questions import QUESTION, open_imgedit_judge
from alphabench.benchmarks.imgedit.scoring import N_EDITS, SETTINGS, TYPES, UGE, imgedit_report
from alphabench.benchmarks.judged import judge_options
from alphabench.benchmarks.mini_split import MINI_VERSION, pinned_files_source
from alphabench.benchmarks.reporting import ReportScope
from alphabench.core.errors import unknown_name
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Bootstrap, Cluster, Formula, mean_of_groups
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of

SPLITS: Final[Mapping[str, str]] = {
    "": "ImgEdit-Bench, basic suite",
    UGE: "ImgEdit-Bench, understanding-grounding-editing suite",
    "mini": "ImgEdit-Bench's types over AlphaBench's synthetic scenes",
}
DATA: Final = {"": "Benchmark/Basic/basic_edit.json", UGE: "Benchmark/UGE/UGE_edit.json"}
_PINS: Final = {"": "imgedit", UGE: "imgedit-uge"}
_FOLDERS: Final = {"": "singleturn", UGE: "hard"}
"""Of the source images, in the authors' archive and in the copy that is fetched."""
_COPY: Final = "benchmarks/imgedit/imgedit_asset/Benchmark"
ARCHIVE: Final = "upstream/sysuyy/ImgEdit/Benchmark"
"""In the cache: where the authors' archive Benchmark.tar may be unpacked by hand."""


def open_imgedit(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> ImgEdit:
    """ImgEdit-Bench's instructions and rules; opening it reads no file.

    Raises:
        AlphaBenchError: no such split (empty, `uge` or `mini`) or version.
    """
    if split not in SPLITS:
        raise unknown_name("split of imgedit", split, [name for name in SPLITS if name])
    opened = ImgEdit(split=split, protocol=protocol, data=data)
    if version not in (None, opened.version):
        raise unknown_name("version of imgedit", str(version), [opened.version])
    return opened


@dataclass(frozen=True, slots=True, kw_only=True)
class ImgEdit:
    """One split of ImgEdit-Bench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def version(self) -> str:
        """Upstream's commit, or a number of our own."""
        return MINI_VERSION if self.split == "mini" else pin_of(_PINS[self.split]).commit[:7]

    @property
    def card(self) -> Card:
        if self.split == "mini":
            origin = mini_edit_source("imgedit")
        else:
            pin = _PINS[self.split]
            origin = pinned_files_source(pin_of(pin), pin_of(f"{pin}-images"))
        return Card(
            name="imgedit",
            version=self.version,
            split=self.split,
            protocol=self.protocol,
            title=SPLITS[self.split],
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2505.20275",
            data_digest=origin.digest,
            images_per_sample=1,
            evaluators=("judge",),
        )

    def samples(self) -> Sequence[Sample]:
        """The edits in upstream's order; a sample's id is upstream's key and its image's name.

        Edits of `uge` whose source images are only in the authors' archive are left out where it
        is not unpacked.

        Raises:
            AlphaBenchError: the official data is not fetched or was changed, or the cache cannot
                be written.
        """
        if self.split == "mini":
            return mini_edits("imgedit", self.data, group="edit_type")
        rows = json.loads(self.data.read(_PINS[self.split], DATA[self.split]))
        names = dict.fromkeys(row["id"] for row in rows.values())
        sources = {name: self._sources.path(name) for name in names}
        return [
            Sample(
                id=key,
                prompt=row["prompt"],
                group=row.get("edit_type", UGE),
                facts={"edit_type": UGE, **row},
                source_image=sources[row["id"]],
            )
            for key, row in rows.items()
            if sources[row["id"]] is not None
        ]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (QUESTION,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with ImgEdit-Bench's question: `judge`, `judge?wording=own`."""
        options = judge_options(spec, EditJudgeOptions, benchmark="imgedit")
        return open_imgedit_judge(
            judge, options, split=self.split, protocol=self.protocol, data=self.data
        )

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """Scores by edit."""
        return statistics.gather(samples, verdicts, n_expected=1)

    def formula(self) -> Formula:
        """The headline from the means of the types."""
        return mean_of_groups

    def settings(self) -> Bootstrap:
        """Scores are 1 to 5."""
        return SETTINGS

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `scoring.imgedit_report`; the types are those that the split has."""
        n_edits = N_EDITS.get(self.split, 0)
        scope = ReportScope(
            benchmark="imgedit",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statistics.count_statuses(samples, verdicts, n_expected=1),
            has_all_samples=len(samples) >= max(len(all_samples), n_edits),
        )
        groups = {sample.group for sample in all_samples}
        types = [name for name in (*TYPES, UGE) if name in groups]
        notes = []
        if len(all_samples) < n_edits:
            notes.append(f"source images are here for {len(all_samples)} of {n_edits} edits")
        if self.split in _PINS and any(self._sources.unverified(s.source_image) for s in samples):
            notes.append("source images are from the authors' archive, which is not verified")
        return imgedit_report(self.clusters(samples, verdicts), scope, types, notes=notes)

    @property
    def _sources(self) -> SourceImages:
        folder = _FOLDERS[self.split]
        return SourceImages(
            data=self.data,
            pin=f"{_PINS[self.split]}-images",
            folder=f"{_COPY}/{folder}",
            archive=f"{ARCHIVE}/{folder}",
        )
