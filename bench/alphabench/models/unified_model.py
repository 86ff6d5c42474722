"""The protocol of unified multimodal models, which generate, edit, think and answer.

One generator, `checkpoints.unified_checkpoint.UnifiedCheckpoint`, serves every such model. A new
model brings:

- a `UnifiedModel`: loaded weights behind two methods, `generate` and `answer`;
- a `UnifiedHandle`: what is known of the checkpoint before its weights load, and `load`;
- a function in `checkpoints/` that fills its own options and returns
  `UnifiedCheckpoint(handle=..., device=...)`, named in the registry.

What only some models can do is a protocol of its own, which a `UnifiedHandle` implements or not:
`RefinableModel` here; training, export and size estimates in `alphagrpo.policies.policy_protocols`.

Sampling settings belong to each model: its `UnifiedHandle` holds them and states them in its
identity. Knows no architecture, no file and no benchmark; imports no model library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from alphabench.types import NotGenerated

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a model can do apart from text to image."""

    edits: bool
    """Takes a source image with an instruction."""
    thinks: bool
    """Can generate a chain of thought before the image."""
    answers: bool
    """Answers questions about images with text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationTask:
    """A request for one image."""

    prompt: str
    """What to generate, or how to change `source`."""
    seed: int
    """Decides all noise and every sampled token of this task, in whatever batch it stands."""
    source: Image | None = None
    """The image to edit, RGB and upright."""
    width: int | None = None
    """Pixels; None leaves the size to the model's settings, or to `source`."""
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """An image, and the model's thought before it."""

    image: Image
    """RGB."""
    thought: str | None = None
    """None without thinking."""
    thought_cut: bool = False
    """The thought reached the token limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTask:
    """One text to answer or to continue."""

    text: str
    seed: int = 0
    """Only matters where tokens are sampled."""
    images: tuple[Image, ...] = ()
    """Shown before the text, in order; RGB and upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAnswer:
    """The model's text."""

    text: str
    cut: bool = False
    """It reached the token limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineTask:
    """One generated image that is to be improved."""

    prompt: str
    """What the image was generated for."""
    image: Image
    """RGB."""
    seed: int
    """Decides all noise and every sampled token of this task, in whatever batch it stands."""


class UnifiedModel(Protocol):
    """Loaded weights; each result depends on its task alone.

    Batch and order change nothing beyond rounding.
    """

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> Sequence[GenerationResult | NotGenerated]:
        """One image, or why there is none, for each task in order.

        Args:
            tasks: with and without a source image, of any sizes.
            think: write a thought before each image; only where `Abilities.thinks`.
        """
        ...

    def answer(self, tasks: Sequence[AnswerTask]) -> Sequence[TextAnswer]:
        """One answer for each task in order; only where `Abilities.answers`."""
        ...


class UnifiedHandle(Protocol):
    """A checkpoint whose files and options were checked; can be pickled."""

    @property
    def name(self) -> str:
        """As the user wrote it, for messages."""
        ...

    @property
    def abilities(self) -> Abilities: ...

    @property
    def think(self) -> bool:
        """Whether it thinks before each image."""
        ...

    @property
    def identity(self) -> Mapping[str, str]:
        """Kind, weights and every setting that decides a pixel, thinking among them."""
        ...

    @property
    def licences(self) -> Mapping[str, str]:
        """Model -> licence, or `unknown`."""
        ...

    @property
    def batch_size(self) -> int:
        """Tasks in one call."""
        ...

    @property
    def suggested_evaluator(self) -> str | None:
        """The evaluator for its images, where that is not the benchmark's default."""
        ...

    def for_benchmark(self, benchmark: str) -> UnifiedHandle:
        """The same checkpoint with the settings published for `benchmark`, a card's name.

        Options that the user set stay; a benchmark without published settings changes nothing.
        """
        ...

    def load(self, device: str) -> UnifiedModel:
        """Fetch and load the weights.

        Raises:
            AlphaBenchError: they cannot be fetched, are broken, or do not fit into memory.
        """
        ...


class ImageRefiner(Protocol):
    """Loaded weights with the settings of refinement; each result depends on its task alone."""

    def refine(self, tasks: Sequence[RefineTask]) -> Sequence[GenerationResult | NotGenerated]:
        """One improved image for each task in order, with the reflection as its thought.

        `NotGenerated` where there is none: the image then stays as it is.
        """
        ...


@runtime_checkable
class RefinableModel(Protocol):
    """A `UnifiedHandle` whose model can look at its own image and generate a better one."""

    def refinement_identity(self) -> Mapping[str, str]:
        """Every setting of refinement that decides a pixel: entries added to the identity.

        Keys begin with `refine.`, except for settings that the checkpoint's identity has anyway.
        """
        ...

    def refiner(self, model: UnifiedModel) -> ImageRefiner:
        """The refiner over weights that `load` of the same object returned."""
        ...
