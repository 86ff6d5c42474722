"""A policy beside its checkpoint: what a validation generates is what a run generates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.models.bagel.bagel_inference import UnifiedBagel
from alphabench.types import ImageRequest, Sample
from alphagrpo.policies.factory import open_policy, open_trainable, training_adapter
from alphagrpo.policies.policy_protocols import ExportableCheckpoint
from alphagrpo.recipe import PolicySettings
from alphatrainers import lora_adapters
from alphatrainers.settings import LoraSettings
from tests.support.tiny_bagel import save_bagel

SMALL = {"width": 32, "height": 32, "timesteps": 3, "max_think_tokens": 4}

pytestmark = pytest.mark.filterwarnings("ignore:.*config file:UserWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bagel(tmp_path_factory.mktemp("opening") / "tiny")


def pixels(generator: Generator) -> Any:
    sample = Sample(id="s", prompt="a red dog", group="all", facts={})
    return np.asarray(generator.generate([ImageRequest(sample=sample, index=0, seed=3)])[0])


def test_an_adapter_on_a_bfloat16_base_draws_in_a_run_what_it_draws_in_training(
    base: Path, tmp_path: Path
) -> None:
    options = {**SMALL, "dtype": "bfloat16"}
    opened = open_policy(PolicySettings(checkpoint=str(base), options=options), device="cpu")
    module, lora = opened.policy.module, LoraSettings(rank=2, alpha=4)
    trained = lora_adapters.select_trainable(module, opened.policy.experts, lora=lora, seed=0)
    torch.manual_seed(0)
    for name, one in trained.items():
        if "lora_B" in name:
            torch.nn.init.normal_(one.parameter, std=0.5)
    values = {name: one.parameter.detach() for name, one in trained.items()}
    settings: Any = lora_adapters.peft_settings(lora_adapters.target_names(values), lora)
    settings.save_pretrained(tmp_path)
    save_file(lora_adapters.exported(values), tmp_path / "adapter_model.safetensors")
    words = {key: str(value) for key, value in options.items()}
    run = open_checkpoint(str(base), options=words, lora=str(tmp_path))
    assert isinstance(run, UnifiedCheckpoint)
    model = run.model()
    assert isinstance(model, UnifiedBagel)
    found = dict(model.loaded.model.named_parameters())
    for name, value in values.items():
        assert torch.equal(found[name.replace(lora_adapters.PEFT_ADAPTER, "lora")], value)
    assert np.array_equal(pixels(run), pixels(opened.generator()))


def test_exported_weights_have_the_type_of_the_checkpoint(base: Path, tmp_path: Path) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        settings = PolicySettings(checkpoint=str(base), options={**SMALL, "dtype": name})
        exportable = training_adapter(open_trainable(settings, device="cpu"))
        assert isinstance(exportable, ExportableCheckpoint)
        exportable.open_weights(device="cpu").save(tmp_path / name)
        stored = load_file(tmp_path / name / "ema.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {dtype}


def test_a_validation_thinks_after_the_text_of_the_training(base: Path) -> None:
    def live(**words: str) -> Generator:
        options = {**SMALL, "think": True, **words}
        opened = open_policy(PolicySettings(checkpoint=str(base), options=options), device="cpu")
        assert opened.think_prompt == words.get("think_prompt", opened.think_prompt)
        return opened.generator()

    plain, other = live(), live(think_prompt="consider colours", reflect_prompt="{prompt}: mend")
    assert plain.identity["think_prompt"] != other.identity["think_prompt"]
    assert not np.array_equal(pixels(plain), pixels(other))
    assert isinstance(other, UnifiedCheckpoint)
    model = other.model()
    assert isinstance(model, UnifiedBagel)
    assert model.sampling.reflect_prompt == "{prompt}: mend"


def test_rendered_scenes_are_not_trained_and_the_refusal_says_why() -> None:
    with pytest.raises(AlphaBenchError, match="it has no weights"):
        open_trainable(PolicySettings(checkpoint="scene:"), device="cpu")
