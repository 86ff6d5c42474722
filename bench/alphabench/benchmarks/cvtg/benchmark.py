"""CVTG-2K: 2,000 prompts with two to five regions of text (TextCrafter; Du et al., 2025).

The text of an image is read by OCR, and its words are compared with those that the prompt quotes.
The official prompts are an archive that the user unpacks; nothing verifies it. The split `mini` is
authored here over the project's synthetic scenes, whose objects stand for words.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

from alphabench import statistics
from alphabench.benchmarks.cvtg import questions, scoring
from alphabench.benchmarks.cvtg.scoring import AREAS, KINDS, ReadImage
from alphabench.benchmarks.judged import About, JudgedBenchmark, JudgedRun, judge_options
from alphabench.benchmarks.mini_split import DataSource, mini_bytes, mini_source
from alphabench.benchmarks.object_words import wanted_text
from alphabench.benchmarks.reporting import metric_report
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.evaluators.metrics.metric_table import METRICS, open_metric
from alphabench.evaluators.ocr_results import OcrOptions, open_ocr_results
from alphabench.evaluators.word_accuracy import ENGINE, WordEvaluator
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster
from alphabench.types import OUT_OF, Report, Sample, Verdict
from alphabench.upstream.formats import read_json_object

FOLDER: Final = "upstream/dnkdnk/CVTG-2K"
"""In the cache: where the authors' archive is unpacked by hand."""
VERSION: Final = "f1288c8"
"""The git blob of the scorer that is followed; the data has no version of its own."""
N_PROMPTS: Final = 2000
BESIDE: Final = ("clipscore", "aesthetic")
"""Upstream's further metrics that AlphaBench has."""
_HINT: Final = "unpack CVTG-2K.zip as docs/benchmarks/cvtg.md says, or use cvtg:mini"
_INDEX: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cvtg(JudgedBenchmark):
    """One split of CVTG-2K under one protocol; a judge is asked in `mini` alone."""

    about: ClassVar = About(
        name="cvtg",
        titles={"": "CVTG-2K", "mini": "CVTG-2K's rules over AlphaBench's synthetic scenes"},
        citation="arXiv:2503.23461",
    )

    @property
    def evaluator_names(self) -> tuple[str, ...]:
        return ("judge",) if self.split == "mini" else ("ocr", *BESIDE)

    def source(self) -> DataSource:
        """The package, or what the user unpacked."""
        if self.split == "mini":
            return mini_source("cvtg")
        digest = hashlib.sha256()
        for file in self._files().values():
            digest.update(file.read_bytes() if file.is_file() else b"")
        return DataSource(
            licence="not known",
            source="dnkdnk/CVTG-2K, the authors' archive, unpacked by the user",
            version=VERSION,
            digest=digest.hexdigest(),
        )

    def samples(self) -> Sequence[Sample]:
        """The prompts in upstream's order; ids are `CVTG-2-17`, groups `CVTG-2`.

        Raises:
            AlphaBenchError: the archive is not unpacked, or does not have the known form.
        """
        if self.split == "mini":
            lines = mini_bytes("cvtg").decode("utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            return [_sample(row, wanted_text(row).lower().split()) for row in rows]
        return [
            _sample(row, scoring.asked_words(row["prompt"], self.protocol))
            for (kind, area), file in self._files().items()
            for row in _read_prompts(file, kind, area)
        ]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (questions.QUESTION,)

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """`ocr`, `ocr?results=FILE&engine=NAME`, or a plain metric; in `mini`, the judge."""
        if self.split == "mini":
            return self.judge_evaluator(spec, judge)
        name, values = split_spec(spec or "ocr")
        if name not in self.evaluator_names:
            raise unknown_name("evaluator of cvtg", name, self.evaluator_names)
        if judge is not None:
            raise AlphaBenchError(f"{name!r} asks no judge", hint="leave out --judge")
        if name in BESIDE:
            return open_metric(spec or name, device=device, data=self.data)
        results = open_ocr_results(fill(OcrOptions, values, owner=name), questions.upstream_key)
        return WordEvaluator(
            results=results, protocol=self.protocol, question_id=questions.QUESTION
        )

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """Of `mini`; it has no options."""
        judge_options(spec, _NoOptions, benchmark="cvtg")
        return questions.open_mini_judge(judge, self.protocol)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The words of each image, each worth 1 where it is there; of a plain metric, its value."""
        if any(OUT_OF in verdict.detail for verdict in verdicts):
            found = statistics.gather(samples, verdicts, n_expected=1)
            return [replace(one, group="all") for one in found]
        return scoring.word_clusters(read_images(samples, verdicts))

    def report(self, run: JudgedRun) -> Report:
        """See `cvtg_report`; with `clipscore` or `aesthetic`, its mean over images."""
        images, scope = read_images(run.samples, run.verdicts), run.scope
        if self.split == "mini":
            return scoring.cvtg_report(images, scope)
        n_needed = max(N_PROMPTS, len(run.all_samples))
        scope = replace(scope, has_all_samples=len(run.samples) >= n_needed)
        notes: tuple[str, ...] = ("its data is from an archive, which is not verified",)
        if scope.evaluator in BESIDE:
            values = statistics.gather(run.samples, run.verdicts, n_expected=1)
            return metric_report(scope, values, METRICS[scope.evaluator].value_range, notes=notes)
        asked = [sample for sample in run.samples if sample.facts["words"]]
        statuses = statistics.count_statuses(asked, run.verdicts, n_expected=1)
        scope, n_without = replace(scope, statuses=statuses), len(run.samples) - len(asked)
        notes += (f"prompts that quote no word count in nothing: {n_without}",) if n_without else ()
        notes = (*notes, *_notes_on(run.verdicts), "VQAScore is not measured")
        failed = questions.failed_samples(run.verdicts)
        return scoring.cvtg_report(images, scope, failed=failed, notes=notes)

    def _files(self) -> dict[tuple[str, int], Path]:
        """One for each part; the archive's own page spells a folder CVTG-style."""
        root = self.data.cache_dir / FOLDER
        folders = {one.name.casefold(): one for one in root.iterdir()} if root.is_dir() else {}
        return {
            (kind, area): folders.get(kind.casefold(), root / kind) / f"{area}.json"
            for kind in KINDS
            for area in AREAS
        }


open_cvtg: Final = Cvtg.open


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoOptions:
    """`judge` of `mini` has none."""


def read_images(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[ReadImage]:
    """What the verdicts say about the image of each sample; one without a verdict has none."""
    by_sample = {statistics.sample_of(one): one for one in verdicts}
    return [ReadImage.of(one, by_sample.get(one.id)) for one in samples]


def _sample(row: Mapping[str, Any], words: Sequence[str]) -> Sample:
    part = f"{row['benchmark_type']}-{row['area']}"
    facts = {**row, "words": list(words)}
    return Sample(id=f"{part}-{row['index']}", prompt=row["prompt"], group=part, facts=facts)


def _read_prompts(file: Path, kind: str, area: int) -> list[dict[str, Any]]:
    """The prompts of one part; AlphaBenchError where they are not there or have another form."""
    rows = read_json_object(file, hint=_HINT).get("data_list")
    found: dict[str, dict[str, Any]] = {}
    for row in rows if isinstance(rows, list) else ():
        prompt, index = (row.get(k) if isinstance(row, dict) else None for k in ("prompt", "index"))
        if isinstance(prompt, str) and type(index) in (int, str) and _INDEX.fullmatch(str(index)):
            part = {"benchmark_type": kind, "area": area}
            found[str(index)] = {**part, "index": str(index), "prompt": prompt}
    if not isinstance(rows, list) or not rows or len(found) < len(rows):
        raise AlphaBenchError(
            f"{str(file)!r} is no 'data_list' of prompts with an 'index' of their own", hint=_HINT
        )
    return list(found.values())


def _notes_on(verdicts: Sequence[Verdict]) -> list[str]:
    """A note for each engine but upstream's."""
    engines = {str(one.detail[ENGINE]) for one in verdicts if ENGINE in one.detail}
    return [
        f"not official: {engine} read the text; upstream reads with PaddleOCR, and the two were "
        "not compared"
        for engine in sorted(engines)
        if not engine.casefold().startswith("paddleocr")
    ]
