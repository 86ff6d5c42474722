"""BAGEL behind the protocol of unified models: images and text from prompts, images and seeds.

All noise of an image and all sampled tokens of its thought come from its own generators on the
CPU, seeded by its task, so that a batch changes nothing. Knows no file and no benchmark.

Shapes: B rows; L latent tokens of all rows, packed; C features of a token; V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image as PillowImage
from torch import Tensor

from alphabench.device_transfer import fetched, sent
from alphabench.images import to_rgb
from alphabench.models.bagel.autoencoder import to_latent, to_tokens
from alphabench.models.bagel.image_processing import (
    SizeRule,
    image_to_pixels,
    pixels_to_levels,
    to_patches,
)
from alphabench.models.bagel.kv_cache import Context
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.packed_sequences import ragged
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    denoise_latents,
    new_contexts,
    repeated,
    with_latents,
    with_patches,
    with_text,
    with_thought,
)
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.models.bagel.text_decoding import (
    ChosenTokens,
    TokenSampler,
    chosen_tokens,
    generate_text,
    most_likely,
)
from alphabench.models.unified_model import (
    AnswerTask,
    GenerationResult,
    GenerationTask,
    RefineTask,
    TextAnswer,
)
from alphabench.types import NotGenerated

if TYPE_CHECKING:
    from PIL.Image import Image

_DECODED_TOGETHER = 2**20
"""Pixels that the autoencoder decodes in one call."""
_DECODED_IN_CACHE = 2**16
"""The same on a CPU: its activations stay in the processor's cache. Changes no pixel."""


class _Text(NamedTuple):
    text: str
    cut: bool


class Noise(NamedTuple):
    """All that is random about an image, except for its thought."""

    image_LC: Tensor
    """Where sampling starts."""
    source_1Zyx: Tensor | None
    """For the latents of the source image, which are sampled as in training."""


class UnifiedBagel:
    """A `UnifiedModel` over loaded weights."""

    def __init__(self, loaded: LoadedBagel, sampling: BagelSampling) -> None:
        config = loaded.model.config
        self.loaded, self.sampling = loaded, sampling
        self._side = config.token_pixels
        self._latent_sizes = SizeRule(
            longest=sampling.latent_longest, shortest=sampling.latent_shortest, stride=self._side
        )
        self._patch_sizes = SizeRule(
            longest=sampling.patch_longest,
            shortest=sampling.patch_shortest,
            stride=config.vision.patch_size,
        )

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> list[GenerationResult | NotGenerated]:
        results: dict[int, GenerationResult | NotGenerated] = {}
        possible: list[int] = []
        for index, task in enumerate(tasks):
            if reason := self._obstacle(task):
                results[index] = NotGenerated(status="refused", reason=reason)
            else:
                possible.append(index)
        # Guidance differs between the two, and all rows of a `GuidedVelocity` share one.
        possible.sort(key=lambda index: tasks[index].source is not None)
        for _, group in groupby(possible, key=lambda index: tasks[index].source is not None):
            indices = list(group)
            generated = self._generate_alike([tasks[index] for index in indices], think=think)
            results.update(zip(indices, generated, strict=True))
        return [results[index] for index in range(len(tasks))]

    @torch.no_grad()
    def answer(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
        if not tasks:
            return []
        contexts = new_contexts(self.loaded.model, len(tasks))
        for index in range(max((len(task.images) for task in tasks), default=0)):
            images = [task.images[index : index + 1] for task in tasks]
            contexts = self.read_images(
                contexts, [self.resized(*one) if one else None for one in images]
            )
        contexts = with_text(
            self.loaded.model, contexts, [self._block(task.text) for task in tasks]
        )
        max_tokens = self.sampling.max_answer_tokens
        texts = self._generate_text(
            contexts.full, [task.seed for task in tasks], max_tokens=max_tokens
        )
        return [TextAnswer(text=one.text, cut=one.cut) for one in texts]

    def grid_of(self, width: int, height: int) -> Grid:
        """Latent tokens of an image of so many pixels."""
        return Grid(height // self._side, width // self._side)

    def noise(self, task: GenerationTask) -> Noise:
        """What the seed of a task makes: the image's noise first, in the order of its tokens."""
        config = self.loaded.model.config
        generator = torch.Generator().manual_seed(task.seed)
        width, height = self._size(task)
        grid = self.grid_of(width, height)
        shape = (grid.rows * grid.columns, config.latent_features)
        image_LC = torch.randn(shape, generator=generator)
        if task.source is None:
            return Noise(image_LC, None)
        cells = [side // config.autoencoder.downsample for side in (height, width)]
        shape_1Zyx = (1, config.autoencoder.z_channels, *cells)
        return Noise(image_LC, torch.randn(shape_1Zyx, generator=generator))

    def contexts(
        self, tasks: Sequence[GenerationTask], noise: Sequence[Noise], *, think: bool
    ) -> Contexts:
        """The prefilled contexts, before any text or image is generated; all edits, or none.

        Args:
            tasks: one a row.
            noise: of each task.
            think: begin with the prompt for a chain of thought.
        """
        model = self.loaded.model
        contexts = new_contexts(model, len(tasks))
        if think:
            contexts = with_text(
                model, contexts, [self._block(self.sampling.think_prompt)] * len(tasks)
            )
        sources = [self.resized(task.source) for task in tasks if task.source is not None]
        if sources:
            latents = [
                self.encoded(source, one.source_1Zyx)
                for source, one in zip(sources, noise, strict=True)
            ]
            grids = [self.grid_of(*source.size) for source in sources]
            contexts = with_latents(model, contexts, torch.cat(latents), grids)
            contexts = self.read_images(contexts, sources)
        return with_text(model, contexts, [self._block(task.prompt) for task in tasks])

    @torch.no_grad()
    def _generate_alike(
        self, tasks: Sequence[GenerationTask], *, think: bool
    ) -> list[GenerationResult | NotGenerated]:
        grids = [self.grid_of(*self._size(task)) for task in tasks]
        noise = [self.noise(task) for task in tasks]
        contexts, thoughts = self._contexts_and_thoughts(tasks, noise, think=think)
        guidance = self.sampling.draw if tasks[0].source is None else self.sampling.edit
        guided = GuidedVelocity(self.loaded.model, contexts, grids, guidance)
        latents_LC = denoise_latents(
            guided,
            sent(torch.cat([one.image_LC for one in noise]), self.loaded.device),
            points=self.sampling.timesteps,
            shift=self.sampling.shift,
        )
        images = self.decoded(latents_LC, grids)
        return [
            one
            if isinstance(one, NotGenerated)
            else GenerationResult(image=one)
            if thought is None
            else GenerationResult(image=one, thought=thought.text, thought_cut=thought.cut)
            for one, thought in zip(images, thoughts, strict=True)
        ]

    def _contexts_and_thoughts(
        self, tasks: Sequence[GenerationTask], noise: Sequence[Noise], *, think: bool
    ) -> tuple[Contexts, list[_Text | None]]:
        """What an image of each task is generated after.

        What tasks share is read and written once: a prompt and, where the most likely tokens are
        taken, its thought. Compiled layers read all, so that few shapes are compiled.
        """
        compiled = self.loaded.model.language_model.model.compiled
        of_row = list(range(len(tasks))) if compiled else _rows_by_prompt(tasks)
        own = [of_row.index(number) for number in range(max(of_row) + 1)]
        contexts = self.contexts([tasks[n] for n in own], [noise[n] for n in own], think=think)
        texts: list[_Text | None] = [None] * len(own)
        if think:
            if self.sampling.temperature > 0:
                contexts, own = repeated(contexts, of_row), list(range(len(tasks)))
                of_row = own
            seeds = [tasks[n].seed for n in own]
            max_tokens = self.sampling.max_think_tokens
            written = self._generate_text(contexts.full, seeds, max_tokens=max_tokens)
            blocks = [self._block(one.text) for one in written]
            contexts, texts = with_thought(self.loaded.model, contexts, blocks), list(written)
        if len(own) < len(tasks):
            contexts = repeated(contexts, of_row)
        return contexts, [texts[number] for number in of_row]

    def _obstacle(self, task: GenerationTask) -> str | None:
        if task.source is not None:
            if task.width is not None or task.height is not None:
                return "an edited image has the size of its source, and another size was requested"
            return None
        width, height = self._size(task)
        return size_obstacle(width, height, side=self._side, max_side=self._max_side)

    @property
    def _max_side(self) -> int:
        return self.loaded.model.config.latent_side * self._side

    def _size(self, task: GenerationTask) -> tuple[int, int]:
        if task.source is not None:
            return self._latent_sizes.size(*task.source.size)
        return task.width or self.sampling.width, task.height or self.sampling.height

    def resized(self, image: Image) -> Image:
        """A source image in the size in which its latents are taken."""
        return self._latent_sizes.resized(to_rgb(image))

    def encoded(self, image: Image, noise_1Zyx: Tensor | None) -> Tensor:
        """A source image's latent tokens [L, C]."""
        encoded = self.loaded.autoencoder.encode(image_to_pixels(image)[None], noise_1Zyx)
        return to_tokens(encoded[0], self.loaded.model.config.latent_patch)

    def read_images(self, contexts: Contexts, images: Sequence[Image | None]) -> Contexts:
        """Reads one image a row, resized for latents before, to be understood."""
        side = self.loaded.model.config.vision.patch_size
        grids, patches = [], []
        for image in images:
            if image is None:
                grids.append(Grid(0, 0))
                continue
            pixels_3YX = image_to_pixels(self._patch_sizes.resized(image))
            grids.append(Grid(pixels_3YX.shape[1] // side, pixels_3YX.shape[2] // side))
            patches.append(to_patches(pixels_3YX, side))
        patches_LC = sent(torch.cat(patches), self.loaded.device)
        return with_patches(self.loaded.model, contexts, patches_LC, grids)

    def _block(self, text: str) -> list[int]:
        return self.loaded.tokens.block(text)

    def _generate_text(
        self, context: Context, seeds: Sequence[int], *, max_tokens: int
    ) -> list[_Text]:
        tokens, temperature = self.loaded.tokens, self.sampling.temperature
        choose = seeded_token_sampler(seeds, temperature) if temperature > 0 else most_likely
        written = generate_text(
            self.loaded.model,
            context,
            start=tokens.start,
            end=tokens.end,
            max_tokens=max_tokens,
            choose=choose,
        )
        return [_Text(tokens.answer(ids), cut=len(ids) - 1 == max_tokens) for ids in written]

    def decoded(self, latents_LC: Tensor, grids: Sequence[Grid]) -> list[Image | NotGenerated]:
        """Images of one size go through the autoencoder together, as many as fit."""
        results: dict[int, Image | NotGenerated] = {}
        counts = [grid.rows * grid.columns for grid in grids]
        latents = ragged(counts, latents_LC.device).split(latents_LC)
        for grid in dict.fromkeys(grids):
            rows = [row for row, one in enumerate(grids) if one == grid]
            for chosen in _even_parts(rows, self._parts_decoded(len(rows), grid)):
                results.update(self._decoded_alike({row: latents[row] for row in chosen}, grid))
        return [results[row] for row in range(len(grids))]

    def _parts_decoded(self, rows: int, grid: Grid) -> int:
        """In how many calls the autoencoder decodes so many images of one size."""
        pixels = grid.rows * grid.columns * self._side**2
        parts = -(-rows // max(1, _DECODED_TOGETHER // pixels))
        if self.loaded.device.type != "cpu":
            return parts
        # No image is decoded alone that was not: one is rounded otherwise than two or more.
        return max(parts, rows // max(2, _DECODED_IN_CACHE // pixels))

    def _decoded_alike(
        self, latents_by_row: dict[int, Tensor], grid: Grid
    ) -> dict[int, Image | NotGenerated]:
        patch = self.loaded.model.config.latent_patch
        latents = [
            to_latent(tokens_LC, patch, rows=grid.rows, columns=grid.columns)
            for tokens_LC in latents_by_row.values()
        ]
        pixels = self.loaded.autoencoder.decode(torch.stack(latents))
        levels_BYX3, finite_B = fetched(
            [pixels_to_levels(pixels), pixels.isfinite().flatten(1).all(dim=1)]
        )
        return {
            row: PillowImage.fromarray(one.numpy())
            if finite
            else NotGenerated(status="failed", reason="the sampled image holds NaN or infinity")
            for row, one, finite in zip(latents_by_row, levels_BYX3, finite_B.tolist(), strict=True)
        }


def _even_parts(rows: Sequence[int], count: int) -> list[Sequence[int]]:
    """So many parts, of nearly one length."""
    bounds = [number * len(rows) // count for number in range(count + 1)]
    return [rows[start:end] for start, end in pairwise(bounds)]


def _rows_by_prompt(tasks: Sequence[GenerationTask]) -> list[int]:
    """A number for each task, the same for tasks of one prompt; an edit shares it with none."""
    first: dict[object, int] = {}
    keys = [
        task.prompt if task.source is None else (row, task.prompt) for row, task in enumerate(tasks)
    ]
    return [first.setdefault(key, len(first)) for key in keys]


class BagelRefiner:
    """An `ImageRefiner`: edits the image after a thought, as in AlphaGRPO's release."""

    def __init__(self, model: UnifiedBagel) -> None:
        self.model = model

    def refine(self, tasks: Sequence[RefineTask]) -> list[GenerationResult | NotGenerated]:
        """See `ImageRefiner`."""
        template = self.model.sampling.reflect_prompt
        edits = [
            GenerationTask(
                prompt=template.replace("{prompt}", task.prompt), seed=task.seed, source=task.image
            )
            for task in tasks
        ]
        return self.model.generate(edits, think=True)


def size_obstacle(width: int, height: int, *, side: int, max_side: int) -> str | None:
    """Why an image of this size cannot be generated; None where it can.

    Args:
        width: pixels.
        height: pixels.
        side: pixels on a side of a latent token.
        max_side: pixels on the longest side.
    """
    if width % side or height % side or min(width, height) < side:
        return f"{width}x{height} is no size in steps of {side} pixels"
    if max(width, height) > max_side:
        return f"{width}x{height} is larger than {max_side} pixels, which this model can generate"
    return None


def seeded_token_sampler(seeds: Sequence[int], temperature: float) -> TokenSampler:
    """Samples tokens at a temperature, each row with its own generator.

    One uniform number a token decides by the cumulative distribution in float64, so that rounding
    which differs between batches very rarely changes a token.
    """
    generators = [torch.Generator().manual_seed(_text_seed(seed)) for seed in seeds]

    def choose(logits_BV: Tensor, rows: Sequence[int]) -> ChosenTokens:
        sums_BV = (logits_BV.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
        uniform_B1 = torch.stack(
            [torch.rand(1, generator=generators[row], dtype=torch.float64) for row in rows]
        )
        points_B1 = uniform_B1.to(sums_BV.device) * sums_BV[:, -1:]
        return chosen_tokens(torch.searchsorted(sums_BV, points_B1, right=True)[:, 0])

    return choose


def _text_seed(seed: int) -> int:
    """The seed for text, independent of the noise of the same task."""
    digest = hashlib.sha256(f"words of {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
