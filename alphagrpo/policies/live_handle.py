"""A checkpoint with the weights in training, for validations: what the harness asks a handle.

All but weights and identity is the checkpoint's own. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from alphabench.models.unified_model import (
    Abilities,
    ImageRefiner,
    RefinableModel,
    UnifiedHandle,
    UnifiedModel,
)


class RefinableHandle(UnifiedHandle, RefinableModel, Protocol):
    """A handle of a model that can refine its images."""

    def for_benchmark(self, benchmark: str) -> RefinableHandle:
        """See `UnifiedHandle`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveHandle:
    """A `RefinableHandle` whose weights are those in training, at this moment."""

    base: RefinableHandle
    model: Callable[[RefinableHandle], UnifiedModel]
    """The weights in training with the settings of a handle; reads nothing."""
    trained: str
    """Digest of the trained weights; the rest is the checkpoint's own."""
    compute_dtype: str = "float32"
    """What weights are computed in that the checkpoint has in float32 (`training.compute`)."""

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def abilities(self) -> Abilities:
        return self.base.abilities

    @property
    def think(self) -> bool:
        return self.base.think

    @property
    def identity(self) -> Mapping[str, str]:
        identity = {**self.base.identity, "trained": self.trained}
        if identity["dtype"] == "float32":
            identity["dtype"] = self.compute_dtype
        return identity

    @property
    def licences(self) -> Mapping[str, str]:
        return self.base.licences

    @property
    def batch_size(self) -> int:
        return self.base.batch_size

    @property
    def suggested_evaluator(self) -> str | None:
        return self.base.suggested_evaluator

    def for_benchmark(self, benchmark: str) -> LiveHandle:
        """See `UnifiedHandle`."""
        return replace(self, base=self.base.for_benchmark(benchmark))

    def load(self, device: str) -> UnifiedModel:
        """See `UnifiedHandle`."""
        del device
        return self.model(self.base)

    def refinement_identity(self) -> Mapping[str, str]:
        """See `RefinableModel`."""
        return self.base.refinement_identity()

    def refiner(self, model: UnifiedModel) -> ImageRefiner:
        """See `RefinableModel`."""
        return self.base.refiner(model)
