"""What a validation with `refine` generates: refinements of the weights in force.

By `refine_from: start` all of its points refine the same images, those that the weights before
training generated at step 0 for the validation in one pass. So its curve shows refinement alone:
that of a model which only learned to draw better stays flat. Knows no benchmark.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.runs.initial_images import open_initial_images
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.refinement import Refinement, read_refinement, refined_checkpoint
from alphagrpo.policies.handle import PolicyHandle
from alphagrpo.recipe import ValidationSettings
from alphagrpo.validation import run_folder
from alphatrainers.protocols import WeightView

_AT_THE_START: tuple[WeightView, ...] = ("train", "ema")
"""At step 0 they are the same weights; not every training validates both."""


def refining_generator(
    opened: PolicyHandle, settings: ValidationSettings, folder: Path
) -> partial[Generator]:
    """Makes the generator at each point of the curve.

    Args:
        opened: the policy.
        settings: of the validation, which has `refine`.
        folder: of the run folders of all validations.

    Raises:
        AlphaBenchError: the checkpoint cannot refine.
    """
    assert settings.refine is not None
    how = read_refinement(settings.refine)
    _refining(opened, how)
    if settings.refine_from is None:
        return partial(_refining, opened, how)
    return partial(_refining_first_images, opened, how, settings.one_pass, folder)


def _refining_first_images(
    opened: PolicyHandle, how: Refinement, name: str, folder: Path
) -> Generator:
    places = [run_folder(folder, step=0, view=view, name=name) for view in _AT_THE_START]
    found = [place for place in places if (place / "manifest.json").is_file()]
    if not found:
        raise AlphaBenchError(
            f"there are no images of the weights before training in {str(places[0])!r}",
            hint="begin the training in a new folder: its first validation makes them",
        )
    return _refining(opened, replace(how, initial=open_initial_images(str(found[0]))))


def _refining(opened: PolicyHandle, how: Refinement) -> Generator:
    def base(*, device: str) -> Generator:
        del device  # it is loaded
        return opened.generator()

    return refined_checkpoint(CheckpointFactory(name=opened.name, open=base), how, None).open(
        device=""
    )
