"""LongText-Bench: 160 prompts with long texts, in English and in Chinese (Geng et al., 2025).

Four images a prompt. A judge writes down the text of each image, and its words (in Chinese, its
characters) are compared with those that the prompt asks for. The split `mini` is authored here over
the project's synthetic scenes, whose objects stand for words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from alphabench.benchmarks.judged import (
    About,
    JudgedBenchmark,
    JudgedRun,
    WordingOptions,
    judge_options,
    rows_of_lines,
)
from alphabench.benchmarks.longtext import questions, scoring
from alphabench.benchmarks.longtext.questions import QUESTION
from alphabench.benchmarks.longtext.scoring import IMAGES, LENGTHS, ReadImage
from alphabench.benchmarks.mini_split import DataSource, mini_bytes, mini_source, pinned_source
from alphabench.benchmarks.object_words import named_words, open_object_judge, wanted_text
from alphabench.interfaces import Evaluator
from alphabench.judges.transcription import Unit, units_of
from alphabench.questions import Judge
from alphabench.statistics import Cluster
from alphabench.types import Report, Sample, Verdict, image_id
from alphabench.upstream import pin_of

PIN: Final = "longtext"
FILES: Final[Mapping[str, str]] = {
    "en": "textbench/text_prompts.jsonl",
    "zh": "textbench/text_prompts_zh.jsonl",
}
N_PROMPTS: Final = 160
"""Of the official data, by language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongText(JudgedBenchmark):
    """One split of LongText-Bench under one protocol."""

    about: ClassVar = About(
        name="longtext",
        titles={
            "en": "LongText-Bench, English",
            "zh": "LongText-Bench, Chinese",
            "mini": "LongText-Bench's rule over AlphaBench's synthetic scenes",
        },
        citation="arXiv:2507.22058",
        images=IMAGES,
    )

    def source(self) -> DataSource:
        """The package, or upstream's file in a language."""
        if self.split == "mini":
            return mini_source("longtext")
        pin = pin_of(PIN)
        return pinned_source(pin, digest=pin.file(FILES[self.split]).digest)

    def samples(self) -> Sequence[Sample]:
        """The prompts in file order; ids are upstream's, in four digits: `0000`."""
        if self.split == "mini":
            return read_longtext_prompts(mini_bytes("longtext"), "longtext.jsonl")
        path = FILES[self.split]
        return read_longtext_prompts(self.data.read(PIN, path), path, unit_of(self.split))

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (QUESTION,)

    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """One that reads: `judge`, `judge?wording=own`; in `mini`, yes or no by object."""
        options = judge_options(spec, WordingOptions, benchmark="longtext")
        if self.split == "mini" and options.wording != "official":
            score = partial(named_words, question_id=QUESTION)
            return open_object_judge(judge, benchmark="longtext", score=score)
        own = options.is_own(self.split)
        wording = None if own else questions.official_wording(self.data)
        return questions.open_longtext_judge(judge, wording, unit_of(self.split), self.protocol)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The words of each prompt's images, each worth 1 where it is there."""
        return scoring.text_clusters(read_images(samples, verdicts, unit_of(self.split)))

    def report(self, run: JudgedRun) -> Report:
        """See `longtext_report`; the protocols differ in how replies are read."""
        return scoring.longtext_report(
            read_images(run.samples, run.verdicts, unit_of(self.split)), run.scope
        )


open_longtext: Final = LongText.open


def unit_of(split: str) -> Unit:
    """Characters in Chinese, else words."""
    return "characters" if split == "zh" else "words"


def read_images(
    samples: Sequence[Sample], verdicts: Sequence[Verdict], unit: Unit
) -> list[ReadImage]:
    """How much of its text was read in each image, from the shares that are the verdicts' values.

    An image without a verdict has none.
    """
    shares = {one.image_id: one.value for one in verdicts if one.value is not None}
    return [
        ReadImage(
            sample_id=sample.id,
            category=sample.group,
            length=sample.facts["length"],
            expected=expected,
            matched=None if share is None else round(share * expected),
        )
        for sample in samples
        for expected in [units_of(wanted_text(sample.facts), unit).total()]
        for share in [shares.get(image_id(sample.id, index)) for index in range(IMAGES)]
    ]


def read_longtext_prompts(content: bytes, where: str, unit: Unit = "words") -> list[Sample]:
    """The prompts of a file of JSON lines: `prompt_id`, `prompt`, `text`, `category`, `length`."""

    def is_prompt(facts: Any) -> bool:
        texts = [facts["prompt"], facts["category"], *facts["text"]]
        are_texts = all(isinstance(text, str) for text in texts) and facts["length"] in LENGTHS
        is_numbered = type(facts["prompt_id"]) is int and "text_length" in facts
        return are_texts and is_numbered and bool(units_of(wanted_text(facts), unit))

    return [
        Sample(id=f"{row['prompt_id']:04}", prompt=row["prompt"], group=row["category"], facts=row)
        for row in rows_of_lines(content, is_prompt, where=where)
    ]
