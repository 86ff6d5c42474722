"""BAGEL behind the protocol of unified models: pictures and words from prompts, pictures and seeds.

All noise of a picture and all choices in its thought come from generators of its own on the CPU,
seeded by its task, so that a batch changes nothing. Knows no file and no benchmark.

Shapes: B rows; L latent tokens of all rows, packed; C features of a token; V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from alphabench.images import to_rgb
from alphabench.models.bagel.autoencoder import to_latent, to_tokens
from alphabench.models.bagel.image_processing import (
    SizeRule,
    to_image,
    to_patches,
    to_pixels,
)
from alphabench.models.bagel.kv_cache import Context
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.packed_sequences import ragged
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    TokenSampler,
    denoise,
    most_likely,
    new_contexts,
    with_latents,
    with_patches,
    with_text,
    with_thought,
    write,
)
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.models.unified_model import (
    Answer,
    AnswerTask,
    GenerationResult,
    GenerationTask,
    RefineTask,
)
from alphabench.types import NotGenerated

if TYPE_CHECKING:
    from PIL.Image import Image

_DECODED_TOGETHER = 2**20
"""Pixels that the autoencoder decodes in one go."""


class _Words(NamedTuple):
    text: str
    cut: bool


class Noise(NamedTuple):
    """All that is random about a picture, beside its thought."""

    picture_LC: Tensor
    """Where sampling starts."""
    source_1Zyx: Tensor | None
    """For the latents of the source picture, which are sampled as in training."""


class UnifiedBagel:
    """A `UnifiedModel` over loaded weights."""

    def __init__(self, loaded: LoadedBagel, recipe: BagelSampling) -> None:
        config = loaded.model.config
        self.loaded, self.recipe = loaded, recipe
        self._side = config.token_pixels
        self._latent_sizes = SizeRule(
            longest=recipe.latent_longest, shortest=recipe.latent_shortest, stride=self._side
        )
        self._patch_sizes = SizeRule(
            longest=recipe.patch_longest,
            shortest=recipe.patch_shortest,
            stride=config.vision.patch_size,
        )

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> list[GenerationResult | NotGenerated]:
        made: dict[int, GenerationResult | NotGenerated] = {}
        possible: list[int] = []
        for index, task in enumerate(tasks):
            if reason := self._obstacle(task):
                made[index] = NotGenerated(status="refused", reason=reason)
            else:
                possible.append(index)
        # Guidance differs between the two, and all rows of a painter share one.
        possible.sort(key=lambda index: tasks[index].source is not None)
        for _, group in groupby(possible, key=lambda index: tasks[index].source is not None):
            indices = list(group)
            drawn = self._generate_alike([tasks[index] for index in indices], think=think)
            made.update(zip(indices, drawn, strict=True))
        return [made[index] for index in range(len(tasks))]

    @torch.no_grad()
    def answer(self, tasks: Sequence[AnswerTask]) -> list[Answer]:
        if not tasks:
            return []
        said = new_contexts(self.loaded.model, len(tasks))
        for turn in range(max((len(task.pictures) for task in tasks), default=0)):
            shown = [task.pictures[turn : turn + 1] for task in tasks]
            said = self.show(said, [self.resized(*one) if one else None for one in shown])
        said = with_text(self.loaded.model, said, [self._block(task.text) for task in tasks])
        most = self.recipe.max_answer_tokens
        words = self._write(said.full, [task.seed for task in tasks], most=most)
        return [Answer(text=one.text, cut=one.cut) for one in words]

    def grid_of(self, width: int, height: int) -> Grid:
        """Latent tokens of a picture of so many pixels."""
        return Grid(height // self._side, width // self._side)

    def noise(self, task: GenerationTask) -> Noise:
        """What the seed of a task makes: the picture's noise first, in the order of its tokens."""
        config = self.loaded.model.config
        generator = torch.Generator().manual_seed(task.seed)
        width, height = self._size(task)
        grid = self.grid_of(width, height)
        shape = (grid.rows * grid.columns, config.latent_features)
        picture_LC = torch.randn(shape, generator=generator)
        if task.source is None:
            return Noise(picture_LC, None)
        cells = [side // config.autoencoder.downsample for side in (height, width)]
        shape_1Zyx = (1, config.autoencoder.z_channels, *cells)
        return Noise(picture_LC, torch.randn(shape_1Zyx, generator=generator))

    def contexts(
        self, tasks: Sequence[GenerationTask], noise: Sequence[Noise], *, think: bool
    ) -> Contexts:
        """What is read before anything is written or drawn; all edits, or none.

        Args:
            tasks: one a row.
            noise: of each task.
            think: begin with the prompt that asks for a thought.
        """
        model = self.loaded.model
        said = new_contexts(model, len(tasks))
        if think:
            said = with_text(model, said, [self._block(self.recipe.think_prompt)] * len(tasks))
        sources = [self.resized(task.source) for task in tasks if task.source is not None]
        if sources:
            latents = [
                self.encoded(source, one.source_1Zyx)
                for source, one in zip(sources, noise, strict=True)
            ]
            grids = [self.grid_of(*source.size) for source in sources]
            said = with_latents(model, said, torch.cat(latents), grids)
            said = self.show(said, sources)
        return with_text(model, said, [self._block(task.prompt) for task in tasks])

    @torch.no_grad()
    def _generate_alike(
        self, tasks: Sequence[GenerationTask], *, think: bool
    ) -> list[GenerationResult | NotGenerated]:
        grids = [self.grid_of(*self._size(task)) for task in tasks]
        noise = [self.noise(task) for task in tasks]
        said = self.contexts(tasks, noise, think=think)
        thoughts: list[_Words | None] = [None] * len(tasks)
        if think:
            most = self.recipe.max_think_tokens
            words = self._write(said.full, [task.seed for task in tasks], most=most)
            blocks = [self._block(one.text) for one in words]
            said, thoughts = with_thought(self.loaded.model, said, blocks), list(words)
        guidance = self.recipe.draw if tasks[0].source is None else self.recipe.edit
        guided = GuidedVelocity(self.loaded.model, said, grids, guidance)
        painted_LC = denoise(
            guided,
            torch.cat([one.picture_LC for one in noise]).to(self.loaded.device),
            points=self.recipe.timesteps,
            shift=self.recipe.shift,
        )
        pictures = self.decoded(painted_LC, grids)
        return [
            one
            if isinstance(one, NotGenerated)
            else GenerationResult(picture=one)
            if thought is None
            else GenerationResult(picture=one, thought=thought.text, thought_cut=thought.cut)
            for one, thought in zip(pictures, thoughts, strict=True)
        ]

    def _obstacle(self, task: GenerationTask) -> str | None:
        if task.source is not None:
            if task.width is not None or task.height is not None:
                return "an edited picture has the size of its source, and another was asked for"
            return None
        width, height = self._size(task)
        return size_obstacle(width, height, side=self._side, most=self._most_pixels)

    @property
    def _most_pixels(self) -> int:
        return self.loaded.model.config.latent_side * self._side

    def _size(self, task: GenerationTask) -> tuple[int, int]:
        if task.source is not None:
            return self._latent_sizes.size(*task.source.size)
        return task.width or self.recipe.width, task.height or self.recipe.height

    def resized(self, picture: Image) -> Image:
        """A source picture in the size in which its latents are taken."""
        return self._latent_sizes.resized(to_rgb(picture))

    def encoded(self, picture: Image, noise_1Zyx: Tensor | None) -> Tensor:
        """A source picture's latent tokens [L, C]."""
        encoded = self.loaded.autoencoder.encode(to_pixels(picture)[None], noise_1Zyx)
        return to_tokens(encoded[0], self.loaded.model.config.latent_patch)

    def show(self, said: Contexts, pictures: Sequence[Image | None]) -> Contexts:
        """Reads one picture a row, resized for latents before, to be understood."""
        side = self.loaded.model.config.vision.patch_size
        grids, patches = [], []
        for picture in pictures:
            if picture is None:
                grids.append(Grid(0, 0))
                continue
            pixels_3YX = to_pixels(self._patch_sizes.resized(picture))
            grids.append(Grid(pixels_3YX.shape[1] // side, pixels_3YX.shape[2] // side))
            patches.append(to_patches(pixels_3YX, side))
        patches_LC = torch.cat(patches).to(self.loaded.device)
        return with_patches(self.loaded.model, said, patches_LC, grids)

    def _block(self, text: str) -> list[int]:
        return self.loaded.tokens.block(text)

    def _write(self, context: Context, seeds: Sequence[int], *, most: int) -> list[_Words]:
        tokens, temperature = self.loaded.tokens, self.recipe.temperature
        choose = seeded_token_sampler(seeds, temperature) if temperature > 0 else most_likely
        written = write(
            self.loaded.model,
            context,
            start=tokens.start,
            end=tokens.end,
            most=most,
            choose=choose,
        )
        return [_Words(tokens.answer(ids), cut=len(ids) - 1 == most) for ids in written]

    def decoded(self, painted_LC: Tensor, grids: Sequence[Grid]) -> list[Image | NotGenerated]:
        """Pictures of one size go through the autoencoder together, as many as fit."""
        made: dict[int, Image | NotGenerated] = {}
        counts = [grid.rows * grid.columns for grid in grids]
        painted = ragged(counts, painted_LC.device).split(painted_LC)
        for grid in dict.fromkeys(grids):
            rows = [row for row, one in enumerate(grids) if one == grid]
            together = max(1, _DECODED_TOGETHER // (grid.rows * grid.columns * self._side**2))
            for start in range(0, len(rows), together):
                chosen = rows[start : start + together]
                made.update(self._decoded_alike({row: painted[row] for row in chosen}, grid))
        return [made[row] for row in range(len(grids))]

    def _decoded_alike(
        self, painted: dict[int, Tensor], grid: Grid
    ) -> dict[int, Image | NotGenerated]:
        patch = self.loaded.model.config.latent_patch
        latents = [
            to_latent(tokens_LC, patch, rows=grid.rows, columns=grid.columns)
            for tokens_LC in painted.values()
        ]
        pixels = self.loaded.autoencoder.decode(torch.stack(latents))
        return {
            row: to_image(one)
            if bool(one.isfinite().all())
            else NotGenerated(
                status="failed", reason="the sampled picture holds numbers that are none"
            )
            for row, one in zip(painted, pixels, strict=True)
        }


class BagelRefiner:
    """An `ImageRefiner`: edits the image after a thought, as AlphaGRPO's release refines."""

    def __init__(self, model: UnifiedBagel) -> None:
        self.model = model

    def refine(self, tasks: Sequence[RefineTask]) -> list[GenerationResult | NotGenerated]:
        """See `ImageRefiner`."""
        template = self.model.recipe.reflect_prompt
        edits = [
            GenerationTask(
                prompt=template.replace("{prompt}", task.prompt), seed=task.seed, source=task.image
            )
            for task in tasks
        ]
        return self.model.generate(edits, think=True)


def size_obstacle(width: int, height: int, *, side: int, most: int) -> str | None:
    """Why a picture of this size cannot be drawn; None where it can.

    Args:
        width: pixels.
        height: pixels.
        side: pixels on a side of a latent token.
        most: pixels on the longest side.
    """
    if width % side or height % side or min(width, height) < side:
        return f"{width}x{height} is no size in steps of {side} pixels"
    if max(width, height) > most:
        return f"{width}x{height} is larger than {most} pixels, which this model can draw"
    return None


def seeded_token_sampler(seeds: Sequence[int], temperature: float) -> TokenSampler:
    """Draws tokens at a temperature, each row with a generator of its own.

    One uniform number a token decides by the cumulative distribution in float64, so that rounding
    which differs between batches hardly ever changes a token.
    """
    generators = [torch.Generator().manual_seed(_apart(seed)) for seed in seeds]

    def choose(logits_BV: Tensor, rows: Sequence[int]) -> list[int]:
        steps_BV = (logits_BV.cpu().double() / temperature).softmax(dim=-1).cumsum(dim=-1)
        chosen = []
        for sums_V, row in zip(steps_BV, rows, strict=True):
            point = torch.rand((), generator=generators[row], dtype=torch.float64) * sums_V[-1]
            chosen.append(int(torch.searchsorted(sums_V, point, right=True)))
        return chosen

    return choose


def _apart(seed: int) -> int:
    """A seed for words, so that they have nothing to do with the noise of the same task."""
    digest = hashlib.sha256(f"words of {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
