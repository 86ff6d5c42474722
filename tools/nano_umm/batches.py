"""Batches of training samples by kind and step: text, latents, patches.

Shapes: B samples; T latent tokens of one image (16); C features of a token or a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alphabench.detections.objects import COLOURS
from alphabench.models.bagel.autoencoder import Autoencoder, to_tokens
from alphabench.models.bagel.image_processing import to_patches
from alphabench.scenes.descriptions import relation_of
from alphabench.scenes.small_world import CORNERS, SMALL_CATEGORIES, SmallScene
from tools.nano_umm import pool
from tools.nano_umm.language import THINK
from tools.nano_umm.sequences import SequenceWriter, TokenBlocks

Kind = Literal["draw", "tell", "think", "ask", "mend", "see"]
TARGET_SPREAD: Final = 0.2
"""Share of the posterior's deviation in target images: the rest, which the decoder ignores, is
mostly unpredictable noise."""
CORRECT_SHARE: Final = 0.1
"""Share of reflections on correct images."""
_STREAMS: Final[dict[Kind, int]] = {
    "draw": 1, "tell": 2, "think": 3, "ask": 4, "mend": 5, "see": 6
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """The tensors of one kind of sample; None where not needed."""

    kind: Kind
    words: list[TokenBlocks]
    target_BTC: Tensor | None = None
    """Latent tokens of the target image."""
    source_BTC: Tensor | None = None
    """Latent tokens of the source image."""
    patches_BTC: Tensor | None = None
    """Of the image to understand."""
    thinks: list[bool] | None = None
    """Of `mend`: whether the request to think comes first."""
    cells_BT2: Tensor | None = None
    """The object at each patch: category and colour, the last of each for nothing."""
    names_N: Tensor | None = None
    """The word of each category, a token each."""
    request: tuple[int, ...] = ()
    """Of `mend`: the request to think."""
    seed: int = 0
    """For times and noise."""


class Batches:
    """Builds batches from cached images and latents."""

    def __init__(
        self,
        work: Path,
        autoencoder: Autoencoder,
        writer: SequenceWriter,
        *,
        counts: tuple[int, int],
    ) -> None:
        self._writer, self._config = writer, autoencoder.config
        self._images = {
            kind: pool.cached_images(work / f"{kind}-pictures.npy", kind, count)
            for kind, count in zip((pool.SCENES, pool.CHANGES), counts, strict=True)
        }
        self._latents = {
            kind: pool.cached_latents(work / f"{kind}-latents.npy", images, autoencoder)
            for kind, images in self._images.items()
        }
        self._scenes = [pool.scene(number) for number in range(counts[0])]
        self._changes = [pool.change(number) for number in range(counts[1])]
        weights = np.array([_weight(one) for one in self._scenes])
        self._shares = weights / weights.sum()

    def get(self, kind: Kind, step: int, size: int) -> TrainingBatch:
        """The batch of this kind at this step, of so many samples."""
        rng = np.random.default_rng([_STREAMS[kind], step])
        if kind == "mend":
            return self._mend(rng, size)
        numbers = rng.choice(len(self._scenes), size=size, p=self._shares)
        scenes = [self._scenes[number] for number in numbers]
        seed = int(rng.integers(2**31))
        if kind == "see":
            return TrainingBatch(
                kind=kind,
                words=[],
                patches_BTC=self._patches(self._images[pool.SCENES][numbers]),
                cells_BT2=torch.stack([cells(small) for small in scenes]),
                names_N=torch.tensor(self._writer.names()),
            )
        if kind == "ask":
            return TrainingBatch(
                kind=kind,
                words=[self._writer.ask(small, rng) for small in scenes],
                patches_BTC=self._patches(self._images[pool.SCENES][numbers]),
            )
        writers = {
            "draw": self._writer.draw,
            "tell": self._writer.tell,
            "think": self._writer.think,
        }
        return TrainingBatch(
            kind=kind,
            words=[writers[kind](small, rng) for small in scenes],
            target_BTC=self._tokens(self._latents[pool.SCENES][numbers], rng, TARGET_SPREAD),
            seed=seed,
        )

    def _mend(self, rng: np.random.Generator, size: int) -> TrainingBatch:
        numbers = rng.integers(len(self._changes), size=size)
        correct = rng.random(len(numbers)) < CORRECT_SHARE
        words = [
            (self._writer.keep if keep else self._writer.mend)(self._changes[number], rng)
            for number, keep in zip(numbers, correct, strict=True)
        ]
        sides = correct.astype(np.int64)
        latents = self._latents[pool.CHANGES]
        return TrainingBatch(
            kind="mend",
            words=words,
            target_BTC=self._tokens(latents[numbers, 1], rng, TARGET_SPREAD),
            source_BTC=self._tokens(latents[numbers, sides], rng, 1.0),
            patches_BTC=self._patches(self._images[pool.CHANGES][numbers, sides]),
            thinks=[any(one.scored) for one in words],
            request=tuple(self._writer.block(THINK).ids),
            seed=int(rng.integers(2**31)),
        )

    def _tokens(
        self, moments: NDArray[np.float16], rng: np.random.Generator, spread: float
    ) -> Tensor:
        """Scaled latents as tokens: the posterior's mean and a share of its deviation."""
        mean, deviation = (torch.from_numpy(moments[:, part]).float() for part in (0, 1))
        noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32))
        scaled = self._config.scale_factor * (
            mean + spread * deviation * noise - self._config.shift_factor
        )
        return torch.stack([to_tokens(latent, 2) for latent in scaled])

    def _patches(self, images: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        return torch.stack([to_patches(one, 16) for one in pixels])


def cells(small: SmallScene) -> Tensor:
    """Category and colour at each of the 4 x 4 patches [T, 2]; an object fills its corner."""
    targets = torch.tensor([len(SMALL_CATEGORIES), len(COLOURS) + 1]).repeat(4, 4, 1)
    for item in small.objects:
        colour = len(COLOURS) if item.colour is None else COLOURS.index(item.colour)
        target = torch.tensor([SMALL_CATEGORIES.index(item.category), colour])
        if item.place == "middle":
            targets[:] = target
        else:
            row, column = divmod(CORNERS.index(item.place), 2)
            targets[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = target
    return targets.flatten(0, 1)


def _weight(small: SmallScene) -> float:
    """More for what is learnt last: colours of objects, and their positions."""
    tinted = sum(item.colour is not None for item in small.objects)
    if len(small.objects) == 2 and not tinted:
        one, other = small.objects
        return 5.0 if one.category != other.category and relation_of(one, other) else 1.0
    return 1.0 + tinted
