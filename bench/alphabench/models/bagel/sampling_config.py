"""Sampling settings of a BAGEL-type model: sizes, schedule, guidance, chain of thought.

The released model's settings are the defaults. A checkpoint folder may bring its own in
`alphabench.json`: a flat object whose keys are `SamplingFile`'s fields; what it leaves out stays as
released. Knows no weights and no benchmark.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from alphabench.core import strict_filling
from alphabench.models.bagel.guidance import Guidance, Renorm

FOLDER_FILE: Final = "alphabench.json"
DtypeName = Literal["stored", "float32", "float16", "bfloat16"]
"""stored: as in the weights file."""
OWN_THINK_PROMPT: Final = (
    "Before you draw, plan the picture in words. Write the plan between <think> and </think>, "
    "then draw what was asked."
)
"""AlphaBench's own; the prompt that the released model was trained with is its authors'."""
OWN_REFLECT_PROMPT: Final = (
    "This picture was meant to show: {prompt} It does not. Find out what is wrong with it, say how "
    "it has to be changed, and draw it again with that change."
)
"""Asks to fix an image. It presupposes a fault, since models that are asked for one see none."""
DRAW: Final = Guidance()
MOST_TIMESTEPS: Final = 1000
EDIT: Final = Guidance(image_scale=2.0, low=0.0, renorm="text_channel")


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelSampling:
    """Every setting that decides an image, apart from weights, prompt and seed."""

    timesteps: int = 50
    """Points of the schedule; there is one Euler step fewer."""
    shift: float = 3.0
    draw: Guidance = DRAW
    """For text to image, where the branch without images would be the same."""
    edit: Guidance = EDIT
    """Where there is a source image."""
    width: int = 1024
    """Pixels, for text to image."""
    height: int = 1024
    latent_longest: int = 1024
    """Longest side of a source image, and so of the edited one."""
    latent_shortest: int = 512
    patch_longest: int = 980
    """Longest side of an image for the vision encoder."""
    patch_shortest: int = 224
    think_prompt: str = OWN_THINK_PROMPT
    """Read first when thinking."""
    reflect_prompt: str = OWN_REFLECT_PROMPT
    """Asks to fix an image that was generated for `{prompt}`."""
    temperature: float = 0.0
    """Of sampled text tokens; 0 takes the most likely."""
    max_think_tokens: int = 999
    """Limit; upstream's limits count the start token too, and are one more."""
    max_answer_tokens: int = 499
    dtype: DtypeName = "stored"
    batch_size: int = 1
    """Images generated in one batch; above 1, last bits may differ."""
    suggested_evaluator: str | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if "{prompt}" not in self.reflect_prompt:
            raise ValueError("reflect_prompt does not contain {prompt}")
        if not 2 <= self.timesteps <= MOST_TIMESTEPS:
            raise ValueError(
                f"timesteps must be 2 or more and at most {MOST_TIMESTEPS}, not {self.timesteps}"
            )
        if self.dtype not in get_args(DtypeName):
            raise ValueError(f"dtype is one of {get_args(DtypeName)}, not {self.dtype!r}")
        if self.temperature < 0 or self.shift <= 0:
            raise ValueError("temperature must not be negative, and shift must be positive")


_COUNTS: Final = (
    "width", "height", "latent_longest", "latent_shortest", "patch_longest", "patch_shortest",
    "max_think_tokens", "max_answer_tokens", "batch_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceFile:
    """`draw` and `edit` in `alphabench.json`, as far as they differ from the released ones."""

    text_scale: float | None = None
    image_scale: float | None = None
    low: float | None = None
    high: float | None = None
    renorm: Renorm | None = None
    renorm_floor: float | None = None

    def over(self, base: Guidance) -> Guidance:
        return dataclasses.replace(base, **_set_fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingFile:
    """The fields of `alphabench.json` in a checkpoint folder; see `BagelSampling`."""

    timesteps: int | None = None
    shift: float | None = None
    draw: GuidanceFile = field(default_factory=GuidanceFile)
    edit: GuidanceFile = field(default_factory=GuidanceFile)
    width: int | None = None
    height: int | None = None
    latent_longest: int | None = None
    latent_shortest: int | None = None
    patch_longest: int | None = None
    patch_shortest: int | None = None
    think_prompt: str | None = None
    reflect_prompt: str | None = None
    temperature: float | None = None
    max_think_tokens: int | None = None
    max_answer_tokens: int | None = None
    dtype: str | None = None
    batch_size: int | None = None
    suggested_evaluator: str | None = None
    licence: str | None = None
    """Of the weights, as an SPDX identifier or as text."""

    def over(self, base: BagelSampling) -> BagelSampling:
        """`base`, overridden by the file.

        Raises:
            ValueError: a value that is not allowed.
        """
        fields = {key: value for key, value in _set_fields(self).items() if key != "licence"}
        fields |= {"draw": self.draw.over(base.draw), "edit": self.edit.over(base.edit)}
        return dataclasses.replace(base, **fields)


def read_sampling_file(content: Mapping[str, Any], *, name: str) -> SamplingFile:
    """The content of `alphabench.json` in the checkpoint `name`.

    Raises:
        AlphaBenchError: an unknown key (with the nearest known one), or a value of the wrong type.
    """
    return strict_filling.fill_dataclass(
        SamplingFile, content, strict_filling.JSON, path=f"{FOLDER_FILE} of {name!r}"
    )


def _set_fields(instance: Any) -> dict[str, Any]:
    pairs = ((one.name, getattr(instance, one.name)) for one in dataclasses.fields(instance))
    return {key: value for key, value in pairs if value is not None}
