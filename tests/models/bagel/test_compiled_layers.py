"""Compiled layers: the same text and images from one graph a shape, without graph breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.loading import LoadedBagel, load_bagel
from alphabench.models.bagel.model import Grid
from alphabench.models.bagel.sampler import (
    Contexts,
    GuidedVelocity,
    denoise_latents,
    new_contexts,
    with_text,
)
from alphabench.models.bagel.text_decoding import generate_text

TEXTS = ("a cat", "seven green trees beside a long road", "x")
GRIDS = [Grid(2, 3), Grid(4, 4), Grid(2, 3)]


@pytest.fixture
def compiled(checkpoint: Path) -> Iterator[LoadedBagel]:
    torch._dynamo.reset()
    counters.clear()
    found = load_bagel(checkpoint)
    # "eager" runs the captured graphs as they are; what is counted is the same for all backends.
    found.model.language_model.model.compile_layers(backend="eager")
    yield found
    torch._dynamo.reset()
    counters.clear()


def read(loaded: LoadedBagel, texts: tuple[str, ...]) -> Contexts:
    ids = [loaded.tokens.block(text) for text in texts]
    return with_text(loaded.model, new_contexts(loaded.model, len(texts)), ids)


def written(loaded: LoadedBagel, texts: tuple[str, ...], *, end: int = -1) -> list[list[int]]:
    context = read(loaded, texts).full
    return generate_text(loaded.model, context, start=256, end=end, max_tokens=8)


def generated(loaded: LoadedBagel, texts: tuple[str, ...]) -> Tensor:
    guidance = Guidance(low=0.5)  # later steps take another shape, without guidance
    guided = GuidedVelocity(loaded.model, read(loaded, texts), GRIDS, guidance)
    generator = torch.Generator().manual_seed(0)
    noise_LC = torch.randn(28, 64, generator=generator)
    return denoise_latents(guided, noise_LC, points=5)


def n_graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@torch.no_grad()
def test_images_are_those_of_eager_layers_from_one_graph_a_shape(
    loaded: LoadedBagel, compiled: LoadedBagel
) -> None:
    torch.testing.assert_close(
        generated(compiled, TEXTS), generated(loaded, TEXTS), atol=1e-4, rtol=0.0
    )
    assert n_graphs() == 2  # with guidance and without
    generated(compiled, ("other words", "of another length", "y"))
    assert n_graphs() == 2
    assert not counters["graph_break"]


@torch.no_grad()
def test_texts_are_those_of_eager_layers_and_finished_rows_change_no_shape(
    loaded: LoadedBagel, compiled: LoadedBagel
) -> None:
    whole = written(loaded, TEXTS)
    assert written(compiled, TEXTS) == whole
    end = whole[1][3]
    assert written(compiled, TEXTS, end=end) == written(loaded, TEXTS, end=end)
    written(compiled, ("other words", "of another length", "y"))
    assert n_graphs() == 1
    assert not counters["graph_break"]


def test_gradients_take_the_eager_layers(compiled: LoadedBagel) -> None:
    model, grid = compiled.model, GRIDS[0]
    context = model.read_text(model.new_context(1), [compiled.tokens.block("a cat")]).context
    canvas = model.canvas(context, [grid])
    x_LC = torch.zeros(6, 64, requires_grad=True)
    extended = model.language_model.model.room(context, 8)
    velocity_LC = model.velocity(extended, canvas, x_LC, torch.ones(1))
    (gradient,) = torch.autograd.grad(velocity_LC.sum(), x_LC)
    assert gradient.abs().sum() > 0
    assert n_graphs() == 0
