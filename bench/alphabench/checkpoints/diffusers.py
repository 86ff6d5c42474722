"""A diffusers pipeline as a checkpoint: a folder or hub repository with model_index.json.

One CPU noise generator for each image, seeded by its request. With batch_size=1, the default, an
image depends on nothing but its request. In a larger batch it starts from the same noise, but
kernels round differently by batch (measured on tiny random pipelines on a CPU: float32 0 to 1,
bfloat16 0 to 2 of 255 levels), so whether images are batched is part of the identity.

Does not know benchmarks or files of pictures. Library versions are recorded by the run.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from alphabench.checkpoints import lora, presets
from alphabench.checkpoints.editing import check_edits, edits, picture_argument
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill
from alphabench.images import MAX_PIXELS, UnreadableImageError, image_of, to_rgb
from alphabench.types import ImageRequest, NotGenerated
from alphabench.weights import hub
from alphabench.weights.location import Source, find_source
from alphabench.weights.strict_loading import quiet, strict_loading
from alphabench.weights.weight_files import Consent

if TYPE_CHECKING:
    from PIL.Image import Image

_OWNER: Final = "a diffusers checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersOptions:
    """Options of a diffusers checkpoint; where one is left out, the family's preset decides."""

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
    """What guidance leads away from, where the family has it."""
    max_sequence_length: int | None = None
    """Prompt tokens, where the family has such a limit."""
    shift: float | None = None
    """Timestep shift of a flow-matching scheduler; left out: as in its config."""
    family: str | None = None
    """A preset by name, where the one chosen from class, name and config is wrong."""
    safety_checker: bool = True
    """Ask the checkpoint's own checker, if it has one; images it flags count as refused."""
    batch_size: int = 1
    """Images in one call of the pipeline; above 1, last bits may differ."""
    variant: str | None = None
    """Variant of the weights, such as fp16."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep weights in main memory until they are needed; changes no image."""
    lora_file: str | None = None
    """Which file, where the LoRA folder or repository holds several."""
    lora_scale: float = 1.0
    """Factor on the LoRA's own scale."""
    allow_pickle: bool = False
    """Consent to weights that can run any code when they are opened."""
    trust_remote_code: bool = False
    """Consent to run Python code that lies beside the weights."""
    cache_dir: Path | None = None
    """Where hub files are kept; none: the hub client's own cache."""
    offline: bool = False
    """Do not ask the hub; use what is cached."""

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
class Sampling:
    """Options and preset, resolved: everything that is passed to the pipeline's call."""

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
        """Each setting as text; what nobody set is the pipeline's own and bound to its weights."""
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


def resolve(options: DiffusersOptions, preset: presets.Preset, *, name: str) -> Sampling:
    """Fill what the options leave out from the preset.

    Raises:
        AlphaBenchError: an option that the family has no use for.
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

    def own(key: str) -> Any:
        value = getattr(options, key)
        return getattr(preset, key) if value is None else value

    return Sampling(
        family=preset.family, guidance_name=preset.guidance_name, shift=options.shift,
        **{
            key: own(key)
            for key in (
                "steps", "guidance", "width", "height", "dtype", "negative_prompt",
                "max_sequence_length",
            )
        },
    )  # fmt: skip


def _with_negative_prompt(preset: presets.Preset, source: Source) -> presets.Preset:
    found = presets.negative_prompt_in(source.card())
    if found is None:
        raise AlphaBenchError(
            f"the family {preset.family!r} is sampled with its authors' own negative prompt, and "
            f"{source.name!r} has no model card (README.md) that gives it",
            hint="put the model card beside the weights, or write --set negative_prompt=TEXT",
        )
    return replace(preset, negative_prompt=found)


def open_diffusers(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> DiffusersCheckpoint:
    """Open a pipeline folder or hub repository; see `DiffusersOptions`.

    Raises:
        AlphaBenchError: all that makes it unusable and can be seen without loading weights.
    """
    return DiffusersCheckpoint.open(
        location, fill(DiffusersOptions, options, owner=_OWNER), lora_name=lora, device=device
    )


@dataclass(slots=False, kw_only=True, eq=False)
class DiffusersCheckpoint:
    """A pipeline that loads at its first `generate`, and can be pickled until then."""

    source: Source
    options: DiffusersOptions
    sampling: Sampling
    adapter: lora.Lora | None
    device: str
    _pipeline: Any = field(default=None, repr=False)

    @classmethod
    def open(
        cls, location: str, options: DiffusersOptions, *, lora_name: str | None, device: str
    ) -> DiffusersCheckpoint:
        access = hub.HubAccess(cache_dir=options.cache_dir, offline=options.offline)
        source = find_source(
            location,
            revision=options.revision,
            variant=options.variant,
            consent=Consent(pickle=options.allow_pickle, code=options.trust_remote_code),
            access=access,
        )
        if options.family is None:
            preset = presets.choose(source.index.pipeline_class, location, source.read_config)
        elif (chosen := presets.named(options.family)) is not None:
            preset = chosen
        else:
            raise unknown_name("family of diffusion models", options.family, presets.families())
        if preset.negative_prompt_in_card and options.negative_prompt is None:
            preset = _with_negative_prompt(preset, source)
        sampling = resolve(options, preset, name=location)
        if sampling.shift is not None:
            _shift_key(source.read_scheduler(), name=location)
        found = None
        if lora_name is not None:
            found = lora.find(
                lora_name, file=options.lora_file, strength=options.lora_scale, access=access
            )
            lora.check_base(found, source.modules(), owner=source.index.pipeline_class)
        return cls(source=source, options=options, sampling=sampling, adapter=found, device=device)

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """None is declined alone; what the whole pipeline is not made for is refused at once.

        Raises:
            AlphaBenchError: see `check_edits`.
        """
        check_edits(requests, self.source.index.pipeline_class)
        return {}

    @cached_property
    def identity(self) -> Mapping[str, str]:
        identity = {
            "kind": "diffusers",
            "weights": self.source.identity(),
            "pipeline": self.source.index.pipeline_class,
            **self.sampling.identity(),
            "batched": "yes" if self.options.batch_size > 1 else "no",
        }
        if self.options.variant is not None:
            identity["variant"] = self.options.variant
        if "safety_checker" in self.source.index.components:
            identity["safety_checker"] = "on" if self.options.safety_checker else "off"
        if self.adapter is not None:
            identity["lora"] = self.adapter.identity()
        return identity

    @property
    def licences(self) -> Mapping[str, str]:
        return {self.source.name: self.source.licence()}

    def pipeline(self) -> Any:
        """The loaded pipeline, for what a generator does not do: training it, for one.

        Raises:
            AlphaBenchError: it cannot be loaded.
        """
        if self._pipeline is None:
            self._pipeline = load(
                self.source, self.options, self.sampling, self.adapter, self.device
            )
        return self._pipeline

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        pipeline_class = self.source.index.pipeline_class
        check_edits(requests, pipeline_class)
        self.pipeline()
        made: dict[str, Image | NotGenerated] = {}
        # A pipeline that edits takes the pictures of a batch for several views of one.
        together = 1 if edits(pipeline_class) else self.options.batch_size
        for batch in _batches(requests, together):
            images = self._draw(batch)
            made.update(zip((request.id for request in batch), images, strict=True))
        return [made[request.id] for request in requests]

    def _draw(self, batch: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        """One call of the pipeline; all requests have the same size."""
        import numpy as np
        import torch

        takes = inspect.signature(self._pipeline.__call__).parameters
        width = batch[0].width or self.sampling.width
        height = batch[0].height or self.sampling.height
        given = {
            "num_inference_steps": self.sampling.steps,
            self.sampling.guidance_name: self.sampling.guidance,
            "negative_prompt": self.sampling.negative_prompt,
            "max_sequence_length": self.sampling.max_sequence_length,
            "width": width,
            "height": height,
            # Or Sana and PixArt draw at the nearest of their own sizes and resize the picture.
            "use_resolution_binning": False if "use_resolution_binning" in takes else None,
            # Before they become levels, where NaN would be black.
            "output_type": "np" if "output_type" in takes else None,
        }
        silent = np.errstate(invalid="ignore")  # a safety checker casts NaN to levels, too
        with quiet(), silent, _Decoded(self._pipeline, len(batch)) as decoded:
            output = self._pipeline(
                prompt=[request.sample.prompt for request in batch],
                generator=[torch.Generator("cpu").manual_seed(request.seed) for request in batch],
                **{key: value for key, value in given.items() if value is not None},
                **picture_argument(batch),
            )
        flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
        return [
            NotGenerated(status="failed", reason="the pipeline made NaN or infinity")
            if broken
            else NotGenerated(
                status="refused", reason="flagged by the checkpoint's own safety checker"
            )
            if flag
            else _sized(image, width, height)
            for image, flag, broken in zip(output.images, flagged, decoded.broken, strict=True)
        ]


class _Decoded(contextlib.AbstractContextManager["_Decoded"]):
    """Sees what the autoencoder decodes: behind it, clamping makes white of infinity."""

    def __init__(self, pipeline: Any, n_images: int) -> None:
        self.broken = [False] * n_images
        self._decoder = getattr(getattr(pipeline, "vae", None), "decoder", None)
        self._hook: Any = None

    def __enter__(self) -> _Decoded:
        if self._decoder is not None:
            self._hook = self._decoder.register_forward_hook(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _look(self, _module: object, _given: object, made: Any) -> None:
        values = made[0] if isinstance(made, tuple) else made
        finite = values.isfinite()
        if len(values) == len(self.broken):
            rows = finite.flatten(1).all(dim=1).tolist()
            self.broken = [was or not row for was, row in zip(self.broken, rows, strict=True)]
        elif not finite.all():  # parts of images, which cannot be told apart
            self.broken = [True] * len(self.broken)


def _batches(requests: Sequence[ImageRequest], batch_size: int) -> Iterator[Sequence[ImageRequest]]:
    """Requests of one size together, `batch_size` of them at most."""
    by_size: dict[tuple[int | None, int | None], list[ImageRequest]] = {}
    for request in requests:
        by_size.setdefault((request.width, request.height), []).append(request)
    for group in by_size.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _sized(made: object, width: int | None, height: int | None) -> Image | NotGenerated:
    """The image as RGB, of the size that was asked for; some pipelines round it silently."""
    try:
        image = to_rgb(image_of(made))
    except UnreadableImageError as error:
        return NotGenerated(status="failed", reason=f"the pipeline made no image: {error}")
    if width is not None and image.size != (width, height):
        raise AlphaBenchError(
            f"the pipeline made {image.width}x{image.height} pixels where {width}x{height} "
            "were asked for",
            hint="choose width and height as multiples of 16 or 32",
        )
    return image


def load(
    source: Source,
    options: DiffusersOptions,
    sampling: Sampling,
    adapter: lora.Lora | None,
    device: str,
) -> Any:
    """The pipeline with weights, LoRA and scheduler in place, on its device.

    Raises:
        AlphaBenchError: the libraries cannot load it.
    """
    import torch
    from diffusers import DiffusionPipeline

    pipelines: Any = DiffusionPipeline
    folder = source.fetch()
    try:
        with strict_loading(source.name):
            pipeline = pipelines.from_pretrained(
                str(folder), **_load_arguments(source, options, getattr(torch, sampling.dtype))
            )
    except AlphaBenchError:
        raise
    except Exception as error:  # a boundary: three libraries raise whatever they like
        first = (str(error).strip().splitlines() or [""])[0]
        raise AlphaBenchError(
            f"{source.name!r} cannot be loaded: {type(error).__name__}: {first}",
            hint="fetch or save the checkpoint again, or update diffusers and transformers",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    _check_call(pipeline, sampling, name=source.name)
    if sampling.shift is not None:
        config = pipeline.scheduler.config
        change = {_shift_key(config, name=source.name): sampling.shift}
        pipeline.scheduler = type(pipeline.scheduler).from_config(config, **change)
    if adapter is not None:
        _bind(pipeline, adapter)
    try:
        with quiet():
            return _place(pipeline, options.offload, device)
    except (NotImplementedError, RuntimeError, AssertionError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise AlphaBenchError(
            f"{source.name!r} cannot be placed on {device!r}: {first}",
            hint="choose another device, or add --set offload=model",
        ) from error


def _bind(pipeline: Any, adapter: lora.Lora) -> None:
    from torch import nn

    from alphabench.checkpoints.lora_conversion import pipeline_converter

    parts = pipeline.components.items()
    lora.bind(
        {name: part for name, part in parts if isinstance(part, nn.Module)},
        adapter,
        owner=type(pipeline).__name__,
        convert=pipeline_converter(pipeline),
    )


def _load_arguments(source: Source, options: DiffusersOptions, dtype: Any) -> dict[str, Any]:
    from diffusers.pipelines import pipeline_utils

    # `dtype` took the place of `torch_dtype`; either is ignored or warned of by the other age.
    dtype_name = "dtype" if hasattr(pipeline_utils, "_resolve_dtype") else "torch_dtype"
    arguments: dict[str, Any] = {
        dtype_name: dtype,
        "use_safetensors": None if options.allow_pickle else True,
        "variant": options.variant,
        "local_files_only": True,
        "trust_remote_code": options.trust_remote_code,
    }
    if source.index.code is not None:
        arguments["custom_pipeline"] = str(source.fetch())
    if source.index.pipeline_class.startswith("StableDiffusionXL"):
        # Otherwise an installed watermark package would change pixels.
        arguments["add_watermarker"] = False
    if "safety_checker" in source.index.components and not options.safety_checker:
        arguments |= {"safety_checker": None, "requires_safety_checker": False}
    return arguments


def _check_call(pipeline: Any, sampling: Sampling, *, name: str) -> None:
    """Refuse settings that the pipeline's call does not take, before the first image."""
    takes = inspect.signature(pipeline.__call__).parameters
    for key, value in (
        (sampling.guidance_name, sampling.guidance),
        ("num_inference_steps", sampling.steps),
        ("negative_prompt", sampling.negative_prompt),
        ("max_sequence_length", sampling.max_sequence_length),
        ("width", sampling.width),
    ):
        if value is not None and key not in takes:
            raise AlphaBenchError(
                f"{type(pipeline).__name__} of {name!r} takes no {key}",
                hint="leave the option out",
            )


def _shift_key(config: Mapping[str, Any], *, name: str) -> str:
    """The scheduler's own word for the timestep shift."""
    if config.get("use_dynamic_shifting"):
        raise AlphaBenchError(
            f"the scheduler of {name!r} computes its shift from the image's size",
            hint="leave out the option shift",
        )
    for key in ("shift", "flow_shift"):
        if key in config:
            return key
    raise AlphaBenchError(
        f"the scheduler of {name!r} has no shift", hint="leave out the option shift"
    )


def _place(pipeline: Any, offload: str, device: str) -> Any:
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    if offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)
