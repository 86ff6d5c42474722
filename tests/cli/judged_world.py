"""What the tests of judged runs share: the command line in this process, and pictures to judge."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

import pytest
from PIL import Image

from alphabench.cli import main
from tests.cli.conftest import Said


@dataclass(frozen=True)
class Here:
    """Runs `alphabench` in this process, in `folder`."""

    folder: Path

    def __call__(self, *words: str | Path, code: int | None = 0) -> Said:
        """Run to the end; `code` is the exit code that is expected, None any."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main([str(word) for word in words])
        said = Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())
        if code is not None:
            assert said.code == code, said
        return said


def noise(path: Path, *, side: int = 8, seed: int = 0) -> None:
    """A small picture of many colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = random.Random(f"{seed} {path.name}").randbytes(3 * side * side)
    Image.frombytes("RGB", (side, side), content).save(path)


def noises(root: Path, paths: Iterable[str | PurePath], *, side: int = 8) -> None:
    for number, path in enumerate(paths):
        noise(root / path, side=side, seed=number)
