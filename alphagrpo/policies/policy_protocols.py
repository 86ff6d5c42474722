"""What a checkpoint implements to be trained, exported, or estimated before its weights load.

Each protocol stands alone. BAGEL and diffusers pipelines implement all three through
adapters in this package (`factory.TRAINING_ADAPTERS`). A `python:` checkpoint implements them
itself: the object that its factory returns or, for a `UnifiedCheckpoint`, its `handle`. The
protocol of models that refine their own images is `RefinableModel`, in
`alphabench.models.unified_model`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import nn

from alphabench.tracing.ledger import PhaseCounts
from alphagrpo.policies.handle import PolicyHandle
from alphatrainers.resource_plan import ModelSizes
from alphatrainers.settings import TrainingSettings


@runtime_checkable
class TrainableCheckpoint(Protocol):
    """A checkpoint that a training can begin with."""

    def check_trainable(self) -> None:
        """Looks at what is known without the weights.

        Raises:
            AlphaBenchError: this checkpoint cannot be trained, and why.
        """
        ...

    def open_policy(self, *, device: str) -> PolicyHandle:
        """Loads the weights, once, and returns them as a policy, with what tasks need to know.

        Raises:
            AlphaBenchError: the weights cannot be loaded.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportableWeights:
    """Loaded weights that can be written as a checkpoint."""

    module: nn.Module
    """The module that was trained (`Policy.module`), with the LoRA layers that were opened on it.
    The exporter merges these layers, or sets trained values, before it calls `save`."""
    save: Callable[[Path], None]
    """Writes the checkpoint into a folder, in a form that `open_checkpoint` reads."""


@runtime_checkable
class ExportableCheckpoint(Protocol):
    """A checkpoint whose trained weights can be written as a checkpoint of their own."""

    def open_weights(self, *, device: str) -> ExportableWeights:
        """Loads the weights, adapter included.

        Raises:
            AlphaBenchError: they cannot be loaded.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySizes:
    """What is known of a policy without its weights."""

    sizes: ModelSizes
    """Of the model alone: the recipe's programs are not in it yet."""
    token_pixels: int
    """Pixels on a side of one latent token."""
    image_size: tuple[int, int]
    """Width and height of its images where the recipe names none; pixels."""
    count_update: Callable[..., Mapping[str, PhaseCounts]] | None = None
    """Counts an update on shapes: takes `training`, `load`, `dtype`, `peaks_only` and `processes`
    as `bagel_training_trace.trace_update` does. None: memory is estimated from `sizes`."""


@runtime_checkable
class EstimatedCheckpoint(Protocol):
    """A checkpoint that knows its sizes, so that `train --dry-run` can estimate memory and work."""

    def policy_sizes(self, training: TrainingSettings) -> PolicySizes:
        """From small files alone; `training` decides how many parameters are trained.

        Raises:
            AlphaBenchError: the sizes are not known.
        """
        ...


def n_trained_parameters(
    training: TrainingSettings, linear: Mapping[str, tuple[int, int]], experts: Mapping[str, str]
) -> float:
    """How many parameters a training changes: of LoRA where it has one, else all of its experts.

    Args:
        training: learning rates of the experts, and LoRA.
        linear: name of each linear layer -> inputs and outputs.
        experts: name -> pattern of the layers' names (`Policy.experts`).
    """
    rates, lora = training.optimiser, training.lora
    total = 0
    for name, (inputs, outputs) in linear.items():
        owner = next((e for e, pattern in experts.items() if re.fullmatch(pattern, name)), None)
        if owner is None or rates.experts.get(owner, rates.lr) == 0.0:
            continue
        total += inputs * outputs if lora is None else lora.rank * (inputs + outputs)
    return float(total)
