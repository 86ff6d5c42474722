"""The recorded cases of BAGEL's reference code, and its steps in this project's words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from alphabench.images import to_rgb
from alphabench.models.bagel.autoencoder import to_latent, to_tokens
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.image_processing import SizeRule, image_to_pixels, to_patches
from alphabench.models.bagel.loading import LoadedBagel, load_bagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    with_latents,
    with_patches,
    with_text,
)
from alphabench.models.bagel.text_decoding import ChosenTokens, chosen_tokens, generate_text

LATENTS = SizeRule(longest=128, shortest=64, stride=16)
PATCHES = SizeRule(longest=112, shortest=56, stride=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The tiny checkpoint, the recorded cases, and what the tests do with both."""

    folder: Path
    loaded: LoadedBagel

    def case(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        stem = self.folder / "cases" / name
        words = json.loads(stem.with_suffix(".json").read_text())
        return load_file(stem.with_suffix(".safetensors")), words

    def picture(self, name: str) -> Image.Image:
        return to_rgb(Image.open(self.folder / "inputs" / name))

    def say(self, contexts: Contexts, text: str) -> Contexts:
        return with_text(self.loaded.model, contexts, [self.loaded.tokens.block(text)])

    def show(self, contexts: Contexts, picture: Image.Image, *, twice: bool = True) -> Contexts:
        """To be understood only; `twice` resizes as the inference driver does."""
        pixels = image_to_pixels(PATCHES.resized(LATENTS.resized(picture) if twice else picture))
        grid = Grid(pixels.shape[1] // 14, pixels.shape[2] // 14)
        return with_patches(self.loaded.model, contexts, to_patches(pixels, 14), [grid])

    def show_for_editing(
        self, contexts: Contexts, picture: Image.Image, noise: Tensor
    ) -> tuple[Contexts, Grid]:
        pixels = image_to_pixels(LATENTS.resized(picture))
        grid = Grid(pixels.shape[1] // 16, pixels.shape[2] // 16)
        tokens = to_tokens(self.loaded.autoencoder.encode(pixels[None], noise)[0], 2)
        contexts = with_latents(self.loaded.model, contexts, tokens, [grid])
        return self.show(contexts, picture), grid

    def guided(self, contexts: Contexts, grid: Grid, **options: Any) -> GuidedVelocity:
        return GuidedVelocity(self.loaded.model, contexts, [grid], Guidance(**options))

    def decode(self, tokens: Tensor, grid: Grid) -> Tensor:
        latent = to_latent(tokens, 2, rows=grid.rows, columns=grid.columns)
        return self.loaded.autoencoder.decode(latent[None])

    def write(self, contexts: Contexts, most: int, *, end: int | None = None) -> Written:
        logits: list[Tensor] = []

        def choose(logits_BV: Tensor, rows: Any) -> ChosenTokens:
            logits.append(logits_BV[0])
            return chosen_tokens(logits_BV.argmax(dim=-1))

        tokens = self.loaded.tokens
        ids = generate_text(
            self.loaded.model,
            contexts.full,
            start=tokens.start,
            end=tokens.end if end is None else end,
            max_tokens=most,
            choose=choose,
        )[0]
        return Written(ids=ids, text=tokens.answer(ids), logits=torch.stack(logits))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An answer, and what it was chosen from."""

    ids: list[int]
    text: str
    logits: Tensor


def open_golden(shared: Path) -> Golden:
    """From the folder with reference data."""
    folder = shared / "golden" / "bagel"
    return Golden(folder=folder, loaded=load_bagel(folder / "ckpt"))
