"""A training from a recipe to its result: the folder, the device, and all parts put together.

`alphabench train` and `alphabench.train` share it. Imports no model library until a training runs.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.stopping import UNDER_TORCHRUN, leave_with_parent
from alphabench.python_arguments import path_or_none, text_or_none, truth
from alphabench.results.training_result import TrainingResult
from alphabench.runs.factories import check_writable
from alphabench.runs.progress_display import is_watched
from alphagrpo.recipe import load_recipe
from alphagrpo.recipe_names import RECIPE_FILE

if TYPE_CHECKING:
    from alphagrpo.recipe import TrainingRecipe
    from alphatrainers.distributed import Processes
    from alphatrainers.trainer import TrainingOutcome
    from alphatrainers.training_display import TrainingDisplay

Resume = Literal["yes", "no", "auto"]
"""auto begins where a folder holds no training, and continues it where it does."""
RUNS = Path("runs") / "train"
"""Folder of trainings started without a folder of their own."""


def train_recipe(
    recipe: Any, *overrides: Any, out: Any, resume: Any, device: Any, progress: Any
) -> TrainingResult:
    """What `alphabench.train` calls; see there."""
    name = text_or_none("recipe", recipe)
    if name is None:
        raise AlphaBenchError(
            "the recipe is None", hint="give a name such as 'nano-rt2i', a file or a folder"
        )
    chosen = load_recipe(name, [text for given in overrides for text in _assignments(given)])
    folder = path_or_none("out", out) or default_folder(name)
    where = training_device(text_or_none("device", device))
    check_writable(folder)
    check_resumed(folder, resume=_resume_argument(resume))
    shown = is_watched() if progress is None else truth("progress", progress)
    run_training(chosen, folder, device=where, progress=shown)
    return training_result(folder, chosen)


def training_result(folder: Path, recipe: TrainingRecipe) -> TrainingResult:
    """What a training's folder holds.

    Raises:
        AlphaBenchError: a log is damaged.
    """
    from alphagrpo.export import adapter_of
    from alphatrainers.checkpoint import TrainingFolder
    from alphatrainers.reporting.history import read_points, read_steps
    from alphatrainers.reporting.training_page import REPORT_FILE

    steps, points = read_steps(folder), read_points(folder)
    best_step = TrainingFolder(folder).best_step()
    best = None if best_step is None else folder / "best"
    return TrainingResult(
        folder=folder,
        steps=steps[-1].step + 1 if steps else 0,
        checkpoint=recipe.policy.checkpoint,
        options=recipe.policy.texts(),
        best=best,
        best_step=best_step,
        best_view=TrainingFolder(folder).best_view(),
        lora=None if best is None else adapter_of(best),
        report=folder / REPORT_FILE,
        metrics=[{"step": one.step + 1, **one.values, **_seconds(one.seconds)} for one in steps],
        validations=[
            {
                "step": one.step,
                "benchmark": one.name,
                "weights": one.view,
                "score": one.value,
                "low": one.low,
                "high": one.high,
                "n_samples": one.samples,
                "best": one.best,
            }
            for one in points
        ],
    )


def _seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    return {f"seconds/{name}": value for name, value in seconds.items()}


def _assignments(given: Any) -> list[str]:
    """`key=value` texts, or a mapping of them with Python values."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Mapping):
        raise AlphaBenchError(
            f"an override cannot be a {type(given).__name__}",
            hint="write 'training.steps=20', or {'training.steps': 20}",
        )
    try:
        return [f"{key}={json.dumps(value)}" for key, value in given.items()]
    except TypeError as error:
        raise AlphaBenchError(
            f"an override cannot be written as text: {error}",
            hint="give numbers, texts, lists and mappings of them",
        ) from error


def default_folder(recipe: str) -> Path:
    """The folder without --out: that of the training named, or one named after the recipe."""
    path = Path(recipe).expanduser()
    if path.is_dir():
        return path
    if has_training(path.parent) and path.name == RECIPE_FILE:
        return path.parent
    return RUNS / path.stem


def has_training(folder: Path) -> bool:
    """Whether a training was begun in the folder."""
    return (folder / "identity.json").exists()


def resume_option(given: str | None, environment: Mapping[str, str]) -> Resume:
    """The value of `--resume`.

    Args:
        given: None if it was not given: auto under torchrun, which repeats the command when a
            process has ended, else no.
        environment: of this process.

    Raises:
        AlphaBenchError: it is none.
    """
    if given is None:
        return "auto" if UNDER_TORCHRUN in environment else "no"
    for known in get_args(Resume):
        if given == known:
            return known  # type: ignore[no-any-return]
    raise unknown_name("value of --resume", given, get_args(Resume))


def _resume_argument(resume: Any) -> Resume:
    """From Python: True, False, "auto", or None for the command line's default."""
    if resume is None or resume == "auto":
        return resume_option(resume, os.environ)
    return "yes" if truth("resume", resume) else "no"


def check_resumed(folder: Path, *, resume: Resume) -> None:
    """Refuse a folder that does not fit.

    Raises:
        AlphaBenchError: it holds a training that is not to be continued, or none that could be.
    """
    begun = has_training(folder)
    if begun and resume == "no":
        command = shlex.join(["alphabench", "train", str(folder), "--resume"])
        raise AlphaBenchError(
            f"{str(folder)!r} holds a training",
            hint=f"continue it with `{command}`, or choose another folder with --out",
        )
    if resume == "yes" and not begun:
        raise AlphaBenchError(
            f"there is no training to continue in {str(folder)!r}",
            hint="give its folder as RECIPE, or leave out --resume to start a training; "
            "--resume=auto does either",
        )


def run_training(
    recipe: TrainingRecipe,
    folder: Path,
    *,
    device: str,
    cache: Path | None = None,
    progress: bool = True,
    begun: Callable[[], None] = lambda: None,
    joined: Callable[[Processes], None] = lambda _: None,
) -> TrainingOutcome | None:
    """Train, or continue; writes the training's page.

    Args:
        recipe: what to train.
        folder: of the training.
        device: of this process.
        cache: folder of official data; None takes the user's.
        progress: show the training's progress, in the first process.
        begun: called when the folder holds the training with its recipe.
        joined: called with all processes of the training once they have found each other.

    Returns:
        How it ended; None in other processes than the first.

    Raises:
        AlphaBenchError: for errors that the user can fix.
    """
    import torch

    from alphabench.upstream import UpstreamData, default_cache_dir
    from alphagrpo.assemble import assemble
    from alphagrpo.assembly_context import AssemblyContext
    from alphagrpo.prompt_pins import with_pinned_prompts
    from alphagrpo.training_progress import validation_progress
    from alphatrainers import distributed, strict_yaml
    from alphatrainers.checkpoint import replace_text
    from alphatrainers.trackers import refuse_missing_trackers
    from alphatrainers.trainer import Trainer
    from alphatrainers.trainer_components import RuntimeContext
    from alphatrainers.training_display import NoDisplay, observed

    refuse_missing_trackers(recipe.training.logging)
    if UNDER_TORCHRUN in os.environ:
        leave_with_parent(os.getppid())
    together: Processes = distributed.join(torch.device(device))
    joined(together)

    def write_recipe(pinned: TrainingRecipe) -> None:
        replace_text(folder / RECIPE_FILE, strict_yaml.to_yaml(pinned))
        begun()

    shown = progress and together.first
    with together.reporting():
        with _display(folder, recipe) if shown else nullcontext(NoDisplay()) as display:
            context = AssemblyContext(
                folder=folder,
                data=UpstreamData(cache_dir=cache or default_cache_dir()),
                device=device,
                report=display.note,
                processes=together,
                validation_progress=validation_progress(observed(display, together.activity)),
            )
            pinned = together.agree(lambda: with_pinned_prompts(recipe, folder, display.note))
            pinned = together.of_first(pinned)
            around = RuntimeContext(
                processes=together,
                report=display.note,
                display=display,
                on_begin=partial(write_recipe, pinned),
                config=strict_yaml.to_plain(pinned),
                on_measured=partial(write_page, folder, pinned, display.note),
            )
            display.begin("loading the model", total=0, done=0)
            components = assemble(pinned, context)
            display.end()
            outcome = Trainer(components, recipe.training, folder, around).train()
        distributed.leave(together)
    return outcome if together.first else None


def training_device(named: str | None) -> str:
    """The device of this process.

    Raises:
        AlphaBenchError: this machine does not have it.
    """
    import torch

    from alphabench.runs.workers import choose_devices

    if named is None and not torch.cuda.is_available():
        return "cpu"
    if named in (None, "cuda"):
        named = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    devices = choose_devices(named, workers=1)
    if len(devices) > 1:
        raise AlphaBenchError(
            f"--device takes one device, and {named!r} names {len(devices)}",
            hint="start one process for each: torchrun --nproc-per-node N -m alphabench train ...",
        )
    return devices[0]


def _display(folder: Path, recipe: TrainingRecipe) -> AbstractContextManager[TrainingDisplay]:
    """Goes on with what the folder's logs say; damaged ones are left out."""
    from alphagrpo.training_progress import training_display
    from alphatrainers.reporting.history import read_points, read_steps

    view = recipe.training.deciding_view
    try:
        return training_display(read_steps(folder), read_points(folder), best_view=view)
    except AlphaBenchError:
        return training_display([], [], best_view=view)


def write_page(folder: Path, recipe: TrainingRecipe, note: Callable[[str], None]) -> Path | None:
    """Write the training's page; it is a record, and a training goes on without it.

    Args:
        folder: of the training.
        recipe: of the training.
        note: called with the reason if the page cannot be written.
    """
    from alphagrpo.training_report import write_training_report

    try:
        return write_training_report(folder, recipe)
    except (AlphaBenchError, OSError) as error:
        note(f"the report of the training could not be written: {error}")
        return None
