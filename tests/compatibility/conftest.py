"""The command line, and whether this machine calculates as the recording one did."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.conftest import Shell

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Commands:
    """`alphabench` in `folder`."""

    folder: Path
    own_process: bool
    """With one thread and nothing computed before, for numbers that are equal to the last bit."""

    def __call__(self, *words: str | Path, timeout: float = 250) -> str:
        """Run it to the end; what it prints."""
        if not self.own_process:
            return Shell(folder=self.folder, cache=self.folder / "cache")(*words).out
        return self.python(HERE / "with_recorded_judge.py", *words, timeout=timeout)

    def python(self, *words: str | Path, timeout: float = 250, place: Path | None = None) -> str:
        """The same for any program of this project, from `place`."""
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=place or self.folder,
            env={
                **os.environ,
                "ALPHABENCH_CACHE": str(self.folder / "cache"),
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def alphabench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Commands:
    """The command line in an empty folder, with the nano judge of the recordings."""
    monkeypatch.setattr("alphabench.judges.nano_judge.weights_folder", lambda: HERE / "judge")
    return Commands(tmp_path, own_process="same_arithmetic" in request.fixturenames)


@pytest.fixture(scope="session")
def same_arithmetic() -> None:
    """Skips where the last digit of a number may be another by right."""
    import torch

    made = json.loads((HERE / "made_with.json").read_text(encoding="utf-8"))
    here = {name: version(name) for name in ("torch", "transformers", "pillow")}
    here["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    other = {name: value for name, value in here.items() if made[name] != value}
    if other:
        pytest.skip(f"recorded with other versions or another processor than {other}")


@pytest.fixture(scope="session")
def sampled(
    tmp_path_factory: pytest.TempPathFactory, same_arithmetic: None
) -> Callable[[str], Path]:
    """Runs `geneval:mini` on 24 images, `plain` or `think`, once each: the folder, and beside it
    what was printed.
    """
    made: dict[str, Path] = {}

    def sample(name: str) -> Path:
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            said = Commands(root, own_process=True)(*run_words(name), "--limit", "6")
            (root / "said.txt").write_text(said, encoding="utf-8")
            made[name] = only_run(root)
        return made[name]

    return sample


def run_words(name: str) -> list[str]:
    """The command whose images were recorded."""
    words = ["run", "geneval:mini", "--ckpt", "nano", "--devices", "cpu"]
    return [*words, "--think"] if name == "think" else words


def only_run(root: Path) -> Path:
    """The run folder that a command made below `root`/runs."""
    (run,) = (root / "runs" / "geneval").iterdir()
    return run


def copied(name: str, to: Path) -> Path:
    """A folder that was recorded, where it may be changed."""
    return Path(shutil.copytree(HERE / name, to, symlinks=True))
