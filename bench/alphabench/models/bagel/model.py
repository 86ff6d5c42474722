"""The complete model: reads text and images into contexts, scores text, predicts velocities.

Differentiable throughout; samples no noise and decodes no text. Names of modules are those of
`ema.safetensors`. x_t = (1 - t) data + t noise, and the velocity is noise - data. The two heads
compute in float32 whatever the weights of the rest are (`Bagel.hold_heads`).

Shapes: T tokens of all rows, packed; B rows; D decoder width; V vocabulary; C features of a latent
token or of a patch; L latent tokens of all rows, packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alphabench.device_transfer import sent
from alphabench.models.bagel.autoencoder import grid_indices
from alphabench.models.bagel.config import HEADS, BagelConfig
from alphabench.models.bagel.decoder import DecoderOutput, LanguageModel
from alphabench.models.bagel.embedding import Connector, PositionTable, TimeEmbedder
from alphabench.models.bagel.kv_cache import (
    Block,
    Context,
    empty_context,
    image_block,
    inside_marks,
    text_block,
)
from alphabench.models.bagel.packed_sequences import numbers_on, ragged
from alphabench.models.bagel.vision import VisionModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMarks:
    """The tokens around every image."""

    start: int
    end: int


class Grid(NamedTuple):
    """How many tokens high and wide an image is."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """One image a row, to be generated or stored: its block and the positions of its tokens."""

    block: Block
    indices_L: Tensor
    rows_L: Tensor
    """The row of each latent token."""
    inside_L: Tensor
    """Where the image's tokens stand among all, the marks around them included; reading order."""
    marks_T: Tensor
    """Start mark where a row starts, end mark elsewhere."""


class Bagel(nn.Module):
    """One decoder for text, images to understand and images to generate."""

    def __init__(self, config: BagelConfig, marks: ImageMarks) -> None:
        super().__init__()
        width = config.language.hidden_size
        self.config, self.marks = config, marks
        self.language_model = LanguageModel(config.language)
        self.vit_model = VisionModel(config.vision)
        self.connector = Connector(config.vision.hidden_size, width)
        self.vit_pos_embed = PositionTable(config.vision.table_side, width)
        self.latent_pos_embed = PositionTable(config.latent_side, width)
        self.time_embedder = TimeEmbedder(width)
        self.vae2llm = nn.Linear(config.latent_features, width)
        self.llm2vae = nn.Linear(width, config.latent_features)

    def hold_heads(self) -> Bagel:
        """Holds the heads' weights in float32, so that logits and velocities are not rounded.

        Logits of 16 to 32 have steps of 0.125 in bfloat16: the log-probability of a token would be
        off by more than many clip ranges. As in AlphaGRPO's release (`head_dtype` in
        Bagel/modeling/bagel/bagel.py at 1f604fff). For BAGEL-7B it takes 1.0 GiB more than
        bfloat16; casting the weights at each token would move 29% more bytes a token, this 7%.
        """
        for name in HEADS:
            self.get_submodule(name).float()
        return self

    def new_context(self, rows: int) -> Context:
        """Nothing read yet, in `rows` rows."""
        weight = self.vae2llm.weight
        return empty_context(self.config.language, rows, dtype=weight.dtype, device=weight.device)

    def read_text(
        self, context: Context, ids: Sequence[Sequence[int]], *, recompute: bool = False
    ) -> DecoderOutput:
        """Reads one list of token ids a row, control tokens included; an empty list is allowed.

        `recompute` saves memory in the backward pass, see `Decoder.forward`.
        """
        block = text_block(context, [len(row) for row in ids])
        ids_T = numbers_on(context.valid_BP.device, chain.from_iterable(ids))
        x_TD = self.language_model.model.embed_tokens(ids_T)
        return self._read(x_TD, block, context, recompute=recompute)

    def read_token(self, context: Context, ids_B: Tensor, block: Block) -> DecoderOutput:
        """Reads one token a row, for decoding; `block` places it."""
        return self._read(self.language_model.model.embed_tokens(ids_B), block, context)

    def logits(self, hidden_TD: Tensor) -> Tensor:
        """Scores [T, V] of the next token, float32; some rows of the head stand for no token."""
        return _float32_product(self.language_model.lm_head, hidden_TD)

    def score_text(
        self, context: Context, ids: Sequence[Sequence[int]], *, recompute: bool = False
    ) -> tuple[Tensor, ...]:
        """Log-probabilities (float32) of each row's ids after its first, one tensor a row.

        The first id is the start token that the model is fed; every following one is predicted from
        `context` and all ids before it. No row is empty.
        """
        block = text_block(context, [len(row) - 1 for row in ids])
        device = context.valid_BP.device
        fed_T, wanted_T = (
            numbers_on(device, chain.from_iterable(part))
            for part in ([row[:-1] for row in ids], [row[1:] for row in ids])
        )
        x_TD = self.language_model.model.embed_tokens(fed_T)
        hidden_TD = self._read(x_TD, block, context, recompute=recompute).hidden_TD
        scores_TV = self.logits(hidden_TD).log_softmax(dim=-1)
        return block.tokens.split(scores_TV.gather(1, wanted_T[:, None])[:, 0])

    def embed_patches(self, patches_TC: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Vectors [T, D] for the patches of one image a row."""
        device = self.vae2llm.weight.device
        patches = ragged([grid.rows * grid.columns for grid in grids], device)
        side = self.config.vision.table_side
        indices_T = sent(torch.cat([grid_indices(*grid, side) for grid in grids]), device)
        patches_TC = patches_TC.to(self.connector.fc1.weight)
        seen_TE = self.vit_model.vision_model(patches_TC, indices_T, patches)
        return torch.as_tensor(self.connector(seen_TE) + self.vit_pos_embed(indices_T))

    def read_patches(self, context: Context, patches_TC: Tensor, grids: Sequence[Grid]) -> Context:
        """Reads one image a row to be understood; a row without one has the grid (0, 0)."""
        canvas = self._canvas(context, grids, side=self.config.vision.table_side, latents=False)
        x_TD = self._framed(canvas, self.embed_patches(patches_TC, grids))
        return self._read(x_TD, canvas.block, context).context

    def canvas(self, context: Context, grids: Sequence[Grid]) -> Canvas:
        """One generated image a row after `context`; built once, used at every step."""
        return self._canvas(context, grids, side=self.config.latent_side, latents=True)

    def embed_latents(self, x_LC: Tensor, t_L: Tensor, indices_L: Tensor) -> Tensor:
        """Vectors [L, D] of latent tokens at times in [0, 1], 0 for finished images."""
        embedded_LD = (
            self.vae2llm(x_LC.to(self.vae2llm.weight))
            + self.time_embedder(t_L.to(x_LC.device))
            + self.latent_pos_embed(indices_L)
        )
        return torch.as_tensor(embedded_LD)

    def read_latents(self, context: Context, x_LC: Tensor, grids: Sequence[Grid]) -> Context:
        """Reads one finished image a row, as latent tokens without noise."""
        canvas = self.canvas(context, grids)
        clean_L = torch.zeros(len(x_LC), device=x_LC.device)
        x_TD = self._framed(canvas, self.embed_latents(x_LC, clean_L, canvas.indices_L))
        return self._read(x_TD, canvas.block, context).context

    def velocity(
        self,
        context: Context,
        canvas: Canvas,
        x_LC: Tensor,
        t_B: Tensor,
        *,
        recompute: bool = False,
    ) -> Tensor:
        """Noise minus data [L, C], float32, as predicted for `x_LC` at times `t_B` in [0, 1].

        `recompute` saves memory in the backward pass, see `Decoder.forward`.
        """
        t_L = t_B.to(x_LC.device)[canvas.rows_L]
        x_TD = self._framed(canvas, self.embed_latents(x_LC, t_L, canvas.indices_L))
        hidden_TD = self._read(x_TD, canvas.block, context, recompute=recompute).hidden_TD
        return _float32_product(self.llm2vae, hidden_TD[canvas.inside_L])

    def _read(
        self, x_TD: Tensor, block: Block, context: Context, *, recompute: bool = False
    ) -> DecoderOutput:
        read = self.language_model.model(x_TD, block, context, recompute=recompute)
        assert isinstance(read, DecoderOutput)
        return read

    def _canvas(
        self, context: Context, grids: Sequence[Grid], *, side: int, latents: bool
    ) -> Canvas:
        too_large = [grid for grid in grids if max(grid) > side]
        if too_large:
            raise ValueError(f"an image of {too_large[0]} tokens exceeds the table of {side}")
        counts = [grid.rows * grid.columns for grid in grids]
        block = image_block(context, counts, latents=latents)
        tokens, device = block.tokens, block.positions_T.device
        inside = inside_marks(tokens.lengths).inside
        return Canvas(
            block=block,
            indices_L=sent(torch.cat([grid_indices(*grid, side) for grid in grids]), device),
            rows_L=ragged(counts, device).rows_T,
            inside_L=numbers_on(device, inside),
            marks_T=torch.where(tokens.slots_T == 0, self.marks.start, self.marks.end),
        )

    def _framed(self, canvas: Canvas, x_LD: Tensor) -> Tensor:
        """Puts the marks around each row's image tokens."""
        marks_TD = self.language_model.model.embed_tokens(canvas.marks_T)
        return torch.as_tensor(marks_TD.index_copy(0, canvas.inside_L, x_LD))


def _float32_product(head: nn.Module, hidden_TD: Tensor) -> Tensor:
    """What a head that is held in float32 makes of hidden states; autocast does not change it."""
    with torch.autocast(hidden_TD.device.type, enabled=False):
        return torch.as_tensor(head(hidden_TD.float()))
