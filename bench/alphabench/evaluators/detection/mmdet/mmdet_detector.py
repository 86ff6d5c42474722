"""The official detector: mmdet in a child process with an interpreter of its own.

mmdet's dependencies never meet ours; the process is started at the first use, restarted when it
dies, and ended with us. An image on which it dies twice raises. Knows mmdet's options and COCO's
labels; `mmdet_process` knows frames, `mmdet_worker` mmdet.

Images arrive decoded (PNG pixels are the same as the official script's; JPEG may differ by
rounding) and go through mmdet one at a time, as upstream does. mmdet's checkpoints are pickles,
which can run code when loaded: `allow_pickle=true` says that you trust the file.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alphabench.core import options as text_options
from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject, Thresholds
from alphabench.evaluators.detection.clip_colour import ClipColourReader
from alphabench.evaluators.detection.coco import geneval_names
from alphabench.evaluators.detection.detector import ColourReader, Detector
from alphabench.evaluators.detection.detector_self_test import run_detector_self_test
from alphabench.evaluators.detection.mmdet.child_process import (
    Command,
    MmdetProcess,
    WorkerGoneError,
    installed_versions,
)
from alphabench.weights.digest import check_named_digest
from alphabench.weights.find import WeightsNotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdetOptions:
    """What `mmdet?key=value` takes."""

    python: Path | None = None
    """Interpreter of an environment with mmdet 2.x or 3.x (required)."""
    checkpoint: Path | None = None
    """The detector's .pth file (required)."""
    config: Path | None = None
    """mmdet configuration; None takes the official one that mmdet brings along."""
    allow_pickle: bool = False
    """You trust the checkpoint, which is a pickle and can run code when loaded."""
    clip: str = "openai"
    """Colour reader: `openai` (ViT-L/14 of OpenAI), a hub id or a folder."""
    start_seconds: float = 300.0
    """Time for mmdet to load."""
    image_seconds: float = 300.0
    """Time for one image."""
    min_score: float = 0.05
    """Objects up to this score are not sent over; at most 0.3."""
    self_test: bool = True
    """Run the self-test on bundled photographs before scoring."""

    def __post_init__(self) -> None:
        if min(self.start_seconds, self.image_seconds) <= 0:
            raise ValueError("a time limit must be above 0 seconds")
        if not 0.0 <= self.min_score <= Thresholds().score:
            raise ValueError(f"min_score={self.min_score} is outside 0 to {Thresholds().score}")


def open_mmdet(
    options: Mapping[str, str],
    *,
    device: str,
    cache_dir: Path | None = None,  # noqa: ARG001  (the checkpoint is always named)
) -> tuple[Detector, ColourReader]:
    """The detector and the colour reader; no process is started yet.

    Args:
        options: fields of `MmdetOptions` as text.
        device: of torch, for both.
        cache_dir: where `alphabench fetch` stores weights; not used.

    Raises:
        AlphaBenchError: an unknown option, a missing file, or no consent to the pickle.
    """
    chosen = text_options.fill(MmdetOptions, options, owner="mmdet")
    reader = ClipColourReader(chosen.clip, dtype="float32", device=device)
    return MmdetDetector(chosen, device=device), reader


class MmdetDetector:
    """Finds the 80 COCO classes with mmdet. Picklable until the first `detect`.

    Args:
        options: see `MmdetOptions`.
        device: of torch.
        backend: `module:function` instead of mmdet, and the folder to import it from.

    Raises:
        AlphaBenchError: a missing file, or no consent to the pickle.
    """

    def __init__(
        self,
        options: MmdetOptions,
        *,
        device: str,
        backend: tuple[str, Path] | None = None,
    ) -> None:
        self.options = options
        self._python, self._checkpoint = _required_files(options)
        self._config = options.config.expanduser().absolute() if options.config else None
        self._device = device
        self._backend = backend
        self._process: MmdetProcess | None = None
        self._categories: tuple[str, ...] = ()

    @property
    def identity(self) -> Mapping[str, str]:
        """Reads the checkpoint and asks the interpreter for versions; starts no detector."""
        versions = installed_versions(self._python)
        return {
            "model": f"{self._checkpoint.name} sha256:{self._digest}",
            "config": _sha256(self._config) if self._config else "mmdet's own",
            "library": ", ".join(f"{name} {found}" for name, found in sorted(versions.items())),
            "min_score": repr(self.options.min_score),
            "self_test": "on" if self.options.self_test else "off",
        }

    @property
    def thresholds(self) -> Thresholds:
        """GenEval's: 0.3, and 0.9 for counting."""
        return Thresholds()

    def self_test(self, colours: ColourReader) -> None:
        """See `self_test.run_self_test`; does nothing under `self_test=off`."""
        if self.options.self_test:
            run_detector_self_test(self, colours)

    def detect(self, images: Sequence[Image]) -> list[list[DetectedObject]]:
        """All objects of each RGB image above `min_score`.

        Raises:
            RuntimeError: mmdet raised an error on an image, or died on it twice.
            AlphaBenchError: the process cannot be started.
        """
        return [self._detect_or_retry(_pixels_of(image), image.size) for image in images]

    def detect_file(self, path: Path, *, size: tuple[int, int]) -> list[DetectedObject]:
        """The same for an image file that mmdet itself reads, as in the official script.

        Args:
            path: of the image.
            size: (width, height) of the upright image.

        Raises:
            RuntimeError: mmdet raised an error on it, or died on it twice.
            AlphaBenchError: the process cannot be started.
        """
        return self._detect_or_retry({"file": str(path.absolute())}, size)

    def close(self) -> None:
        """Ends the child process; the next `detect` starts another."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _detect_or_retry(
        self, request: Mapping[str, Any], size: tuple[int, int]
    ) -> list[DetectedObject]:
        try:
            return self._detect_one(request, size)
        except WorkerGoneError:
            self.close()
        try:
            return self._detect_one(request, size)
        except WorkerGoneError:
            self.close()
            raise

    def _detect_one(
        self, request: Mapping[str, Any], size: tuple[int, int]
    ) -> list[DetectedObject]:
        reply = self._running().ask(request)
        if "error" in reply:
            raise RuntimeError(f"mmdet: {reply['error']}")
        try:
            return [self._object(row, size=size) for row in reply["objects"]]
        except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
            raise WorkerGoneError(f"it sent an object that cannot be read ({error})") from error

    def _running(self) -> MmdetProcess:
        if self._process is None:
            name, folder = self._backend or ("", None)
            command = Command(
                python=self._python,
                options={
                    "checkpoint": str(self._checkpoint),
                    "config": str(self._config) if self._config else None,
                    "device": self._device,
                    "min_score": self.options.min_score,
                },
                backend=name,
                folder=folder,
                start_seconds=self.options.start_seconds,
                answer_seconds=self.options.image_seconds,
            )
            process = MmdetProcess(command)
            self._categories = geneval_names(process.names, source=self._checkpoint.name)
            self._process = process
        return self._process

    def _object(self, row: Mapping[str, Any], *, size: tuple[int, int]) -> DetectedObject:
        score = float(row["score"])
        left, top, right, bottom = map(float, row["box"])
        if not all(map(math.isfinite, (score, left, top, right, bottom))) or row["label"] < 0:
            raise ValueError(f"label {row['label']}, score {score}")
        return DetectedObject(
            category=self._categories[row["label"]],
            score=score,
            box=(left, top, right, bottom),
            mask=None if row["mask"] is None else unpack_mask(row["mask"], size=size),
        )

    @cached_property
    def _digest(self) -> str:
        return _sha256(self._checkpoint)


def _pixels_of(image: Image) -> dict[str, Any]:
    pixels = base64.b64encode(image.convert("RGB").tobytes()).decode("ascii")
    return {"width": image.width, "height": image.height, "pixels": pixels}


def unpack_mask(text: str, *, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (H, W) that `mmdet_worker` packed.

    Args:
        text: base64 of zlib of packed bits, row after row.
        size: (width, height) of the image.

    Raises:
        ValueError: fewer or more bits than the image has pixels.
    """
    width, height = size
    packed = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype=np.uint8)
    if packed.size != math.ceil(width * height / 8):
        raise ValueError(f"a mask of {packed.size} bytes for {width} x {height} pixels")
    bits = np.unpackbits(packed, count=width * height)
    return bits.reshape(height, width).astype(np.bool_)


def _required_files(options: MmdetOptions) -> tuple[Path, Path]:
    for name, path in (("python", options.python), ("checkpoint", options.checkpoint)):
        if path is None:
            raise WeightsNotFoundError(
                f"the evaluator 'mmdet' needs {name}=",
                hint="write mmdet?python=/venv/bin/python&checkpoint=FILE.pth&allow_pickle=true",
            )
    assert options.python is not None
    assert options.checkpoint is not None
    files = (("checkpoint", options.checkpoint), ("config", options.config))
    for name, path in (("python", options.python), *files):
        if path is not None and not path.expanduser().is_file():
            raise AlphaBenchError(f"there is no {name} {str(path)!r}", hint=f"correct {name}=")
    if not options.allow_pickle:
        raise AlphaBenchError(
            f"the checkpoint {str(options.checkpoint)!r} is a pickle, which can run code",
            hint="if you trust its source, add allow_pickle=true",
        )
    checkpoint = options.checkpoint.expanduser().absolute()
    check_named_digest(checkpoint)
    return options.python.expanduser().absolute(), checkpoint


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
