"""Sampling in batches: what else is in a batch, in which order, changes no image and no word."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from alphabench.models.bagel import text_decoding
from alphabench.models.bagel.guidance import Guidance, Renorm
from alphabench.models.bagel.kv_cache import stack
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.packed_sequences import ragged
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    denoise_latents,
    new_contexts,
    with_latents,
    with_patches,
    with_text,
    with_thought,
)
from alphabench.models.bagel.text_decoding import generate_text

TEXTS = ("a cat", "seven green trees beside a long road", "x")
GRIDS = (Grid(2, 3), Grid(4, 4), Grid(1, 5))
SEEN = (Grid(3, 2), Grid(1, 1), Grid(2, 5))


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0.0)


def tokens(grid: Grid, seed: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(grid.rows * grid.columns, width, generator=generator)


def edited(loaded: LoadedBagel, rows: Sequence[int]) -> Contexts:
    """An image, its patches, an instruction and a thought, each of another length by row."""
    model = loaded.model
    contexts = new_contexts(model, len(rows))
    latents = torch.cat([tokens(GRIDS[row], row, 64) for row in rows])
    contexts = with_latents(model, contexts, latents, [GRIDS[row] for row in rows])
    patches = torch.cat([tokens(SEEN[row], row, 588) for row in rows])
    contexts = with_patches(model, contexts, patches, [SEEN[row] for row in rows])
    contexts = with_text(model, contexts, [loaded.tokens.block(TEXTS[row]) for row in rows])
    return with_thought(model, contexts, [loaded.tokens.block(TEXTS[row][:3]) for row in rows])


def generated(
    loaded: LoadedBagel, contexts: Contexts, rows: Sequence[int], guidance: Guidance
) -> dict[int, Tensor]:
    grids = [GRIDS[row] for row in rows]
    guided = GuidedVelocity(loaded.model, contexts, grids, guidance)
    noise = torch.cat([tokens(GRIDS[row], 10 + row, 64) for row in rows])
    painted = denoise_latents(guided, noise, points=4)
    parts = ragged([g.rows * g.columns for g in grids], painted.device).split(painted)
    return dict(zip(rows, parts, strict=True))


@pytest.mark.parametrize("renorm", ["global", "channel", "text_channel"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0)])
def test_an_image_does_not_depend_on_its_batch(
    loaded: LoadedBagel, order: Sequence[int], renorm: Renorm
) -> None:
    guidance = Guidance(image_scale=1.5, low=0.5, renorm=renorm)
    with torch.no_grad():
        together = generated(loaded, edited(loaded, order), order, guidance)
        for row in order:
            alone = generated(loaded, edited(loaded, [row]), [row], guidance)
            close(together[row], alone[row])


def test_contexts_read_separately_and_stacked_generate_the_same(loaded: LoadedBagel) -> None:
    guidance = Guidance(image_scale=2.0, low=0.0)
    with torch.no_grad():
        apart = [edited(loaded, [row]) for row in (0, 1, 2)]
        stacked = Contexts(
            full=stack([one.full for one in apart]),
            text_free=stack([one.text_free for one in apart]),
            image_free=stack([one.image_free for one in apart]),
        )
        found = generated(loaded, stacked, (0, 1, 2), guidance)
        wanted = generated(loaded, edited(loaded, (0, 1, 2)), (0, 1, 2), guidance)
    for row, image_of in wanted.items():
        close(found[row], image_of)


def test_guidance_reads_each_branch_as_if_it_were_alone(loaded: LoadedBagel) -> None:
    model, grid = loaded.model, GRIDS[1]
    noise = tokens(grid, 3, 64)
    with torch.no_grad():
        contexts = edited(loaded, [1])
        plain = Guidance(text_scale=1.0)
        full, text_free, image_free = (
            GuidedVelocity(
                model, Contexts(full=c, text_free=c, image_free=c), [grid], plain
            ).velocity(noise, 0.8)
            for c in (contexts.full, contexts.text_free, contexts.image_free)
        )
        guidance = Guidance(text_scale=3.0, image_scale=2.0, renorm_floor=1.0)
        found = GuidedVelocity(model, contexts, [grid], guidance).velocity(noise, 0.8)
    pushed = text_free + 3.0 * (full - text_free)
    close(found, image_free + 2.0 * (pushed - image_free))


def test_finished_rows_leave_and_the_others_write_on_unchanged(loaded: LoadedBagel) -> None:
    model, start = loaded.model, loaded.tokens.start
    with torch.no_grad():
        rows = [edited(loaded, [row]).full for row in (0, 1, 2)]
        together = stack(rows)
        never = generate_text(model, together, start=start, end=-1, max_tokens=8)
        assert [len(ids) for ids in never] == [9, 9, 9]
        end = never[1][3]
        found = generate_text(model, together, start=start, end=end, max_tokens=8)
        alone = [generate_text(model, row, start=start, end=end, max_tokens=8)[0] for row in rows]
    assert found == alone
    for ids, whole in zip(found, never, strict=True):
        stop = whole.index(end) if end in whole else len(whole)
        assert ids == whole[:stop]
    assert len(found[1]) < 9


def test_a_text_longer_than_the_reserved_slots_goes_on_in_more_of_them(
    loaded: LoadedBagel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        context = edited(loaded, [0, 1, 2]).full
        texts = []
        for slots in (256, 3, 1):
            monkeypatch.setattr(text_decoding, "CHUNK", slots)
            start = loaded.tokens.start
            texts.append(generate_text(loaded.model, context, start=start, end=-1, max_tokens=7))
    assert texts[0] == texts[1] == texts[2]


def test_generation_leaves_the_context_unchanged(loaded: LoadedBagel) -> None:
    with torch.no_grad():
        contexts = edited(loaded, [0, 1])
        before = [key.clone() for key in contexts.full.keys]
        generate_text(loaded.model, contexts.full, start=loaded.tokens.start, end=-1, max_tokens=3)
        generated(loaded, contexts, (0, 1), Guidance())
    assert all(torch.equal(a, b) for a, b in zip(before, contexts.full.keys, strict=True))


def test_a_row_without_an_image_keeps_its_position(loaded: LoadedBagel) -> None:
    model, grid = loaded.model, GRIDS[0]
    with torch.no_grad():
        shown = model.read_latents(model.new_context(2), tokens(grid, 0, 64), [grid, Grid(0, 0)])
        text = loaded.tokens.block("a cat")
        mixed = model.read_text(shown, [text, text])
        bare = model.read_text(model.new_context(1), [text])
    assert shown.positions == (1, 0)
    assert shown.lengths == (grid.rows * grid.columns + 2, 0)
    close(mixed.hidden_TD[len(text) :], bare.hidden_TD)


def test_velocities_pass_gradients_to_both_experts_and_to_the_latents(
    loaded: LoadedBagel,
) -> None:
    model, grid = loaded.model, GRIDS[0]
    x_LC = tokens(grid, 0, 64).requires_grad_()
    context = model.read_text(model.new_context(1), [loaded.tokens.block("a cat")]).context
    loss = model.velocity(context, model.canvas(context, [grid]), x_LC, torch.ones(1)).square()
    attention = model.language_model.model.layers[0].get_submodule("self_attn")
    weights = [attention.get_parameter(f"k_proj{end}.weight") for end in ("", "_moe_gen")]
    for gradient in torch.autograd.grad(loss.sum(), [x_LC, *weights]):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_keys_written_into_capacity_are_those_that_are_appended(loaded: LoadedBagel) -> None:
    model, grids = loaded.model, [GRIDS[0], GRIDS[1]]
    times = torch.tensor([0.8, 0.3])
    with torch.no_grad():
        plain = edited(loaded, [0, 1]).full
    extended = plain.with_capacity(max(grid.rows * grid.columns for grid in grids) + 2)
    canvas = model.canvas(plain, grids)
    for seed in (1, 2):  # the second reading overwrites what the first one wrote
        noise = torch.cat([tokens(grid, seed, 64) for grid in grids])
        with torch.no_grad():
            wanted = model.velocity(plain, canvas, noise, times)
            close(model.velocity(extended, canvas, noise, times), wanted)
            close(model.velocity(extended.first(2), canvas, noise, times), wanted)
        x_LC = noise.requires_grad_()
        recorded = model.velocity(extended, canvas, x_LC, times)
        close(recorded.detach(), wanted)
        (gradient,) = torch.autograd.grad(recorded.sum(), x_LC)
        (expected,) = torch.autograd.grad(model.velocity(plain, canvas, x_LC, times).sum(), x_LC)
        close(gradient, expected)


def test_an_image_too_large_for_the_table_is_refused(loaded: LoadedBagel) -> None:
    with pytest.raises(ValueError, match="exceeds the table"):
        loaded.model.canvas(loaded.model.new_context(1), [Grid(9, 1)])
