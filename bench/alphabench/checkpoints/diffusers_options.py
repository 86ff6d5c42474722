"""Options of a diffusers checkpoint, and the sampling settings that they and a preset resolve to.

Sizes, types and prompts are checked here, before any weight loads. Imports no model library.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alphabench.checkpoints import presets
from alphabench.core.errors import AlphaBenchError
from alphabench.images import MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersOptions:
    """Options of a diffusers checkpoint; others come from the family's preset."""

    steps: int | None = None
    """Denoising steps."""
    guidance: float | None = None
    """Classifier-free or distilled guidance, whichever the family has."""
    width: int | None = None
    """Pixels, for requests that name no size."""
    height: int | None = None
    """Pixels, for requests that name no size."""
    dtype: presets.DtypeName | None = None
    """Of the weights while sampling."""
    negative_prompt: str | None = None
    """The negative prompt of guidance, where the family takes one."""
    max_sequence_length: int | None = None
    """Prompt tokens, where the family has such a limit."""
    shift: float | None = None
    """Timestep shift of a flow-matching scheduler; left out: as in its config."""
    family: str | None = None
    """A preset by name, where the one chosen from class, name and config is wrong."""
    safety_checker: bool = True
    """Run the checkpoint's safety checker, if it has one; images that it flags count as refused."""
    batch_size: int = 1
    """Images in one call of the pipeline; above 1, last bits may differ."""
    variant: str | None = None
    """Variant of the weights, such as fp16."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Where weights wait until they are needed; changes no image."""
    lora_file: str | None = None
    """Which file, where the LoRA folder or repository holds several."""
    lora_scale: float = 1.0
    """Factor on the LoRA's own scale."""
    allow_pickle: bool = False
    """Consent to weights that can run any code when they are loaded."""
    trust_remote_code: bool = False
    """Consent to run Python code that comes with the weights."""
    cache_dir: Path | None = None
    """Cache of hub files; none: the hub client's default."""
    offline: bool = False
    """Use only cached files; do not contact the hub."""

    def __post_init__(self) -> None:
        for name in ("steps", "width", "height", "batch_size", "max_sequence_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height are given together or not at all")
        if any(side is not None and side % 8 for side in (self.width, self.height)):
            raise ValueError(f"{self.width}x{self.height} is no size in steps of 8 pixels")
        if (self.width or 0) * (self.height or 0) > MAX_PIXELS:
            raise ValueError(f"{self.width}x{self.height} is over {MAX_PIXELS} pixels")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSampling:
    """Options and preset, resolved: all arguments of the pipeline's call."""

    family: str
    steps: int | None
    guidance: float | None
    guidance_name: str
    width: int | None
    height: int | None
    dtype: presets.DtypeName
    negative_prompt: str | None
    max_sequence_length: int | None
    shift: float | None

    def identity(self) -> dict[str, str]:
        """Each setting as text; those not set are the pipeline's defaults, fixed by its weights."""
        size = f"{self.width}x{self.height}" if self.width else None
        settings = {
            "family": self.family, "steps": self.steps, self.guidance_name: self.guidance,
            "size": size, "dtype": self.dtype, "negative_prompt": self.negative_prompt,
            "max_sequence_length": self.max_sequence_length, "shift": self.shift,
        }  # fmt: skip
        return {
            key: "pipeline default" if value is None else str(value)
            for key, value in settings.items()
        }


def resolve_sampling(
    options: DiffusersOptions, preset: presets.PipelinePreset, *, name: str
) -> PipelineSampling:
    """Fill what the options leave out from the preset.

    Raises:
        AlphaBenchError: an option that the family does not support.
    """
    if options.negative_prompt is not None and not preset.takes_negative_prompt:
        raise AlphaBenchError(
            f"the family {preset.family!r} of {name!r} takes no negative prompt",
            hint="leave out negative_prompt",
        )
    takes_length = preset.max_sequence_length is not None or preset.family == "other"
    if options.max_sequence_length is not None and not takes_length:
        raise AlphaBenchError(
            f"the family {preset.family!r} of {name!r} has no max_sequence_length",
            hint="leave out max_sequence_length",
        )

    def option_or_preset(key: str) -> Any:
        value = getattr(options, key)
        return getattr(preset, key) if value is None else value

    return PipelineSampling(
        family=preset.family, guidance_name=preset.guidance_name, shift=options.shift,
        **{
            key: option_or_preset(key)
            for key in (
                "steps", "guidance", "width", "height", "dtype", "negative_prompt",
                "max_sequence_length",
            )
        },
    )  # fmt: skip
