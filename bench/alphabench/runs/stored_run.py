"""The read model of a stored run: images, absences with reasons, verdicts by question, reports.

All reports and exports read stored results through it. A verdict counts only if it is about the
present content of its image; whatever was expected and is missing has a reason. Knows no file name
and no benchmark's rules; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.interfaces import Benchmark
from alphabench.runs.plan import choose_samples
from alphabench.runs.store import Damage, ImageRecord, Manifest, RunFolder
from alphabench.types import (
    FULL_MARKS,
    OUT_OF,
    GeneratedImage,
    ImageRequest,
    NotGenerated,
    ProtocolName,
    Report,
    Sample,
    Verdict,
    image_id,
)

ImageState = Literal["right", "partly", "wrong", "unscored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """One image that the run was to make, with its verdicts under one evaluation."""

    image_id: str
    record: ImageRecord | None
    """None where there is no usable image."""
    absence: NotGenerated | None
    """Why there is none, where that is known."""
    verdicts: Sequence[Verdict]
    """On each question, in the order in which they were first answered."""

    @property
    def state(self) -> ImageState:
        """`unscored` as soon as one question has no value, or none was answered.

        Else right with full marks for all questions, wrong without any, and `partly` between.
        """
        known = [
            (v.value, v.number(OUT_OF, FULL_MARKS)) for v in self.verdicts if v.value is not None
        ]
        if not known or len(known) < len(self.verdicts):
            return "unscored"
        if all(value >= full for value, full in known):
            return "right"
        return "partly" if any(value for value, _ in known) else "wrong"

    @property
    def reason(self) -> str:
        """Why it is wrong or unscored, as its generator or evaluator gave it; may be empty."""
        if self.absence is not None:
            return f"no image ({self.absence.status}): {self.absence.reason}"
        if not self.verdicts:
            return "not scored yet" if self.record else "not made yet"
        return "\n".join(filter(None, map(_reason_with_status, self.verdicts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """One sample and all its images, by index."""

    sample: Sample
    images: Sequence[ImageResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """What one evaluator found in a stored run."""

    name: str
    identity: Mapping[str, str]
    """Of the evaluator and its protocol."""
    verdicts: Sequence[Verdict]
    """The newest on each question about the present content of each image, in the order in which
    the questions were first answered. Those without an image record count: a published folder may
    come without its images."""
    report: Report | None
    """None where there is none yet."""

    def by_image(self) -> dict[str, dict[str, Verdict]]:
        """Image id -> question id -> verdict."""
        by_image: dict[str, dict[str, Verdict]] = {}
        for verdict in self.verdicts:
            by_image.setdefault(verdict.image_id, {})[verdict.question_id] = verdict
        return by_image


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run as it is on disk. Use `open` or `of`.

    Images and absences are those of the moment at which it was read; evaluations are read on
    demand.
    """

    folder: RunFolder
    images: Mapping[str, ImageRecord]
    """Image id -> what was made, damaged images included."""
    absences: Mapping[str, NotGenerated]
    """Image id -> why there is no usable image, where that is known."""
    damage: Mapping[str, Damage]
    """Image id -> what happened to its file; empty unless images were verified."""

    @classmethod
    def open(cls, root: Path, *, verify_images: bool = False) -> StoredRun:
        """The run in a folder.

        Raises:
            AlphaBenchError: there is none at `root`, or this version cannot read it.
        """
        return cls.of(RunFolder.open(root), verify_images=verify_images)

    @classmethod
    def of(cls, folder: RunFolder, *, verify_images: bool = False) -> StoredRun:
        """The run in a folder that is open.

        Args:
            folder: the run folder.
            verify_images: check each image against its sha256 first; one that was deleted or
                altered since it was made then counts as absent.
        """
        images = folder.images()
        damage = folder.damage(images.values()) if verify_images else {}
        broken = {
            name: NotGenerated(status="failed", reason=f"the image was {what} since it was made")
            for name, what in damage.items()
        }
        return cls(
            folder=folder,
            images=images,
            absences={**folder.not_made(), **broken},
            damage=damage,
        )

    @property
    def root(self) -> Path:
        return self.folder.root

    @property
    def manifest(self) -> Manifest:
        return self.folder.manifest

    @property
    def images_per_sample(self) -> int:
        """How many images the run was to make of each sample."""
        return int(self.manifest.pixels["benchmark.images_per_sample"])

    def check_same_data(self, benchmark: Benchmark) -> None:
        """Refuse to read the run with other benchmark data than it was generated for.

        Raises:
            AlphaBenchError: the digests differ.
        """
        ours, theirs = self.manifest.pixels["benchmark.data_digest"], benchmark.card.data_digest
        if ours != theirs:
            raise AlphaBenchError(
                f"{str(self.root)!r} was made for other data of {self.manifest.benchmark!r} "
                f"({ours[:12]}, not {theirs[:12]})",
                hint="use the version of alphabench that made it, or start a new run",
            )

    def samples(self, all_samples: Sequence[Sample]) -> list[Sample]:
        """The samples of the run, chosen from all samples of its benchmark."""
        seed = int(self.manifest.pixels["seed"])
        of = self.manifest
        return choose_samples(all_samples, of.limit, seed=seed, shard=of.shard)

    def generated_images(self, samples: Sequence[Sample]) -> Iterator[GeneratedImage]:
        """The images of `samples` that were made, in order, damaged ones too."""
        for sample in samples:
            for index in range(self.images_per_sample):
                if record := self.images.get(image_id(sample.id, index)):
                    yield GeneratedImage(
                        request=ImageRequest(sample=sample, index=index, seed=record.seed),
                        path=self.root / record.path,
                        sha256=record.sha256,
                        seconds=record.seconds,
                        verified_state=self.folder.verified_state(record),
                    )

    def unscored_images(self, samples: Sequence[Sample], evaluation: str) -> list[GeneratedImage]:
        """The undamaged images whose questions are not all scored on their present content."""
        scored: set[tuple[str, str]] = set()
        unscored: set[tuple[str, str]] = set()
        for stored in self.folder.verdicts(evaluation):
            about = (stored.verdict.image_id, stored.image_sha256)
            (scored if stored.verdict.status == "scored" else unscored).add(about)
        done = scored - unscored
        return [
            image
            for image in self.generated_images(samples)
            if (image.id, image.sha256) not in done and image.id not in self.damage
        ]

    def evaluations(self) -> list[str]:
        """The names of all evaluations that were begun, sorted."""
        return self.folder.evaluations()

    def reports(self) -> dict[str, Report]:
        """Evaluation -> its report, by name."""
        return self.folder.reports()

    def protocol(self, evaluation: str) -> ProtocolName:
        """Under which protocol an evaluation was begun.

        Raises:
            AlphaBenchError: the run has no such evaluation.
        """
        identity = self.folder.evaluation_identity(evaluation)
        if not identity:
            raise unknown_name("evaluation in this run", evaluation, self.evaluations())
        return "strict" if identity.get("protocol") == "strict" else "official"

    def verdicts(self, evaluation: str) -> list[Verdict]:
        """The verdicts of one evaluation; see `StoredEvaluation.verdicts`."""
        return [
            stored.verdict
            for stored in self.folder.verdicts(evaluation)
            if stored.verdict.image_id not in self.images
            or self.images[stored.verdict.image_id].sha256 == stored.image_sha256
        ]

    def evaluation(self, name: str) -> StoredEvaluation:
        """One evaluation with its report; without verdicts where there is none of that name."""
        return StoredEvaluation(
            name=name,
            identity=self.folder.evaluation_identity(name),
            verdicts=self.verdicts(name),
            report=self.folder.report(name),
        )

    def sample_results(
        self, samples: Sequence[Sample], evaluation: StoredEvaluation | None
    ) -> list[SampleResult]:
        """Every expected image of `samples`, whether it was made or not.

        Args:
            samples: those of the run, in the order wanted.
            evaluation: whose verdicts; None leaves all images unscored.
        """
        verdicts = evaluation.by_image() if evaluation is not None else {}
        return [
            SampleResult(
                sample=sample,
                images=[
                    self._image_result(image_id(sample.id, index), verdicts)
                    for index in range(self.images_per_sample)
                ],
            )
            for sample in samples
        ]

    def _image_result(
        self, name: str, verdicts: Mapping[str, Mapping[str, Verdict]]
    ) -> ImageResult:
        damaged = name in self.damage
        return ImageResult(
            image_id=name,
            record=None if damaged else self.images.get(name),
            absence=self.absences.get(name),
            verdicts=() if damaged else tuple(verdicts.get(name, {}).values()),
        )

    def expected_verdicts(
        self, benchmark: Benchmark, samples: Sequence[Sample], evaluation: str
    ) -> list[Verdict]:
        """One verdict for each question about each expected image of `samples`, in order.

        A verdict that is not stored is filled in, with the status and the reason of its absence.
        """
        usable = self.images.keys() - self.damage.keys()
        stored = {
            (verdict.image_id, verdict.question_id): verdict
            for verdict in self.verdicts(evaluation)
            if verdict.image_id in usable
        }
        expected = []
        for sample in samples:
            questions = benchmark.questions(sample)
            for index in range(benchmark.card.images_per_sample):
                name = image_id(sample.id, index)
                for question in questions:
                    verdict = stored.get((name, question))
                    expected.append(verdict or _absent(name, question, self.absences.get(name)))
        return expected


def _absent(image: str, question: str, absence: NotGenerated | None) -> Verdict:
    return Verdict(
        image_id=image,
        question_id=question,
        value=None,
        status=absence.status if absence else "missing",
        detail={"reason": absence.reason if absence else "no image or no verdict yet"},
    )


def verdict_reason(detail: Mapping[str, Any]) -> str:
    """The reason that a verdict's detail gives; empty where it gives none."""
    reason = detail.get("reason", "")
    return reason if isinstance(reason, str) else str(reason)


def _reason_with_status(verdict: Verdict) -> str:
    reason = verdict_reason(verdict.detail)
    if verdict.status == "scored":
        return reason
    return f"{verdict.status}: {reason or 'no reason given'}"
