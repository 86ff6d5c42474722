"""Loading a BAGEL folder: whole, in shards, and refused by name when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alphabench.core.errors import AlphaBenchError
from alphabench.models.bagel.loading import load_bagel

HEAD = "language_model.lm_head.weight"
KERNEL = "vit_model.vision_model.embeddings.patch_embedding.weight"


def rewrite(folder: Path, name: str, **changes: torch.Tensor | None) -> None:
    tensors: dict[str, Any] = {**load_file(folder / name), **changes}
    kept = {key: value for key, value in tensors.items() if value is not None}
    save_file(kept, folder / name)


def refusal(folder: Path) -> str:
    with pytest.raises(AlphaBenchError) as caught:
        load_bagel(folder)
    return str(caught.value)


def test_every_tensor_of_the_folder_is_in_the_model_and_none_is_left_empty(
    checkpoint: Path,
) -> None:
    loaded = load_bagel(checkpoint)
    stored = load_file(checkpoint / "ema.safetensors")
    found = loaded.model.state_dict()
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], stored[name]) for name in stored)
    pictures = load_file(checkpoint / "ae.safetensors")
    weights = loaded.autoencoder.network.state_dict()
    names = {name: loaded.autoencoder.stored_name(name) for name in weights}
    assert set(names.values()) == set(pictures)
    for name, stored_name in names.items():
        assert torch.equal(weights[name].flatten(), pictures[stored_name].flatten())


def test_weights_take_the_requested_dtype(checkpoint: Path) -> None:
    loaded = load_bagel(checkpoint, dtype=torch.bfloat16)
    in_float32 = {n for n, w in loaded.model.named_parameters() if w.dtype == torch.float32}
    assert in_float32 == {HEAD, "llm2vae.weight", "llm2vae.bias"}
    others = {w.dtype for n, w in loaded.model.named_parameters() if n not in in_float32}
    assert others == {torch.bfloat16}
    weights = loaded.autoencoder.network.parameters()
    assert {weight.dtype for weight in weights} == {torch.float32}


def test_tables_of_positions_are_never_trained(checkpoint: Path) -> None:
    frozen = {
        name for name, w in load_bagel(checkpoint).model.named_parameters() if not w.requires_grad
    }
    assert frozen == {"vit_pos_embed.pos_embed", "latent_pos_embed.pos_embed"}


def test_shards_are_the_same_as_one_file(checkpoint: Path) -> None:
    whole = load_file(checkpoint / "ema.safetensors")
    parts = {"one.safetensors": sorted(whole)[::2], "two.safetensors": sorted(whole)[1::2]}
    for part, names in parts.items():
        save_file({name: whole[name] for name in names}, checkpoint / part)
    (checkpoint / "ema.safetensors").unlink()
    index = {"weight_map": {name: part for part, names in parts.items() for name in names}}
    (checkpoint / "ema.safetensors.index.json").write_text(json.dumps(index))
    found = load_bagel(checkpoint).model.state_dict()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_patch_kernel_does_the_work_of_the_linear_layer(checkpoint: Path) -> None:
    matrix = load_file(checkpoint / "ema.safetensors")[KERNEL]
    kernel = matrix.reshape(16, 14, 14, 3).permute(0, 3, 1, 2).contiguous()
    rewrite(checkpoint, "ema.safetensors", **{KERNEL: kernel})
    assert torch.equal(load_bagel(checkpoint).model.state_dict()[KERNEL], matrix)


@pytest.mark.parametrize("file", ["ema.safetensors", "ae.safetensors"])
def test_a_missing_tensor_is_named(checkpoint: Path, file: str) -> None:
    name = HEAD if file == "ema.safetensors" else "decoder.conv_out.bias"
    rewrite(checkpoint, file, **{name: None})
    assert repr(name) in refusal(checkpoint)
    assert repr(file) in refusal(checkpoint)


def test_a_tensor_of_the_wrong_shape_is_named(checkpoint: Path) -> None:
    rewrite(checkpoint, "ema.safetensors", **{HEAD: torch.zeros(263, 32)})
    assert f"{HEAD!r} in 'ema.safetensors' has shape [263, 32], not [264, 32]" in refusal(
        checkpoint
    )


def test_an_unexpected_tensor_is_named(checkpoint: Path) -> None:
    rewrite(checkpoint, "ema.safetensors", stranger=torch.zeros(1))
    assert "'stranger'" in refusal(checkpoint)


@pytest.mark.parametrize("file", ["ema.safetensors", "ae.safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.999])
def test_a_truncated_file_is_named(checkpoint: Path, file: str, kept: float) -> None:
    content = (checkpoint / file).read_bytes()
    cut = int(kept if kept >= 1 else kept * len(content))
    (checkpoint / file).write_bytes(content[:cut])
    assert f"{file!r} in {checkpoint.name!r} is damaged or truncated" in refusal(checkpoint)


@pytest.mark.parametrize(
    "file",
    [
        "ema.safetensors",
        "ae.safetensors",
        "llm_config.json",
        "vit_config.json",
        "vocab.json",
        "merges.txt",
        "tokenizer_config.json",
    ],
)
def test_a_missing_file_is_named(checkpoint: Path, file: str) -> None:
    (checkpoint / file).unlink()
    assert f"has no file {file!r}" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("llm_config.json", {"hidden_size": "32"}, "hidden_size = '32', not a positive number"),
        ("llm_config.json", {"num_key_value_heads": 3}, "do not fit together"),
        ("llm_config.json", {"hidden_act": "relu"}, "hidden_act = 'relu'"),
        ("vit_config.json", {"patch_size": None}, "patch_size = None"),
        ("llm_config.json", {"rope_scaling": {"factor": 2}}, "rope_scaling = {'factor': 2}"),
        ("config.json", {"interpolate_pos": True}, "interpolate_pos = True"),
        ("config.json", {"latent_patch_size": "2"}, "latent_patch_size is a positive integer"),
        ("config.json", {"vae_config": {"ch": 33}}, "ch is a multiple of norm_groups"),
        ("llm_config.json", {"vocab_size": 200}, "tokens, the model 200 embeddings"),
        ("tokenizer_config.json", {"added_tokens_decoder": {}}, "has no token '<|im_start|>'"),
    ],
)
def test_sizes_and_tokens_that_do_not_fit_are_named(
    checkpoint: Path, file: str, change: dict[str, Any], words: str
) -> None:
    path = checkpoint / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert words in refusal(checkpoint)


def test_a_file_that_is_no_json_is_named(checkpoint: Path) -> None:
    (checkpoint / "vit_config.json").write_text("{")
    assert "'vit_config.json'" in refusal(checkpoint)
