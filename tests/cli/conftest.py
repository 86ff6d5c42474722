"""The command line in a folder of its own: in this process, or in one of its own.

A process of its own is for what depends on being one: kills, interrupts, locks, workers. It is
forked (`tests.support.forks`), for it would take seconds to import what others have imported; that
the installed command works at all is tested by one that is not.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alphabench.cli import main
from tests.support.forks import Forked


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def report(self) -> Any:
        """The JSON without `run`: what was measured, wherever and with whatever it was."""
        return {key: value for key, value in self.json.items() if key != "run"}


class _Heard(io.StringIO):
    """Standard output that somebody listens to."""

    def __init__(self, listener: Callable[[str], None]) -> None:
        super().__init__()
        self._listener = listener

    def write(self, text: str) -> int:
        self._listener(text)
        return super().write(text)


@dataclass(frozen=True)
class Shell:
    """`alphabench` in `folder`, with official data from `cache`."""

    folder: Path
    cache: Path

    def __call__(
        self,
        *words: str | Path,
        code: int | None = 0,
        listener: Callable[[str], None] = lambda _: None,
    ) -> Said:
        """Run to the end in this process.

        Args:
            words: of the command.
            code: the exit code that is expected; None is any.
            listener: called with each text of standard output as it is written, by the thread
                that writes it.
        """
        out, err = _Heard(listener), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(self.folder)
            # A command that imports a user's code adds this folder; later tests do without it.
            patch.setattr(sys, "path", [*sys.path])
            for name, value in self.variables.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main([str(word) for word in words])
        said = Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())
        if code is not None:
            assert said.code == code, said
        return said

    def outside(self, *words: str | Path, code: int | None = 0) -> Said:
        """The same in a process of its own."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in said.err, said.err
        if code is not None:
            assert said.code == code, said
        return said

    def start(self, *words: str | Path, start_new_session: bool = False) -> Forked:
        """Start a process and return at once."""
        return Forked(
            "-m",
            "alphabench",
            *words,
            cwd=self.folder,
            variables=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=start_new_session,
        )

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "alphabench", *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables, "OMP_NUM_THREADS": "1"}

    @property
    def variables(self) -> dict[str, str]:
        return {"ALPHABENCH_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def alphabench(tmp_path: Path) -> Shell:
    """The command line in an empty folder, without official data."""
    return Shell(folder=tmp_path, cache=tmp_path / "cache")


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A cache folder with GenEval's official data."""
    folder = tmp_path_factory.mktemp("official")
    shell = Shell(folder=folder, cache=folder)
    shell("fetch", "geneval", "--from", shared / "upstream")
    shell("fetch", "geneval:long", "--from", shared / "upstream")
    return folder


Runner = Callable[..., Said]
