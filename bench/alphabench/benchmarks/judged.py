"""Benchmarks whose images a judge scores: their base, and what they read and ask in the same way.

A benchmark of this kind is a subclass of `JudgedBenchmark`, which names its data, its evaluator and
its metrics; all that follows from these stands here. Knows no benchmark and no rule.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from alphabench import statistics
from alphabench.benchmarks.mini_split import DataSource, mini_bytes
from alphabench.benchmarks.reporting import ReportScope, run_scope
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.core.options import fill, split_spec
from alphabench.evaluators.judge_evaluator import JudgeEvaluator
from alphabench.interfaces import Evaluator
from alphabench.judges.yesno import YesNoText, yes_no_question
from alphabench.questions import Answer, ImagePart, Judge, Question
from alphabench.statistics import Cluster, Formula
from alphabench.types import Card, GeneratedImage, ProtocolName, Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData

T = TypeVar("T")
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a benchmark's card states of all its splits."""

    name: str
    titles: Mapping[str, str]
    """Split -> title; the first split is the one where none is named."""
    citation: str
    images: int = 1
    """Of a sample."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Split -> its number of samples, where not all of them may be on this machine."""


class JudgedRun(NamedTuple):
    """What a report is made from: the arguments of `Benchmark.summarise`, and their scope."""

    samples: Sequence[Sample]
    verdicts: Sequence[Verdict]
    all_samples: Sequence[Sample]
    scope: ReportScope


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedBenchmark(ABC):
    """One split of a benchmark under one protocol; see `Benchmark`."""

    about: ClassVar[About]

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @classmethod
    def open(
        cls,
        split: str = "",
        *,
        version: str | None = None,
        protocol: ProtocolName = "official",
        data: UpstreamData,
    ) -> Self:
        """The benchmark's prompts and rules, as `open_benchmark` says; opening it reads no prompt.

        Args:
            split: one of `about.titles`; empty for the first.
            version: None takes the one there is.
            protocol: how replies are asked for and read.
            data: where official data lies.

        Raises:
            AlphaBenchError: no such split or version.
        """
        name, splits = cls.about.name, cls.about.titles
        if (split := split or next(iter(splits))) not in splits:
            raise unknown_name(f"split of {name}", split, [known for known in splits if known])
        opened = cls(split=split, protocol=protocol, data=data)
        if version not in (None, known := opened.source().version):
            raise unknown_name(f"version of {name}:{split}".rstrip(":"), str(version), [known])
        return opened

    @property
    def card(self) -> Card:
        about, source = self.about, self.source()
        return Card(
            name=about.name,
            version=source.version,
            split=self.split,
            protocol=self.protocol,
            title=about.titles[self.split],
            licence=source.licence,
            source=source.source,
            citation=about.citation,
            data_digest=source.digest,
            images_per_sample=about.images,
            evaluators=self.evaluator_names,
        )

    @property
    def evaluator_names(self) -> tuple[str, ...]:
        """What `evaluator` accepts; the first is the default."""
        return ("judge",)

    def evaluator(
        self,
        spec: str | None = None,
        *,
        judge: Judge | None = None,
        device: str = "cpu",  # noqa: ARG002  (the judge has its own)
    ) -> Evaluator:
        """The judge with this benchmark's questions: `judge`, `judge?wording=own`."""
        return self.judge_evaluator(spec, judge)

    def clusters(self, samples: Sequence[Sample], verdicts: Sequence[Verdict]) -> list[Cluster]:
        """The values of the headline, by sample and group: those of all verdicts."""
        images = self.about.images
        return statistics.gather(
            samples, verdicts, n_expected=lambda one: images * len(self.questions(one))
        )

    def formula(self) -> Formula:
        """The headline: the mean of the groups."""
        return statistics.mean_of_groups

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """See `report`."""
        scope = run_scope(self, samples, verdicts, evaluator=evaluator, all_samples=all_samples)
        if len(samples) < self.about.sizes.get(self.split, 0):
            scope = replace(scope, has_all_samples=False)
        return self.report(JudgedRun(samples, verdicts, all_samples, scope))

    @abstractmethod
    def source(self) -> DataSource:
        """Where the split's data comes from."""

    @abstractmethod
    def samples(self) -> Sequence[Sample]:
        """See `Benchmark.samples`."""

    @abstractmethod
    def questions(self, sample: Sample) -> Sequence[str]:
        """See `Benchmark.questions`."""

    @abstractmethod
    def judge_evaluator(self, spec: str | None, judge: Judge | None) -> Evaluator:
        """See `Benchmark.evaluator`; the device is the judge's own."""

    @abstractmethod
    def report(self, run: JudgedRun) -> Report:
        """The metrics; see `Benchmark.summarise`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WordingOptions:
    """Options of the evaluator `judge`."""

    wording: Literal["auto", "official", "own"] = "auto"
    """auto: own for `mini`, official for upstream's data."""

    def is_own(self, split: str) -> bool:
        """Whether the project's own questions are asked about a split."""
        return self.wording == "own" or (self.wording == "auto" and split == "mini")


def judge_options(spec: str | None, options: type[T], *, benchmark: str) -> T:
    """The options of `judge?key=value`, the one evaluator of a benchmark.

    Raises:
        AlphaBenchError: another evaluator, an unknown option, or a value that does not fit.
    """
    name, values = split_spec(spec or "judge")
    if name != "judge":
        raise unknown_name(f"evaluator of {benchmark}", name, ["judge"])
    return fill(options, values, owner=name)


def needed_judge(judge: Judge | None, *, benchmark: str, example: str = "URL#model") -> Judge:
    """The judge.

    Raises:
        AlphaBenchError: none is named.
    """
    if judge is None:
        raise AlphaBenchError(
            f"{benchmark} asks a judge about every image, and none is named",
            hint=f"name one: --judge {example} (or --judge nano for :mini, offline)",
        )
    return judge


def back_end(chosen: Name | Literal["auto"], judge: Judge, *, gemini: Name, others: Name) -> Name:
    """The back end of upstream's that an option names; with `auto`, the one of a judge's model."""
    if chosen != "auto":
        return chosen
    return gemini if "gemini" in judge.identity.get("model", "").casefold() else others


def stated_questions(sample: Sample) -> Sequence[str]:
    """The fact `questions` of a sample."""
    questions: Sequence[str] = sample.facts["questions"]
    return questions


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnYesNoQuestions:
    """A yes/no question in the project's wording for each of a sample's texts: `0`, `1` ..."""

    texts: Callable[[Sample], Sequence[str]]
    answer_format: YesNoText = field(default_factory=YesNoText)

    def __call__(self, image: GeneratedImage) -> list[Question]:
        return [
            yes_no_question(
                text,
                [ImagePart.of(image)],
                image_id=image.id,
                question_id=str(index),
                answer_format=self.answer_format,
            )
            for index, text in enumerate(self.texts(image.request.sample))
        ]


def own_yes_no_evaluator(
    judge: Judge,
    score: Callable[[GeneratedImage, Sequence[Answer]], list[Verdict]],
    texts: Callable[[Sample], Sequence[str]] = stated_questions,
    **identity: str,
) -> JudgeEvaluator:
    """A judge with such questions.

    Args:
        judge: the judge.
        score: see `JudgeEvaluator`.
        texts: the questions about each image of a sample; a function of a module.
        identity: what decides a verdict beside the wording.
    """
    ask = OwnYesNoQuestions(texts=texts)
    identity = {**ask.answer_format.identity, **identity}
    return JudgeEvaluator(judge=judge, questions_about=ask, score=score, identity=identity)


class ImageValues(NamedTuple):
    """An image and the values of its verdicts, in the order of the questions."""

    image_id: str
    sample: Sample
    values: tuple[float | None, ...]
    """None where a verdict has no value, or there is none."""


def index_ids(questions: Sequence[object]) -> list[str]:
    """The ids of questions that are known by their position: `0`, `1` ..."""
    return [str(index) for index in range(len(questions))]


def values_by_image(
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict],
    questions: Callable[[Sample], Sequence[str]],
    *,
    images: int,
) -> list[ImageValues]:
    """The values of each image's verdicts.

    Args:
        samples: in their order.
        verdicts: about some of their images.
        questions: the ids of the questions about each image of a sample.
        images: of a sample.
    """
    values = {(verdict.image_id, verdict.question_id): verdict.value for verdict in verdicts}
    found = []
    for sample in samples:
        asked = questions(sample)
        for name in (image_id(sample.id, index) for index in range(images)):
            of = tuple(values.get((name, question)) for question in asked)
            found.append(ImageValues(name, sample, of))
    return found


def json_or_none(text: str | bytes) -> Any:
    """The value of a JSON text; None where it is none."""
    try:
        return parse_json(text)
    except UnreadableFileError:
        return None


def fits(value: Any, is_wanted: Callable[[Any], bool]) -> bool:
    """Whether a value from a file has a form; not where the check stumbles over another form."""
    try:
        return is_wanted(value)
    except (AttributeError, KeyError, TypeError):
        return False


def mini_rows(benchmark: str, is_row: Callable[[Any], bool]) -> list[Any]:
    """The rows of a mini split; AlphaBenchError where the package's file was changed."""
    return rows_of_lines(mini_bytes(benchmark), is_row, where=f"{benchmark}.jsonl")


def rows_of_lines(content: bytes, is_row: Callable[[Any], bool], *, where: str) -> list[Any]:
    """The rows of a file of JSON lines.

    Args:
        content: UTF-8.
        is_row: whether a value is a row, see `fits`.
        where: the file, for the error.

    Raises:
        AlphaBenchError: a line that is no row; the error names it.
    """
    rows = []
    for number, line in enumerate(content.decode("utf-8").rstrip("\n").split("\n"), start=1):
        if not fits(row := json_or_none(line), is_row):
            raise AlphaBenchError(
                f"line {number} of {where!r} is no row of this benchmark's data",
                hint="restore the file from its source",
            )
        rows.append(row)
    return rows
