"""Small stand-ins for a checkpoint, an evaluator and a benchmark, that misbehave on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from alphabench import statistics
from alphabench.interfaces import Evaluator
from alphabench.questions import Judge
from alphabench.types import (
    Card,
    GeneratedImage,
    ImageRequest,
    NotGenerated,
    ProtocolName,
    Report,
    Sample,
    Verdict,
)


@dataclass
class Dots:
    """Makes an 8 x 8 image of one colour, which follows from the seed."""

    name: str = "dots"
    batch_size: int = 3
    refuse: frozenset[str] = frozenset()
    """Images that it declines to make."""
    crash: frozenset[str] = frozenset()
    """Images whose batch raises."""
    fail: frozenset[str] | None = frozenset()
    """Images that it cannot make; None is all of them."""
    made: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"name": self.name}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image.Image | NotGenerated]:
        if crashing := self.crash.intersection(request.id for request in requests):
            raise RuntimeError(f"cannot make {sorted(crashing)}")
        self.made += [request.id for request in requests]
        return [self._one(request) for request in requests]

    def _one(self, request: ImageRequest) -> Image.Image | NotGenerated:
        if request.id in self.refuse:
            return NotGenerated(status="refused", reason="not this one")
        if self.fail is None or request.id in self.fail:
            return NotGenerated(status="failed", reason="HTTP 503: busy")
        seed = request.seed
        return Image.new("RGB", (8, 8), (seed & 255, seed >> 8 & 255, seed >> 16 & 255))


@dataclass
class Brightness:
    """Finds an image right when its red is at least `threshold`."""

    threshold: int = 128
    batch_size: int = 5
    broken: bool = False
    """Fails its self-test."""
    unparsed: frozenset[str] = frozenset()
    """Images about which it says nothing that can be read."""
    seen: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"threshold": str(self.threshold)}

    def self_test(self) -> None:
        if self.broken:
            from alphabench.core.errors import AlphaBenchError

            raise AlphaBenchError("the brightness evaluator is broken", hint="mend it")

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        for image in images:
            self.seen.append(image.id)
            if image.id in self.unparsed:
                yield Verdict(image_id=image.id, question_id="red", value=None, status="unparsed")
                continue
            with Image.open(image.path) as picture:
                red = picture.convert("RGB").getpixel((0, 0))
            assert isinstance(red, tuple)
            yield Verdict(
                image_id=image.id,
                question_id="red",
                value=float(red[0] >= self.threshold),
                status="scored",
            )


@dataclass
class Reds:
    """A benchmark that asks for red: `groups` groups of `size` samples, two images each."""

    groups: int = 3
    size: int = 4
    protocol: ProtocolName = "official"
    examiner: Evaluator = field(default_factory=Brightness)
    digest: str = "0" * 64

    @property
    def card(self) -> Card:
        return Card(
            name="reds",
            version="1",
            split="",
            protocol=self.protocol,
            title="Reds",
            licence="Apache-2.0",
            source="alphabench",
            citation="none",
            data_digest=self.digest,
            images_per_sample=2,
            evaluators=("brightness",),
        )

    def samples(self) -> Sequence[Sample]:
        return [
            Sample(id=f"{group}-{number}", prompt=f"red {number}", group=f"g{group}")
            for group in range(self.groups)
            for number in range(self.size)
        ]

    def questions(self, sample: Sample) -> Sequence[str]:
        return ("red",)

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        return self.examiner

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        clusters = statistics.gather(samples, verdicts, n_expected=2)
        statuses = statistics.count_statuses(samples, verdicts, n_expected=2)
        return Report(
            benchmark="reds",
            split="",
            protocol=self.protocol,
            evaluator=evaluator,
            headline=statistics.estimate(clusters, statistics.mean_of_groups),
            groups=statistics.group_estimates(clusters),
            coverage=statuses.get("scored", 0) / len(verdicts),
            partial=len(samples) < len(all_samples),
            bounds=statistics.bounds(clusters, statistics.mean_of_groups),
            statuses=statuses,
        )
