"""The model as training uses it: scores, gradients, memory for time, lower precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from alphabench.models.bagel.kv_cache import Context
from alphabench.models.bagel.loading import LoadedBagel, load_bagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.text_decoding import ChosenTokens, chosen_tokens, generate_text

GRID = Grid(2, 3)


def context_of(loaded: LoadedBagel) -> Context:
    """Two rows of text of unequal length."""
    texts = [loaded.tokens.block("a cat"), loaded.tokens.block("seven trees")]
    return loaded.model.read_text(loaded.model.new_context(2), texts).context


def noise(loaded: LoadedBagel) -> Tensor:
    return torch.randn(12, 64, generator=torch.Generator().manual_seed(0))


def velocity(loaded: LoadedBagel, *, recompute: bool = False) -> Tensor:
    model, context = loaded.model, context_of(loaded)
    canvas = model.canvas(context, [GRID, GRID])
    times = torch.tensor([1.0, 0.3])
    return model.velocity(context, canvas, noise(loaded), times, recompute=recompute)


def test_scores_are_the_log_probabilities_met_while_writing(loaded: LoadedBagel) -> None:
    met: list[Tensor] = []

    def choose(logits_BV: Tensor, rows: object) -> ChosenTokens:
        chosen = logits_BV.argmax(dim=-1)
        met.append(logits_BV.log_softmax(dim=-1).gather(1, chosen[:, None])[:, 0])
        return chosen_tokens(chosen)

    with torch.no_grad():
        context = context_of(loaded)
        start = loaded.tokens.start
        written = generate_text(
            loaded.model, context, start=start, end=-1, max_tokens=5, choose=choose
        )
        scores = loaded.model.score_text(context, written)
        shorter = loaded.model.score_text(context, [written[0][:3], written[1]])
    torch.testing.assert_close(torch.stack(scores), torch.stack(met, dim=1), atol=1e-5, rtol=0.0)
    torch.testing.assert_close(shorter[0], scores[0][:2], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(shorter[1], scores[1], atol=1e-5, rtol=0.0)


def kept_bytes(loaded: LoadedBagel, *, recompute: bool) -> int:
    """What autograd keeps of a velocity for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.no_grad():
        context = context_of(loaded)
    canvas = loaded.model.canvas(context, [GRID, GRID])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        times = torch.tensor([1.0, 0.3])
        loaded.model.velocity(context, canvas, noise(loaded), times, recompute=recompute)
    return sum(kept.values())


def test_recomputing_gives_the_same_gradients_with_less_memory(loaded: LoadedBagel) -> None:
    weights = list(loaded.model.language_model.model.layers.parameters())
    plain, again = (
        torch.autograd.grad(
            velocity(loaded, recompute=recompute).square().sum(), weights, allow_unused=True
        )
        for recompute in (False, True)
    )
    used = [pair for pair in zip(plain, again, strict=True) if pair[0] is not None]
    assert len(used) > len(weights) // 2
    for one, other in used:
        torch.testing.assert_close(one, other)
    assert kept_bytes(loaded, recompute=True) < 0.8 * kept_bytes(loaded, recompute=False)


def test_half_precision_predicts_nearly_the_same(checkpoint: Path) -> None:
    with torch.no_grad():
        whole = velocity(load_bagel(checkpoint))
        half = velocity(load_bagel(checkpoint, dtype=torch.bfloat16))
    assert half.dtype == torch.float32
    assert (half - whole).norm() < 0.05 * whole.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_and_velocities_of_rounded_weights_are_not_rounded_themselves(
    checkpoint: Path, dtype: torch.dtype
) -> None:
    half = load_bagel(checkpoint, dtype=dtype)
    model, met = half.model, list[tuple[nn.Linear, Tensor]]()
    heads = (model.language_model.lm_head, model.llm2vae)
    for head in heads:
        head.register_forward_hook(lambda module, args, _: met.append((module, args[0])))
    ids = [half.tokens.block("a cat"), half.tokens.block("seven trees")]
    with torch.no_grad():
        scores = model.score_text(context_of(half), ids)
        with torch.autocast("cpu", dtype):
            predicted_LC = velocity(half)
    exact = [nn.functional.linear(x.double(), h.weight.to(dtype).double()) for h, x in met]
    wanted = [token for row in ids for token in row[1:]]
    exact_T = exact[0].log_softmax(-1)[range(len(wanted)), wanted]
    torch.testing.assert_close(torch.cat(scores), exact_T.float(), atol=1e-5, rtol=0.0)
    exact_LC = exact[1] + heads[1].bias.to(dtype).double()
    torch.testing.assert_close(predicted_LC, exact_LC.float(), atol=1e-5, rtol=0.0)


def test_reading_nothing_in_any_row_changes_nothing(loaded: LoadedBagel) -> None:
    model = loaded.model
    before = model.read_text(model.new_context(2), [[1, 2, 3], [4]]).context
    after = model.read_text(before, [[], []])
    assert len(after.hidden_TD) == 0
    assert after.context.lengths == before.lengths
    assert after.context.positions == before.positions
