"""Options of a BAGEL checkpoint, and how they override its sampling settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.models.bagel.guidance import Renorm
from alphabench.models.bagel.sampling_config import BagelSampling, DtypeName

_GUIDANCE: Final = ("text_scale", "image_scale", "low", "high", "renorm", "renorm_floor")
_DIRECT: Final = (
    "timesteps", "shift", "width", "height", "latent_longest", "latent_shortest", "temperature",
    "max_think_tokens", "max_answer_tokens", "dtype", "batch_size", "think_prompt",
    "reflect_prompt",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BagelOptions:
    """Options of a BAGEL checkpoint; others come from preset or folder."""

    preset: str = "auto"
    """Published settings by name; auto: those of the benchmark. none: the released defaults."""
    timesteps: int | None = None
    """Points of the schedule; there is one Euler step fewer."""
    shift: float | None = None
    """Timestep shift of the schedule."""
    text_scale: float | None = None
    """Guidance by text; 1 or less: none."""
    image_scale: float | None = None
    """Guidance by the source image of an edit; 1 or less: none."""
    low: float | None = None
    """Guidance acts at times above this one."""
    high: float | None = None
    """Guidance acts at times up to this one."""
    renorm: Renorm | None = None
    """What is rescaled to the length of the unguided velocity."""
    renorm_floor: float | None = None
    """The least factor that renormalisation applies; 1 switches it off."""
    width: int | None = None
    """Pixels, for text to image, where a request names no size."""
    height: int | None = None
    """Pixels, for text to image, where a request names no size."""
    latent_longest: int | None = None
    """Longest side of a source image, and so of the edited one."""
    latent_shortest: int | None = None
    """Shortest side of the same."""
    think: bool = False
    """Generate a chain of thought before each image."""
    inferencer: Path | None = None
    """Upstream's inferencer.py, to read its thinking prompt from; it is not executed."""
    think_prompt: str | None = None
    """The prompt before a thought."""
    reflect_prompt: str | None = None
    """Asks to fix an image; contains `{prompt}`."""
    temperature: float | None = None
    """Of the tokens in thoughts; 0 takes the most likely."""
    max_think_tokens: int | None = None
    """A longer thought is cut off."""
    max_answer_tokens: int | None = None
    """A longer answer is cut off."""
    dtype: DtypeName | None = None
    """Of the weights; the autoencoder's stay float32."""
    batch_size: int | None = None
    """Images in one batch; above 1, last bits may differ."""
    compile: bool = False
    """Generate with layers that torch.compile makes of the model; last bits may differ."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    lora_file: str | None = None
    """Which file, where the LoRA folder or repository holds several."""
    lora_scale: float = 1.0
    """Factor on the LoRA's own scale."""
    cache_dir: Path | None = None
    """Cache of hub files; none: the hub client's default."""
    offline: bool = False
    """Use only cached files; do not contact the hub."""

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height are given together or not at all")
        if self.inferencer is not None and not self.think:
            raise ValueError("inferencer only matters with think=true")
        if self.inferencer is not None and self.think_prompt is not None:
            raise ValueError("think_prompt and inferencer both give the thinking prompt")


def with_options(base: BagelSampling, options: BagelOptions) -> BagelSampling:
    """`base`, overridden by the user's options.

    Raises:
        ValueError: a value that is not allowed.
    """
    guidance = _given(options, _GUIDANCE)
    return dataclasses.replace(
        base,
        **_given(options, _DIRECT),
        draw=dataclasses.replace(base.draw, **{**guidance, "image_scale": base.draw.image_scale}),
        edit=dataclasses.replace(base.edit, **guidance),
    )


def _given(options: BagelOptions, names: tuple[str, ...]) -> dict[str, Any]:
    pairs = ((name, getattr(options, name)) for name in names)
    return {name: value for name, value in pairs if value is not None}
