"""An evaluator of your own: a benchmark of colours whose images are scored by measuring pixels.

    cd examples
    alphabench run python:evaluator_object:Colours --ckpt python:checkpoint_object:Collage
    alphabench run python:evaluator_object:Colours --ckpt nano --evaluator 'colour?least=0.05'

No judge and no network is needed: the evaluator computes its verdicts itself.

docs/extending/evaluator.md walks through this file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphabench import AlphaBenchError, Card, GeneratedImage, Judge, Report, Sample, Verdict
from alphabench.benchmarks.reporting import ReportScope, grouped_report
from alphabench.core.options import fill, split_spec
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.statistics import count_statuses, gather

TINTS = {
    "red": (222, 25, 25),
    "green": (35, 155, 45),
    "blue": (25, 75, 220),
    "yellow": (252, 222, 15),
}
OBJECTS = ("apple", "car", "chair", "vase")


@dataclass(frozen=True, kw_only=True)
class ColourOptions:
    """Options of the evaluator: `--evaluator 'colour?least=0.05'`."""

    least: float = 0.02
    """The share of an image's pixels that must have the colour, 0 to 1."""


class ColourEvaluator:
    """Finds an image right when enough of its pixels have the colour that was asked for."""

    batch_size = 16
    """Images in one call of `evaluate`; changes no verdict."""

    def __init__(self, options: ColourOptions) -> None:
        """Creating it is cheap; a model would load at the first `evaluate`."""
        self.options = options

    @property
    def identity(self) -> Mapping[str, str]:
        """All that decides a verdict; results of two identities never share a table."""
        return {"evaluator": "colour", "version": "1", "least": str(self.options.least)}

    def self_test(self) -> None:
        """Runs before the first image is scored, on images whose right answer is known."""
        for colour, rgb in TINTS.items():
            plain = np.full((8, 8, 3), rgb, np.uint8)
            others = [share_of(other, plain) for other in TINTS if other != colour]
            if share_of(colour, plain) != 1.0 or max(others) > 0.0:
                raise AlphaBenchError(
                    f"the colour evaluator does not recognise {colour}", hint="correct TINTS"
                )

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        """One verdict for each question about each image, in order."""
        for image in images:
            try:
                pixels = np.asarray(open_rgb(image.path))
            except UnreadableImageError as error:
                yield Verdict(
                    image_id=image.id,
                    question_id="colour",
                    value=None,  # not 0: what cannot be scored has a status and a reason
                    status="failed",
                    detail={"reason": str(error)},
                )
                continue
            colour = image.request.sample.facts["colour"]
            share = share_of(colour, pixels)
            yield Verdict(
                image_id=image.id,
                question_id="colour",
                value=float(share >= self.options.least),
                status="scored",
                detail={"reason": f"{share:.1%} of the pixels are {colour}"},
            )


def share_of(colour: str, pixels: np.ndarray) -> float:
    """The share of pixels with a colour, 0 to 1; `pixels` is (height, width, 3), 0 to 255."""
    distance = np.abs(pixels.astype(int) - TINTS[colour]).max(axis=-1)
    return float(np.mean(distance < 60))


PROMPTS = [(colour, f"a picture of a {colour} {name}") for colour in TINTS for name in OBJECTS]


class Colours:
    """Sixteen prompts in four groups; one question about each image."""

    card = Card(
        name="colours",
        version="1",
        split="",
        protocol="official",
        title="Colours of objects, an example",
        licence="Apache-2.0",
        source="examples/evaluator_object.py",
        citation="none",
        data_digest=hashlib.sha256(json.dumps(PROMPTS).encode()).hexdigest(),
        images_per_sample=2,
        evaluators=("colour",),
    )

    def samples(self) -> list[Sample]:
        """The prompts, with what the evaluator needs to know of each."""
        return [
            Sample(id=f"{number:02}", prompt=prompt, group=colour, facts={"colour": colour})
            for number, (colour, prompt) in enumerate(PROMPTS)
        ]

    def questions(self, sample: Sample) -> list[str]:
        """The ids of the questions about each image."""
        del sample
        return ["colour"]

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> ColourEvaluator:
        """The evaluator that `--evaluator name?key=value` names; unknown options are refused."""
        del device
        name, options = split_spec(spec or "colour")
        if name != "colour" or judge is not None:
            raise AlphaBenchError(
                "colours are scored by the evaluator 'colour', without a judge",
                hint="leave out --evaluator and --judge",
            )
        return ColourEvaluator(fill(ColourOptions, options, owner="colour"))

    def summarise(
        self,
        samples: Sequence[Sample],
        verdicts: Sequence[Verdict],
        *,
        evaluator: str,
        all_samples: Sequence[Sample],
    ) -> Report:
        """Means of the groups, and their mean as the score."""
        per_sample = self.card.images_per_sample
        scope = ReportScope(
            benchmark=self.card.name,
            split=self.card.split,
            protocol=self.card.protocol,
            evaluator=evaluator,
            statuses=count_statuses(samples, verdicts, n_expected=per_sample),
            has_all_samples=len(samples) == len(all_samples),
        )
        return grouped_report(scope, gather(samples, verdicts, n_expected=per_sample))
