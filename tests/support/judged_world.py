"""Small pictures for the tests of judged runs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path, PurePath

from PIL import Image


def noise(path: Path, *, side: int = 8, seed: int = 0) -> None:
    """A small picture of many colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = random.Random(f"{seed} {path.name}").randbytes(3 * side * side)
    Image.frombytes("RGB", (side, side), content).save(path)


def noises(root: Path, paths: Iterable[str | PurePath], *, side: int = 8) -> None:
    for number, path in enumerate(paths):
        noise(root / path, side=side, seed=number)
