"""A diffusers pipeline as a checkpoint: a folder or hub repository with model_index.json.

One CPU noise generator for each image, seeded by its request. With batch_size=1, the default, an
image depends on nothing but its request. In a larger batch it starts from the same noise, but
kernels round differently by batch (measured on tiny random pipelines on a CPU: float32 0 to 1,
bfloat16 0 to 2 of 255 levels), so whether images are batched is part of the identity.

Knows no benchmark and no image file. Library versions are recorded by the run.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from alphabench.checkpoints import lora, presets
from alphabench.checkpoints.diffusers_loading import load_pipeline, shift_key
from alphabench.checkpoints.diffusers_options import (
    DiffusersOptions,
    PipelineSampling,
    resolve_sampling,
)
from alphabench.checkpoints.editing import check_edits, image_argument, takes_edits
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill
from alphabench.images import UnreadableImageError, image_of, to_rgb
from alphabench.types import ImageRequest, NotGenerated
from alphabench.weights import hub
from alphabench.weights.location import PipelineFiles, locate_pipeline
from alphabench.weights.strict_loading import quiet
from alphabench.weights.weight_files import Consent

if TYPE_CHECKING:
    from PIL.Image import Image

_OWNER: Final = "a diffusers checkpoint"


def _with_negative_prompt(
    preset: presets.PipelinePreset, source: PipelineFiles
) -> presets.PipelinePreset:
    negative_prompt = presets.negative_prompt_in(source.card())
    if negative_prompt is None:
        raise AlphaBenchError(
            f"the family {preset.family!r} is sampled with its authors' negative prompt, and "
            f"{source.name!r} has no model card (README.md) that gives it",
            hint="put the model card beside the weights, or write --set negative_prompt=TEXT",
        )
    return replace(preset, negative_prompt=negative_prompt)


def open_diffusers(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> DiffusersCheckpoint:
    """Open a pipeline folder or hub repository; see `DiffusersOptions`.

    Raises:
        AlphaBenchError: anything that makes it unusable and shows without loading weights.
    """
    return DiffusersCheckpoint.open(
        location, fill(DiffusersOptions, options, owner=_OWNER), lora_name=lora, device=device
    )


@dataclass(slots=False, kw_only=True, eq=False)
class DiffusersCheckpoint:
    """A pipeline that loads at its first `generate`, and can be pickled until then."""

    source: PipelineFiles
    options: DiffusersOptions
    sampling: PipelineSampling
    adapter: lora.Lora | None
    device: str
    _pipeline: Any = field(default=None, repr=False)

    @classmethod
    def open(
        cls, location: str, options: DiffusersOptions, *, lora_name: str | None, device: str
    ) -> DiffusersCheckpoint:
        access = hub.HubAccess(cache_dir=options.cache_dir, offline=options.offline)
        source = locate_pipeline(
            location,
            revision=options.revision,
            variant=options.variant,
            consent=Consent(pickle=options.allow_pickle, code=options.trust_remote_code),
            access=access,
        )
        if options.family is None:
            preset = presets.choose_preset(
                source.index.pipeline_class, location, source.read_config
            )
        elif (chosen := presets.preset_named(options.family)) is not None:
            preset = chosen
        else:
            raise unknown_name(
                "family of diffusion models", options.family, presets.preset_families()
            )
        if preset.negative_prompt_in_card and options.negative_prompt is None:
            preset = _with_negative_prompt(preset, source)
        sampling = resolve_sampling(options, preset, name=location)
        if sampling.shift is not None:
            shift_key(source.read_scheduler(), name=location)
        adapter = None
        if lora_name is not None:
            adapter = lora.find(
                lora_name, file=options.lora_file, strength=options.lora_scale, access=access
            )
            lora.check_base(adapter, source.modules(), owner=source.index.pipeline_class)
        return cls(
            source=source, options=options, sampling=sampling, adapter=adapter, device=device
        )

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """None individually: what the pipeline does not support is refused for the complete run.

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
        """The loaded pipeline, for uses beyond generation, such as training.

        Raises:
            AlphaBenchError: it cannot be loaded.
        """
        if self._pipeline is None:
            self._pipeline = load_pipeline(
                self.source, self.options, self.sampling, self.adapter, self.device
            )
        return self._pipeline

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        pipeline_class = self.source.index.pipeline_class
        check_edits(requests, pipeline_class)
        self.pipeline()
        results: dict[str, Image | NotGenerated] = {}
        # A pipeline that edits would treat the images of a batch as several views of one.
        batch_size = 1 if takes_edits(pipeline_class) else self.options.batch_size
        for batch in _batches(requests, batch_size):
            images = self._generate_batch(batch)
            results.update(zip((request.id for request in batch), images, strict=True))
        return [results[request.id] for request in requests]

    def _generate_batch(self, batch: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        """One call of the pipeline; all requests have the same size."""
        import numpy as np
        import torch

        parameters = inspect.signature(self._pipeline.__call__).parameters
        width = batch[0].width or self.sampling.width
        height = batch[0].height or self.sampling.height
        arguments = {
            "num_inference_steps": self.sampling.steps,
            self.sampling.guidance_name: self.sampling.guidance,
            "negative_prompt": self.sampling.negative_prompt,
            "max_sequence_length": self.sampling.max_sequence_length,
            "width": width,
            "height": height,
            # Otherwise Sana and PixArt generate at their nearest size and resize the image.
            "use_resolution_binning": False if "use_resolution_binning" in parameters else None,
            # As floats: converted to levels, NaN would be black.
            "output_type": "np" if "output_type" in parameters else None,
        }
        ignore_nan = np.errstate(invalid="ignore")  # a safety checker casts NaN to levels, too
        with quiet(), ignore_nan, _DecodedCheck(self._pipeline, len(batch)) as decoder_check:
            output = self._pipeline(
                prompt=[request.sample.prompt for request in batch],
                generator=[torch.Generator("cpu").manual_seed(request.seed) for request in batch],
                **{key: value for key, value in arguments.items() if value is not None},
                **image_argument(batch),
            )
        flagged = getattr(output, "nsfw_content_detected", None) or [False] * len(batch)
        return [
            NotGenerated(status="failed", reason="the pipeline made NaN or infinity")
            if broken
            else NotGenerated(status="refused", reason="flagged by the checkpoint's safety checker")
            if flag
            else _sized(image, width, height)
            for image, flag, broken in zip(
                output.images, flagged, decoder_check.broken, strict=True
            )
        ]


class _DecodedCheck(contextlib.AbstractContextManager["_DecodedCheck"]):
    """Checks the autoencoder's output for NaN and infinity, before clamping makes them white."""

    def __init__(self, pipeline: Any, n_images: int) -> None:
        self.broken = [False] * n_images
        self._decoder = getattr(getattr(pipeline, "vae", None), "decoder", None)
        self._hook: Any = None

    def __enter__(self) -> _DecodedCheck:
        if self._decoder is not None:
            self._hook = self._decoder.register_forward_hook(self._check)
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _check(self, _module: object, _inputs: object, output: Any) -> None:
        values = output[0] if isinstance(output, tuple) else output
        finite = values.isfinite()
        if len(values) == len(self.broken):
            rows = finite.flatten(1).all(dim=1).tolist()
            self.broken = [was or not row for was, row in zip(self.broken, rows, strict=True)]
        elif not finite.all():  # tiles of images, which cannot be assigned
            self.broken = [True] * len(self.broken)


def _batches(requests: Sequence[ImageRequest], batch_size: int) -> Iterator[Sequence[ImageRequest]]:
    """Requests of one size together, `batch_size` of them at most."""
    by_size: dict[tuple[int | None, int | None], list[ImageRequest]] = {}
    for request in requests:
        by_size.setdefault((request.width, request.height), []).append(request)
    for group in by_size.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def _sized(output: object, width: int | None, height: int | None) -> Image | NotGenerated:
    """The image as RGB, of the requested size; some pipelines round it silently."""
    try:
        image = to_rgb(image_of(output))
    except UnreadableImageError as error:
        return NotGenerated(status="failed", reason=f"the pipeline made no image: {error}")
    if width is not None and image.size != (width, height):
        raise AlphaBenchError(
            f"the pipeline made {image.width}x{image.height} pixels where {width}x{height} "
            "were requested",
            hint="choose width and height as multiples of 16 or 32",
        )
    return image
