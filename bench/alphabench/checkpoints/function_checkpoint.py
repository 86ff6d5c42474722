"""A plain function as a checkpoint: from a prompt, and a seed where it takes one, to an image.

    def generate(prompt, seed):
        return my_model(prompt, generator=torch.Generator().manual_seed(seed)).images[0]

Its identity is its name, its source text and the options. It does not know what the function uses
besides: weights, other modules, global variables.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from alphabench.checkpoints import refuse_edits
from alphabench.core.errors import AlphaBenchError
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.types import ImageRequest, NotGenerated

if TYPE_CHECKING:
    from PIL.Image import Image

REQUESTED: Final = ("prompt", "seed", "image")
"""Parameters that a request fills; the prompt is passed by position."""
_HINT: Final = (
    "write it as generate(prompt) or generate(prompt, seed); a parameter `image` is the source "
    "image of an edit, and others are options"
)


@dataclass(kw_only=True, eq=False)
class FunctionCheckpoint:
    """Calls the function once for each image."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments, for every image; part of the identity."""
    batch_size: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        _parameters(self.function, self.arguments)

    @property
    def name(self) -> str:
        """As in its identity."""
        module, name = (getattr(self.function, key, "") for key in ("__module__", "__qualname__"))
        return f"{module}:{name}" if name else type(self.function).__qualname__

    @cached_property
    def identity(self) -> Mapping[str, str]:
        return {
            "kind": "function",
            "name": self.name,
            "source": _source_digest(self.function),
            **{f"option.{name}": str(value) for name, value in self.arguments.items()},
        }

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        taken = _parameters(self.function, self.arguments)
        if "image" not in taken:
            refuse_edits(requests, "function")
        return [self._call(request, taken) for request in requests]

    def _call(self, request: ImageRequest, taken: Sequence[str]) -> Image | NotGenerated:
        given: dict[str, Any] = {"seed": request.seed} if "seed" in taken else {}
        if "image" in taken:
            source = request.sample.source_image
            try:
                given["image"] = None if source is None else open_rgb(source)
            except UnreadableImageError as error:
                reason = f"its source image is unusable: {error}"
                return NotGenerated(status="failed", reason=reason)
        image: Image | NotGenerated = self.function(
            request.sample.prompt, **given, **self.arguments
        )
        return image


def _parameters(function: Callable[..., Any], arguments: Mapping[str, Any]) -> list[str]:
    """Which of seed and image the function takes.

    Raises:
        AlphaBenchError: it cannot be called with a prompt, these and the arguments.
    """
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if inspect.iscoroutinefunction(function):
        raise AlphaBenchError(
            f"the function {name!r} is asynchronous, and images are generated one after another",
            hint="pass a plain function, for example one that calls asyncio.run",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return []
    taken = [own for own in REQUESTED[1:] if own in signature.parameters]
    try:
        signature.bind("", **dict.fromkeys(taken), **arguments)
    except TypeError as error:
        raise AlphaBenchError(
            f"the function {name!r} cannot generate an image from a prompt: {error}", hint=_HINT
        ) from error
    return taken


def _source_digest(function: Callable[..., Any]) -> str:
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):  # typed into an interpreter, or no Python function
        return "unknown"
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
