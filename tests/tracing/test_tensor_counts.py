"""The counter of operators against numbers by hand, and shapes alone against real tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from alphabench.models.bagel.config import (
    AutoencoderConfig,
    BagelConfig,
    BagelTextConfig,
    BagelVisionConfig,
)
from alphabench.models.bagel.generation_trace import GenerationLoad, trace_generation
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.tracing.bounds import H100, least_seconds
from alphabench.tracing.ledger import PhaseCounts, TensorLedger
from alphabench.tracing.shapes_only import shapes_only, without_values

SMALL = BagelConfig(
    language=BagelTextConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=264,
        rope_theta=1e4,
        rms_norm_eps=1e-6,
    ),
    vision=BagelVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        declared_layers=2,
        num_attention_heads=2,
        patch_size=14,
        image_size=112,
    ),
    autoencoder=AutoencoderConfig(ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1),
    latent_side=8,
)
DRAWN = BagelSampling(width=64, height=64, timesteps=4)
LOAD = GenerationLoad(images=2, prompt_tokens=7, thought_tokens=5, system_tokens=3)


def with_layers(layers: int) -> BagelConfig:
    return replace(SMALL, language=replace(SMALL.language, num_hidden_layers=layers))


def generation(config: BagelConfig, *, values: bool) -> dict[str, PhaseCounts]:
    return trace_generation(config, DRAWN, LOAD, dtype=torch.float32, values=values)


@pytest.mark.parametrize("values", [False, True])
def test_a_linear_layer_counts_what_one_counts_by_hand(values: bool) -> None:
    found: dict[str, PhaseCounts] = {}
    with shapes_only(values=values) as ledger:
        with torch.device("meta"):
            layer = nn.Linear(64, 32, bias=False)
        without_values(layer)
        ledger.book("weights", layer.parameters())
        x = torch.zeros(16, 64)
        with ledger.phase(found, "forward"):
            y = layer(x)
        with ledger.phase(found, "backward"):
            y.backward(torch.zeros_like(y))
    forward, backward = found["forward"], found["backward"]
    weight, given, result = 64 * 32 * 4, 16 * 64 * 4, 16 * 32 * 4
    assert forward.flops == 2 * 16 * 64 * 32
    assert forward.bytes_moved == weight + given + result
    assert dict(forward.peak) == {"weights": weight, "activations": given + result}
    # The gradient of the weight alone is wanted, and it is new; the gradient of the result too.
    assert backward.flops == forward.flops
    assert backward.peak_bytes == 2 * weight + given + 2 * result


def test_attention_counts_both_products_and_stores_no_scores() -> None:
    found: dict[str, PhaseCounts] = {}
    with shapes_only() as ledger:
        q, k = torch.empty(2, 4, 10, 8), torch.empty(2, 2, 30, 8)
        with ledger.phase(found, "attention"):
            mixed = functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
    assert mixed.shape == q.shape
    assert found["attention"].flops == 2 * (2 * 2 * 4 * 10 * 30 * 8)
    # The result, and one number for each query and head.
    assert found["attention"].peak_bytes == 4 * (q.numel() + k.numel() + q.numel() + 2 * 4 * 10)


def test_a_tensor_that_nobody_holds_is_not_counted_and_the_peak_remembers_it() -> None:
    found: dict[str, PhaseCounts] = {}
    with TensorLedger(vocabulary=100) as ledger, ledger.phase(found, "sum"):
        logits = torch.zeros(50, 100)
        total = logits.sum(dim=-1)
        del logits
    assert ledger.alive == {"activations": 4 * len(total)}
    assert dict(found["sum"].peak) == {"activations": 200.0, "logits": 20_000.0}


def test_numbers_that_depend_on_no_weight_are_computed_and_others_are_stood_in_for() -> None:
    with shapes_only():
        weight = torch.empty(5, 3)
        mask = torch.arange(5) % 2 == 0
        assert int(mask.sum()) == 3
        assert weight[mask].shape == (3, 3)
        assert bool(weight.isfinite().all())
        assert weight.argmax(dim=-1).tolist() == [0] * 5


def test_a_generation_on_shapes_counts_what_one_on_real_tensors_counts() -> None:
    shapes, real = (generation(SMALL, values=values) for values in (False, True))
    assert list(shapes) == ["prompt", "thought", "reading the thought", "denoising", "decoding"]
    assert shapes == real
    assert {"weights", "KV cache", "activations"} <= set(shapes["denoising"].peak)


def test_deep_models_are_counted_from_two_shallow_ones() -> None:
    deep = with_layers(4)
    counted = generation(deep, values=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alphabench.tracing.extrapolation.TRACED_LAYERS", (2, 4))
        complete = generation(deep, values=False)
    for name, counts in complete.items():
        assert counted[name].flops == pytest.approx(counts.flops)
        assert counted[name].bytes_moved == pytest.approx(counts.bytes_moved)
        assert counted[name].peak_bytes == pytest.approx(counts.peak_bytes)


def test_the_bound_is_the_slower_of_arithmetic_and_traffic() -> None:
    busy = PhaseCounts(flops=989e12, bytes_moved=1.0, operators=1, peak={})
    assert least_seconds(busy, H100) == pytest.approx(1.0)
    assert least_seconds(replace(busy, bytes_moved=6.7e12), H100) == pytest.approx(2.0)
