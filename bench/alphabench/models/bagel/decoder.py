"""The mixture-of-transformers decoder: two complete sets of weights, one shared attention.

Tokens come in packed, without padding; each passes through its expert's norms, projections and
MLP, and all of a row meet in attention. Names of modules are those of the released checkpoint, the
generation expert's with the suffix `_moe_gen`. Knows no image and no sampler.

Shapes: T new tokens of all rows, packed, the understanding expert's first; B rows; N new tokens of
the longest row; P stored keys; D width; H query heads; G key heads; K head size; F K/2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from alphabench.models.bagel.config import BagelTextConfig
from alphabench.models.bagel.kv_cache import Block, Context
from alphabench.models.bagel.packed_sequences import Ragged

GENERATION: Final = "_moe_gen"
"""Ends the names of the generation expert's modules."""
STEP: Final = 256
"""Lengths of compiled contexts are multiples of it, so that few shapes are compiled."""
SHAPES: Final = 64
"""That are compiled at most: batches, lengths in steps, image sizes."""


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with float32 statistics."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_TD: Tensor) -> Tensor:
        # One kernel on a GPU, from PyTorch 2.9 on, but only where both have one dtype; autocast
        # gives bfloat16 tokens to float32 weights.
        x_TD = x_TD.to(self.weight.dtype)
        return functional.rms_norm(x_TD, self.weight.shape, self.weight, self.eps)


class Rotation(NamedTuple):
    """Cosines and sines of rotary position embedding, one row a token, [T, 1, F] float32."""

    cos: Tensor
    sin: Tensor

    def of_heads(self) -> Rotation:
        """[T, 1, K], for both halves of a head; sines are negative in the first."""
        return Rotation(torch.cat([self.cos, self.cos], -1), torch.cat([-self.sin, self.sin], -1))


def rotation(positions_T: Tensor, head_size: int, theta: float) -> Rotation:
    """Angles position * theta^(-2i/K) (RoFormer, arXiv 2104.09864, with halves paired)."""
    exponents_F = torch.arange(0, head_size, 2, device=positions_T.device).float() / head_size
    angles_T1F = positions_T.float()[:, None, None] / theta**exponents_F
    return Rotation(angles_T1F.cos(), angles_T1F.sin())


def rotate(x_THK: Tensor, by: Rotation) -> Tensor:
    """Rotates the pair (i, i + K/2) of each head by its token's angle; see `of_heads`."""
    full_THK = x_THK.float()
    swapped_THK = full_THK.roll(x_THK.shape[-1] // 2, dims=-1)
    return (full_THK * by.cos + swapped_THK * by.sin).to(x_THK.dtype)


class Experts(NamedTuple):
    """Tokens in working order, apart by expert; None where an expert has none."""

    understanding: Tensor | None
    generation: Tensor | None

    def apply(self, module: nn.Module, name: str) -> Experts:
        """`name` of `module` over the one's tokens, the generation expert's over the other's."""
        first, second = self
        if first is not None:
            first = torch.as_tensor(module.get_submodule(name)(first))
        if second is not None:
            second = torch.as_tensor(module.get_submodule(name + GENERATION)(second))
        return Experts(first, second)

    def used_again(self) -> Experts:
        """Views for one of several uses.

        Autograd then sums the gradients of each use before those of all: rounding, and so recorded
        trainings, depend on that order.
        """
        first, second = self
        if first is None or second is None or not torch.is_grad_enabled():
            return self
        return Experts(first[:], second[:])

    def heads(self, size: int) -> Experts:
        """[T, heads * K] -> [T, heads, K]; also of no token, where heads cannot be inferred."""
        shaped = (None if x is None else x.reshape(len(x), x.shape[1] // size, size) for x in self)
        return Experts(*shaped)

    def plus(self, other: Experts) -> Experts:
        """The sum, token by token."""
        pairs = zip(self, other, strict=True)
        return Experts(*(None if x is None or y is None else x + y for x, y in pairs))

    def joined(self) -> Tensor:
        """All tokens."""
        first, second = self
        if first is None or second is None:
            only = second if first is None else first
            assert only is not None, "one expert has tokens"
            return only
        return torch.cat([first, second])


def by_expert(x_TD: Tensor, understanding: int) -> Experts:
    """The first `understanding` tokens and the rest."""
    if understanding == len(x_TD):
        return Experts(x_TD, None)
    if understanding == 0:
        return Experts(None, x_TD)
    return Experts(x_TD[:understanding], x_TD[understanding:])


def routed(module: nn.Module, name: str, x_TD: Tensor, understanding: int) -> Tensor:
    """`name` over the first `understanding` tokens, the generation expert's over the rest."""
    return by_expert(x_TD, understanding).apply(module, name).joined()


class PassInputs(NamedTuple):
    """What all layers share in one forward pass."""

    tokens: Ragged
    """In working order."""
    understanding: int
    """Tokens of the understanding expert."""
    by: Rotation
    sees_B1NM: Tensor | None
    """See `Block.sees`; over all slots where `slots_N` is given."""
    n_stored: int
    """P; slots of the stored keys and values after these are free."""
    in_place: bool
    """New keys and values go into free slots."""
    slots_N: Tensor | None = None
    """Where they go, if all tensors keep their shapes from pass to pass; None: after the P."""


def append_keys(stored_BGSK: Tensor, new_BGNK: Tensor, shared: PassInputs) -> Tensor:
    """The new keys or values after the P stored ones: in free slots, or in a new tensor."""
    n_stored = shared.n_stored
    if shared.slots_N is not None:
        stored_BGSK.index_copy_(2, shared.slots_N, new_BGNK)
        return stored_BGSK
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
    mask knows grouped queries, so there the heads that share keys become queries of one head:
    neither are keys repeated, nor does the fallback store all scores.
    """
    if sees_B1NM is not None and q_BHNK.is_cuda:
        return folded_attention(q_BHNK, k_BGMK, v_BGMK, sees_B1NM)
    grouped = q_BHNK.shape[1] != k_BGMK.shape[1]
    return functional.scaled_dot_product_attention(
        q_BHNK, k_BGMK, v_BGMK, attn_mask=sees_B1NM, enable_gqa=grouped
    )


def folded_attention(q_BHNK: Tensor, k_BGMK: Tensor, v_BGMK: Tensor, sees_B1NM: Tensor) -> Tensor:
    """The same as one head for each of the G key heads, with H/G times as many queries."""
    rows, heads, queries, size = q_BHNK.shape
    times = heads // k_BGMK.shape[1]
    if sees_B1NM.shape[2] > 1:
        sees_B1NM = sees_B1NM.repeat(1, 1, times, 1)
    mixed_BGQK = functional.scaled_dot_product_attention(
        q_BHNK.reshape(rows, -1, times * queries, size), k_BGMK, v_BGMK, attn_mask=sees_B1NM
    )
    return mixed_BGQK.reshape(rows, heads, queries, size)


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

    def forward(
        self, x: Experts, shared: PassInputs, stored: tuple[Tensor, Tensor]
    ) -> tuple[Experts, tuple[Tensor, Tensor]]:
        """The layer's contribution, and keys and values with the new ones after the stored."""
        tokens, size = shared.tokens, self.head_size
        q, k, v = (x.used_again().apply(self, f"{name}_proj").heads(size) for name in "qkv")
        q_THK, k_TGK = q.apply(self, "q_norm").joined(), k.apply(self, "k_norm").joined()
        heads = [q_THK.shape[1], k_TGK.shape[1]]
        rotated = rotate(torch.cat([q_THK, k_TGK], dim=1), shared.by)
        q_BHNK, k_BGNK = torch.split(tokens.pad(rotated).transpose(1, 2), heads, dim=1)
        v_BGNK = tokens.pad(v.joined()).transpose(1, 2)
        keys_BGSK = append_keys(stored[0], k_BGNK, shared)
        values_BGSK = append_keys(stored[1], v_BGNK, shared)
        k_BGMK, v_BGMK = keys_BGSK, values_BGSK
        if shared.slots_N is None:
            n_all = shared.n_stored + tokens.longest
            k_BGMK, v_BGMK = keys_BGSK[:, :, :n_all], values_BGSK[:, :, :n_all]
        mixed_BHNK = grouped_attention(q_BHNK, k_BGMK, v_BGMK, shared.sees_B1NM)
        mixed_TD = tokens.unpad(mixed_BHNK.transpose(1, 2)).flatten(1)
        mixed = by_expert(mixed_TD, shared.understanding).apply(self, "o_proj")
        return mixed, (keys_BGSK, values_BGSK)


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
        parts = by_expert(x_TD, shared.understanding)
        normed = parts.used_again().apply(self, "input_layernorm")
        mixed, stored = self.self_attn(normed, shared, stored)
        parts = parts.plus(mixed)
        normed = parts.used_again().apply(self, "post_attention_layernorm")
        return parts.plus(normed.apply(self, "mlp")).joined(), stored


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
        self._compiled: Callable[..., Tensor] | None = None

    @property
    def compiled(self) -> bool:
        """Whether blocks are read by compiled code where their context has room for them."""
        return self._compiled is not None

    def compile_layers(self, *, backend: str = "inductor") -> None:
        """From now on, reads single tokens and images in place by what torch.compile makes of it.

        Every shape is compiled once, as one graph, at the first pass with it. Results may differ
        in rounding.

        Args:
            backend: of torch.compile.
        """
        self._compiled = torch.compile(
            self._static_layers, fullgraph=True, dynamic=False, backend=backend
        )

    def room(self, context: Context, slots: int) -> Context:
        """`context` with capacity for `slots` tokens; in steps, where shapes are compiled."""
        return context.with_capacity(slots, multiple=STEP if self.compiled else 1)

    def forward(
        self, x_TD: Tensor, block: Block, context: Context, *, recompute: bool = False
    ) -> DecoderOutput:
        """Reads `block`, whose embeddings are `x_TD`, after `context`; changes neither.

        Where `context` has capacity, the returned keys are stored there, until the next reading
        after the same context.

        `recompute` stores no activations inside layers for the backward pass but computes them
        again there: the same gradients for less memory and more time.
        """
        in_place = context.capacity > 0 and not torch.is_grad_enabled()
        x_TD = block.working_order(x_TD)
        if self._compiled is not None and in_place and block.sees_BNN is None:
            x_TD = self._read_statically(x_TD, block, context)
            stored_pairs = list(zip(context.keys, context.values, strict=True))
        else:
            shared = PassInputs(
                block.routed,
                block.understanding,
                self._rotation(block.positions_T),
                block.sees(context),
                n_stored=context.valid_BP.shape[1],
                in_place=in_place,
            )
            stored_pairs = []
            for layer, key, value in zip(self.layers, context.keys, context.values, strict=True):
                if recompute:
                    x_TD, pair = checkpoint(layer, x_TD, shared, (key, value), use_reentrant=False)
                else:
                    x_TD, pair = layer(x_TD, shared, (key, value))
                stored_pairs.append(pair)
            x_TD = routed(self, "norm", x_TD, block.understanding)
        after = Context(
            keys=tuple(key for key, _ in stored_pairs),
            values=tuple(value for _, value in stored_pairs),
            valid_BP=torch.cat([context.valid_BP, block.tokens.valid()], dim=1),
            lengths=tuple(
                stored + new
                for stored, new in zip(context.lengths, block.tokens.lengths, strict=True)
            ),
            positions=block.positions_after,
            capacity=context.capacity - block.tokens.longest if in_place else 0,
        )
        return DecoderOutput(block.reading_order(x_TD), after)

    def _rotation(self, positions_T: Tensor) -> Rotation:
        config = self.config
        return rotation(positions_T, config.head_size, config.rope_theta).of_heads()

    def _read_statically(self, x_TD: Tensor, block: Block, context: Context) -> Tensor:
        """What `_static_layers` gives, compiled; keys and values are stored in place."""
        assert self._compiled is not None
        n_stored, n_new = context.valid_BP.shape[1], block.tokens.longest
        slots_N = torch.arange(n_stored, n_stored + n_new, device=x_TD.device)
        sees = block.seen_keys(context, free=context.capacity - n_new)
        with torch._dynamo.config.patch(recompile_limit=SHAPES):
            return self._compiled(
                x_TD,
                (block.positions_T, sees, slots_N),
                (context.keys, context.values),
                block.routed,
                block.understanding,
            )

    def _static_layers(
        self,
        x_TD: Tensor,
        placed: tuple[Tensor, Tensor, Tensor],
        stored: tuple[tuple[Tensor, ...], tuple[Tensor, ...]],
        tokens: Ragged,
        understanding: int,
    ) -> Tensor:
        """All layers and the final norm over tensors whose shapes stay from pass to pass.

        Args:
            x_TD: embeddings in working order.
            placed: positions [T], what is seen [B, 1, 1, S], the slots of the new keys [N].
            stored: keys and values of all layers, written in place.
            tokens: in working order.
            understanding: tokens of the understanding expert.
        """
        positions_T, sees_B11S, slots_N = placed
        by = self._rotation(positions_T)
        shared = PassInputs(tokens, understanding, by, sees_B11S, 0, True, slots_N)
        for layer, key, value in zip(self.layers, *stored, strict=True):
            x_TD, _ = layer(x_TD, shared, (key, value))
        return routed(self, "norm", x_TD, understanding)


class LanguageModel(nn.Module):
    """The decoder and its vocabulary head."""

    def __init__(self, config: BagelTextConfig) -> None:
        super().__init__()
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
