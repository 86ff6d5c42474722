"""GenEval: 553 short prompts in six tasks, judged by an object detector (Ghosh et al., 2023).

Splits: the official prompts, `long` (the prompts as BAGEL's authors rewrote them: another
measurement), `mini` and `mini-test` (authored here over the project's synthetic scenes; they need
no download). `mini` is for development, `mini-test` for the end: nothing is chosen by its scores.
Rules of a single image are in `detections.geneval_rules`, averages in `scoring`, the published file
formats in `official_files`; this module knows prompts, and neither models nor images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from alphabench import registry, statistics
from alphabench.benchmarks.geneval.scoring import (
    IMAGES_PER_PROMPT,
    TAGS,
    prompt_cluster,
    share_metrics,
)
from alphabench.benchmarks.mini_split import (
    MINI_TEST,
    MINI_VERSION,
    mini_bytes,
    mini_source,
    pinned_source,
)
from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.core.options import fill, split_spec
from alphabench.detections.geneval_rules import (
    QUESTION,
    Rules,
)
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.types import Card, ProtocolName, Report, Sample, Verdict
from alphabench.upstream import UpstreamData, pin_of

if TYPE_CHECKING:
    from alphabench.evaluators.detection.detector import OpenDetector

_OURS: Final = ("nano", "mask2former", "mask2former:official", "mmdet")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    version: str
    """The upstream commit, or a number of our own; other data is another version."""
    title: str
    evaluators: tuple[str, ...]
    prompt_style: str = "original"
    pin: str | None = None
    """Name of the upstream data; None for data in the package."""
    path: str = ""
    """Of the metadata file inside the upstream repository."""
    ours: str = ""
    """Name of data in the package."""
    tasks: tuple[str, ...] = TAGS


_OFFICIAL_EVALUATORS: Final = ("mask2former", "mask2former:official", "mmdet", "nano")
_SPLITS: Final[Mapping[str, _Split]] = {
    "": _Split(
        version="af4902f",
        title="GenEval",
        evaluators=_OFFICIAL_EVALUATORS,
        pin="geneval",
        path="prompts/evaluation_metadata.jsonl",
    ),
    "long": _Split(
        version="056b5fd",
        title="GenEval, prompts rewritten by the authors of BAGEL",
        evaluators=_OFFICIAL_EVALUATORS,
        prompt_style="rewritten",
        pin="geneval-long",
        path="eval/gen/geneval/prompts/evaluation_metadata_long.jsonl",
    ),
    "mini": _Split(
        version=MINI_VERSION,
        title="GenEval's six tasks over AlphaBench's synthetic scenes",
        evaluators=_OURS,
        ours="geneval",
    ),
    "mini-test": _Split(
        version=MINI_VERSION,
        title="Held-out prompts of four tasks over AlphaBench's synthetic scenes",
        evaluators=_OURS,
        ours=MINI_TEST,
        tasks=("two_object", "counting", "position", "color_attr"),
    ),
}


def open_geneval(
    split: str = "",
    *,
    version: str | None = None,
    protocol: ProtocolName = "official",
    data: UpstreamData,
) -> GenEval:
    """GenEval's prompts and rules; opening it reads no file.

    Args:
        split: empty for the official prompts, `long`, `mini` or `mini-test`.
        version: None takes the one there is.
        protocol: see `GenEval.summarise`.
        data: where the official files lie.

    Raises:
        AlphaBenchError: no such split or version.
    """
    if split not in _SPLITS:
        raise unknown_name("split of geneval", split, [name for name in _SPLITS if name])
    known = _SPLITS[split].version
    if version not in (None, known):
        raise unknown_name(f"version of geneval:{split}".rstrip(":"), str(version), [known])
    return GenEval(split=split, protocol=protocol, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenEval:
    """One split of GenEval under one protocol."""

    split: str
    protocol: ProtocolName
    data: UpstreamData

    @property
    def card(self) -> Card:
        split = _SPLITS[self.split]
        if split.pin is None:
            origin = mini_source(split.ours)
        else:
            pin = pin_of(split.pin)
            origin = pinned_source(pin, digest=pin.file(split.path).digest)
        return Card(
            name="geneval",
            version=split.version,
            split=self.split,
            protocol=self.protocol,
            title=split.title,
            licence=origin.licence,
            source=origin.source,
            citation="arXiv:2310.11513",
            data_digest=origin.digest,
            images_per_sample=IMAGES_PER_PROMPT,
            evaluators=split.evaluators,
            prompt_style=split.prompt_style,
        )

    def samples(self) -> Sequence[Sample]:
        """The prompts in file order; ids are the official folder names `00000`, `00001` ...

        Raises:
            AlphaBenchError: the official data is not fetched, or was changed.
        """
        split = _SPLITS[self.split]
        if split.pin is None:
            name, content = f"{split.ours}.jsonl", mini_bytes(split.ours)
        else:
            name, content = split.path, self.data.read(split.pin, split.path)
        lines = content.decode("utf-8").rstrip("\n").split("\n")
        return [
            _sample(index, read_facts(line, where=f"line {index + 1} of {name!r}"))
            for index, line in enumerate(lines)
        ]

    def questions(self, sample: Sample) -> Sequence[str]:  # noqa: ARG002  (the same for all)
        return (QUESTION,)

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        """A detector with GenEval's rules: `nano`, `mask2former?cap=8&max_overlap=0.9`.

        Options that are not of `Selection` go to the detector.
        """
        if judge is not None:
            raise AlphaBenchError("geneval puts no questions to a judge", hint="leave out --judge")
        from alphabench.evaluators.detection.detection_evaluator import ObjectEvaluator, Selection

        name, options = split_spec(spec or self.card.evaluators[0])
        if name not in (known := registry.known("evaluator")):
            raise unknown_name("evaluator of geneval", name, known)
        open_detector: OpenDetector = registry.load("evaluator", name)
        names = [field.name for field in dataclasses.fields(Selection)]
        ours = {key: options.pop(key) for key in names if key in options}
        selection = fill(Selection, ours, owner=name)
        detector, colours = open_detector(options, device=device, cache_dir=self.data.cache_dir)
        return ObjectEvaluator(detector=detector, colours=colours, selection=selection)

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Task score = mean over the task's images; headline = plain mean of the task scores.

        official: a task without any scored image is left out of the headline, as upstream does;
        a prompt is correct when one of the images that were scored is.
        strict: the headline is None unless each task of the split has a scored image; a prompt is
        unscored while an image that might yet be correct is.
        """
        images = statistics.gather(samples, verdicts, n_expected=IMAGES_PER_PROMPT)
        strict = self.protocol == "strict"
        prompts = [prompt_cluster(of_prompt, strict=strict) for of_prompt in images]
        statuses = statistics.count_statuses(samples, verdicts, n_expected=IMAGES_PER_PROMPT)
        scope = ReportScope(
            benchmark="geneval",
            split=self.split,
            protocol=self.protocol,
            evaluator=evaluator,
            statuses=statuses,
            has_all_samples=len(samples) >= len(all_samples),
        )
        return grouped_report(
            scope,
            images,
            needed=_SPLITS[self.split].tasks if strict else (),
            kind="tasks",
            extras=share_metrics(images, prompts),
        )


def read_facts(line: str, *, where: str) -> dict[str, Any]:
    """A metadata line: tag, prompt, include, exclude.

    Args:
        line: JSON.
        where: file and line, for the error.

    Raises:
        AlphaBenchError: it is no JSON, lacks a key, or a value is of another type.
    """
    hint = "restore the file from its source"
    try:
        facts = parse_json(line)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{where} is not JSON ({error})", hint=hint) from error
    if not isinstance(facts, dict):
        raise AlphaBenchError(f"{where} is not a JSON object", hint=hint)
    for key in ("tag", "prompt"):
        if not isinstance(facts.get(key), str):
            raise AlphaBenchError(f"{where} has no text {key!r}", hint=hint)
    try:
        Rules.published(facts)
    except ValueError as error:
        raise AlphaBenchError(f"{where} cannot be used: {error}", hint=hint) from error
    return facts


def _sample(index: int, facts: Mapping[str, Any]) -> Sample:
    return Sample(id=f"{index:05}", prompt=facts["prompt"], group=facts["tag"], facts=facts)
