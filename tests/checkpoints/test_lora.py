from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphabench.checkpoints import open_checkpoint
from alphabench.checkpoints.lora import Lora, find
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.hub import HubAccess
from tests.checkpoints.conftest import AskFor

Folder = Callable[[str], Path]
FAST = {"steps": "2", "width": "32", "height": "32", "dtype": "float32"}
TARGETS = ["to_q", "to_k"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
    "ignore:.*not find a config file:UserWarning",  # PEFT asks the hub for the base's vocabulary
)


@pytest.fixture(scope="session")
def adapters(pipeline: Folder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One LoRA in both layouts: as diffusers and as PEFT write it."""
    import torch
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    root = tmp_path_factory.mktemp("loras")
    transformers: Any = SD3Transformer2DModel
    model = transformers.from_pretrained(pipeline("sd3") / "transformer")
    tuned = get_peft_model(model, LoraConfig(r=2, lora_alpha=8, target_modules=TARGETS))
    torch.manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=4.0)
    tuned.save_pretrained(str(root / "peft"))
    layers = {
        # alpha 8 over rank 2 is a factor of 4, and without metadata diffusers takes a factor of 1.
        key.removeprefix("base_model.model."): tensor * (4 if "lora_B" in key else 1)
        for key, tensor in get_peft_model_state_dict(tuned).items()
    }
    pipelines: Any = StableDiffusion3Pipeline
    pipelines.save_lora_weights(root / "diffusers", transformer_lora_layers=layers)
    return {"peft": root / "peft", "diffusers": root / "diffusers"}


def draw(folder: Path, ask: AskFor, lora: Path | None, **options: str) -> Any:
    checkpoint = open_checkpoint(
        str(folder), options=FAST | options, lora=None if lora is None else str(lora)
    )
    return np.asarray(checkpoint.generate([ask()])[0], dtype=np.int16)


def local(name: Path, file: str | None = None) -> Lora:
    return find(str(name), file=file, strength=1.0, access=HubAccess(offline=True))


def test_a_lora_changes_the_image_alike_in_both_layouts(
    adapters: dict[str, Path], pipeline: Folder, ask: AskFor
) -> None:
    base = draw(pipeline("sd3"), ask, None)
    one = draw(pipeline("sd3"), ask, adapters["diffusers"])
    two = draw(pipeline("sd3"), ask, adapters["peft"])
    assert np.abs(base - one).max() > 5
    assert np.abs(one - two).max() <= 1
    none = draw(pipeline("sd3"), ask, adapters["diffusers"], lora_scale="0")
    assert np.array_equal(base, none)


def test_the_identity_follows_the_lora_by_content_and_strength(
    adapters: dict[str, Path], pipeline: Folder, tmp_path: Path
) -> None:
    def identity(lora: Path, **options: str) -> str:
        opened = open_checkpoint(str(pipeline("sd3")), options=options, lora=str(lora))
        return opened.identity["lora"]

    moved = shutil.copytree(adapters["diffusers"], tmp_path / "moved")
    assert identity(moved) == identity(adapters["diffusers"])
    assert identity(moved, lora_scale="0.5") != identity(moved)
    assert identity(adapters["peft"]) != identity(moved)
    assert "lora" not in open_checkpoint(str(pipeline("sd3"))).identity


def test_a_lora_for_another_model_is_an_error_and_not_the_base_model(
    adapters: dict[str, Path], pipeline: Folder, tmp_path: Path, ask: AskFor
) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(AlphaBenchError, match="StableDiffusionXLPipeline"):
        draw(pipeline("sdxl"), ask, adapters["diffusers"])
    file = adapters["diffusers"] / "pytorch_lora_weights.safetensors"
    stray = {f"nowhere.{key}": tensor for key, tensor in load_file(file).items()}
    save_file(stray, tmp_path / "stray.safetensors")
    with pytest.raises(AlphaBenchError, match="changes no module of StableDiffusion3Pipeline"):
        draw(pipeline("sd3"), ask, tmp_path / "stray.safetensors")


def test_weights_that_are_no_lora_are_refused_when_opening(pipeline: Folder) -> None:
    with pytest.raises(AlphaBenchError, match="holds no LoRA"):
        local(pipeline("sd3") / "vae" / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no safetensors file"),
        ({"pytorch_lora_weights.bin": b""}, "is a pickle"),
        ({"a.safetensors": b"", "b.safetensors": b""}, "holds 2 files.*lora_file"),
        ({"pytorch_lora_weights.safetensors": b"garbage"}, "cannot be read"),
        ({"adapter_model.safetensors": b"garbage"}, "has no adapter_config.json"),
    ],
)
def test_a_folder_that_holds_no_clear_lora_is_refused(
    files: dict[str, bytes], words: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AlphaBenchError, match=words):
        local(tmp_path)


def test_one_of_several_files_is_chosen_by_name(adapters: dict[str, Path], tmp_path: Path) -> None:
    file = adapters["diffusers"] / "pytorch_lora_weights.safetensors"
    for name in ("early.safetensors", "late.safetensors"):
        shutil.copy(file, tmp_path / name)
    assert local(tmp_path, "late.safetensors").file.name == "late.safetensors"
    with pytest.raises(AlphaBenchError, match="holds no file 'latest"):
        local(tmp_path, "latest.safetensors")


def test_a_lora_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="there is no LoRA"):
        local(tmp_path / "missing.safetensors")
    with pytest.raises(AlphaBenchError, match="not in the local cache"):
        local(Path("somebody/some-lora"))


def test_the_identity_contains_how_many_tensors_are_bound(
    adapters: dict[str, Path], pipeline: Folder
) -> None:
    opened = open_checkpoint(str(pipeline("sd3")), lora=str(adapters["diffusers"]))
    assert opened.identity["lora"].endswith("bound 4 of 4 tensors")


def test_a_peft_adapter_has_its_configured_scale(
    adapters: dict[str, Path], pipeline: Folder, tmp_path: Path, ask: AskFor
) -> None:
    weaker = shutil.copytree(adapters["peft"], tmp_path / "weaker")
    config = json.loads((weaker / "adapter_config.json").read_text())
    config["lora_alpha"] = 1
    (weaker / "adapter_config.json").write_text(json.dumps(config))
    strong, weak = (draw(pipeline("sd3"), ask, one) for one in (adapters["peft"], weaker))
    assert not np.array_equal(strong, weak)
