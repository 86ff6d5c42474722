"""What the host knows of a packed sequence, so that reading it never waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from alphabench.models.bagel.decoder import folded_attention
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.kv_cache import image_block, text_block
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.sampler import GuidedVelocity, new_contexts, with_text
from alphabench.models.bagel.text_decoding import generate_text

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")
GRIDS = (Grid(2, 3), Grid(4, 4))


class _Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations whose result the host must wait for; `tolist` shows as a scalar each."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(_is_mask(one) for one in args[1])
        if name in WAITS or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool


@contextmanager
def waits() -> Iterator[list[str]]:
    with _Waits() as mode:
        yield mode.found


def test_what_the_host_counts_is_what_the_mask_holds(loaded: LoadedBagel) -> None:
    model = loaded.model
    with torch.no_grad():
        context = model.read_text(model.new_context(2), [[1, 2, 3], [4]]).context
        assert not context.gapless
        context = model.read_latents(context, torch.zeros(22, 64), list(GRIDS))
    assert list(context.lengths) == context.valid_BP.sum(dim=1).tolist() == [11, 19]
    assert list(context.take([1]).lengths) == [19]
    assert list(context.first(1).lengths) == [11]


@pytest.mark.parametrize("lengths", [(1, 1), (3, 3), (3, 1), (0, 1), (0, 0)])
def test_a_mask_is_made_exactly_where_something_is_hidden(
    loaded: LoadedBagel, lengths: tuple[int, int]
) -> None:
    for stored in ([[5], [5]], [[5, 6], [5]]):
        context = loaded.model.read_text(loaded.model.new_context(2), stored).context
        text = text_block(context, lengths)
        images = image_block(context, lengths, latents=True)
        for block, causal in ((text, True), (images, False)):
            n_new = block.tokens.longest
            mask = block.sees(context)
            expected = _dense_mask(context.valid_BP, block.tokens.valid(), causal=causal)
            if mask is None:
                assert n_new == 0 or expected.all()
            else:
                read = block.tokens.valid()  # what padding sees is never read
                assert torch.equal(mask[:, 0].expand_as(expected)[read], expected[read])
                assert mask.any(dim=-1).all()  # an empty row would make NaN


def _dense_mask(stored_BP: Tensor, valid_BN: Tensor, *, causal: bool) -> Tensor:
    n_new = valid_BN.shape[1]
    inside_BNN = torch.ones(len(valid_BN), n_new, n_new, dtype=torch.bool)
    inside_BNN = inside_BNN.tril() if causal else inside_BNN
    inside_BNN = (inside_BNN & valid_BN[:, None]) | torch.eye(n_new, dtype=torch.bool)
    return torch.cat([stored_BP[:, None].expand(-1, n_new, -1), inside_BNN], dim=2)


def test_a_denoising_step_of_unequal_rows_never_waits_for_the_device(loaded: LoadedBagel) -> None:
    model = loaded.model
    with torch.no_grad(), waits() as found:
        contexts = with_text(model, new_contexts(model, 2), [[1, 2, 3], [4]])
        guided = GuidedVelocity(model, contexts, list(GRIDS), Guidance(low=0.0, image_scale=2.0))
        for t in (0.9, 0.5):
            guided.velocity(torch.zeros(22, 64), t)
    assert found == []


def test_a_decoded_token_of_a_whole_batch_waits_for_nothing_but_its_ids(
    loaded: LoadedBagel,
) -> None:
    model = loaded.model
    with torch.no_grad():
        context = model.read_text(model.new_context(2), [[1, 2, 3], [4]]).context
        with waits() as found:
            generate_text(model, context, start=1, end=-1, max_tokens=4)
    assert found == []  # the ids go to the host by `tolist`, which no operation shows on a CPU


@pytest.mark.parametrize("queries", [1, 5])
def test_heads_folded_into_queries_attend_as_grouped_ones(queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, heads, length, 8, generator=generator)
        for heads, length in ((6, queries), (2, 9), (2, 9))
    )
    for sees in (torch.rand(2, 1, 1, 9, generator=generator) > 0.4, torch.ones(1, 1, queries, 9)):
        mask = sees.bool().tril(9 - queries) if sees.shape[2] > 1 else sees
        grouped = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        folded = folded_attention(q, k, v, mask)
        torch.testing.assert_close(folded, grouped)
