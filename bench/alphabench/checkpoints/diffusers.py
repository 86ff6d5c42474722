"""A diffusers pipeline as a checkpoint: a folder or hub repository with model_index.json.

One CPU noise generator for each image, seeded by its request. With batch_size=1, the default, an
image depends on nothing but its request. In a larger batch it starts from the same noise, but
kernels round differently by batch (measured on tiny random pipelines on a CPU: float32 0 to 1,
bfloat16 0 to 2 of 255 levels), so whether images are batched is part of the identity.

Knows no benchmark and no image file. Library versions are recorded by the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from alphabench.checkpoints import image_text_processor, lora, presets
from alphabench.checkpoints.diffusers_loading import load_pipeline, shift_key
from alphabench.checkpoints.diffusers_options import (
    DiffusersOptions,
    PipelineSampling,
    resolve_sampling,
)
from alphabench.checkpoints.editing import check_edits
from alphabench.checkpoints.pipeline_calls import sampled_images
from alphabench.core.errors import AlphaBenchError, unknown_name
from alphabench.core.options import fill
from alphabench.types import ImageRequest, NotGenerated
from alphabench.weights import hub, memory
from alphabench.weights.location import PipelineFiles, locate_pipeline
from alphabench.weights.weight_files import Consent

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDTHS: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
"""Bytes of one number."""
_OWNER: Final = "a diffusers checkpoint"


def _ways(options: DiffusersOptions) -> dict[str, str]:
    """Settings that change no image, or its last bits only."""
    return {"batch_size": str(options.batch_size), "offload": options.offload}


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
    defaults: PipelineSampling
    """Without the user's options."""
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
        defaults = resolve_sampling(DiffusersOptions(), preset, name=location)
        if sampling.shift is not None:
            shift_key(source.read_scheduler(), name=location)
        adapter = None
        if lora_name is not None:
            adapter = lora.find(
                lora_name, file=options.lora_file, strength=options.lora_scale, access=access
            )
            lora.check_base(adapter, source.modules(), owner=source.index.pipeline_class)
        return cls(
            source=source,
            options=options,
            sampling=sampling,
            defaults=defaults,
            adapter=adapter,
            device=device,
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
        if image_text_processor.replaced_processors(self.source.index.components):
            identity |= image_text_processor.IDENTITY
        if self.adapter is not None:
            identity["lora"] = self.adapter.identity()
        return identity

    @property
    def settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        return {**self.sampling.identity(), **_ways(self.options)}

    @property
    def default_settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        return {**self.defaults.identity(), **_ways(DiffusersOptions())}

    def weight_size(self) -> memory.WeightSize | None:
        """See `MeasuresWeights`; also None where weights are pickles."""
        source = self.source
        local = source.folder or (source.snapshot.cached if source.snapshot else None)
        if local is None or any(one.endswith((".bin", ".pt", ".pth")) for one in source.needed):
            return None
        paths = memory.safetensors_among(local, source.needed).values()
        loaded = memory.stored_bytes(paths, width=_WIDTHS[self.sampling.dtype], name=source.name)
        return memory.WeightSize(stored=sum(path.stat().st_size for path in paths), loaded=loaded)

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
        batch_size = self.options.batch_size
        return sampled_images(
            self.pipeline(), pipeline_class, self.sampling, requests, batch_size=batch_size
        )
