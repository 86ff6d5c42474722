"""Saves a training's complete state in one file, replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from alphabench.core.writing import move_into_place


def save_training(path: Path, state: Mapping[str, Any], done: int) -> None:
    """Writes modules, optimizers and the number of steps done."""
    partial = path.with_suffix(".part")
    torch.save({"done": done, **{name: part.state_dict() for name, part in state.items()}}, partial)
    move_into_place(partial, path)


def restore(path: Path, state: Mapping[str, Any]) -> int:
    """Restores what `save_training` wrote; the number of steps done, 0 without a file."""
    if not path.is_file():
        return 0
    stored = torch.load(path, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(stored[name])
    return int(stored["done"])
