"""The two losses of a batch: words predicted, velocities predicted.

Shapes: B samples; L latent tokens of all rows, packed; C features of a token; T text tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.detections.objects import COLOURS
from alphabench.models.bagel.kv_cache import Context
from alphabench.models.bagel.model import Bagel, Grid
from alphabench.scenes.small_world import SMALL_CATEGORIES
from tools.nano_umm.batches import Batch, Kind
from tools.nano_umm.sequences import TokenBlocks

WEIGHTS: Final[Mapping[Kind, Mapping[str, float]]] = {
    "draw": {"image": 1.0},
    "tell": {"image": 0.3},
    "think": {"image": 0.4, "text": 0.1},
    "ask": {"text": 1.0},
    "mend": {"image": 0.4, "text": 0.1},
    "see": {"cells": 0.3, "names": 1.0},
}
DRAWS: Final[Mapping[Kind, int]] = {"draw": 3, "tell": 2, "think": 2, "mend": 2}
"""Times and noises a sample, which share its context."""
LIKENESS: Final = 12.0
"""Scale of the cosines between patches and words."""
GRID: Final = Grid(4, 4)


class Cells(nn.Linear):
    """Names what stands at each patch; teaches the eye to see, and is no part of the model."""

    def __init__(self, width: int) -> None:
        super().__init__(width, len(SMALL_CATEGORIES) + 1 + len(COLOURS) + 2)

    def loss(self, seen_TD: Tensor, cells_T2: Tensor) -> Tensor:
        """Mean cross-entropy of categories and of colours."""
        names, colours = (
            self(seen_TD).float().split([len(SMALL_CATEGORIES) + 1, len(COLOURS) + 2], 1)
        )
        return functional.cross_entropy(names, cells_T2[:, 0]) + functional.cross_entropy(
            colours, cells_T2[:, 1]
        )


def losses(model: Bagel, cells: Cells, batch: Batch) -> dict[str, Tensor]:
    """`image`: mean squared error of velocities; the others are cross-entropies."""
    if batch.cells_BT2 is not None:
        assert batch.patches_BTC is not None
        grids = [GRID] * len(batch.patches_BTC)
        seen_TD = model.embed_patches(batch.patches_BTC.flatten(0, 1), grids)
        cells_T2 = batch.cells_BT2.flatten(0, 1)
        assert batch.names_N is not None
        words_ND = model.language_model.model.embed_tokens(batch.names_N)
        return {
            "cells": cells.loss(seen_TD, cells_T2),
            "names": _names_loss(seen_TD, words_ND, cells_T2[:, 0]),
        }
    rows = len(batch.words)
    context = model.new_context(rows)
    if batch.thinks is not None:
        context = _request(model, context, batch)
    if batch.source_BTC is not None:
        context = model.read_latents(context, batch.source_BTC.flatten(0, 1), [GRID] * rows)
    if batch.patches_BTC is not None:
        context = model.read_patches(context, batch.patches_BTC.flatten(0, 1), [GRID] * rows)
    read = model.read_text(context, [one.ids for one in batch.words])
    found: dict[str, Tensor] = {}
    if any(any(one.scored) for one in batch.words):
        found["text"] = _text_loss(model, read.hidden_TD, batch.words)
    if batch.target_BTC is not None:
        found["image"] = _image_loss(model, read.context, batch)
    return found


def _names_loss(seen_TD: Tensor, words_ND: Tensor, categories_T: Tensor) -> Tensor:
    """Cross-entropy of the word that a patch with a thing on it is most like.

    A question about a thing then finds it. In a trial without this loss, and with a fifth of the
    weight of answers, whether a thing is there at all was still guessed after 1,400 steps.
    """
    shown_T = categories_T < len(words_ND)
    seen_TD = functional.normalize(seen_TD[shown_T].float(), dim=-1)
    words_ND = functional.normalize(words_ND.detach().float(), dim=-1)
    return functional.cross_entropy(LIKENESS * seen_TD @ words_ND.T, categories_T[shown_T])


def _request(model: Bagel, context: Context, batch: Batch) -> Context:
    """Reads the request to think in the rows that think; it stands before the picture."""
    assert batch.thinks is not None
    ids = [list(batch.request) if thinks else [] for thinks in batch.thinks]
    return model.read_text(context, ids).context


def _text_loss(model: Bagel, hidden_TD: Tensor, words: Sequence[TokenBlocks]) -> Tensor:
    places, wanted, start = [], [], 0
    for one in words:
        for index, scored in enumerate(one.scored):
            if scored:
                places.append(start + index - 1)
                wanted.append(one.ids[index])
        start += len(one.ids)
    logits = model.logits(hidden_TD[torch.tensor(places)])
    return functional.cross_entropy(logits, torch.tensor(wanted))


def _image_loss(model: Bagel, context: Context, batch: Batch) -> Tensor:
    assert batch.target_BTC is not None
    rows, draws = len(batch.target_BTC), DRAWS[batch.kind]
    generator = torch.Generator().manual_seed(batch.seed)
    context = context.take(list(range(rows)) * draws)
    target_LC = batch.target_BTC.repeat(draws, 1, 1).flatten(0, 1)
    noise_LC = torch.randn(target_LC.shape, generator=generator)
    t_B = torch.sigmoid(torch.randn(rows * draws, generator=generator))
    t_L1 = t_B.repeat_interleave(GRID.rows * GRID.columns)[:, None]
    x_LC = (1 - t_L1) * target_LC + t_L1 * noise_LC
    canvas = model.canvas(context, [GRID] * (rows * draws))
    predicted_LC = model.velocity(context, canvas, x_LC, t_B)
    return (predicted_LC - (noise_LC - target_LC)).square().mean()
