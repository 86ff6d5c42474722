"""BAGEL through its one-call interface against pictures and words of the reference code."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from alphabench.models.bagel.bagel_inference import Noise, UnifiedBagel
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.loading import LoadedBagel
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.models.unified_model import AnswerTask, GenerationResult, GenerationTask
from tests.support.bagel_reference import Golden


class _GivenNoise(UnifiedBagel):
    """Draws from the recorded noise in the place of a seed's."""

    def __init__(self, loaded: LoadedBagel, recipe: BagelSampling, noise: Noise) -> None:
        super().__init__(loaded, recipe)
        self.given = noise

    def noise(self, task: GenerationTask) -> Noise:
        return self.given


def _recipe(**changes: Any) -> BagelSampling:
    return BagelSampling(
        timesteps=6,
        width=64,
        height=64,
        latent_longest=128,
        latent_shortest=64,
        patch_longest=112,
        patch_shortest=56,
        **changes,
    )


def test_one_call_thinks_and_draws_the_references_picture(golden: Golden) -> None:
    case, words = golden.case("case6_think")
    recipe = _recipe(
        think_prompt=words["system_prompt"], max_think_tokens=words["max_think_token_n"] - 1
    )
    model = _GivenNoise(golden.loaded, recipe, Noise(case["in.noise"], None))
    (drawn,) = model.generate([GenerationTask(prompt=words["prompt"], seed=0)], think=True)
    assert isinstance(drawn, GenerationResult)
    assert (drawn.thought, drawn.thought_cut) == (words["think_text"], True)
    found = torch.from_numpy(np.asarray(drawn.image).astype(np.int64))
    assert (found - case["out.image_u8"].long()).abs().max() <= 1


def test_one_call_edits_into_the_references_picture(golden: Golden) -> None:
    case, words = golden.case("case5_edit")
    guidance = Guidance(image_scale=1.5, low=0.0, renorm="text_channel")
    noise = Noise(case["in.noise"], case["in.vae_eps"])
    model = _GivenNoise(golden.loaded, _recipe(edit=guidance), noise)
    task = GenerationTask(prompt=words["prompt"], seed=0, source=golden.picture("photo.png"))
    (drawn,) = model.generate([task])
    assert isinstance(drawn, GenerationResult)
    found = torch.from_numpy(np.asarray(drawn.image).astype(np.int64))
    assert (found - case["out.ode_text_channel.image_u8"].long()).abs().max() <= 1


def test_one_call_answers_as_the_reference(golden: Golden) -> None:
    _, words = golden.case("case7_und")
    model = UnifiedBagel(golden.loaded, _recipe(max_answer_tokens=8))
    picture = golden.picture(words["image"])
    (answer,) = model.answer([AnswerTask(text=words["question"], images=(picture,))])
    assert answer.text == words["text"]
