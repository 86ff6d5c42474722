"""BAGEL as a unified model: alone or in any batch, the same image and the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alphabench.models.bagel.bagel_inference import (
    UnifiedBagel,
    seeded_token_sampler,
    size_obstacle,
)
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.sampling_config import EDIT, BagelSampling
from alphabench.models.unified_model import AnswerTask, GenerationResult, GenerationTask
from alphabench.types import NotGenerated

SAMPLING = BagelSampling(
    timesteps=3,
    draw=Guidance(),
    edit=EDIT,
    width=64,
    height=64,
    latent_longest=96,
    latent_shortest=32,
    patch_longest=84,
    patch_shortest=28,
    think_prompt="plan",
    temperature=1.0,
    max_think_tokens=6,
    max_answer_tokens=5,
)


def random_image(seed: int, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


TASKS = (
    GenerationTask(prompt="a cat", seed=1),
    GenerationTask(prompt="seven green trees beside a road", seed=2, width=96, height=32),
    GenerationTask(prompt="make it red", seed=3, source=random_image(0, 64, 48)),
    GenerationTask(prompt="x", seed=4, source=random_image(1, 33, 90)),
    GenerationTask(prompt="a cat", seed=5),
)


def pixels(result: GenerationResult | NotGenerated) -> Any:
    assert isinstance(result, GenerationResult)
    return np.asarray(result.image, dtype=np.int16)


@pytest.fixture(scope="module")
def model(loaded: LoadedBagel) -> UnifiedBagel:
    return UnifiedBagel(loaded, SAMPLING)


@pytest.fixture(scope="module")
def alone(model: UnifiedBagel) -> dict[bool, list[GenerationResult | NotGenerated]]:
    return {
        think: [model.generate([task], think=think)[0] for task in TASKS] for think in (False, True)
    }


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.booleans())
def test_batch_and_order_change_neither_images_nor_thoughts(
    model: UnifiedBagel,
    alone: dict[bool, list[GenerationResult | NotGenerated]],
    order: Sequence[int],
    think: bool,
) -> None:
    together = model.generate([TASKS[index] for index in order], think=think)
    for index, found in zip(order, together, strict=True):
        wanted = alone[think][index]
        assert isinstance(found, GenerationResult)
        assert isinstance(wanted, GenerationResult)
        assert (found.thought, found.thought_cut) == (wanted.thought, wanted.thought_cut)
        # A float that lies on the border of two levels may fall to either side.
        assert np.abs(pixels(found) - pixels(wanted)).max() <= 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_images_of_one_prompt_share_is_read_and_written_once(
    loaded: LoadedBagel, temperature: float
) -> None:
    model = UnifiedBagel(loaded, replace(SAMPLING, temperature=temperature))
    tasks = [GenerationTask(prompt="a cat", seed=seed) for seed in range(3)]
    tokens: list[int] = []
    table = loaded.model.language_model.model.embed_tokens
    hook = table.register_forward_hook(lambda _module, given, _result: tokens.append(len(given[0])))
    try:
        model.generate(tasks[:1], think=True)
        alone, tokens[:] = list(tokens), []
        together = model.generate(tasks, think=True)
    finally:
        hook.remove()
    assert tokens[:2] == alone[:2]  # the prompt to think, and the prompt
    written = 1 if temperature == 0.0 else 3
    assert tokens[2] == written * alone[2]  # the first token of the thoughts
    thoughts = {one.thought for one in together if isinstance(one, GenerationResult)}
    assert len(thoughts) <= written
    assert not np.array_equal(pixels(together[0]), pixels(together[1]))


def test_images_are_the_same_in_however_many_parts_they_are_decoded(model: UnifiedBagel) -> None:
    grid = model.grid_of(64, 64)
    features = model.loaded.model.config.latent_features
    latents = torch.randn(37 * 16, features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        every = model.decoded(latents, [grid] * 37)
        few = model.decoded(latents[-5 * 16 :], [grid] * 5)
    assert len(every) == 37
    for one, other in zip(every[-5:], few, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


def test_the_noise_of_an_image_depends_on_its_seed_alone(model: UnifiedBagel) -> None:
    plain, edit = TASKS[0], replace(TASKS[0], source=random_image(0, 64, 64))
    assert torch.equal(model.noise(plain).image_LC, model.noise(edit).image_LC)
    assert not torch.equal(
        model.noise(plain).image_LC, model.noise(replace(plain, seed=9)).image_LC
    )
    assert model.noise(plain).image_LC.shape == (16, 64)
    source = model.noise(edit).source_1Zyx
    assert source is not None
    assert source.shape == (1, 16, 8, 8)


def test_prompt_seed_source_and_thought_all_change_the_image(
    model: UnifiedBagel, alone: dict[bool, list[GenerationResult | NotGenerated]]
) -> None:
    first, edit = TASKS[0], TASKS[2]
    variants = [
        (alone[False][0], model.generate([replace(first, prompt="a dog")])[0]),
        (alone[False][0], alone[False][4]),
        (alone[False][2], model.generate([replace(edit, source=random_image(7, 64, 48))])[0]),
        (alone[False][0], alone[True][0]),
    ]
    for one, other in variants:
        assert not np.array_equal(pixels(one), pixels(other))


def test_an_edit_has_the_size_that_its_source_gets(
    alone: dict[bool, list[GenerationResult | NotGenerated]],
) -> None:
    sizes = [pixels(one).shape[:2] for one in alone[False]]
    assert sizes == [(64, 64), (32, 96), (48, 64), (96, 32), (64, 64)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 60}, "60x64 is no size in steps of 16 pixels"),
        ({"width": 160}, "160x64 is larger than 128 pixels"),
        ({"width": 64, "source": random_image(0, 64, 64)}, "has the size of its source"),
    ],
)
def test_impossible_tasks_are_refused_and_the_others_generated(
    model: UnifiedBagel, change: dict[str, Any], words: str
) -> None:
    refused, result = model.generate([replace(TASKS[0], **change), TASKS[0]])
    assert isinstance(refused, NotGenerated)
    assert refused.status == "refused"
    assert words in refused.reason
    assert isinstance(result, GenerationResult)


def test_a_thought_that_reaches_its_limit_is_marked(loaded: LoadedBagel) -> None:
    short = UnifiedBagel(loaded, replace(SAMPLING, temperature=0.0, max_think_tokens=2))
    long = UnifiedBagel(loaded, replace(SAMPLING, temperature=0.0, max_think_tokens=4))
    cut, longer = (model.generate(TASKS[:1], think=True)[0] for model in (short, long))
    assert isinstance(cut, GenerationResult)
    assert isinstance(longer, GenerationResult)
    assert cut.thought_cut
    assert cut.thought is not None
    assert longer.thought is not None
    assert len(cut.thought) <= len(longer.thought)


def test_without_thinking_there_is_no_thought(
    alone: dict[bool, list[GenerationResult | NotGenerated]],
) -> None:
    assert all(isinstance(one, GenerationResult) and one.thought is None for one in alone[False])


def test_latents_that_are_not_finite_make_no_image(loaded: LoadedBagel) -> None:
    class Broken(UnifiedBagel):
        def noise(self, task: GenerationTask) -> Any:
            found = super().noise(task)
            bad = task.prompt == "x"
            return found._replace(image_LC=found.image_LC * (float("nan") if bad else 1.0))

    broken, result = Broken(loaded, SAMPLING).generate([replace(TASKS[0], prompt="x"), TASKS[0]])
    assert isinstance(broken, NotGenerated)
    assert broken.status == "failed"
    assert isinstance(result, GenerationResult)


def test_answers_depend_on_their_images_and_text_alone(model: UnifiedBagel) -> None:
    one, two = random_image(0, 64, 64), random_image(1, 40, 80)
    tasks = [
        AnswerTask(text="what?", images=(one,), seed=1),
        AnswerTask(text="which of them?", images=(one, two), seed=2),
        AnswerTask(text="say", seed=3),
    ]
    together = model.answer(tasks)
    assert together == [model.answer([task])[0] for task in tasks]
    assert model.answer(tasks[::-1]) == together[::-1]
    assert model.answer([]) == []


def test_images_change_the_answer(loaded: LoadedBagel) -> None:
    # Long answers: images hardly move the tokens of a model that has learnt nothing.
    model = UnifiedBagel(loaded, replace(SAMPLING, max_answer_tokens=60))
    shown = AnswerTask(text="what?", images=(random_image(0, 96, 96),), seed=1)
    assert model.answer([shown]) != model.answer([replace(shown, images=())])


def test_tokens_are_sampled_with_their_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -50.0]]).repeat(4000, 1)
    chosen = seeded_token_sampler(list(range(4000)), 2.0)(logits, list(range(4000))).ids_B
    shares = np.bincount(chosen, minlength=4) / 4000
    wanted = (logits[0] / 2.0).softmax(dim=0).numpy()
    assert np.abs(shares - wanted).max() < 0.03
    assert shares[3] == 0


def test_a_row_samples_the_same_tokens_at_any_index() -> None:
    logits = torch.zeros(3, 1000)
    together = seeded_token_sampler([5, 6, 7], 1.0)(logits, [0, 1, 2]).ids
    later = seeded_token_sampler([5, 6, 7], 1.0)(logits[:2], [2, 0]).ids
    assert later == [together[2], together[0]]
    assert len(set(together)) == 3


def test_sizes_that_fit_are_no_obstacle() -> None:
    assert size_obstacle(64, 128, side=16, max_side=128) is None
    assert size_obstacle(0, 64, side=16, max_side=128) is not None
