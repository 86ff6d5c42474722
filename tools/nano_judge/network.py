"""The judge's network as training runs it: pictures of one size together, rows with branches.

The weights are those of transformers' Qwen3-VL and so are the numbers (tests compare); only the
loops over pictures are gone.

Shapes: P pictures, N patches, F numbers of a patch, D width, H heads, C cells, B rows, T tokens.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from alphabench.detections.objects import COLOURS
from alphabench.scenes.edit_ops import GROUND_TONES
from alphabench.scenes.spec import CATEGORIES, GROUND_KINDS
from tools.nano_judge.design import MERGE, PATCH
from tools.nano_judge.packing import PackedBatch
from tools.nano_judge.questions import BAD_GRADE, GOOD_GRADE
from tools.nano_judge.scene_images import CELLS, SIDE, Shown


class Sight:
    """The vision tower for pictures of 80 x 80 pixels."""

    def __init__(self, visual: Any) -> None:
        self.visual = visual
        side = SIDE // PATCH
        places = torch.arange(side * side).view(side // MERGE, MERGE, side // MERGE, MERGE)
        self.order_N = places.permute(0, 2, 1, 3).reshape(-1)
        rows_columns = torch.stack([self.order_N // side, self.order_N % side], dim=-1)
        self.cos_ND, self.sin_ND = visual.rotary_pos_emb(torch.zeros(1), rows_columns)

    def __call__(self, patches_PNF: Tensor) -> Tensor:
        """[P, C, D] tokens for the language model."""
        visual = self.visual
        kernel = visual.patch_embed.proj
        x_PND = functional.linear(patches_PNF, kernel.weight.flatten(1), kernel.bias)
        x_PND = x_PND + visual.pos_embed.weight[self.order_N]
        for block in visual.blocks:
            x_PND = x_PND + self._attention(block.attn, block.norm1(x_PND))
            x_PND = x_PND + block.mlp(block.norm2(x_PND))
        pictures, count, width = x_PND.shape
        merger = visual.merger
        joined = merger.norm(x_PND).view(pictures, count // MERGE**2, width * MERGE**2)
        tokens: Tensor = merger.linear_fc2(merger.act_fn(merger.linear_fc1(joined)))
        return tokens

    def _attention(self, attention: Any, x_PND: Tensor) -> Tensor:
        pictures, count, width = x_PND.shape
        qkv = attention.qkv(x_PND).view(pictures, count, 3, attention.num_heads, -1)
        q_PHND, k_PHND, v_PHND = qkv.permute(2, 0, 3, 1, 4)
        # Written out: for so few tokens the fused kernel's backward pass is slower on processors.
        q_PHND = self._turned(q_PHND) * attention.scaling
        seen_PHNN = (q_PHND @ self._turned(k_PHND).transpose(-1, -2)).softmax(dim=-1)
        mixed = seen_PHNN.to(v_PHND.dtype) @ v_PHND
        out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(pictures, count, width))
        return out

    def _turned(self, x_PHND: Tensor) -> Tensor:
        first, second = x_PHND.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        cos_ND, sin_ND = (one.to(x_PHND.dtype) for one in (self.cos_ND, self.sin_ND))
        mixed: Tensor = x_PHND * cos_ND + turned * sin_ND
        return mixed


class TokenCells(nn.Module):
    """What the picture tokens show, read off by linear layers; for training alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.category = nn.Linear(width, len(CATEGORIES) + 1)
        self.colour = nn.Linear(width, len(COLOURS) + 2)
        self.centre = nn.Linear(width, 1)
        self.place = nn.Linear(width, CELLS)
        self.ground = nn.Linear(width, len(GROUND_KINDS))
        self.tone = nn.Linear(width, len(GROUND_TONES) + 1)
        self.made = nn.Linear(width, len(MADE))

    def loss(self, tokens_PCD: Tensor, cells_PC3: Tensor) -> Tensor:
        """Category, colour and whether it is a centre, of every cell."""
        category, colour, centre = cells_PC3.unbind(-1)
        flat = tokens_PCD.flatten(0, 1)
        losses = (
            functional.cross_entropy(self.category(flat).float(), category.flatten()),
            functional.cross_entropy(self.colour(flat).float(), colour.flatten()),
            functional.binary_cross_entropy_with_logits(
                self.centre(flat).float()[:, 0], centre.flatten().float()
            ),
        )
        return losses[0] + losses[1] + losses[2]

    def around(self, tokens_PCD: Tensor, grounds_P3: Tensor) -> Tensor:
        """Where each cell is, and what the ground and the whole picture are like."""
        count, cells, _ = tokens_PCD.shape
        flat = tokens_PCD.flatten(0, 1)
        kind, tone, made = grounds_P3.unbind(-1)
        places = torch.arange(cells).repeat(count)
        losses = (
            functional.cross_entropy(self.place(flat).float(), places),
            functional.cross_entropy(self.ground(flat).float(), kind.repeat_interleave(cells)),
            functional.cross_entropy(self.tone(flat).float(), tone.repeat_interleave(cells)),
            functional.cross_entropy(self.made(tokens_PCD.mean(1)).float(), made),
        )
        return losses[0] + losses[1] + losses[2] + losses[3]


MADE: Final = ("well", "marred", "spoilt")
_TONES: Final = tuple(GROUND_TONES)


def ground_of(shown: Shown) -> tuple[int, int, int]:
    """Indices of the ground's pattern, of its tone (the last is none), and of how it is made."""
    tone = len(_TONES) if shown.tone is None else _TONES.index(shown.tone)
    made = 0 if shown.grade >= GOOD_GRADE else 2 if shown.grade <= BAD_GRADE else 1
    return GROUND_KINDS.index(shown.ground), tone, made


class FirstPicture(nn.Module):
    """What stood in each cell of the first picture, read off the second's; for training alone.

    A reply about an edit says little of how the pictures differ; this says it cell by cell.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.category = nn.Linear(width, len(CATEGORIES) + 1)
        self.colour = nn.Linear(width, len(COLOURS) + 2)
        self.changed = nn.Linear(width, 1)

    def loss(self, states_PCD: Tensor, cells_P2C3: Tensor) -> Tensor:
        """From the language model's states at the second pictures' tokens."""
        before_PC3, after_PC3 = cells_P2C3.unbind(1)
        flat = states_PCD.flatten(0, 1)
        changed = (before_PC3[..., :2] != after_PC3[..., :2]).any(-1)
        category = functional.cross_entropy(
            self.category(flat).float(), before_PC3[..., 0].flatten(), reduction="none"
        )
        colour = functional.cross_entropy(
            self.colour(flat).float(), before_PC3[..., 1].flatten(), reduction="none"
        )
        # Few cells change, and those that do not are read off the second picture itself.
        weight = torch.where(changed.flatten(), 8.0, 1.0)
        told = functional.binary_cross_entropy_with_logits(
            self.changed(flat).float()[:, 0], changed.flatten().float(), weight=weight
        )
        return ((category + colour) * weight).sum() / weight.sum() + told


def language_states(
    network: Any, batch: PackedBatch, tokens_PCD: Tensor, picture_id: int
) -> tuple[Tensor, ...]:
    """[B, T, D] inputs of each layer and the normed output; the pictures in the order of rows."""
    language = network.model.language_model
    inputs = language.embed_tokens(batch.ids_BT)
    shown = (batch.ids_BT == picture_id)[..., None]
    inputs = inputs.masked_scatter(shown, tokens_PCD.to(inputs.dtype))
    half = torch.is_autocast_enabled("cpu")
    hidden_B1TT = torch.zeros(batch.sees_B1TT.shape, dtype=torch.bfloat16 if half else inputs.dtype)
    hidden_B1TT.masked_fill_(~batch.sees_B1TT, -30_000.0)
    out = language(
        inputs_embeds=inputs,
        position_ids=batch.positions_3BT,
        attention_mask=hidden_B1TT,
        use_cache=False,
        output_hidden_states=True,
    )
    return (*out.hidden_states[:-1], out.last_hidden_state)


def answer_scores(network: Any, batch: PackedBatch, tokens_PCD: Tensor, picture_id: int) -> Tensor:
    """[A, V] scores of what follows each learnt place; the pictures in the order of the rows."""
    return scores_at(network, batch, language_states(network, batch, tokens_PCD, picture_id)[-1])


def scores_at(network: Any, batch: PackedBatch, states_BTD: Tensor) -> Tensor:
    """[A, V] scores of what follows each learnt place, from the last states."""
    scores: Tensor = network.lm_head(states_BTD.flatten(0, 1)[batch.learnt_A]).float()
    return scores
