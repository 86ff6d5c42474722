"""The losses of a batch: cross-entropy of text, and squared error of velocities.

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
from tools.nano_umm.batches import Kind, TrainingBatch
from tools.nano_umm.sequences import TokenBlocks

WEIGHTS: Final[Mapping[Kind, Mapping[str, float]]] = {
    "draw": {"image": 1.0},
    "tell": {"image": 0.3},
    "think": {"image": 0.4, "text": 0.1},
    "ask": {"text": 1.0},
    "mend": {"image": 0.4, "text": 0.1},
    "see": {"cells": 0.3, "names": 1.0},
}
NOISES_PER_SAMPLE: Final[Mapping[Kind, int]] = {"draw": 3, "tell": 2, "think": 2, "mend": 2}
"""Times and noises for each sample, which share its context."""
COSINE_SCALE: Final = 12.0
"""Scale of the cosines between patches and word embeddings."""
GRID: Final = Grid(4, 4)


class PatchClassifier(nn.Linear):
    """Classifies the object at each patch: an auxiliary loss for the vision encoder."""

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


def losses(model: Bagel, cells: PatchClassifier, batch: TrainingBatch) -> dict[str, Tensor]:
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
    values: dict[str, Tensor] = {}
    if any(any(one.scored) for one in batch.words):
        values["text"] = _text_loss(model, read.hidden_TD, batch.words)
    if batch.target_BTC is not None:
        values["image"] = _image_loss(model, read.context, batch)
    return values


def _names_loss(seen_TD: Tensor, words_ND: Tensor, categories_T: Tensor) -> Tensor:
    """Cross-entropy of the word that is most similar to a patch with an object.

    It aligns patches with the words of questions. In a trial without this loss, and with a fifth of
    the weight of answers, the presence of objects was still guessed after 1,400 steps.
    """
    shown_T = categories_T < len(words_ND)
    seen_TD = functional.normalize(seen_TD[shown_T].float(), dim=-1)
    words_ND = functional.normalize(words_ND.detach().float(), dim=-1)
    return functional.cross_entropy(COSINE_SCALE * seen_TD @ words_ND.T, categories_T[shown_T])


def _request(model: Bagel, context: Context, batch: TrainingBatch) -> Context:
    """Reads the request to think in the rows that think; it precedes the image."""
    assert batch.thinks is not None
    ids = [list(batch.request) if thinks else [] for thinks in batch.thinks]
    return model.read_text(context, ids).context


def _text_loss(model: Bagel, hidden_TD: Tensor, words: Sequence[TokenBlocks]) -> Tensor:
    positions, targets, start = [], [], 0
    for one in words:
        for index, scored in enumerate(one.scored):
            if scored:
                positions.append(start + index - 1)
                targets.append(one.ids[index])
        start += len(one.ids)
    logits = model.logits(hidden_TD[torch.tensor(positions)])
    return functional.cross_entropy(logits, torch.tensor(targets))


def _image_loss(model: Bagel, context: Context, batch: TrainingBatch) -> Tensor:
    assert batch.target_BTC is not None
    rows, n_noises = len(batch.target_BTC), NOISES_PER_SAMPLE[batch.kind]
    generator = torch.Generator().manual_seed(batch.seed)
    context = context.take(list(range(rows)) * n_noises)
    target_LC = batch.target_BTC.repeat(n_noises, 1, 1).flatten(0, 1)
    noise_LC = torch.randn(target_LC.shape, generator=generator)
    t_B = torch.sigmoid(torch.randn(rows * n_noises, generator=generator))
    t_L1 = t_B.repeat_interleave(GRID.rows * GRID.columns)[:, None]
    x_LC = (1 - t_L1) * target_LC + t_L1 * noise_LC
    canvas = model.canvas(context, [GRID] * (rows * n_noises))
    predicted_LC = model.velocity(context, canvas, x_LC, t_B)
    return (predicted_LC - (noise_LC - target_LC)).square().mean()
