"""T2I-CoReBench: 1,080 prompts in 12 dimensions of composition and reasoning (Li et al., 2026).

Four images a prompt. The split `mini` is authored here over the project's synthetic scenes, which
have no writing: it lacks C-TR.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks import mini_split
from alphabench.benchmarks.corebench import questions, scoring
from alphabench.benchmarks.corebench.scoring import DIMENSIONS, IMAGES, JudgedImage
from alphabench.benchmarks.judged import judge_options, rows_of_lines, with_known_names
from alphabench.benchmarks.reporting import run_scope
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData, pin_of

PIN: Final = "corebench"


def open_corebench(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> CoreBench:
    """T2I-CoReBench's prompts and rules, as `open_benchmark` says; opening it reads no file."""
    opened = CoreBench(split=split, protocol=protocol, data=data)
    return with_known_names(opened, splits=["mini"], version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreBench:
    """One split of T2I-CoReBench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        mini, pin = self.split == "mini", pin_of(PIN)
        digest = hashlib.sha256("".join(file.digest for file in pin.files).encode()).hexdigest()
        origin = mini_split.pinned_source(pin, digest=digest)
        if mini:
            origin = mini_split.mini_source("corebench")
        scenes = "T2I-CoReBench's dimensions over AlphaBench's synthetic scenes"
        return Card(
            name="corebench",
            version=mini_split.MINI_VERSION if mini else pin.commit[:7],
            split=self.split,
            protocol=self.protocol,
            title=scenes if mini else "T2I-CoReBench",
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2509.03516",
            data_digest=origin.digest,
            images_per_sample=IMAGES,
            evaluators=("judge",),
        )

    def samples(self) -> Sequence[Sample]:
        """The prompts by dimension; ids are upstream's: `C-MI-001`."""
        if self.split == "mini":
            content = mini_split.mini_bytes("corebench")
            rows = rows_of_lines(content, _is_entry, where="corebench.jsonl")
            return [_sample(row["id"], row) for row in rows]
        return [one for name in DIMENSIONS for one in self._dimension(f"data/{name}.json")]

    def questions(self, sample: Sample) -> Sequence[str]:
        """The positions in the checklist: `0`, `1` ..."""
        return [str(index) for index in range(len(sample.facts["Checklist"]))]

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with a call for each question: `judge`, `judge?backend=gemini`."""
        options = judge_options(spec, questions.CoreBenchOptions, benchmark="corebench")
        is_own = options.wording == "own" or (options.wording == "auto" and self.split == "mini")
        texts = None if is_own else questions.official_texts(self.data)
        return questions.open_corebench_judge(judge, options, texts, self.protocol)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The scores of each prompt's images."""
        return scoring.image_clusters(judged_images(samples, verdicts))

    def formula(self) -> Formula:
        """The mean of the dimensions."""
        return statistics.mean_of_groups

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `corebench_report`; the protocols differ in how replies are read."""
        scope = run_scope(self, samples, verdicts, evaluator=evaluator, all_samples=all_samples)
        needed = list(dict.fromkeys(sample.group for sample in all_samples))
        return scoring.corebench_report(judged_images(samples, verdicts), scope, needed=needed)

    def _dimension(self, path: str) -> Iterator[Sample]:
        try:
            entries = parse_json(self.data.read(PIN, path).decode("utf-8"))
            fitting = all(map(_is_entry, entries.values()))
        except (UnreadableFileError, AttributeError, KeyError, TypeError):
            fitting = False
        if not fitting:
            raise AlphaBenchError(
                f"{path!r} holds no prompts with checklists", hint="restore it from its source"
            )
        yield from (_sample(name, entry) for name, entry in entries.items())


def judged_images(samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[JudgedImage]:
    """The answers by image; what no verdict is about has none."""
    values = {(verdict.image_id, verdict.question_id): verdict.value for verdict in verdicts}
    return [
        JudgedImage(
            sample_id=sample.id,
            dimension=sample.group,
            answers=tuple(
                values.get((image_id(sample.id, index), str(number)))
                for number in range(len(sample.facts["Checklist"]))
            ),
        )
        for sample in samples
        for index in range(IMAGES)
    ]


def dimension_of(name: str) -> str:
    """`C-MI` of a prompt's or an image's id: its first two fields."""
    return "-".join(name.split("-")[:2])


def _sample(name: str, entry: Any) -> Sample:
    return Sample(id=name, prompt=entry["Prompt"], group=dimension_of(name), facts=entry)


def _is_entry(entry: Any) -> bool:
    """False, or KeyError or TypeError, for anything else."""
    texts = [entry["Prompt"], *(item["question"] for item in entry["Checklist"])]
    return len(texts) > 1 and all(isinstance(text, str) for text in texts)
