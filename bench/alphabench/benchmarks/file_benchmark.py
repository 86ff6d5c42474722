"""A benchmark written as a file: `file:my_benchmark.yaml`. A judge answers questions on each image.

Yes is 1 and no is 0; a score is scaled so that the lowest is 0 and the highest 1. A group is the
mean over its prompts, the headline the mean of the groups. `prompt_file` says what a file holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from alphabench.benchmarks.prompt_file import (
    AnswerKind,
    BenchmarkDefinition,
    definition_from_json,
    read_definition,
)
from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill, split_spec
from alphabench.evaluators.judge_evaluator import JudgeEvaluator, verdict_from
from alphabench.interfaces import Evaluator
from alphabench.judges.score_text import ScoreText
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText, yes_no_question
from alphabench.questions import Answer, Capabilities, ImagePart, Judge, Question
from alphabench.statistics import count_statuses, gather
from alphabench.types import Card, GeneratedImage, ProtocolName, Report, Sample, Verdict

FILE_PREFIX: Final = "file:"
JUDGED: Final = "judge"
_SCALES: Final[Mapping[AnswerKind, tuple[int, int]]] = {"score_0_10": (0, 10), "score_1_5": (1, 5)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileJudgeOptions:
    """What `--evaluator 'judge?...'` takes."""

    reading: Literal["text", "probability"] = "text"
    """Of yes/no answers: the word, or P(yes) from log-probabilities."""


def open_file_benchmark(location: str, *, protocol: ProtocolName) -> FileBenchmark:
    """The benchmark in a YAML file.

    Args:
        location: what follows `file:`.
        protocol: must be `official`; a file has one way to score.

    Raises:
        AlphaBenchError: the file cannot be read, something in it is wrong, or another protocol.
    """
    path = Path(location).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        raise AlphaBenchError(
            f"'{FILE_PREFIX}{location}' names no YAML file",
            hint="write file:my_benchmark.yaml; see docs/prompts.md",
        )
    return _checked(FileBenchmark(definition=read_definition(path), origin=path.name), protocol)


def open_kept_benchmark(text: str, *, protocol: ProtocolName) -> FileBenchmark:
    """The benchmark that a run folder keeps a copy of; see `FileBenchmark.portable`.

    Raises:
        AlphaBenchError: the copy is damaged, or another protocol.
    """
    definition = definition_from_json(text, source="the benchmark in the run folder")
    return _checked(FileBenchmark(definition=definition, origin="a file of your own"), protocol)


def _checked(benchmark: FileBenchmark, protocol: ProtocolName) -> FileBenchmark:
    if protocol != "official":
        raise AlphaBenchError(
            f"a benchmark in a file has no {protocol} protocol", hint="leave out --protocol"
        )
    return benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBenchmark:
    """The prompts and questions of a definition."""

    definition: BenchmarkDefinition
    origin: str
    """Where it came from, for the card."""

    @property
    def card(self) -> Card:
        """The card; a benchmark in a file has no splits."""
        return Card(
            name=self.definition.name,
            version=self.definition.version,
            split="",
            protocol="official",
            title=self.definition.description,
            licence=self.definition.licence,
            source=self.origin,
            citation="none",
            data_digest=self.definition.digest,
            images_per_sample=self.definition.images_per_prompt,
            evaluators=(JUDGED,),
        )

    @property
    def portable(self) -> str:
        """The whole benchmark as text, which a run folder keeps."""
        return self.definition.to_json()

    def samples(self) -> list[Sample]:
        """One for each prompt, in the order of the file."""
        return [
            Sample(
                id=entry.id,
                prompt=entry.prompt,
                group=entry.group,
                facts={**entry.scene, "questions": self.definition.questions_of(entry)},
            )
            for entry in self.definition.prompts
        ]

    def questions(self, sample: Sample) -> list[str]:
        """`0`, `1` ... in the order of the questions."""
        return [str(index) for index in range(len(sample.facts["questions"]))]

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """The judge with this benchmark's questions; `device` is the judge's own affair.

        Raises:
            AlphaBenchError: another evaluator, an unknown option, or no judge.
        """
        del device
        name, options = split_spec(spec or JUDGED)
        if name != JUDGED:
            raise unknown_name(f"evaluator of {self.definition.name}", name, [JUDGED])
        chosen = fill(FileJudgeOptions, options, owner=JUDGED)
        if judge is None:
            raise AlphaBenchError(
                f"{self.definition.name} is scored by a judge",
                hint="name one: --judge 'http://localhost:8000/v1#MODEL', or --judge nano",
            )
        answer = self.definition.answer
        if answer != "yes_no":
            lowest, highest = _SCALES[answer]
            asker = _ScoreQuestions(self._scale(lowest, highest))
            return JudgeEvaluator(
                judge=judge,
                questions_about=asker,
                score=_ScaledScores(lowest, highest),
                identity=asker.answer_format.identity,
            )
        yes_no = self._yes_no(chosen.reading)
        return JudgeEvaluator(
            judge=judge,
            questions_about=_YesNoQuestions(yes_no),
            score=_yes_no_verdicts,
            identity=yes_no.identity,
            needs=Capabilities(images_per_question=1, logprobs=chosen.reading == "probability"),
        )

    def _scale(self, lowest: int, highest: int) -> ScoreText:
        template = self.definition.template
        if template is None:
            return ScoreText(lowest=lowest, highest=highest)
        return ScoreText(lowest=lowest, highest=highest, template=template)

    def _yes_no(self, reading: str) -> YesNo:
        kind = YesNoProbability if reading == "probability" else YesNoText
        template = self.definition.template
        return kind() if template is None else kind(template=template)

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Means over prompts in each group, and the mean of the groups."""

        def n_expected(sample: Sample) -> int:
            return self.definition.images_per_prompt * len(self.questions(sample))

        scope = ReportScope(
            benchmark=self.definition.name,
            split="",
            protocol="official",
            evaluator=evaluator,
            statuses=count_statuses(samples, verdicts, n_expected=n_expected),
            has_all_samples=len(samples) == len(all_samples),
        )
        return grouped_report(scope, gather(samples, verdicts, n_expected=n_expected))


@dataclass(frozen=True, slots=True)
class _YesNoQuestions:
    """One call of the judge for each question about an image."""

    answer_format: YesNo

    def __call__(self, image: GeneratedImage) -> list[Question]:
        return [
            yes_no_question(
                text,
                [ImagePart.of(image)],
                image_id=image.id,
                question_id=str(index),
                answer_format=self.answer_format,
            )
            for index, text in enumerate(image.request.sample.facts["questions"])
        ]


@dataclass(frozen=True, slots=True)
class _ScoreQuestions:
    """One call of the judge for each question about an image."""

    answer_format: ScoreText

    def __call__(self, image: GeneratedImage) -> list[Question]:
        return [
            Question(
                image_id=image.id,
                id=str(index),
                parts=(ImagePart.of(image), self.answer_format.text(text)),
                sampling=self.answer_format.sampling,
                answer_format=self.answer_format,
            )
            for index, text in enumerate(image.request.sample.facts["questions"])
        ]


def _yes_no_verdicts(image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
    """1 for yes, 0 for no; an answer that cannot be read keeps its status and has no value."""
    del image
    return [verdict_from(answer) for answer in answers]


@dataclass(frozen=True, slots=True)
class _ScaledScores:
    """Values from 0 to 1; the score as it was given is in the verdict's detail."""

    lowest: int
    highest: int

    def __call__(self, image: GeneratedImage, answers: Sequence[Answer]) -> list[Verdict]:
        del image
        return [self._verdict(answer) for answer in answers]

    def _verdict(self, answer: Answer) -> Verdict:
        if answer.values is None:
            return verdict_from(answer)
        score = answer.values[0]
        scaled = (score - self.lowest) / (self.highest - self.lowest)
        return verdict_from(answer, value=scaled, detail={"score": score})
