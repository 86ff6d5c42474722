"""An update that is counted on shapes against one on real tensors, and what its options change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from alphabench.models.bagel.autoencoder import Autoencoder
from alphabench.models.bagel.config import (
    BAGEL_7B,
    HEADS,
    AutoencoderConfig,
    BagelConfig,
    BagelTextConfig,
    BagelVisionConfig,
)
from alphabench.models.bagel.decoder import BagelLayer
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.tracing.ledger import PhaseCounts
from alphagrpo.policies.bagel_training_trace import TrainingLoad, trace_update
from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.settings import LoraSettings, TrainingSettings

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
LOAD = TrainingLoad(
    width=64,
    height=64,
    sigmas=(1.0, 0.75, 0.5, 0.25, 0.0),
    window=range(3),
    guidance=Guidance(text_scale=4.0, low=0.6),
    prompt_tokens=7,
    system_tokens=3,
    thought_tokens=20,
)
LORA = TrainingSettings(steps=1, replay_batch=2, lora=LoraSettings(rank=4, alpha=4.0))


def counted(
    training: TrainingSettings = LORA, *, layers: int = 2, load: TrainingLoad = LOAD, **how: Any
) -> dict[str, PhaseCounts]:
    config = replace(SMALL, language=replace(SMALL.language, num_hidden_layers=layers))
    return trace_update(config, training, load, dtype=torch.float32, **how)


def test_an_update_on_shapes_counts_what_one_on_real_tensors_counts() -> None:
    load = replace(LOAD, guidance=None)
    shapes, real = (counted(load=load, values=values) for values in (False, True))
    assert list(shapes) == ["text", "image", "optimiser step"]
    assert shapes == real
    peak = shapes["text"].peak
    assert {"weights", "adapters", "gradients", "optimiser", "KV cache", "logits"} <= set(peak)
    # Adam keeps two numbers for each that is trained, and a count for each tensor.
    assert 2 * peak["adapters"] <= peak["optimiser"] < 2.1 * peak["adapters"]
    assert peak["gradients"] == peak["adapters"]


@pytest.mark.whole
def test_the_most_guided_step_alone_has_the_peak_of_all() -> None:
    complete, quick = (counted(peaks_only=peaks_only) for peaks_only in (False, True))
    assert quick["text"] == complete["text"]
    # All steps together hold two latents a step besides.
    assert quick["image"].peak_bytes == pytest.approx(complete["image"].peak_bytes, rel=0.01)


@pytest.mark.whole
def test_recomputation_trades_memory_for_work() -> None:
    plain_load = replace(LOAD, guidance=None, thought_tokens=0)
    plain, lean = (
        counted(replace(LORA, recompute=recompute), layers=3, load=plain_load)["image"]
        for recompute in (False, True)
    )
    assert lean.peak["activations"] < 0.7 * plain.peak["activations"]
    assert lean.flops > 1.2 * plain.flops


@pytest.mark.whole
def test_deep_policies_are_counted_from_two_shallow_ones() -> None:
    load = replace(LOAD, guidance=None)
    few = counted(replace(LORA, recompute=True), layers=4, load=load)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alphabench.tracing.extrapolation.TRACED_LAYERS", (2, 4))
        complete = counted(replace(LORA, recompute=True), layers=4, load=load)
    for name, counts in complete.items():
        assert few[name].flops == pytest.approx(counts.flops)
        assert few[name].bytes_moved == pytest.approx(counts.bytes_moved)
        assert few[name].peak_bytes == pytest.approx(counts.peak_bytes, rel=0.02)


FULL = replace(
    LORA, lora=None, parallel="shard", recompute=True, image=ImageLossSettings(kind="none")
)
FEW = replace(LOAD, prompt_tokens=1, system_tokens=1, thought_tokens=1)
"""Activations are next to nothing: the peak is that of weights, gradients and optimiser."""


def test_shards_divide_what_is_trained() -> None:
    one, four = (counted(FULL, processes=processes)["text"].peak for processes in (1, 4))
    for category in ("gradients", "optimiser"):
        assert 3.5 * four[category] < one[category] < 4.1 * four[category]


@pytest.mark.whole
def test_weights_are_gathered_layer_by_layer_in_forward_and_backward_passes() -> None:
    shallow, deep = (counted(FULL, layers=layers, load=FEW, processes=8) for layers in (3, 4))
    layer = sum(one.numel() for one in BagelLayer(SMALL.language).parameters()) * 4
    for phase in ("text", "optimiser step"):
        more = deep[phase].peak_bytes - shallow[phase].peak_bytes
        # Its share of weights, gradients and both moments, and a few activations. The gathered
        # weights of one more layer would be another two times this.
        assert more < 1.25 * 4 * layer / 8, phase


@pytest.mark.whole
@pytest.mark.timeout(1500)
def test_bagel_on_eight_devices_takes_an_eighth_of_all_and_hardly_more_than_one_layer() -> None:
    training = replace(FULL, image=ImageLossSettings(), replay_batch=1, compute="bfloat16")
    few = replace(FEW, width=32, height=32, guidance=None)
    found = trace_update(BAGEL_7B, training, few, dtype=torch.float32, processes=8, peaks_only=True)
    whole = sizes_of(BAGEL_7B)
    layer = whole["layer"]
    # float32: trained weights, their gradients and both moments, and heads that stay whole;
    # bfloat16: what is not trained.
    everything = 16 * whole["trained"] + 4 * whole["heads"] + 2 * whole["rest"]
    assert max(one.peak_bytes for one in found.values()) < 1.15 * (everything / 8 + 4 * layer)


def sizes_of(config: BagelConfig) -> dict[str, int]:
    """Numbers of parameters: of the trained layers, of one of them, of the heads, of the rest."""
    with torch.device("meta"):
        model = Bagel(config, ImageMarks(start=1, end=2))
        autoencoder = Autoencoder(config.autoencoder)
    decoder = model.language_model.model
    layers = numbers(decoder.layers)
    heads = sum(numbers(model.get_submodule(name)) for name in HEADS)
    return {
        "trained": layers,
        "layer": layers // len(decoder.layers),
        "heads": heads,
        "rest": numbers(model) + 2 * numbers(autoencoder.network) - layers - heads,
    }


def numbers(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())
