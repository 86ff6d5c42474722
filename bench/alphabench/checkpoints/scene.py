"""`scene:` renders what a sample asks for, with known errors in a known share of the images.

A checkpoint without weights whose true score is known: it checks everything that comes after
generation. For an editing sample it renders the source scene again with the edit carried
out. It reads a sample's facts, not its prompt or source image, so its score says nothing about
models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np
import PIL

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill
from alphabench.scenes.edit_ops import (
    EDIT_ERROR_KINDS,
    EditErrorKind,
    edited_scene,
    is_edit,
    why_uneditable,
)
from alphabench.scenes.geneval_scenes import (
    ErrorKind,
    applicable_errors,
    compose,
    why_not_renderable,
)
from alphabench.scenes.render import LARGEST_SIDE, SMALLEST_SIDE, Rendered, render
from alphabench.scenes.spec import WORLD_VERSION, Scene
from alphabench.types import ImageRequest, NotGenerated, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

_STEP_SAMPLE: Final = 0.7548776662466927
_STEP_INDEX: Final = 0.5698402909980532
"""Steps of the two-dimensional additive recurrence with the plastic number (Roberts, 2018), which
spreads planted errors evenly over samples and over the images of one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """What `scene:?...` accepts."""

    error: float = 0.0
    """Share of the images that carry one error, 0 to 1."""
    kind: Literal[
        "auto", "missing", "count", "colour", "position", "unedited", "wrong", "overedited"
    ] = "auto"
    """Which error; the last three are of edits. auto samples one of those that apply to the sample.
    Samples to which the kind does not apply are rendered without errors."""
    size: int = 128
    """Pixels of both sides, 32 to 512, where a request names no size."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.error <= 1.0:
            raise ValueError(f"error={self.error!r} is not between 0 and 1")
        if not 32 <= self.size <= 512:
            raise ValueError(f"size={self.size!r} is not between 32 and 512")


def open_scene(
    location: str, *, options: Mapping[str, str], lora: str | None = None, device: str = "cpu"
) -> SceneCheckpoint:
    """The checkpoint `scene:`.

    Args:
        location: what follows the colon; must be empty.
        options: fields of `SceneOptions` as text.
        lora: must be None.
        device: ignored; it renders on the CPU.

    Raises:
        AlphaBenchError: a location, an adapter, or an option that does not fit.
    """
    del device
    if location:
        raise AlphaBenchError(
            f"scene: takes no location, but got {location!r}",
            hint="write options after a question mark: scene:?error=0.2",
        )
    if lora is not None:
        raise AlphaBenchError(
            f"scene: has no weights that {lora!r} could adapt", hint="leave out --lora"
        )
    return SceneCheckpoint(options=fill(SceneOptions, options, owner="scene:"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneCheckpoint:
    """A `Generator` and `Selective` that renders; an image depends on request and options."""

    options: SceneOptions

    @property
    def identity(self) -> Mapping[str, str]:
        return {
            "kind": "scene",
            "world": WORLD_VERSION,
            "error": str(self.options.error),
            "error_kind": self.options.kind,
            "size": str(self.options.size),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        }

    @property
    def settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        size = f"{self.options.size}x{self.options.size}"
        return {"size": size, "error": str(self.options.error), "kind": self.options.kind}

    @property
    def default_settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        return SceneCheckpoint(options=SceneOptions()).settings

    @property
    def batch_size(self) -> int:
        return 16

    @property
    def suggested_evaluator(self) -> str:
        return "nano"

    @property
    def licences(self) -> Mapping[str, str]:
        return {"icons (Fluent Emoji)": "MIT"}

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        reasons = {request.id: self._obstacle(request) for request in requests}
        return {image_id: reason for image_id, reason in reasons.items() if reason is not None}

    def generate(self, requests: Sequence[ImageRequest]) -> Sequence[Image | NotGenerated]:
        return [self._render_or_refuse(request) for request in requests]

    def render_request(self, request: ImageRequest) -> Rendered:
        """The image with its ground truth.

        Raises:
            ValueError: a sample that `refusals` names.
        """
        width, height = self._canvas(request)
        return render(self.scene_of(request), width, height)

    def scene_of(self, request: ImageRequest) -> Scene:
        """The scene that `generate` renders for this request.

        Raises:
            ValueError: a sample that `refusals` names.
        """
        width, height = self._canvas(request)
        facts = request.sample.facts
        rng = np.random.default_rng([request.seed, request.index])
        error = self.planted_error(request)
        if is_edit(facts):
            return edited_scene(facts, rng, error=cast("EditErrorKind | None", error))
        plain = cast("ErrorKind | None", error)
        return compose(facts, rng, error=plain, aspect=width / height)

    def planted_error(self, request: ImageRequest) -> ErrorKind | EditErrorKind | None:
        """The error that this request's image carries."""
        phase = _phase(request.sample) + request.index * _STEP_INDEX
        if phase % 1.0 >= self.options.error:
            return None
        facts = request.sample.facts
        kinds: Sequence[ErrorKind | EditErrorKind] = (
            EDIT_ERROR_KINDS if is_edit(facts) else applicable_errors(facts)
        )
        if self.options.kind != "auto":
            return self.options.kind if self.options.kind in kinds else None
        choice = np.random.default_rng([request.seed, request.index, 1]).integers(len(kinds))
        return kinds[int(choice)]

    def _obstacle(self, request: ImageRequest) -> str | None:
        width, height = self._canvas(request)
        if min(width, height) < SMALLEST_SIDE or max(width, height) > LARGEST_SIDE:
            return f"it renders {SMALLEST_SIDE} to {LARGEST_SIDE} pixels, not {width} x {height}"
        facts = request.sample.facts
        if not is_edit(facts):
            if request.sample.source_image is not None:
                return "it only edits its own scenes, and this sample has another source image"
            return why_not_renderable(facts)
        return why_uneditable(facts) if width == height else "it only edits square images"

    def _canvas(self, request: ImageRequest) -> tuple[int, int]:
        return request.width or self.options.size, request.height or self.options.size

    def _render_or_refuse(self, request: ImageRequest) -> Image | NotGenerated:
        reason = self._obstacle(request)
        if reason is not None:
            return NotGenerated(status="refused", reason=reason)
        return self.render_request(request).image


def _phase(sample: Sample) -> float:
    """Where a sample starts on the unit circle: evenly spread for ids that are numbers."""
    if sample.id.isdecimal():
        return int(sample.id) * _STEP_SAMPLE % 1.0
    digest = hashlib.sha256(sample.id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
