"""An update that is counted on shapes against one on real tensors, and what its options change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from alphabench.models.bagel.config import (
    AutoencoderConfig,
    BagelConfig,
    BagelTextConfig,
    BagelVisionConfig,
)
from alphabench.models.bagel.guidance import Guidance
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


def test_shards_divide_what_is_trained_and_gather_it_for_a_replay() -> None:
    whole = replace(LORA, lora=None, parallel="shard", image=ImageLossSettings(kind="none"))
    one, four = (counted(whole, processes=processes)["text"].peak for processes in (1, 4))
    for category in ("gradients", "optimiser"):
        assert 3.5 * four[category] < one[category] < 4.1 * four[category]
    gathered = four["activations"] - one["activations"]
    assert 0 < gathered < 2 * one["gradients"]
