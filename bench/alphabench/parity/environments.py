"""Creates a separate environment for an evaluator whose packages conflict with ours.

Promises exact versions, a folder that nothing else writes to, and that a partly created
environment is not taken for a complete one. Knows pip and `venv`; knows no other evaluators than
`RECIPES`.

The environment has its own torch, of the version installed here and from pip's configured source,
and imports nothing of AlphaBench.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import platformdirs

from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.writing import replace_file

RunCommand = Callable[[Sequence[str]], None]
"""Runs a command to its end; raises OSError or CalledProcessError."""

_DONE: Final = "alphabench.json"
_EVALUATORS: Final = Path(__file__).parents[1] / "evaluators"
_AS_HERE: Final = ("torch", "torchvision")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRecipe:
    """What an environment holds."""

    packages: tuple[str, ...]
    """With exact versions; torch and torchvision come in the versions of this environment."""
    probe: tuple[str, ...]
    """What its interpreter is given, to fail where the environment is of no use."""
    usage: str
    """How an evaluator is pointed at it; `{python}` is its interpreter."""


RECIPES: Final[Mapping[str, EnvironmentRecipe]] = {
    "mmdet": EnvironmentRecipe(
        packages=("mmdet==3.3.0", "mmcv-lite==2.1.0", "mmengine==0.10.7"),
        probe=(str(_EVALUATORS / "detection/mmdet/mmdet_worker.py"), "--probe"),
        usage="--evaluator 'mmdet?python={python}&checkpoint=FILE.pth&allow_pickle=true', "
        "or: alphabench parity geneval --images DIR",
    ),
    "modelscope": EnvironmentRecipe(
        packages=(
            "modelscope==1.40.2", "transformers==4.44.2", "tokenizers==0.19.1", "timm==1.0.31",
            "datasets==2.21.0", "decord==0.6.0", "einops==0.8.2", "addict==2.4.0",
            "simplejson==4.3.0", "sortedcontainers==2.4.0", "ftfy==6.3.1", "jieba==0.42.1",
            "rapidfuzz==3.14.6", "opencv-python-headless==4.11.0.86", "pillow==13.0.0",
            "numpy==2.4.6",
        ),
        probe=(str(_EVALUATORS / "mplug/mplug_worker.py"), "--probe"),
        usage="alphabench parity dpg --images DIR",
    ),
}  # fmt: skip
"""mmcv-lite has no compiled operators, and Mask2Former needs none: no compiler is used."""


def environments_dir() -> Path:
    """Where environments are made: the platform's folder for this user's data."""
    return platformdirs.user_data_path("alphabench") / "environments"


def interpreter_of(name: str, *, folder: Path | None = None) -> Path | None:
    """The interpreter of a finished environment, or None.

    Args:
        name: one of `RECIPES`.
        folder: where environments are; None is the user's.
    """
    environment = (folder or environments_dir()) / name
    return environment / "bin" / "python" if (environment / _DONE).is_file() else None


def set_up_environment(
    name: str, *, folder: Path | None = None, run: RunCommand | None = None
) -> str:
    """Create an environment, and describe how it is used.

    Args:
        name: one of `RECIPES`.
        folder: where environments are; None is the user's.
        run: for tests; None runs the commands, whose output goes where ours does.

    Raises:
        AlphaBenchError: an unknown name, or a command that failed.
    """
    if name not in RECIPES:
        raise unknown_name("environment", name, RECIPES)
    recipe, environment = RECIPES[name], (folder or environments_dir()) / name
    run = run or _run
    python = environment / "bin" / "python"
    packages = [*_as_here(), *recipe.packages]
    try:
        shutil.rmtree(environment, ignore_errors=True)
        environment.parent.mkdir(parents=True, exist_ok=True)
        run([sys.executable, "-m", "venv", str(environment)])
        run([str(python), "-m", "pip", "install", *packages])
        run([str(python), *recipe.probe])
        replace_file(environment / _DONE, json.dumps({"packages": packages}))
    except subprocess.CalledProcessError as error:
        raise AlphaBenchError(
            f"the environment {name!r} could not be made: {' '.join(map(str, error.cmd[1:4]))} "
            f"... ended with code {error.returncode}",
            hint="see what it printed above; pip takes mirrors and proxies from its own settings",
        ) from error
    except OSError as error:
        raise AlphaBenchError(
            f"{str(environment)!r} could not be made: {error.strerror or error}",
            hint="free some disk space, or create an environment yourself: python=INTERPRETER",
        ) from error
    return f"{name} is ready in {environment}\nuse it: {recipe.usage.format(python=python)}"


def _as_here() -> list[str]:
    """Our versions of torch and torchvision, without the local part that no index offers."""
    requirements = []
    for name in _AS_HERE:
        try:
            requirements.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            requirements.append(name)
    return requirements


def _run(command: Sequence[str]) -> None:
    subprocess.run(list(command), check=True)  # noqa: S603 - no part but the folder is from outside
