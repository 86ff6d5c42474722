"""AlphaBench works where Python has no fcntl, as on some file systems and platforms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRELUDE = "import sys, warnings; warnings.simplefilter('ignore'); sys.modules['fcntl'] = None\n"
IMPORT_ALL = """
import importlib, pathlib
blocked = ("torch", "transformers", "diffusers", "safetensors", "peft", "scipy", "numpy", "PIL")
sys.modules.update(dict.fromkeys(blocked))
imported = 0
for package, folder in (
    ("alphabench", "bench/alphabench"), ("alphagrpo", "alphagrpo"),
    ("alphatrainers", "trainers/alphatrainers"),
):
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        assert "import fcntl" not in path.read_text(), path
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        if parts[-1] in ("__main__", "mplug_worker", "mmdet_worker"):
            continue
        try:
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
            imported += 1
        except ImportError as error:
            assert "fcntl" not in str(error), (path, error)
assert imported > 20, imported
"""
COMMAND_LINE = "from alphabench.cli import main; main(sys.argv[1:])"


def without_fcntl(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + script, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )


def test_no_module_needs_fcntl() -> None:
    done = without_fcntl(IMPORT_ALL)
    assert done.returncode == 0, done.stderr


def test_help_and_a_run_work_without_fcntl(tmp_path: Path) -> None:
    assert without_fcntl(COMMAND_LINE, "--help").returncode == 0
    run = ("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", str(tmp_path / "r"))
    done = without_fcntl(COMMAND_LINE, *run)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.exclusive"))
