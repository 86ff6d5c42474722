"""ImgEdit-Bench: edits of nine types and hard edits, one image each, judged by a model (Ye, 2025).

Splits: the basic suite of 737 edits (no name), `uge` (understanding, grounding, editing: 47 hard
edits without types), and `mini`, authored here over the project's synthetic scenes, in seven of the
nine types. The question to the judge is in `questions`, averages in `scoring`, upstream's result
files in `official_files`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from alphabench.benchmarks.edit_sources import SourceImages, mini_edit_source, mini_edits
from alphabench.benchmarks.imgedit.questions import QUESTION, open_imgedit_judge
from alphabench.benchmarks.imgedit.scoring import N_EDITS, SETTINGS, TYPES, UGE, imgedit_report
from alphabench.benchmarks.judged import (
    About,
    JudgedBenchmark,
    JudgedRun,
    WordingOptions,
    judge_options,
)
from alphabench.benchmarks.mini_split import DataSource, pinned_files_source
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Bootstrap
from alphabench.types import Report, Sample
from alphabench.upstream import pin_of

DATA: Final = {"": "Benchmark/Basic/basic_edit.json", UGE: "Benchmark/UGE/UGE_edit.json"}
_PINS: Final = {"": "imgedit", UGE: "imgedit-uge"}
_FOLDERS: Final = {"": "singleturn", UGE: "hard"}
"""Of the source images, in the authors' archive and in the copy that is fetched."""
_COPY: Final = "benchmarks/imgedit/imgedit_asset/Benchmark"
ARCHIVE: Final = "upstream/sysuyy/ImgEdit/Benchmark"
"""In the cache: where the authors' archive Benchmark.tar may be unpacked by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImgEdit(JudgedBenchmark):
    """One split of ImgEdit-Bench under one protocol."""

    about: ClassVar = About(
        name="imgedit",
        titles={
            "": "ImgEdit-Bench, basic suite",
            UGE: "ImgEdit-Bench, understanding-grounding-editing suite",
            "mini": "ImgEdit-Bench's types over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2505.20275",
        sizes=N_EDITS,
    )

    def source(self) -> DataSource:
        """The package, or upstream's edits and copies of their images."""
        if self.split == "mini":
            return mini_edit_source("imgedit")
        pin = _PINS[self.split]
        return pinned_files_source(pin_of(pin), pin_of(f"{pin}-images"))

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

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With ImgEdit-Bench's question: `judge`, `judge?wording=own`."""
        options = judge_options(spec, WordingOptions, benchmark="imgedit")
        return open_imgedit_judge(self, judge, options)

    def settings(self) -> Bootstrap:
        """Scores are 1 to 5."""
        return SETTINGS

    def report(self, run: JudgedRun) -> Report:
        """See `scoring.imgedit_report`; the types are those that the split has."""
        n_here, n_edits = len(run.all_samples), N_EDITS.get(self.split, 0)
        groups = {sample.group for sample in run.all_samples}
        types = [name for name in (*TYPES, UGE) if name in groups]
        notes = []
        if n_here < n_edits:
            notes.append(f"source images are here for {n_here} of {n_edits} edits")
        if self.split in _PINS and any(
            self._sources.unverified(sample.source_image) for sample in run.samples
        ):
            notes.append("source images are from the authors' archive, which is not verified")
        clusters = self.clusters(run.samples, run.verdicts)
        return imgedit_report(clusters, run.scope, types, notes=notes)

    @property
    def _sources(self) -> SourceImages:
        folder = _FOLDERS[self.split]
        return SourceImages(
            data=self.data,
            pin=f"{_PINS[self.split]}-images",
            folder=f"{_COPY}/{folder}",
            archive=f"{ARCHIVE}/{folder}",
        )


open_imgedit: Final = ImgEdit.open
