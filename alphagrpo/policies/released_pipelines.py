"""Sizes of released diffusers pipelines by their hub names, so that a plan needs no weights.

Counted by building the transformers on shapes alone with diffusers 0.42, from configurations that
were not read from the released files; the totals agree with the published numbers of parameters.
Text encoders and autoencoders are rounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from alphagrpo.policies.policy_protocols import PolicySizes
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings

BYTES: Final = 2.0
"""Of one number in bfloat16."""
WIDTHS_PER_LAYER: Final = 26
"""Estimate: numbers that a layer holds for its backward pass, in widths of a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedPipeline:
    """One transformer and what stands beside it."""

    pattern: str
    """Of the hub name or folder."""
    transformer: float
    """Parameters."""
    others: float
    """Parameters of text encoders and autoencoder."""
    active: float
    """Parameters that work on each token: half of a layer with two streams."""
    layers: int
    width: int
    target_sides: float
    """Inputs and outputs of all layers that are trained, summed: parameters of LoRA of rank 1."""
    target_weights: float
    """Parameters of these layers themselves."""

    def sizes(self, training: TrainingSettings) -> PolicySizes:
        """For a plan; images have 1024 x 1024 pixels where the recipe names no size."""
        lora = training.lora
        trained = self.target_weights if lora is None else lora.rank * self.target_sides
        return PolicySizes(
            sizes=ModelSizes(
                parameters=self.transformer + self.others,
                active_parameters=self.active,
                trained_parameters=trained,
                latent_tokens=0,
                branches=(),
                read_tokens=0,
                activation_bytes_per_token=BYTES * self.layers * WIDTHS_PER_LAYER * self.width,
                checkpointed_bytes_per_token=BYTES * self.layers * self.width,
            ),
            token_pixels=16,
            image_size=(1024, 1024),
        )


RELEASED: Final = (
    ReleasedPipeline(
        pattern=r"stable-diffusion-3\.5-large",
        transformer=8.057e9, others=5.67e9, active=4.047e9, layers=38, width=2432,
        target_sides=1473792, target_weights=1.792e9,
    ),
    ReleasedPipeline(
        pattern=r"FLUX\.1-(dev|schnell|Kontext-dev)",
        transformer=11.90e9, others=4.97e9, active=8.671e9, layers=57, width=3072,
        target_sides=1634304, target_weights=2.510e9,
    ),
    ReleasedPipeline(
        pattern=r"FLUX\.2-klein-(base-)?4B",
        transformer=3.876e9, others=4.11e9, active=3.262e9, layers=25, width=3072,
        target_sides=1167360, target_weights=2.831e9,
    ),
    ReleasedPipeline(
        pattern=r"Qwen-Image(-2512|-Edit(-2509|-2511)?)?$",
        transformer=20.43e9, others=8.42e9, active=10.23e9, layers=60, width=3072,
        target_sides=2949120, target_weights=4.530e9,
    ),
    ReleasedPipeline(
        pattern=r"Z-Image(-Turbo)?$",
        transformer=6.155e9, others=4.11e9, active=6.154e9, layers=34, width=3840,
        target_sides=1044480, target_weights=2.005e9,
    ),
)  # fmt: skip


def released_sizes(location: str, training: TrainingSettings) -> PolicySizes | None:
    """Of a pipeline by its name; None where it is not known."""
    for one in RELEASED:
        if re.search(one.pattern, location):
            return one.sizes(training)
    return None
