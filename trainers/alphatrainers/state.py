"""A training's folder: writes and reads checkpoints; the only module that knows a file name of one.

    RUN/
      settings.yaml               as read, defaults filled in
      metrics.jsonl               one line a training step
      validation.jsonl            one line a measured point
      panels/step-000020.png      the same prompts and seeds at every validation
      checkpoints/step-000020/
        state.json                counters, data position, queues, decisions
        train/  old/  ema/        weights by view: peft's layout for LoRA, model.safetensors else
        optimizer.safetensors  random.safetensors
      best -> best-000020/        weights of the best point of the first validation

A checkpoint is written under another name, synced, then renamed: a folder that has its name is
whole. Tensors are safetensors, the rest is JSON; nothing is pickled. Knows no policy.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from alphatrainers import adapters
from alphatrainers.errors import TrainingError
from alphatrainers.policy import Json
from alphatrainers.settings import Lora

FORMAT: Final = 2
_LONGEST: Final = 60
"""Characters of a value that a message repeats."""
_STEP: Final = re.compile(r"step-(\d{6,})")


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
    """What scores cost so far; None where nobody tells."""
    recent_reward: float | None
    queues: Sequence[Json]
    """The task's state, one a process."""
    curves: Mapping[str, Json] = field(default_factory=dict)


class Checkpoint(NamedTuple):
    """All of it."""

    counters: Counters
    weights: dict[str, dict[str, Tensor]]
    """Whole values by view, then by parameter."""
    optimiser: dict[str, Tensor]
    random: dict[str, Tensor]


class WeightsFormat(NamedTuple):
    """How weights are laid out on disk."""

    lora: Lora | None
    targets: list[str]
    """Modules with LoRA layers."""


class RunFolder:
    """The folder of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.validation = path / "validation.jsonl"
        self.panels = path / "panels"
        self._checkpoints = path / "checkpoints"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes of other runs out.

        Raises:
            TrainingError: if another run holds the folder.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TrainingError(
                    f"{str(self.path)!r} is in use by another training",
                    hint="wait for it, or name another folder",
                ) from error
            yield

    def begin(self, settings: str, *, decisive: Json) -> None:
        """Writes the settings, or refuses a folder that holds another training.

        Raises:
            TrainingError: if what decides the result differs from what the folder was begun with.
        """
        identity = self.path / "identity.json"
        if identity.exists():
            known = json.loads(identity.read_text())
            if known != json.loads(json.dumps(decisive)):
                found = "; ".join(_differences(known, decisive))
                raise TrainingError(
                    f"{str(self.path)!r} holds another training, begun with other values "
                    f"(its own -> these): {found}",
                    hint="name another folder, or its folder as the recipe, which goes on as begun",
                )
        self.path.mkdir(parents=True, exist_ok=True)
        replace_text(identity, json.dumps(decisive, indent=1))
        replace_text(self.path / "settings.yaml", settings)

    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, ascending."""
        if not self._checkpoints.is_dir():
            return []
        found = (_STEP.fullmatch(entry.name) for entry in self._checkpoints.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def save(self, checkpoint: Checkpoint, layout: WeightsFormat, *, keep: int) -> Path:
        """Durable once it returns; then removes all but the newest `keep`."""
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        final = self._checkpoints / f"step-{checkpoint.counters.step:06d}"
        draft = self._checkpoints / f"draft-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for view, values in checkpoint.weights.items():
            _write_weights(draft / view, values, layout)
        save_file(checkpoint.optimiser, draft / "optimizer.safetensors")
        save_file(checkpoint.random, draft / "random.safetensors")
        fields = {name: getattr(checkpoint.counters, name) for name in Counters.__slots__}
        text = json.dumps({"format": FORMAT, **fields}, indent=1)
        (draft / "state.json").write_text(text, encoding="utf-8")
        _sync_tree(draft)
        if final.exists():  # the same step again, after a resume
            shutil.rmtree(final)
        draft.rename(final)
        _sync(self._checkpoints)
        self._prune(keep)
        return final

    def load(self, step: int, layout: WeightsFormat) -> Checkpoint:
        """What `save` wrote.

        Raises:
            TrainingError: for a checkpoint of another format.
        """
        folder = self._checkpoints / f"step-{step:06d}"
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if state.pop("format", None) != FORMAT:
            raise TrainingError(
                f"{str(folder)!r} was written by another version",
                hint="train in another folder, or go back to that version",
            )
        views = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir()]
        return Checkpoint(
            counters=Counters(**state),
            weights={view: _read_weights(folder / view, layout) for view in views},
            optimiser=load_file(folder / "optimizer.safetensors"),
            random=load_file(folder / "random.safetensors"),
        )

    def keep_best(self, step: int, values: Mapping[str, Tensor], layout: WeightsFormat) -> Path:
        """Makes these weights `best`; the link is replaced whole."""
        folder = self.path / f"best-{step:06d}"
        draft = self.path / f"draft-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        _write_weights(draft, values, layout)
        _sync_tree(draft)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
        link, next_link = self.path / "best", self.path / f"best-link-{os.getpid()}"
        next_link.unlink(missing_ok=True)
        next_link.symlink_to(folder.name, target_is_directory=True)
        next_link.replace(link)
        for other in self.path.glob("best-[0-9]*"):
            if other != folder:
                shutil.rmtree(other)
        return folder

    def _prune(self, keep: int) -> None:
        for step in self.steps()[:-keep]:
            shutil.rmtree(self._checkpoints / f"step-{step:06d}")


def replace_text(path: Path, text: str) -> None:
    """Replaces a file whole."""
    draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def random_state() -> dict[str, Tensor]:
    """Of torch's own generators in this process."""
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Takes back what `random_state` gave."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Adds one JSON line; durable once it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")
        file.flush()
        os.fsync(file.fileno())


def keep_lines(path: Path, *, below: int) -> None:
    """Drops the lines of steps that a resumed training will do again, and a torn last line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            break
        if values["step"] < below:
            kept.append(line + "\n")
    replace_text(path, "".join(kept))


def _write_weights(folder: Path, values: Mapping[str, Tensor], layout: WeightsFormat) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if layout.lora is None:
        save_file(dict(values), folder / "model.safetensors")
        return
    settings: Any = adapters.peft_settings(layout.targets, layout.lora)
    settings.save_pretrained(str(folder))
    save_file(adapters.exported(values), folder / "adapter_model.safetensors")


def _read_weights(folder: Path, layout: WeightsFormat) -> dict[str, Tensor]:
    if layout.lora is None:
        return load_file(folder / "model.safetensors")
    return adapters.imported(load_file(folder / "adapter_model.safetensors"))


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
