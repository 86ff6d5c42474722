"""Opens the policy of a recipe, with what tasks and validations need to know of it.

The harness opens the checkpoint, so that `--ckpt` and a recipe mean the same, and validations
generate with the very weights that are trained. What a checkpoint can do is asked by protocol
(`alphagrpo.policies.policy_protocols`). Knows no model, no task and no reward.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, Final

from alphabench.checkpoints import open_checkpoint, pick_checkpoint_kind
from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import split_spec
from alphabench.interfaces import Generator
from alphabench.models.bagel.guidance import Guidance
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.policies.policy_protocols import TrainableCheckpoint
from alphagrpo.recipe import GuidanceSettings, PolicySettings

TRAINING_ADAPTERS: Final[Mapping[str, str]] = {
    "alphabench.checkpoints.bagel:BagelHandle": "alphagrpo.policies.bagel_training:BagelTraining",
    "alphabench.checkpoints.diffusers:DiffusersCheckpoint": "alphagrpo.policies.diffusers_training:"
    "DiffusersTraining",
    "alphabench.checkpoints.janus:JanusHandle": "alphagrpo.policies.janus_training:JanusTraining",
}
"""Class of a checkpoint (of its `handle` for a unified model) -> the class that implements the
protocols of this package for it, called with `checkpoint=` the generator. Other checkpoints
implement them themselves."""
_NOT_TRAINABLE: Final = {
    "http": "its weights are not on this machine",
    "images": "it is a folder of images",
    "scene": "it has no weights",
}


def guidance(settings: GuidanceSettings | None) -> Guidance | None:
    """As policies take it."""
    if settings is None:
        return None
    return Guidance(**{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)})


def open_policy(settings: PolicySettings, *, device: str) -> PolicyHandle:
    """Opens the checkpoint and loads its weights.

    Raises:
        AlphaBenchError: it cannot be had, or cannot be trained.
    """
    generator = open_trainable(settings, device=device)
    return _trainable(generator, settings.checkpoint).open_policy(device=device)


def open_trainable(settings: PolicySettings, *, device: str) -> Generator:
    """Opens the checkpoint without its weights and checks that it can be trained.

    Raises:
        AlphaBenchError: it cannot be had, or cannot be trained.
    """
    generator = open_checkpoint(settings.checkpoint, options=settings.texts(), device=device)
    _trainable(generator, settings.checkpoint).check_trainable()
    return generator


def training_adapter(generator: Generator) -> object:
    """The object that may implement the protocols of this package for an opened checkpoint."""
    own = generator.handle if isinstance(generator, UnifiedCheckpoint) else generator
    named = TRAINING_ADAPTERS.get(f"{type(own).__module__}:{type(own).__qualname__}")
    if named is None:
        return own
    module, _, name = named.partition(":")
    adapter: Any = getattr(importlib.import_module(module), name)
    made: object = adapter(checkpoint=generator)
    return made


def _trainable(generator: Generator, spec: str) -> TrainableCheckpoint:
    adapter = training_adapter(generator)
    if isinstance(adapter, TrainableCheckpoint):
        return adapter
    kind, _ = pick_checkpoint_kind(split_spec(spec)[0])
    why = _NOT_TRAINABLE.get(kind, "it implements no TrainableCheckpoint")
    raise AlphaBenchError(
        f"{spec!r} cannot be trained: {why}",
        hint="train nano, BAGEL, Janus, a diffusers pipeline, or a model of your own "
        "(docs/extending/unified_model.md)",
    )
