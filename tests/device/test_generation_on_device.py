"""Unified models generate, edit, think and answer on a device as on the CPU, adapters included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.models.bagel.bagel_inference import BagelRefiner, UnifiedBagel
from alphabench.models.bagel.loading import load_bagel
from alphabench.models.bagel.parameter_groups import lora_targets
from alphabench.models.unified_model import (
    AnswerTask,
    GenerationResult,
    GenerationTask,
    RefineTask,
    UnifiedModel,
)
from tests.evaluators.conftest import noise_image
from tests.support.host_traffic import recorded
from tests.support.tiny_bagel import save_bagel
from tests.support.tiny_janus import save_janus

pytestmark = [
    pytest.mark.device,
    pytest.mark.filterwarnings(
        "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*config file:UserWarning"
    ),
]
PROMPTS = ("a red cube", "two green dogs and a blue cat")
FEW: dict[str, Any] = {"timesteps": "4", "max_think_tokens": "6", "max_answer_tokens": "4"}


def opened(
    name: str | Path, device: torch.device | str, lora: Path | None = None, **options: Any
) -> UnifiedModel:
    adapter = None if lora is None else str(lora)
    found = open_checkpoint(str(name), options=options, lora=adapter, device=str(device))
    assert isinstance(found, UnifiedCheckpoint)
    return found.model()


def tasks(source: Image.Image | None = None) -> list[GenerationTask]:
    return [
        GenerationTask(prompt=prompt, seed=seed, source=source)
        for seed, prompt in enumerate(PROMPTS)
    ]


def assert_alike(some: Sequence[Any], others: Sequence[Any], *, levels: int = 1) -> None:
    """Images within so many grey levels, with the same thoughts."""
    for one, other in zip(some, others, strict=True):
        assert isinstance(one, GenerationResult)
        assert isinstance(other, GenerationResult)
        assert one.thought == other.thought
        pixels, wanted = (np.asarray(each.image, dtype=int) for each in (one, other))
        assert np.abs(pixels - wanted).max() <= levels
        assert np.ptp(wanted) > 20


@pytest.fixture(scope="module")
def bagel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bagel(tmp_path_factory.mktemp("bagel"))


@pytest.fixture(scope="module")
def janus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_janus(tmp_path_factory.mktemp("janus"))


@pytest.mark.parametrize(
    ("think", "edits", "dtype"),
    [
        (False, False, "stored"),
        (True, True, "stored"),
        pytest.param(True, False, "stored", marks=pytest.mark.whole),
        pytest.param(False, True, "bfloat16", marks=pytest.mark.whole),
    ],
    ids=["generate", "think-and-edit", "think", "edit-in-bfloat16"],
)
def test_nano_generates_the_images_and_thoughts_of_the_cpu(
    think: bool, edits: bool, dtype: str, stand_in: torch.device
) -> None:
    asked = tasks(noise_image(64, 64) if edits else None)
    with sdpa_kernel(SDPBackend.MATH):  # a fused kernel of the CPU rounds otherwise in bfloat16
        wanted = opened("nano", "cpu", dtype=dtype, **FEW).generate(asked, think=think)
        found = opened("nano", stand_in, dtype=dtype, **FEW).generate(asked, think=think)
    assert_alike(found, wanted)


def test_nano_answers_as_on_the_cpu_with_and_without_images(stand_in: torch.device) -> None:
    asked = [
        AnswerTask(text="What colour is it?", images=(Image.new("RGB", (64, 64), "red"),)),
        AnswerTask(text="Hello"),
    ]
    wanted = opened("nano", "cpu", **FEW).answer(asked)
    assert opened("nano", stand_in, **FEW).answer(asked) == wanted
    assert all(one.text for one in wanted)


@pytest.mark.whole
def test_nano_improves_its_images_as_on_the_cpu(stand_in: torch.device) -> None:
    asked = [RefineTask(prompt="a red cube", image=noise_image(64, 64), seed=3)]

    def refined(device: torch.device | str) -> Sequence[Any]:
        model = opened("nano", device, temperature="0.7", **FEW)
        assert isinstance(model, UnifiedBagel)
        return BagelRefiner(model).refine(asked)

    assert_alike(refined(stand_in), refined("cpu"))


def test_a_sampled_thought_waits_once_for_each_token_of_all_rows(stand_in: torch.device) -> None:
    model = opened("nano", stand_in, temperature="1.0", **FEW)
    with recorded() as traffic:
        model.generate(tasks(), think=True)
    waits = traffic.waits(lambda event: event.within("generate_text"))
    assert 0 < waits <= int(FEW["max_think_tokens"]) + 1, traffic.by_place()


@pytest.mark.parametrize("intervals", [False, True], ids=["always-guided", "guided-in-an-interval"])
def test_denoising_waits_at_most_once_a_step(intervals: bool, stand_in: torch.device) -> None:
    options: dict[str, Any] = {"low": "0.5"} if intervals else {"low": "0"}
    model = opened("nano", stand_in, **FEW, **options)
    with recorded() as traffic:
        model.generate(tasks())
    n_steps = int(FEW["timesteps"]) - 1
    waits = traffic.waits(lambda event: event.within("denoise_latents"))
    assert waits <= (n_steps if intervals else 0), traffic.by_place()
    assert traffic.waits() == waits + 1, "and once for the pixels of all images"


@pytest.mark.parametrize("dtype", ["stored", "bfloat16"])
def test_a_lora_on_bagels_experts_generates_as_on_the_cpu(
    dtype: str, bagel: Path, tmp_path: Path, stand_in: torch.device
) -> None:
    from peft import LoraConfig, get_peft_model

    base: Any = load_bagel(bagel).model
    tuned = get_peft_model(base, LoraConfig(r=2, lora_alpha=4, target_modules=lora_targets(base)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.5)
    tuned.save_pretrained(str(tmp_path))
    small: dict[str, Any] = {"width": "64", "height": "64", "timesteps": "3", "dtype": dtype}
    with sdpa_kernel(SDPBackend.MATH):
        wanted = opened(bagel, "cpu", tmp_path, **small).generate(tasks())
        found = opened(bagel, stand_in, tmp_path, **small).generate(tasks())
        plain = opened(bagel, "cpu", **small).generate(tasks())
    assert_alike(found, wanted)
    assert isinstance(plain[0], GenerationResult)
    assert isinstance(wanted[0], GenerationResult)
    assert not np.array_equal(np.asarray(plain[0].image), np.asarray(wanted[0].image))


def test_janus_generates_as_on_the_cpu_and_waits_once_a_token(
    janus: Path, stand_in: torch.device
) -> None:
    options: dict[str, Any] = {"dtype": "float32", "batch_size": "2"}
    model = opened(janus, stand_in, **options)
    with recorded() as traffic:
        found = model.generate(tasks())
    assert_alike(found, opened(janus, "cpu", **options).generate(tasks()))
    by_us = traffic.waits(lambda event: event.place.file.startswith("bench/"))
    assert by_us == 16 + 1, traffic.by_place()  # its tokens, and the pixels
    own_uploads = traffic.uploads(lambda event: event.place.file.startswith("bench/"))
    assert own_uploads == 0, traffic.by_place(waits=False)


def test_janus_answers_as_on_the_cpu(janus: Path, stand_in: torch.device) -> None:
    asked = [
        AnswerTask(text="what is it?", images=(noise_image(32, 32),)),
        AnswerTask(text="a red cat"),
    ]
    options: dict[str, Any] = {"dtype": "float32", "answer_tokens": "5"}
    wanted = opened(janus, "cpu", **options).answer(asked)
    assert opened(janus, stand_in, **options).answer(asked) == wanted
