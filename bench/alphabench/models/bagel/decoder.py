"""The mixture-of-transformers decoder: two complete sets of weights, one shared attention.

Tokens come in packed, without padding; each passes through its expert's norms, projections and
MLP, and all of a row meet in attention. Names of modules are those of the released checkpoint, the
generation expert's with the suffix `_moe_gen`. Knows no image and no sampler.

Shapes: T new tokens of all rows, packed, the understanding expert's first; B rows; N new tokens of
the longest row; P stored keys; D width; H query heads; G key heads; K head size; F K/2.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from alphabench.models.bagel.config import BagelTextConfig
from alphabench.models.bagel.kv_cache import Block, Context

GENERATION: Final = "_moe_gen"
"""Ends the names of the generation expert's modules."""


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with float32 statistics."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_TD: Tensor) -> Tensor:
        full_TD = x_TD.float()
        scale_T1 = torch.rsqrt(full_TD.square().mean(dim=-1, keepdim=True) + self.eps)
        return self.weight * (full_TD * scale_T1).to(self.weight.dtype)


class Rotation(NamedTuple):
    """Cosines and sines of rotary position embedding, one row a token, [T, 1, F] float32."""

    cos: Tensor
    sin: Tensor


def rotation(positions_T: Tensor, head_size: int, theta: float) -> Rotation:
    """Angles position * theta^(-2i/K) (RoFormer, arXiv 2104.09864, with halves paired)."""
    exponents_F = torch.arange(0, head_size, 2, device=positions_T.device).float() / head_size
    angles_T1F = positions_T.float()[:, None, None] / theta**exponents_F
    return Rotation(angles_T1F.cos(), angles_T1F.sin())


def rotate(x_THK: Tensor, by: Rotation) -> Tensor:
    """Rotates the pair (i, i + K/2) of each head by its token's angle."""
    first, second = x_THK.float().chunk(2, dim=-1)
    rotated = (first * by.cos - second * by.sin, second * by.cos + first * by.sin)
    return torch.cat(rotated, dim=-1).to(x_THK.dtype)


def routed(module: nn.Module, name: str, x_TD: Tensor, understanding: int) -> Tensor:
    """`name` over the first `understanding` tokens, the generation expert's over the rest."""
    expert = module.get_submodule(name)
    if understanding == len(x_TD):
        return torch.as_tensor(expert(x_TD))
    other = module.get_submodule(name + GENERATION)
    if understanding == 0:
        return torch.as_tensor(other(x_TD))
    return torch.cat([expert(x_TD[:understanding]), other(x_TD[understanding:])])


class PassInputs(NamedTuple):
    """What all layers share in one forward pass."""

    block: Block
    by: Rotation
    sees_B1NM: Tensor | None
    """True where a new token may look at a stored (first P) or new (last N) one; None: all may."""
    n_stored: int
    """P; slots of the stored keys and values after these are free."""
    in_place: bool
    """New keys and values go into free slots."""


def append_keys(stored_BGSK: Tensor, new_BGNK: Tensor, shared: PassInputs) -> Tensor:
    """The new keys or values after the P stored ones: in free slots, or in a new tensor."""
    n_stored = shared.n_stored
    if not shared.in_place:
        return torch.cat([stored_BGSK[:, :, :n_stored], new_BGNK], dim=2)
    n_all = n_stored + new_BGNK.shape[2]
    assert n_all <= stored_BGSK.shape[2], "the capacity is smaller than this block"
    stored_BGSK[:, :, n_stored:n_all] = new_BGNK
    return stored_BGSK


def grouped_attention(
    q_BHNK: Tensor, k_BGMK: Tensor, v_BGMK: Tensor, sees_B1NM: Tensor | None
) -> Tensor:
    """Grouped-query attention [B, H, N, K], by the fastest kernel that the mask allows.

    Without a mask torch takes its flash kernel where there is one. On a GPU no kernel that takes a
    mask knows grouped queries, and the fallback would store all scores, so keys are repeated there.
    """
    if sees_B1NM is not None and q_BHNK.is_cuda:
        times = q_BHNK.shape[1] // k_BGMK.shape[1]
        k_BGMK, v_BGMK = (x.repeat_interleave(times, dim=1) for x in (k_BGMK, v_BGMK))
    grouped = q_BHNK.shape[1] != k_BGMK.shape[1]
    return functional.scaled_dot_product_attention(
        q_BHNK, k_BGMK, v_BGMK, attn_mask=sees_B1NM, enable_gqa=grouped
    )


class BagelAttention(nn.Module):
    """Grouped-query attention with per-head norms of queries and keys."""

    def __init__(self, config: BagelTextConfig) -> None:
        super().__init__()
        width, size = config.hidden_size, config.head_size
        keys = config.num_key_value_heads * size
        for end in ("", GENERATION):
            self.add_module(f"q_proj{end}", nn.Linear(width, width))
            self.add_module(f"k_proj{end}", nn.Linear(width, keys))
            self.add_module(f"v_proj{end}", nn.Linear(width, keys))
            self.add_module(f"o_proj{end}", nn.Linear(width, width, bias=False))
            self.add_module(f"q_norm{end}", RMSNorm(size, config.rms_norm_eps))
            self.add_module(f"k_norm{end}", RMSNorm(size, config.rms_norm_eps))
        self.head_size = size

    def _heads(self, x_TD: Tensor) -> Tensor:
        """[T, heads, K]; also of no token at all, where the number of heads cannot be inferred."""
        return x_TD.reshape(len(x_TD), x_TD.shape[1] // self.head_size, self.head_size)

    def forward(
        self, x_TD: Tensor, shared: PassInputs, stored: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The layer's contribution, and keys and values with the new ones after the stored."""
        block, count = shared.block, shared.block.understanding
        q_THK, k_TGK, v_TGK = (
            self._heads(routed(self, f"{name}_proj", x_TD, count)) for name in "qkv"
        )
        q_THK = rotate(routed(self, "q_norm", q_THK, count), shared.by)
        k_TGK = rotate(routed(self, "k_norm", k_TGK, count), shared.by)
        q_BHNK, k_BGNK, v_BGNK = (
            block.routed.pad(x).transpose(1, 2) for x in (q_THK, k_TGK, v_TGK)
        )
        keys_BGSK = append_keys(stored[0], k_BGNK, shared)
        values_BGSK = append_keys(stored[1], v_BGNK, shared)
        n_all = shared.n_stored + block.tokens.longest
        k_BGMK, v_BGMK = keys_BGSK[:, :, :n_all], values_BGSK[:, :, :n_all]
        mixed_BHNK = grouped_attention(q_BHNK, k_BGMK, v_BGMK, shared.sees_B1NM)
        mixed_TD = block.routed.unpad(mixed_BHNK.transpose(1, 2)).flatten(1)
        return routed(self, "o_proj", mixed_TD, count), (keys_BGSK, values_BGSK)


class BagelMlp(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: BagelTextConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x_TD: Tensor) -> Tensor:
        inner = functional.silu(self.gate_proj(x_TD)) * self.up_proj(x_TD)
        return torch.as_tensor(self.down_proj(inner))


class BagelLayer(nn.Module):
    """One decoder layer of both experts."""

    def __init__(self, config: BagelTextConfig) -> None:
        super().__init__()
        self.self_attn = BagelAttention(config)
        for end in ("", GENERATION):
            self.add_module(f"mlp{end}", BagelMlp(config))
            for name in ("input_layernorm", "post_attention_layernorm"):
                self.add_module(name + end, RMSNorm(config.hidden_size, config.rms_norm_eps))

    def forward(
        self, x_TD: Tensor, shared: PassInputs, stored: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        count = shared.block.understanding
        normed_TD = routed(self, "input_layernorm", x_TD, count)
        mixed_TD, stored = self.self_attn(normed_TD, shared, stored)
        x_TD = x_TD + mixed_TD
        normed_TD = routed(self, "post_attention_layernorm", x_TD, count)
        return x_TD + routed(self, "mlp", normed_TD, count), stored


class DecoderOutput(NamedTuple):
    """What reading a block gives."""

    hidden_TD: Tensor
    """After the final norm, in reading order."""
    context: Context
    """With the block's tokens stored."""


class Decoder(nn.Module):
    """Embedding table, layers and final norms."""

    def __init__(self, config: BagelTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(BagelLayer(config) for _ in range(config.num_hidden_layers))
        for end in ("", GENERATION):
            self.add_module(f"norm{end}", RMSNorm(config.hidden_size, config.rms_norm_eps))

    def forward(
        self, x_TD: Tensor, block: Block, context: Context, *, recompute: bool = False
    ) -> DecoderOutput:
        """Reads `block`, whose embeddings are `x_TD`, after `context`; changes neither.

        Where `context` has capacity, the returned keys are stored there, until the next reading
        after the same context.

        `recompute` stores no activations inside layers for the backward pass but computes them
        again there: the same gradients for less memory and more time.
        """
        shared = PassInputs(
            block,
            rotation(block.positions_T, self.config.head_size, self.config.rope_theta),
            block.sees(context),
            n_stored=context.valid_BP.shape[1],
            in_place=context.capacity > 0 and not torch.is_grad_enabled(),
        )
        x_TD, stored_pairs = block.working_order(x_TD), []
        for layer, key, value in zip(self.layers, context.keys, context.values, strict=True):
            if recompute:
                x_TD, pair = checkpoint(layer, x_TD, shared, (key, value), use_reentrant=False)
            else:
                x_TD, pair = layer(x_TD, shared, (key, value))
            stored_pairs.append(pair)
        hidden_TD = block.reading_order(routed(self, "norm", x_TD, block.understanding))
        after = Context(
            keys=tuple(key for key, _ in stored_pairs),
            values=tuple(value for _, value in stored_pairs),
            valid_BP=torch.cat([context.valid_BP, block.tokens.valid()], dim=1),
            lengths=tuple(
                stored + new
                for stored, new in zip(context.lengths, block.tokens.lengths, strict=True)
            ),
            positions=block.positions_after,
            capacity=context.capacity - block.tokens.longest if shared.in_place else 0,
        )
        return DecoderOutput(hidden_TD, after)


class LanguageModel(nn.Module):
    """The decoder and its vocabulary head."""

    def __init__(self, config: BagelTextConfig) -> None:
        super().__init__()
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
