"""A training's folder: writes and reads checkpoints, and knows the names of its files.

    RUN/
      settings.yaml               as read, defaults filled in
      metrics.jsonl               one line a training step
      validation.jsonl            one line a measured point
      report.html                 curves, panels and validations on one page
      panels/step-000020.png      the same prompts and seeds at every validation
      panels/prompts.json         their prompts, row by row
      checkpoints/step-000020/
        state.json                counters, data position, queues, decisions
        train/  old/  ema/        weights by view: peft's layout for LoRA, model.safetensors else
        optimizer.safetensors  random.safetensors
        shards/                   in place of weights and optimiser, where each process has a part
        replicated.safetensors    ... and the values that all of them have: see `sharded_files`
      best -> best-000020/        weights of the best point of the first validation
      best.json                   its step, and whose weights they are

A checkpoint is written under another name, synced, then renamed: a folder that has its name was
complete. One that was damaged since is set aside as `damaged-step-000020` for the one before it.
Tensors are safetensors, the rest is JSON; nothing is pickled. Knows no policy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from alphabench.core import writing as durable_files
from alphabench.core.errors import AlphaBenchError, DamagedError, is_transient
from alphabench.core.locking import HeldError, exclusive
from alphabench.core.writing import (
    append_rows,
    complete_lines,
    remove_drafts,
    replace_file,
    replacing_folder,
)
from alphatrainers import lora_adapters
from alphatrainers.protocols import JsonValue, WeightView
from alphatrainers.settings import LoraSettings
from alphatrainers.sharded_files import (
    SHARDED_FORMAT,
    SHARDS,
    read_replicated,
    require_sizes,
    sizes_of_shards,
    write_replicated,
)

CHECKPOINT_FORMAT: Final = 2
_UNREADABLE: Final = (OSError, RuntimeError, ValueError, TypeError, AttributeError, SafetensorError)
_LONGEST: Final = 60
"""Characters of a value that a message repeats."""
_DRAFTS: Final = (
    "draft-*",
    "checkpoints/draft-*",
    "*.draft-*",
    "best-link-*",
)
"""Left by a process that was killed while it wrote, beside the files that `remove_drafts` knows."""
_STEP: Final = re.compile(r"step-(\d{6,})")
_BEST: Final = re.compile(r"best-(\d{6,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Everything but tensors that decides how a training goes on."""

    step: int
    """Training steps done."""
    updates: int
    position: int
    """Prompts taken from the stream."""
    images: int
    """Trajectories made."""
    flat_streaks: Mapping[str, int]
    """Steps in a row without any spread of rewards, by part."""
    old_log_probs: str | None
    """What was decided at the first step that trained anything."""
    cost_usd: float | None
    """What scores cost so far; None if no reward reports a cost."""
    recent_reward: float | None
    queues: Sequence[JsonValue]
    """The task's state, one a process."""
    curves: Mapping[str, JsonValue] = field(default_factory=dict)
    judge_noise: Sequence[Mapping[str, float]] | None = None
    """Differences of repeated scores (`JudgeNoise`); None where the noise is not measured."""
    unmeasured: bool = False
    """Saved before the validation that is due at this step; written only where it is true."""


class TrainingCheckpoint(NamedTuple):
    """Everything that a training needs to continue."""

    counters: Counters
    weights: dict[str, dict[str, Tensor]]
    """Full values by view, then by parameter."""
    optimiser: dict[str, Tensor]
    random: dict[str, Tensor]
    shards: Path | None = None
    """Holds the weights and the optimiser's values in the place of the fields above, which then
    have those that all processes share."""


class WeightsFormat(NamedTuple):
    """How weights are laid out on disk."""

    lora: LoraSettings | None
    targets: list[str]
    """Modules with LoRA layers."""


class TrainingFolder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.validation = path / "validation.jsonl"
        self.panels = path / "panels"
        self._checkpoints = path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this training alone.

        Raises:
            AlphaBenchError: if another run holds the folder, or nothing can be written there.
        """
        with ExitStack() as stack:
            with writing_training(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(exclusive(self.path / "lock"))
                except HeldError as held:
                    wait = f"delete {str(held.file)!r} if it has ended" if held.file else "stop it"
                    raise AlphaBenchError(
                        f"{str(self.path)!r} is in use by another training, {held.holder}",
                        hint=f"wait for it, {wait}, or name another folder",
                    ) from None
            yield

    def begin(self, settings: str, *, decisive: JsonValue) -> None:
        """Writes the settings, or refuses a folder that holds another training.

        Removes what a killed process had half written.

        Raises:
            AlphaBenchError: if what decides the result differs from what the folder was begun with.
        """
        with writing_training(self.path):
            remove_drafts(self.path)
            for draft in [path for name in _DRAFTS for path in self.path.glob(name)]:
                if draft.is_dir() and not draft.is_symlink():
                    shutil.rmtree(draft, ignore_errors=True)
                else:
                    draft.unlink(missing_ok=True)
        identity = self.path / "identity.json"
        if identity.exists():
            known = _read_identity(identity)
            if known != json.loads(json.dumps(decisive)):
                # As a recipe names them: its section `training` is what the trainer calls settings.
                differences = "; ".join(
                    re.sub(r"^settings\b", "training", one) for one in _differences(known, decisive)
                )
                raise AlphaBenchError(
                    f"{str(self.path)!r} holds another training, with other values "
                    f"(there -> here): {differences}",
                    hint="leave these out to continue it, or name another folder with --out",
                )
        replace_text(identity, json.dumps(decisive, indent=1))
        replace_text(self.path / "settings.yaml", settings)

    def require_begun(self, *, patience_seconds: float = 15.0) -> None:
        """In each process, after the first one has begun the training: its folder is seen here.

        Args:
            patience_seconds: a network file system may show new files late.

        Raises:
            AlphaBenchError: it is not.
        """
        deadline = time.monotonic() + patience_seconds
        while not (self.path / "identity.json").exists():
            if time.monotonic() > deadline:
                raise AlphaBenchError(
                    f"{str(self.path)!r} is not the folder of the first process here",
                    hint="name a folder with --out that all machines share",
                )
            time.sleep(0.1)

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending."""
        if not self._checkpoints.is_dir():
            return []
        names = (_STEP.fullmatch(entry.name) for entry in self._checkpoints.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def save(self, checkpoint: TrainingCheckpoint, layout: WeightsFormat, *, keep: int) -> Path:
        """Durable once it returns; then removes all but the newest `keep`.

        Raises:
            AlphaBenchError: if it cannot be written; those before it are as they were.
        """
        final = self._checkpoints / f"step-{checkpoint.counters.step:06d}"
        with writing_training(final), replacing_folder(final) as draft:
            for view, values in checkpoint.weights.items():
                _write_weights(draft / view, values, layout)
            save_file(checkpoint.optimiser, draft / "optimizer.safetensors")
            _write_rest(draft, checkpoint, {"format": CHECKPOINT_FORMAT})
        self._drop_older(keep)
        return final

    def save_shards(
        self, checkpoint: TrainingCheckpoint, write: Callable[[Path], None], *, keep: int
    ) -> Path:
        """The same for values of which each process has a part.

        Args:
            checkpoint: with the values that all processes have.
            write: writes the parts of all processes to a folder.
            keep: how many checkpoints remain.

        Raises:
            AlphaBenchError: if it cannot be written; those before it are as they were.
        """
        final = self._checkpoints / f"step-{checkpoint.counters.step:06d}"
        with writing_training(final), replacing_folder(final) as draft:
            write(draft / SHARDS)
            same = {**checkpoint.weights, "optimizer": checkpoint.optimiser}
            write_replicated(draft, same)
            sizes = sizes_of_shards(draft)
            _write_rest(draft, checkpoint, {"format": SHARDED_FORMAT, "shards": sizes})
        self._drop_older(keep)
        return final

    def _drop_older(self, keep: int) -> None:
        with writing_training(self._checkpoints):
            for step in self.steps()[:-keep]:
                shutil.rmtree(self._checkpoints / f"step-{step:06d}")

    def load(self, step: int, layout: WeightsFormat) -> TrainingCheckpoint:
        """What `save` wrote.

        Raises:
            DamagedError: for one that is not as it was written.
            AlphaBenchError: for a checkpoint of another format, or one that the system does not let
                be read now.
        """
        folder = self._checkpoints / f"step-{step:06d}"
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            written_as = state.pop("format", None)
            if written_as == SHARDED_FORMAT:
                return _read_sharded(folder, state)
            if written_as != CHECKPOINT_FORMAT:
                raise AlphaBenchError(
                    f"{str(folder)!r} was written by another version",
                    hint="train in another folder, or go back to that version",
                )
            views = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir()]
            if "train" not in views:
                raise FileNotFoundError("the trained weights are missing")
            return TrainingCheckpoint(
                counters=Counters(**state),
                weights={view: _read_weights(folder / view, layout) for view in views},
                optimiser=load_file(folder / "optimizer.safetensors"),
                random=load_file(folder / "random.safetensors"),
            )
        except _UNREADABLE as error:
            if isinstance(error, RuntimeError) or is_transient(error):
                raise AlphaBenchError(
                    f"the checkpoint {str(folder)!r} cannot be read ({error})",
                    hint="fix the cause, then continue with --resume",
                ) from error
            raise DamagedError(
                f"the checkpoint {str(folder)!r} is damaged ({error})",
                hint="restore it from a copy, or begin anew in another folder",
            ) from error

    def go_back(
        self, layout: WeightsFormat, report: Callable[[str], None]
    ) -> TrainingCheckpoint | None:
        """Returns the newest readable checkpoint and drops what was recorded after it.

        Newer ones that are damaged are set aside. None where there is no checkpoint.

        Raises:
            AlphaBenchError: if there are checkpoints and none can be read, or a record is damaged.
        """
        newest = self._newest(layout, report)
        keep_lines(self.metrics, below=newest.counters.step if newest else 0)
        measured = 0 if newest is None else newest.counters.step + (not newest.counters.unmeasured)
        keep_lines(self.validation, below=measured)
        return newest

    def _newest(
        self, layout: WeightsFormat, report: Callable[[str], None]
    ) -> TrainingCheckpoint | None:
        damaged: dict[int, DamagedError] = {}
        for step in reversed(self.steps()):
            try:
                found = self.load(step, layout)
            except DamagedError as error:
                damaged[step] = error
                continue
            for other, why in damaged.items():
                aside = self._checkpoints / f"damaged-step-{other:06d}"
                shutil.rmtree(aside, ignore_errors=True)
                with writing_training(aside):
                    (self._checkpoints / f"step-{other:06d}").rename(aside)
                report(f"{why.message}; set aside as {aside.name}; step {step} is used")
            return found
        if damaged:
            raise next(iter(damaged.values()))
        return None

    def save_best(
        self, step: int, values: Mapping[str, Tensor], layout: WeightsFormat, *, view: WeightView
    ) -> Path:
        """Makes these weights of a view `best`; the link is replaced atomically."""
        folder = self.path / f"best-{step:06d}"
        link, next_link = self.path / "best", self.path / f"best-link-{os.getpid()}"
        with writing_training(folder):
            with replacing_folder(folder) as draft:
                _write_weights(draft, values, layout)
            next_link.unlink(missing_ok=True)
            next_link.symlink_to(folder.name, target_is_directory=True)
            if link.is_dir() and not link.is_symlink():
                shutil.rmtree(link)  # of a copy that followed the link
            next_link.replace(link)
            for other in self.path.glob("best-[0-9]*"):
                if other != folder:
                    shutil.rmtree(other)
        replace_text(self.path / "best.json", json.dumps({"step": step, "view": view}))
        return folder

    def best_view(self) -> str | None:
        """Whose weights `best` holds; None where that was not recorded, as before version 0.3."""
        try:
            stored = json.loads((self.path / "best.json").read_text(encoding="utf-8"))
            return str(stored["view"]) if stored["step"] == self.best_step() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def best_step(self) -> int | None:
        """Of the `best` weights, by their own folder (a copy has no link); None before any."""
        names = (_BEST.fullmatch(entry.name) for entry in self.path.glob("best-*"))
        return max((int(match[1]) for match in names if match), default=None)


def writing_training(path: Path) -> AbstractContextManager[None]:
    """Turns a failure to write `path` of a training into one sentence.

    Raises:
        UnwritableError: in the place of what the system or safetensors raises.
    """
    return durable_files.writing(
        path,
        elsewhere="check its disk and its permissions, or name another folder with --out; to "
        "continue, repeat the command with --resume",
        again="continue with --resume; earlier checkpoints are intact",
        library_errors=(SafetensorError,),
    )


def replace_text(path: Path, text: str) -> None:
    """Replaces a file of the training; see `alphabench.core.writing.replace_file`."""
    with writing_training(path):
        replace_file(path, text)


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Adds one JSON line; durable once it returns."""
    with writing_training(path):
        append_rows(path, [values])


def keep_lines(path: Path, *, below: int) -> None:
    """Drops the lines of steps that a resumed training will do again, and a torn last line.

    Raises:
        AlphaBenchError: for another line that is none of a step.
    """
    if not path.exists():
        return
    remaining = []
    for number, line in enumerate(complete_lines(path.read_bytes()), start=1):
        try:
            if int(json.loads(line)["step"]) < below:
                remaining.append(line.decode() + "\n")
        except (ValueError, TypeError, KeyError) as error:
            raise AlphaBenchError(
                f"line {number} of {str(path)!r} is damaged",
                hint="delete that line, then go on with --resume; it is only a record",
            ) from error
    replace_text(path, "".join(remaining))


def _read_identity(path: Path) -> JsonValue:
    try:
        known: JsonValue = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AlphaBenchError(
            f"{str(path)!r}, which identifies this training, is damaged ({error})",
            hint="restore it from a copy, or begin anew in another folder",
        ) from error
    return known


def _write_rest(
    draft: Path, checkpoint: TrainingCheckpoint, about: Mapping[str, JsonValue]
) -> None:
    save_file(checkpoint.random, draft / "random.safetensors")
    fields = {name: getattr(checkpoint.counters, name) for name in Counters.__slots__}
    if not checkpoint.counters.unmeasured:
        del fields["unmeasured"]  # earlier versions know no such field
    text = json.dumps({**about, **fields}, indent=1)
    (draft / "state.json").write_text(text, encoding="utf-8")


def _read_sharded(folder: Path, state: dict[str, Any]) -> TrainingCheckpoint:
    """All but the shards, whose files are as long as they were.

    Raises:
        ValueError: one is not.
    """
    require_sizes(folder, state.pop("shards"))
    values = read_replicated(folder)
    return TrainingCheckpoint(
        counters=Counters(**state),
        optimiser=values.pop("optimizer", {}),
        weights=values,
        random=load_file(folder / "random.safetensors"),
        shards=folder / SHARDS,
    )


def _write_weights(folder: Path, values: Mapping[str, Tensor], layout: WeightsFormat) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if layout.lora is None:
        save_file(dict(values), folder / "model.safetensors")
        return
    settings: Any = lora_adapters.peft_settings(layout.targets, layout.lora)
    # peft holds a set: in its order, equal trainings would write unequal files.
    settings.target_modules = sorted(settings.target_modules)
    settings.save_pretrained(str(folder))
    save_file(lora_adapters.exported(values), folder / "adapter_model.safetensors")


def _read_weights(folder: Path, layout: WeightsFormat) -> dict[str, Tensor]:
    if layout.lora is None:
        return load_file(folder / "model.safetensors")
    return lora_adapters.imported(load_file(folder / "adapter_model.safetensors"))


def _differences(known: Any, found: Any, where: str = "") -> list[str]:
    if not (isinstance(known, dict) and isinstance(found, dict)):
        return [f"{where or 'all'}: {_short(known)} -> {_short(found)}"] if known != found else []
    return [
        name
        for key in sorted(known.keys() | found.keys())
        for name in _differences(known.get(key), found.get(key), f"{where}.{key}".lstrip("."))
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
