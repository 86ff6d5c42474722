from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alphabench.checkpoints.lora_tensors import check_lora_values, energy_of, layers_of, scale_of


@pytest.mark.parametrize(
    ("down", "up", "module"),
    [
        ("unet.a.to_q.lora_A.weight", "unet.a.to_q.lora_B.weight", "unet.a.to_q"),
        ("a.to_q.lora_A.default.weight", "a.to_q.lora_B.default.weight", "a.to_q"),
        ("base_model.model.a.lora_A.weight", "base_model.model.a.lora_B.weight", "a"),
        ("module.base_model.model.a.lora_A.weight", "module.a.lora_B.weight", "a"),
        ("_orig_mod.a.lora_A.weight", "a.lora_B.weight", "a"),
        ("unet._orig_mod.a.lora_A.weight", "unet.a.lora_B.weight", "unet.a"),
        ("unet.a.lora.down.weight", "unet.a.lora.up.weight", "unet.a"),
        ("lora_unet_a_q.lora_down.weight", "lora_unet_a_q.lora_up.weight", "lora_unet_a_q"),
        ("a.processor.q_lora.down.weight", "a.processor.q_lora.up.weight", "a.processor.q"),
        ("a.lora_linear_layer.down.weight", "a.lora_linear_layer.up.weight", "a"),
    ],
)  # fmt: skip
def test_a_layer_is_recognised_by_the_names_of_many_trainers(
    down: str, up: str, module: str
) -> None:
    (layer,) = layers_of([down, up])
    assert (layer.module, layer.down, layer.up) == (module, down, up)


@pytest.mark.parametrize(
    "name",
    ["a.lora_magnitude_vector", "a.lora_magnitude_vector.weight", "a.dora_scale",
     "base_model.model.a.lora_magnitude_vector.default.weight"],
)  # fmt: skip
def test_the_magnitude_of_dora_has_many_names(name: str) -> None:
    (layer,) = layers_of(["a.lora_A.weight", "a.lora_B.weight", name])
    assert layer.magnitude == name


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["x.lokr_w1", "x.lokr_w2"], "'x.lokr_w1'.*LoKr"),
        (["x.hada_w1_a"], "LoHa"),
        (["x.oft_blocks"], "OFT"),
        (["x.lora_A.weight", "x.lora_B.weight", "x.lora_mid.weight"], "LoCon"),
        (["x.lora_A.weight", "x.lora_B.weight", "x.lora_B.bias"], "bias"),
        (["x.lora_embedding_A"], "embedding"),
        (["x.weight"], "'x.weight' is no part of a LoRA"),
        (["x.lora_A.weight"], "'x.lora_A.weight' has no counterpart"),
        (["x.alpha"], "has no counterpart"),
        (["x.lora_A.weight", "module.x.lora_A.weight"], "same part of one layer"),
    ],
)
def test_a_tensor_that_is_no_part_of_a_lora_is_named(names: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layers_of(names)


def one_layer(**changed: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    tensors = {"x.lora_A.weight": torch.randn(2, 3), "x.lora_B.weight": torch.randn(4, 2)}
    return tensors | {f"x.{key.replace('_weight', '.weight')}": one for key, one in changed.items()}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lora_B_weight": torch.full((4, 2), torch.nan)}, "'x.lora_B.weight' holds NaN"),
        ({"lora_A_weight": torch.full((2, 3), torch.inf)}, "'x.lora_A.weight' holds NaN or inf"),
        ({"lora_B_weight": torch.zeros(4, 2)}, "one factor is zero"),
        ({"alpha": torch.tensor(0.0)}, "one factor is zero"),
        ({"lora_A_weight": torch.ones(3, 3)}, r"shape \[3, 3\] and its counterpart \[4, 2\]"),
        ({"lora_A_weight": torch.ones(2)}, r"shape \[2\]"),
        ({"lora_A_weight": torch.ones(2, 0)}, "empty"),
        ({"lora_A_weight": torch.ones(2, 3, dtype=torch.int8)}, "of type int8"),
        ({"alpha": torch.ones(2)}, "not one number"),
        ({"alpha": torch.tensor(torch.nan)}, "NaN"),
    ],
)
def test_invalid_values_are_refused(changed: dict[str, Tensor], words: str) -> None:
    tensors = one_layer(**changed)
    with pytest.raises(ValueError, match=words):
        check_lora_values(tensors, layers_of(tensors))


def test_the_energy_is_that_of_the_complete_change_with_its_scale() -> None:
    tensors = one_layer(alpha=torch.tensor(6.0))
    (layer,) = layers_of(tensors)
    change = 3.0 * tensors["x.lora_B.weight"] @ tensors["x.lora_A.weight"]
    assert scale_of(tensors, layer) == 3.0
    assert energy_of(tensors, layer) == pytest.approx(float(change.square().sum()), rel=1e-5)
