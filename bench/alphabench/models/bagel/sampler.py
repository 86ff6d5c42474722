"""Samples images and text, many rows at a time; contexts are read once and shared by all steps.

The branches that guidance needs go through the model together. Samples no noise and seeds nothing:
noise and the rule for choosing tokens are arguments. Knows no file and no tokenizer.

Shapes: B rows; L latent tokens of all rows, packed; C features of a token; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from alphabench.models.bagel.guidance import Guidance, apply_guidance, intervals
from alphabench.models.bagel.kv_cache import MARKS, Context, stack
from alphabench.models.bagel.model import Bagel, Canvas, Grid
from alphabench.models.bagel.packed_sequences import ragged


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """The text and images read so far: in full, and as the two guidance branches see them."""

    full: Context
    text_free: Context
    """Without the last text, or with everything where an image came last."""
    image_free: Context
    """All text, no images, no thoughts."""


def new_contexts(model: Bagel, rows: int) -> Contexts:
    """Nothing read yet."""
    nothing = model.new_context(rows)
    return Contexts(full=nothing, text_free=nothing, image_free=nothing)


def with_text(model: Bagel, contexts: Contexts, ids: Sequence[Sequence[int]]) -> Contexts:
    """Reads one block of text a row, control tokens included."""
    read = model.read_text(contexts.full, ids).context
    same = contexts.image_free is contexts.full
    return Contexts(
        full=read,
        text_free=contexts.full,
        image_free=read if same else model.read_text(contexts.image_free, ids).context,
    )


def with_thought(model: Bagel, contexts: Contexts, ids: Sequence[Sequence[int]]) -> Contexts:
    """Reads one block of the model's own text a row, which guidance strengthens too."""
    return replace(contexts, full=model.read_text(contexts.full, ids).context)


def with_latents(model: Bagel, contexts: Contexts, x_LC: Tensor, grids: Sequence[Grid]) -> Contexts:
    """Reads one image a row as latent tokens, for editing; its patches come next."""
    read = model.read_latents(contexts.full, x_LC, grids)
    return replace(contexts, full=read, text_free=read)


def with_patches(
    model: Bagel, contexts: Contexts, patches_LC: Tensor, grids: Sequence[Grid]
) -> Contexts:
    """Reads one image a row as patches of the vision encoder."""
    read = model.read_patches(contexts.full, patches_LC, grids)
    return replace(contexts, full=read, text_free=read)


def repeated(contexts: Contexts, rows: Sequence[int]) -> Contexts:
    """These rows of each context, in this order; a row may be taken several times."""
    parts = (contexts.full, contexts.text_free, contexts.image_free)
    taken = {id(part): part.take(rows) for part in {id(one): one for one in parts}.values()}
    full, text_free, image_free = (taken[id(part)] for part in parts)
    return Contexts(full=full, text_free=text_free, image_free=image_free)


class EulerStep(NamedTuple):
    """One Euler step of all rows."""

    t: float
    x_LC: Tensor
    velocity_LC: Tensor
    after_LC: Tensor


class _Branches(NamedTuple):
    context: Context
    canvas: Canvas


class GuidedVelocity:
    """Predicts guided velocities of one image a row after `contexts`.

    Copies the contexts once, with capacity for the image after them, so that a step writes only the
    image's keys.
    """

    def __init__(
        self, model: Bagel, contexts: Contexts, grids: Sequence[Grid], guidance: Guidance
    ) -> None:
        self._model, self._guidance = model, guidance
        self._tokens = ragged([g.rows * g.columns for g in grids], model.vae2llm.weight.device)
        together = (contexts.full, contexts.text_free, contexts.image_free)
        max_tokens, rows = guidance.branches(guidance.high), contexts.full.rows
        stacked = stack(together[:max_tokens]) if max_tokens > 1 else contexts.full
        slots = max(grid.rows * grid.columns for grid in grids) + MARKS
        extended = model.language_model.model.room(stacked, slots)
        self._branches: dict[int, _Branches] = {}
        for count in {1, max_tokens}:
            context = extended.first(count * rows)
            self._branches[count] = _Branches(context, model.canvas(context, list(grids) * count))

    def velocity(self, x_LC: Tensor, t: float, *, recompute: bool = False) -> Tensor:
        """Noise minus data [L, C] at time `t`, guided where guidance is active.

        Differentiable; `recompute` saves memory in the backward pass, see `Decoder.forward`.
        """
        count = self._guidance.branches(t)
        context, canvas = self._branches[count]
        t_B = torch.full((context.rows,), t, device=x_LC.device)
        x_TC = x_LC.repeat(count, 1)
        predicted_LC = self._model.velocity(context, canvas, x_TC, t_B, recompute=recompute)
        if count == 1:
            return predicted_LC
        padded = [self._tokens.pad(part) for part in predicted_LC.chunk(count)]
        image_free_BNC = padded[2] if count == 3 else None
        return self._tokens.unpad(
            apply_guidance(padded[0], padded[1], image_free_BNC, self._guidance)
        )

    def steps(self, noise_LC: Tensor, *, points: int, shift: float) -> Iterator[EulerStep]:
        """From noise (float32) to the image, one Euler step at a time."""
        x_LC = noise_LC
        for t, width in intervals(points, shift):
            velocity_LC = self.velocity(x_LC, t)
            after_LC = x_LC - velocity_LC * width
            yield EulerStep(t, x_LC, velocity_LC, after_LC)
            x_LC = after_LC


@torch.no_grad()
def denoise_latents(
    guided: GuidedVelocity, noise_LC: Tensor, *, points: int = 50, shift: float = 3.0
) -> Tensor:
    """The latent tokens [L, C] that `noise_LC` becomes in points - 1 steps."""
    x_LC = noise_LC
    for step in guided.steps(noise_LC, points=points, shift=shift):
        x_LC = step.after_LC
    return x_LC
