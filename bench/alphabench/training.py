"""Training from Python: what `alphabench train` does, as a function.

The trainer is a package of its own, found by its entry point; this module knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Final, Literal

from alphabench import registry
from alphabench.core.errors import AlphaBenchError
from alphabench.results.training_result import TrainingResult

TRAINER: Final = "alphagrpo"
"""The entry point of the group `alphabench.trainers`."""


def train(
    recipe: str | PathLike[str],
    *overrides: str | Mapping[str, Any],
    out: str | PathLike[str] | None = None,
    resume: bool | Literal["auto"] | None = None,
    device: str | None = None,
    progress: bool | None = None,
) -> TrainingResult:
    """Train a checkpoint with AlphaGRPO, as `alphabench train` does.

    Args:
        recipe: a recipe by name, such as `nano-rt2i`; a YAML file; or the folder of a training.
        overrides: keys of the recipe with other values: `"training.steps=20"`, or
            `{"training.steps": 20}`.
        out: the folder of the training; None names one below `runs/train`.
        resume: continue the training that the folder holds; `"auto"` begins one where it holds
            none. None is `"auto"` under torchrun, otherwise False.
        device: `cpu`, `cuda` or `cuda:1`; None takes a GPU if there is one.
        progress: None shows progress on a terminal and in a notebook; False shows nothing, True
            also prints lines elsewhere.

    Returns:
        Best weights, metrics and validations; see `TrainingResult`.

    Raises:
        AlphaBenchError: for errors that the caller can fix.
        SystemExit: for any error of one of several processes (torchrun), once it was printed.
    """
    if TRAINER not in registry.known("trainer"):
        raise AlphaBenchError(
            "the package for training is not installed", hint="pip install -e '.[train]'"
        )
    trainer: Callable[..., TrainingResult] = registry.load("trainer", TRAINER)
    return trainer(recipe, *overrides, out=out, resume=resume, device=device, progress=progress)
