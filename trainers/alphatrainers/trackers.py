"""Experiment trackers beside `metrics.jsonl`: TensorBoard, Weights & Biases, SwanLab.

Each is a `MetricsSink`, imported when it is opened and not before. A training has one id for all of
them, stored in its folder: a resumed training goes on in the run that it began. What is shown as
its configuration is its recipe, without values whose names say that they are secret. Knows no
metric.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import secrets
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphatrainers.checkpoint import replace_text
from alphatrainers.protocols import JsonValue
from alphatrainers.settings import LoggingSettings

TRACKING_FILE: Final = "tracking.json"
"""In a training's folder: the id under which trackers know it."""
_LETTERS: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 21
"""SwanLab before 0.7 takes no other; W&B takes up to 128 characters."""
_SECRET: Final = re.compile(r"(?i)(key|token|secret|password|credential)s?$")
"""How the names of options end whose values are not shown."""
_IN_A_SPEC: Final = re.compile(r"([?&;, ])([A-Za-z0-9_.-]+)=([^&;, ]*)")
"""An option in the spec of a judge, checkpoint or source: `?api_key=...`."""
_USER: Final = re.compile(r"://[^/@\s]+@")
"""A user and password in an address."""
HIDDEN: Final = "(hidden)"


class MetricsSink(Protocol):
    """Takes numbers and images, by the number of training steps done."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def write_image(self, step: int, name: str, image: Image.Image) -> None: ...

    def close(self) -> None: ...


def refuse_missing_trackers(settings: LoggingSettings) -> None:
    """Refuses a training before it loads anything.

    Raises:
        AlphaBenchError: a wanted tracker is not installed.
    """
    for package, project in (("wandb", settings.wandb), ("swanlab", settings.swanlab)):
        if project is not None and importlib.util.find_spec(package) is None:
            raise AlphaBenchError(
                f"{package} is not installed",
                hint=f"pip install {package}, or training.logging.{package}=null",
            )


def open_sinks(
    settings: LoggingSettings, folder: Path, *, run: str, config: Mapping[str, JsonValue]
) -> list[MetricsSink]:
    """TensorBoard if it is installed and wanted, the others if wanted.

    Args:
        settings: which ones.
        folder: of the training.
        run: its name.
        config: what it is made of; see `shown_config`.

    Raises:
        AlphaBenchError: a wanted tracker is not installed, or does not start.
    """
    refuse_missing_trackers(settings)
    shown = shown_config(config)
    sinks: list[MetricsSink] = []
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is not None:
        sinks.append(_TensorBoard(folder / "tensorboard", shown))
    if settings.wandb is not None:
        known = (settings.wandb, folder, run, tracking_id(folder), shown)
        sinks.append(_started("wandb", lambda: _WandB(*known)))
    if settings.swanlab is not None:
        known = (settings.swanlab, folder, run, tracking_id(folder), shown)
        sinks.append(_started("swanlab", lambda: _SwanLab(*known)))
    return sinks


def tracking_id(folder: Path) -> str:
    """The id of a training for trackers: made once, then read from its folder.

    Raises:
        AlphaBenchError: the file is damaged, or cannot be written.
    """
    file = folder / TRACKING_FILE
    if not file.exists():
        made = "".join(secrets.choice(_LETTERS) for _ in range(_ID_LENGTH))
        replace_text(file, json.dumps({"id": made}))
        return made
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AlphaBenchError(
            f"{str(file)!r}, which names this training for trackers, is damaged ({error})",
            hint="delete it: trackers then begin a new run",
        ) from error


def shown_config(config: Any) -> Any:
    """The same plain values without secrets: by the names of keys, in specs and in addresses."""
    if isinstance(config, Mapping):
        return {
            str(key): HIDDEN
            if isinstance(value, str) and value and _SECRET.search(str(key))
            else shown_config(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [shown_config(one) for one in config]
    if not isinstance(config, str):
        return config
    return _USER.sub(f"://{HIDDEN}@", _IN_A_SPEC.sub(_without_secret, config))


def _without_secret(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    return f"{before}{name}={HIDDEN if _SECRET.search(name) else value}"


def _started(package: str, start: Callable[[], MetricsSink]) -> MetricsSink:
    """The tracker; whatever it raises when it starts becomes one sentence."""
    try:
        return start()
    except Exception as error:
        raise AlphaBenchError(
            f"{package} does not start: {type(error).__name__}: {error}",
            hint=f"log in to {package}, use its offline mode, or training.logging.{package}=null",
        ) from error


class _TensorBoard:
    def __init__(self, folder: Path, config: Mapping[str, JsonValue]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))
        text = json.dumps(config, indent=1, ensure_ascii=False)
        self._writer.add_text("recipe", "\n".join(f"    {line}" for line in text.splitlines()))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def write_image(self, step: int, name: str, image: Image.Image) -> None:
        pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(
        self, project: str, folder: Path, run: str, run_id: str, config: Mapping[str, JsonValue]
    ) -> None:
        self._wandb: Any = importlib.import_module("wandb")
        self._run = self._wandb.init(
            project=project, name=run, id=run_id, dir=str(folder), config=dict(config),
            resume="allow",
        )  # fmt: skip

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def write_image(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()


class _SwanLab:
    def __init__(
        self, project: str, folder: Path, run: str, run_id: str, config: Mapping[str, JsonValue]
    ) -> None:
        self._swanlab: Any = importlib.import_module("swanlab")
        (folder / "swanlab").mkdir(exist_ok=True)
        self._run = self._swanlab.init(
            project=project, experiment_name=run, id=run_id, logdir=str(folder / "swanlab"),
            config=dict(config), resume="allow",
        )  # fmt: skip

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def write_image(self, step: int, name: str, image: Image.Image) -> None:
        self._run.log({name: self._swanlab.Image(image)}, step=step)

    def close(self) -> None:
        self._run.finish()
