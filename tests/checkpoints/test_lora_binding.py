"""LoRAs on tiny pipelines of every family: the effect of the file, or a refusal with its cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from alphabench.checkpoints import lora, open_checkpoint
from alphabench.checkpoints.lora_conversion import pipeline_converter
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.hub import HubAccess
from alphabench.weights.strict_loading import strict_loading
from tests.support.tiny_pipelines import BUILDERS

Folder = Callable[[str], Path]
Tensors = dict[str, Tensor]

pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*find a config file:UserWarning"
)


def loaded(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    pipelines: Any = DiffusionPipeline
    with strict_loading(folder.name):
        return pipelines.from_pretrained(folder)


def networks(pipeline: Any) -> dict[str, nn.Module]:
    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, nn.Module)}


def denoiser(pipeline: Any) -> tuple[str, nn.Module]:
    found = networks(pipeline)
    name = "transformer" if "transformer" in found else "unet"
    return name, found[name]


def linears(network: nn.Module) -> list[str]:
    return [name for name, one in network.named_modules() if type(one) is nn.Linear]


def layer(module: str, weight: Tensor, *, kohya: bool = False) -> Tensors:
    """A random layer of rank 2, with PEFT's names or kohya's and alpha 3."""
    down, up = torch.randn(2, weight.shape[1]), torch.randn(weight.shape[0], 2)
    if kohya:
        names = ("lora_down.weight", "lora_up.weight", "alpha")
        return dict(
            zip((f"{module}.{n}" for n in names), (down, up, torch.tensor(3.0)), strict=True)
        )
    return {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}


def bind(
    pipeline: Any, tensors: Tensors, folder: Path, config: dict[str, Any] | None = None
) -> int:
    folder.mkdir(exist_ok=True)
    file = folder / ("x.safetensors" if config is None else "adapter_model.safetensors")
    save_file({key: one.contiguous() for key, one in tensors.items()}, file)
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    found = lora.find(str(file), file=None, strength=1.0, access=HubAccess(offline=True))
    owner, convert = type(pipeline).__name__, pipeline_converter(pipeline)
    return lora.bind(networks(pipeline), found, owner=owner, convert=convert)


def effective(network: nn.Module, name: str) -> Tensor:
    """The weight that the module computes with, told from its outputs."""
    module = network.get_submodule(name)
    base: Any = getattr(module, "base_layer", module)
    eye = torch.eye(base.in_features)
    with torch.no_grad():
        found: Tensor = (module(eye) - module(0.0 * eye)).T
    return found


@pytest.mark.parametrize("family", BUILDERS)
def test_a_lora_takes_effect_exactly_as_stored_or_is_refused_by_name(
    family: str, pipeline: Folder, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    pipe = loaded(pipeline(family))
    component, network = denoiser(pipe)
    first, second = linears(network)[-2:]
    weight: Any = network.get_submodule(first).weight
    before = weight.detach().clone()
    good = layer(f"{component}.{first}", weight)
    flat = f"lora_unet_{first.replace('.', '_')}"
    elsewhere = layer(f"{component}.blocks.99.to_q", torch.ones(4, 4))
    zero = {key: one * ("lora_B" not in key) for key, one in good.items()}
    refused: list[tuple[Tensors, str]] = [
        (good | elsewhere, r"no module for '\w+.blocks.99.to_q.lora_A.weight'"),
        (good | layer("text_encoder_9.a", torch.ones(4, 4)), "no module for 'text_encoder_9.a"),
        (layer(flat, weight, kohya=True) | layer("lora_te9_a", weight, kohya=True), "'lora_te9_a"),
        ({key: one * torch.nan for key, one in good.items()}, "NaN"),
        (zero, "^the LoRA .* changes nothing: in each layer one factor is zero"),
        (layer(f"{component}.{first}", torch.ones(3, 5)), r"has shape \[2, 5\]"),
        ({f"{flat}.lokr_w1": torch.ones(2, 2)}, "LoKr"),
        (good | {f"{component}.{first}.bias": torch.ones(2)}, "bias"),
    ]
    for tensors, words in refused:
        with pytest.raises(AlphaBenchError, match=words):
            bind(pipe, tensors, tmp_path)
    with pytest.raises(AlphaBenchError, match="rank 1000000000, its tensors 2"):
        bind(pipe, layer(first, weight), tmp_path / "huge", {"r": 10**9})
    assert type(network.get_submodule(first)) is nn.Linear, "a refused LoRA was put on in part"
    tensors = layer(flat, weight, kohya=True)
    other: Any = network.get_submodule(second).weight
    assert bind(pipe, tensors | layer(f"{component}.{second}", other), tmp_path) == 2
    change = 1.5 * tensors[f"{flat}.lora_up.weight"] @ tensors[f"{flat}.lora_down.weight"]
    assert torch.allclose(effective(network, first), before + change, atol=1e-4)


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_the_scale_in_a_files_header_is_followed(
    prefix: str, pipeline: Folder, tmp_path: Path
) -> None:
    pipe = loaded(pipeline("sd3"))
    name = linears(pipe.transformer)[-1]
    weight = pipe.transformer.get_submodule(name).weight.detach().clone()
    tensors = layer(f"{prefix}{name}", weight)
    stated = json.dumps({f"{prefix}r": 2, f"{prefix}lora_alpha": 6})
    save_file(tensors, tmp_path / "x.safetensors", metadata={"lora_adapter_metadata": stated})
    found = lora.find(str(tmp_path), file=None, strength=0.5, access=HubAccess(offline=True))
    lora.bind(networks(pipe), found, owner="it")
    down, up = tensors.values()
    assert torch.allclose(effective(pipe.transformer, name), weight + 1.5 * up @ down, atol=1e-4)


def dora(weight: Tensor, tensors: Tensors, magnitude: Tensor, scale: float) -> Tensor:
    """Equation 5 of DoRA (Liu et al., 2024): each output's row has the length of its magnitude."""
    down, up = tensors.values()
    moved = weight + scale * up @ down
    found: Tensor = magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True)
    return found


@pytest.mark.parametrize("spelling", ["peft", "peft in a network", "kohya"])
def test_dora_has_the_weight_that_its_paper_defines(
    spelling: str, pipeline: Folder, tmp_path: Path
) -> None:
    pipe = loaded(pipeline("sd3"))
    network = pipe.transformer
    name = linears(network)[-1]
    linear: Any = network.get_submodule(name)
    weight = linear.weight.detach().clone()
    tensors = layer(name, weight)
    magnitude = torch.rand(weight.shape[0]) + 1.0
    config: dict[str, Any] | None = {"r": 2, "lora_alpha": 6, "use_dora": True}
    if spelling == "kohya":
        flat, config = f"lora_unet_{name.replace('.', '_')}", None
        parts = zip(("lora_down.weight", "lora_up.weight"), tensors.values(), strict=True)
        stored = {f"{flat}.{part}": one for part, one in parts}
        stored |= {f"{flat}.dora_scale": magnitude[:, None], f"{flat}.alpha": torch.tensor(6.0)}
    else:
        prefix = "base_model.model." if spelling == "peft" else "module._orig_mod."
        ending = ".weight" if spelling == "peft" else ""
        stored = {prefix + key: one for key, one in tensors.items()}
        stored[f"{prefix}{name}.lora_magnitude_vector{ending}"] = magnitude
    assert bind(pipe, stored, tmp_path, config) == 1
    assert torch.allclose(
        effective(network, name), dora(weight, tensors, magnitude, 3.0), atol=1e-4
    )


def test_a_magnitude_that_is_not_one_for_each_output_is_refused(
    pipeline: Folder, tmp_path: Path
) -> None:
    pipe = loaded(pipeline("sd3"))
    name = linears(pipe.transformer)[-1]
    weight = pipe.transformer.get_submodule(name).weight
    stored = layer(name, weight)
    columns = stored | {f"{name}.dora_scale": torch.ones(1, weight.shape[1])}
    with pytest.raises(AlphaBenchError, match="is no length for each"):
        bind(pipe, columns, tmp_path)
    with pytest.raises(AlphaBenchError, match="has use_dora=true"):
        bind(pipe, stored, tmp_path / "folder", {"r": 2, "use_dora": True})
    rows = stored | {f"{name}.dora_scale": torch.ones(weight.shape[0], 1)}
    with pytest.raises(AlphaBenchError, match="has use_dora=false"):
        bind(pipe, rows, tmp_path / "folder", {"r": 2})


def test_a_fused_layer_of_another_layout_is_split_with_its_scale(
    pipeline: Folder, tmp_path: Path
) -> None:
    pipe = loaded(pipeline("flux-dev"))
    attention = pipe.transformer.transformer_blocks[0].attn
    width = attention.to_q.in_features
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = layer(name, torch.ones(3 * width, width), kohya=True)
    more = layer("lora_unet_double_blocks_7_img_attn_qkv", torch.ones(3 * width, width), kohya=True)
    with pytest.raises(AlphaBenchError, match="no module for 'lora_unet_double_blocks_7"):
        bind(pipe, tensors | more, tmp_path)
    assert bind(pipe, tensors, tmp_path) == 3
    change = 1.5 * tensors[f"{name}.lora_up.weight"] @ tensors[f"{name}.lora_down.weight"]
    parts = [
        one.get_delta_weight("lora") for one in (attention.to_q, attention.to_k, attention.to_v)
    ]
    assert torch.allclose(torch.cat(parts), change, atol=1e-4)


def test_text_encoders_are_adapted_under_their_older_names(
    pipeline: Folder, tmp_path: Path
) -> None:
    pipe = loaded(pipeline("sdxl"))
    square = torch.ones(32, 32)
    tensors = layer("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", square, kohya=True)
    tensors |= layer("lora_te2_text_model_encoder_layers_1_mlp_fc2", torch.ones(32, 37), kohya=True)
    tensors |= layer("text_encoder.text_model.encoder.layers.1.self_attn.to_out", square)
    assert bind(pipe, tensors, tmp_path) == 3


def test_a_lora_for_another_model_is_seen_before_any_weights_are_loaded(
    pipeline: Folder, tmp_path: Path
) -> None:
    square = torch.ones(4, 4)
    for family, tensors in (
        ("sdxl", layer("transformer.transformer_blocks.0.attn.to_q", square)),
        ("sd15", layer("lora_te2_text_model_encoder_layers_0_mlp_fc1", square, kohya=True)),
        ("sd3", layer("transformer.transformer_blocks.7.attn.to_q", square)),
    ):
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises(AlphaBenchError, match="the model has no module for"):
            open_checkpoint(str(pipeline(family)), lora=str(tmp_path / "x.safetensors"))
