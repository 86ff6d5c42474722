"""What a unified multimodal model offers: it draws, edits, thinks before it draws, and answers.

One generator, `checkpoints.unified.UnifiedCheckpoint`, serves every such model. A third one brings:

- a `UnifiedModel`: loaded weights behind two methods, `generate` and `answer`;
- an `UnifiedHandle`: what is known of the checkpoint before its weights load, and `load`;
- a function in `checkpoints/` that fills its own options and returns
  `UnifiedCheckpoint(handle=..., device=...)`, named in the registry.

What only some models can do is a protocol of its own, which an `UnifiedHandle` implements or not:
`RefinableModel` here; training, export and size estimates in `alphagrpo.policies.protocols`.

Sampling settings are each model's own affair: its `UnifiedHandle` holds them and states them in its
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
    """What a model can do beside drawing from text."""

    edits: bool
    """Takes a source picture with an instruction."""
    thinks: bool
    """Can write a thought before it draws."""
    answers: bool
    """Answers questions about pictures in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationTask:
    """One picture to be drawn."""

    prompt: str
    """What to draw, or how to change `source`."""
    seed: int
    """Decides all noise and every drawn token of this task, in whatever batch it stands."""
    source: Image | None = None
    """The picture to edit, RGB and upright."""
    width: int | None = None
    """Pixels; None leaves the size to the model's settings, or to `source`."""
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """A picture, and what the model thought before."""

    image: Image
    """RGB."""
    thought: str | None = None
    """None where it was not asked to think."""
    thought_cut: bool = False
    """The thought met the limit of tokens before the model ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTask:
    """One text to be answered or continued."""

    text: str
    seed: int = 0
    """Only matters where tokens are drawn at random."""
    images: tuple[Image, ...] = ()
    """Shown before the text, in order; RGB and upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAnswer:
    """The model's own words."""

    text: str
    cut: bool = False
    """It met the limit of tokens."""


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
    """Loaded weights; a result depends on its own task alone.

    Batch and order change nothing beyond rounding.
    """

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> Sequence[GenerationResult | NotGenerated]:
        """One picture, or why there is none, for each task in order.

        Args:
            tasks: with and without a source picture, of any sizes.
            think: write a thought before each picture; only asked where `Abilities.thinks`.
        """
        ...

    def answer(self, tasks: Sequence[AnswerTask]) -> Sequence[TextAnswer]:
        """One answer for each task in order; only asked where `Abilities.answers`."""
        ...


class UnifiedHandle(Protocol):
    """A checkpoint whose files and options were looked into; can be pickled."""

    @property
    def name(self) -> str:
        """As the user wrote it, for messages."""
        ...

    @property
    def abilities(self) -> Abilities: ...

    @property
    def think(self) -> bool:
        """Whether its pictures are to be thought about first."""
        ...

    @property
    def identity(self) -> Mapping[str, str]:
        """Kind, weights and every setting that decides a pixel, thinking among them."""
        ...

    @property
    def licences(self) -> Mapping[str, str]:
        """Model -> licence, `unknown` where it is."""
        ...

    @property
    def batch_size(self) -> int:
        """How many tasks it likes in one call."""
        ...

    @property
    def suggested_evaluator(self) -> str | None:
        """Who should examine its pictures, where that is not the benchmark's default."""
        ...

    def for_benchmark(self, benchmark: str) -> UnifiedHandle:
        """The same checkpoint with what was published for `benchmark`, a card's name.

        What the user set stays; a benchmark without published settings changes nothing.
        """
        ...

    def load(self, device: str) -> UnifiedModel:
        """Fetch and load the weights.

        Raises:
            AlphaBenchError: they cannot be had, are broken, or do not fit into memory.
        """
        ...


class ImageRefiner(Protocol):
    """Loaded weights with the settings of refinement; a result depends on its own task alone."""

    def refine(self, tasks: Sequence[RefineTask]) -> Sequence[GenerationResult | NotGenerated]:
        """One improved image for each task in order, with the reflection as its thought.

        `NotGenerated` where there is none: the image then stays as it is.
        """
        ...


@runtime_checkable
class RefinableModel(Protocol):
    """An `UnifiedHandle` that can look at an image of its own and generate a better one."""

    def refinement_identity(self) -> Mapping[str, str]:
        """Every setting of refinement that decides a pixel: entries added to the identity.

        Keys begin with `refine.`, except for settings that the checkpoint's identity has anyway.
        """
        ...

    def refiner(self, model: UnifiedModel) -> ImageRefiner:
        """The refiner over weights that `load` of the same object returned."""
        ...
