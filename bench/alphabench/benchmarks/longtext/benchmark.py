"""LongText-Bench: 160 prompts with long texts, in English and in Chinese (Geng et al., 2025).

Four images a prompt. A judge writes down the text of each image, and its words (in Chinese, its
characters) are compared with those that the prompt asks for. The split `mini` is authored here over
the project's synthetic scenes, whose objects stand for words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from alphabench import statistics
from alphabench.benchmarks import mini_split
from alphabench.benchmarks.judged import judge_options, rows_of_lines, with_known_names
from alphabench.benchmarks.longtext import questions, scoring
from alphabench.benchmarks.longtext.questions import QUESTION, wanted_text
from alphabench.benchmarks.longtext.scoring import IMAGES, LENGTHS, ReadImage
from alphabench.benchmarks.reporting import run_scope
from alphabench.interfaces import Evaluator
from alphabench.judges.transcription import Unit, units_of
from alphabench.questions import Judge
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData, pin_of

PIN: Final = "longtext"
FILES: Final[Mapping[str, str]] = {
    "en": "textbench/text_prompts.jsonl",
    "zh": "textbench/text_prompts_zh.jsonl",
}
TITLES: Final[Mapping[str, str]] = {
    "en": "LongText-Bench, English",
    "zh": "LongText-Bench, Chinese",
    "mini": "LongText-Bench's rule over AlphaBench's synthetic scenes",
}
N_PROMPTS: Final = 160
"""Of the official data, by language."""


def open_longtext(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> LongText:
    """LongText-Bench's prompts and rules, as `open_benchmark` says; `en` where no split is named.

    Opening it reads no file.
    """
    opened = LongText(split=split or "en", protocol=protocol, data=data)
    return with_known_names(opened, splits=list(TITLES), version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongText:
    """One split of LongText-Bench under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        pin = pin_of(PIN)
        if is_official := self.split in FILES:
            digest = pin.file(FILES[self.split]).digest
            origin = mini_split.pinned_source(pin, digest=digest)
        else:
            origin = mini_split.mini_source("longtext")
        return Card(
            name="longtext",
            version=pin.commit[:7] if is_official else mini_split.MINI_VERSION,
            split=self.split,
            protocol=self.protocol,
            title=TITLES.get(self.split, ""),
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2507.22058",
            data_digest=origin.digest,
            images_per_sample=IMAGES,
            evaluators=("judge",),
        )

    def samples(self) -> Sequence[Sample]:
        """The prompts in file order; ids are upstream's, in four digits: `0000`."""
        if self.split == "mini":
            return read_longtext_prompts(mini_split.mini_bytes("longtext"), "longtext.jsonl")
        path = FILES[self.split]
        return read_longtext_prompts(self.data.read(PIN, path), path, unit_of(self.split))

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (QUESTION,)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge that reads: `judge`, `judge?wording=own`; in `mini`, yes or no by object."""
        options = judge_options(spec, questions.LongTextOptions, benchmark="longtext")
        if self.split == "mini" and options.wording != "official":
            return questions.open_object_judge(judge)
        own = options.wording == "own"
        wording = None if own else questions.official_wording(self.data)
        return questions.open_longtext_judge(judge, wording, unit_of(self.split), self.protocol)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The words of each prompt's images, each worth 1 where it is there."""
        return scoring.text_clusters(read_images(samples, verdicts, unit_of(self.split)))

    def formula(self) -> Formula:
        """The mean over all words."""
        return statistics.mean_of_groups

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `longtext_report`; the protocols differ in how replies are read."""
        scope = run_scope(self, samples, verdicts, evaluator=evaluator, all_samples=all_samples)
        return scoring.longtext_report(read_images(samples, verdicts, unit_of(self.split)), scope)


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

    def fits(facts: Any) -> bool:
        texts = [facts["prompt"], facts["category"], *facts["text"]]
        is_prompt = all(isinstance(text, str) for text in texts) and facts["length"] in LENGTHS
        is_numbered = type(facts["prompt_id"]) is int and "text_length" in facts
        return is_prompt and is_numbered and bool(units_of(wanted_text(facts), unit))

    return [
        Sample(id=f"{row['prompt_id']:04}", prompt=row["prompt"], group=row["category"], facts=row)
        for row in rows_of_lines(content, fits, where=where)
    ]
