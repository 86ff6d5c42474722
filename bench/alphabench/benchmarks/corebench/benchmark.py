"""T2I-CoReBench: 1,080 prompts in 12 dimensions of composition and reasoning (Li et al., 2026).

Four images a prompt. The split `mini` is authored here over the project's synthetic scenes, which
have no writing: it lacks C-TR.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from alphabench.benchmarks import judged
from alphabench.benchmarks.answered_images import AnsweredImage, answered_images
from alphabench.benchmarks.corebench import questions, scoring
from alphabench.benchmarks.corebench.scoring import DIMENSIONS, IMAGES
from alphabench.benchmarks.judged import JudgedBenchmark, JudgedRun
from alphabench.benchmarks.mini_split import DataSource, mini_source, pinned_files_source
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.statistics import Cluster
from alphabench.types import Report, Sample, Verdict
from alphabench.upstream import pin_of

PIN: Final = "corebench"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreBench(JudgedBenchmark):
    """One split of T2I-CoReBench under one protocol."""

    about: ClassVar = judged.About(
        name="corebench",
        titles={
            "": "T2I-CoReBench",
            "mini": "T2I-CoReBench's dimensions over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2509.03516",
        images=IMAGES,
    )

    def source(self) -> DataSource:
        """The package, or all of upstream's files."""
        if self.split == "mini":
            return mini_source("corebench")
        return pinned_files_source(pin_of(PIN))

    def samples(self) -> Sequence[Sample]:
        """The prompts by dimension; ids are upstream's: `C-MI-001`."""
        if self.split == "mini":
            return [_sample(row["id"], row) for row in judged.mini_rows("corebench", _is_entry)]
        return [one for name in DIMENSIONS for one in self._dimension(f"data/{name}.json")]

    def questions(self, sample: Sample) -> Sequence[str]:
        """The positions in the checklist: `0`, `1` ..."""
        return item_ids(sample)

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """With a call for each question: `judge`, `judge?backend=gemini`."""
        options = judged.judge_options(spec, questions.CoreBenchOptions, benchmark="corebench")
        texts = None if options.is_own(self.split) else questions.official_texts(self.data)
        return questions.open_corebench_judge(judge, options, texts, self.protocol)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The scores of each prompt's images."""
        return scoring.image_clusters(judged_images(samples, verdicts).values())

    def report(self, run: JudgedRun) -> Report:
        """See `corebench_report`; the protocols differ in how replies are read."""
        needed = list(dict.fromkeys(sample.group for sample in run.all_samples))
        images = list(judged_images(run.samples, run.verdicts).values())
        return scoring.corebench_report(images, run.scope, needed=needed)

    def _dimension(self, path: str) -> Iterator[Sample]:
        entries = judged.json_or_none(self.data.read(PIN, path))
        if not judged.fits(entries, lambda of: all(map(_is_entry, of.values()))):
            raise AlphaBenchError(
                f"{path!r} holds no prompts with checklists", hint="restore it from its source"
            )
        yield from (_sample(name, entry) for name, entry in entries.items())


open_corebench: Final = CoreBench.open


def item_ids(sample: Sample) -> list[str]:
    """The positions in a prompt's checklist."""
    return judged.index_ids(sample.facts["Checklist"])


def judged_images(
    samples: Sequence[Sample], verdicts: Sequence[Verdict]
) -> dict[str, AnsweredImage]:
    """Image id -> the answers about it, by dimension."""
    return answered_images(samples, verdicts, item_ids, images=IMAGES)


def dimension_of(name: str) -> str:
    """`C-MI` of a prompt's or an image's id: its first two fields."""
    return "-".join(name.split("-")[:2])


def _sample(name: str, entry: Any) -> Sample:
    return Sample(id=name, prompt=entry["Prompt"], group=dimension_of(name), facts=entry)


def _is_entry(entry: Any) -> bool:
    """False, or KeyError or TypeError, for anything else."""
    texts = [entry["Prompt"], *(item["question"] for item in entry["Checklist"])]
    return len(texts) > 1 and all(isinstance(text, str) for text in texts)
