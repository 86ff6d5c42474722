"""The nano detector as a `Detector`: loads its weights, returns objects and colours.

Made for the synthetic world: its scores are never comparable with those of the official detector.
Each image runs alone through the network, so a batch cannot change a result. Knows no benchmark.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill
from alphabench.detections.objects import COLOURS, DetectedObject, Thresholds
from alphabench.device_transfer import fetched, sent
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader, Detector
from alphabench.nano import decoding
from alphabench.nano.decoding import Group, ImageMaps
from alphabench.nano.detector_network import (
    DetectorConfig,
    DetectorNet,
    Placement,
    canonical_square,
    load_net,
    metadata,
    squares_to_pixels,
    weights_bytes,
)
from alphabench.scenes.palette import TINTS
from alphabench.scenes.render import render
from alphabench.scenes.spec import Background, Scene, SceneObject

if TYPE_CHECKING:
    from pathlib import Path

LOWEST_SCORE: Final = 0.02
"""Groups below are noise, not detections."""
SELF_TEST: Final = (
    Scene(background=Background(first=(112, 114, 118)), objects=(), seed=0),
    Scene(
        background=Background(first=(218, 218, 215)),
        objects=(
            SceneObject(category="elephant", colour="blue", x=0.28, y=0.5, size=0.4),
            SceneObject(category="pizza", colour="red", x=0.75, y=0.5, size=0.36),
        ),
        seed=1,
    ),
    Scene(
        background=Background(first=(26, 27, 32)),
        objects=(
            SceneObject(category="umbrella", colour="green", x=0.25, y=0.25, size=0.34),
            SceneObject(category="umbrella", colour="green", x=0.72, y=0.3, size=0.34),
            SceneObject(category="umbrella", colour="yellow", x=0.5, y=0.75, size=0.34),
        ),
        seed=2,
    ),
)
"""An empty image, two categories, three objects of one category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoDetectorOptions:
    """Options of the nano detector."""

    score: float = Thresholds().score
    """Confidence a detection must exceed, 0 to 1. Scores are calibrated: GenEval's fits."""
    counting: float = Thresholds().counting
    """The same for prompts of the counting task."""

    def __post_init__(self) -> None:
        for name, value in (("score", self.score), ("counting", self.counting)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name}={value} is not in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoDetectorWeights:
    """What decides which detections count; known without building the network."""

    sha256: str
    calibration: tuple[float, ...]
    """Factors of `decoding.FEATURES`."""
    categories: frozenset[str]
    thresholds: Thresholds


class NanoDetector:
    """See `evaluators.detection.detector.Detector`."""

    def __init__(self, weights: NanoDetectorWeights, *, device: str) -> None:
        self._weights = weights
        self._device = device
        self._net: DetectorNet | None = None

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "model": f"nano {self._weights.sha256}",
            "library": f"torch {version('torch')}",
        }

    @property
    def licences(self) -> Mapping[str, str]:
        """Of the weights."""
        return {"nano detector": "Apache-2.0"}

    @property
    def thresholds(self) -> Thresholds:
        return self._weights.thresholds

    @property
    def categories(self) -> frozenset[str]:
        """See `LimitedVocabulary`: the forty of the synthetic world."""
        return self._weights.categories

    def detect(self, images: Sequence[Image.Image]) -> list[list[DetectedObject]]:
        """All objects of each image, by descending score."""
        if self._net is None:
            file = weights_bytes()
            assert hashlib.sha256(file).hexdigest() == self._weights.sha256
            self._net = load_net(file).to(self._device)
        net = self._net
        squares = [canonical_square(image) for image in images]
        with torch.inference_mode():
            queued = [tensor for square, _ in squares for tensor in self._maps(net, square)]
        host = iter(fetched(queued))
        return [
            self._objects(net, ImageMaps(*(next(host).numpy() for _ in ImageMaps._fields)), where)
            for _, where in squares
        ]

    def self_test(self, colours: ColourReader) -> None:
        """See `Detector.self_test`; the images are rendered from three fixed scenes."""
        for scene in SELF_TEST:
            image = render(scene, 128, 128).image
            (found,) = self.detect([image])
            sure = [item for item in found if item.score > self.thresholds.score]
            colour_names = colours.read([ColourQuery(image=image, found=item) for item in sure])
            seen = sorted((c, f.category) for c, f in zip(colour_names, sure, strict=True))
            shown = sorted((str(item.colour), item.category) for item in scene.objects)
            if seen != shown:
                raise AlphaBenchError(
                    f"the self-test failed: nano finds {_listed(seen)} in an image of "
                    f"{_listed(shown)}",
                    hint="this build must not score: install the pinned versions, "
                    "or look closer with `alphabench doctor`",
                )

    def _maps(self, net: DetectorNet, square_SS3: NDArray[np.uint8]) -> list[Tensor]:
        """The fields of `ImageMaps` for one image, on the device; waits for nothing."""
        pixels_13SS = sent(squares_to_pixels(square_SS3[None]), self._device)
        maps = net(pixels_13SS.contiguous(memory_format=torch.channels_last))
        centre_1HW, *others = (field[0] for field in maps)
        return [centre_1HW[0], *others]

    def _objects(
        self, net: DetectorNet, maps: ImageMaps, placement: Placement
    ) -> list[DetectedObject]:
        groups = decoding.find_groups(maps)
        objects = [self._detected(net, group, placement) for group in groups]
        detections = [item for item in objects if item.score > LOWEST_SCORE and _has_area(item)]
        return sorted(detections, key=lambda item: -item.score)

    def _detected(self, net: DetectorNet, group: Group, placement: Placement) -> DetectedObject:
        return DetectedObject(
            category=net.design.categories[group.category],
            score=decoding.calibrated(group.features, self._weights.calibration),
            box=decoding.box_in_image(group.box, placement),
            mask=decoding.mask_in_image(group.soft_HW, placement),
            colour=net.design.colours[group.colour],
        )


class NanoColours:
    """See `evaluators.detection.detector.ColourReader`: what the detector read, or the pixels."""

    def __init__(self, weights: NanoDetectorWeights) -> None:
        self._weights = weights

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": f"nano {self._weights.sha256}"}

    def read(self, queries: Sequence[ColourQuery]) -> list[str]:
        """The detector's colour if it is one of the ten, else the most frequent of the pixels."""
        return [_colour_of(query) for query in queries]


def open_nano_detector(
    options: Mapping[str, str],
    *,
    device: str,
    cache_dir: Path | None = None,  # noqa: ARG001  (the weights are in the package)
) -> tuple[Detector, ColourReader]:
    """The packaged detector and its colour reader.

    Args:
        options: see `NanoDetectorOptions`.
        device: as torch names it.
        cache_dir: where `alphabench fetch` stores weights; not used.

    Raises:
        AlphaBenchError: an unknown option, or weights that are missing or foreign.
    """
    wanted = fill(NanoDetectorOptions, options, owner="nano")
    file = weights_bytes()
    entries = metadata(file)
    factors: dict[str, float] = json.loads(entries["calibration"])
    weights = NanoDetectorWeights(
        sha256=hashlib.sha256(file).hexdigest(),
        calibration=tuple(factors[name] for name in decoding.FEATURES),
        categories=frozenset(DetectorConfig.from_json(entries["design"]).categories),
        thresholds=Thresholds(score=wanted.score, counting=wanted.counting),
    )
    return NanoDetector(weights, device=device), NanoColours(weights)


def _colour_of(query: ColourQuery) -> str:
    word = query.found.colour
    return word if word is not None and word in COLOURS else _colour_of_pixels(query)


def _colour_of_pixels(query: ColourQuery) -> str:
    """The colour to whose tints most of the object's pixels are nearest in RGB."""
    pixels_YX3 = np.asarray(query.image.convert("RGB"), dtype=np.float32)
    mask_YX = query.found.mask
    if mask_YX is None or not mask_YX.any():
        x1, y1, x2, y2 = (round(edge) for edge in query.found.box)
        pixels_P3 = pixels_YX3[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].reshape(-1, 3)
    else:
        pixels_P3 = pixels_YX3[mask_YX]
    tints_T3 = np.array([tint for name in COLOURS for tint in TINTS[name]], dtype=np.float32)
    nearest_P = np.linalg.norm(pixels_P3[:, None] - tints_T3, axis=2).argmin(axis=1)
    per_colour = len(tints_T3) // len(COLOURS)
    return COLOURS[int(np.bincount(nearest_P // per_colour, minlength=len(COLOURS)).argmax())]


def _listed(objects: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{colour} {category}" for colour, category in objects) or "nothing"


def _has_area(item: DetectedObject) -> bool:
    x1, y1, x2, y2 = item.box
    return x2 > x1 and y2 > y1
