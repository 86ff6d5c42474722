"""A diffusers pipeline that the caller loaded, as a checkpoint: sampled like one from a folder.

The family's published settings are the defaults. Its identity holds a digest of all weights, LoRA
layers included, so changed weights are another run. Loads nothing and moves nothing to a device.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from alphabench.checkpoints import presets
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

if TYPE_CHECKING:
    from PIL.Image import Image

OPTIONS: Final = (
    "steps",
    "guidance",
    "width",
    "height",
    "negative_prompt",
    "max_sequence_length",
    "family",
    "batch_size",
)
"""Those of `DiffusersOptions` that concern sampling; the others are about loading."""


def is_pipeline(candidate: object) -> bool:
    """Whether it is a `diffusers.DiffusionPipeline`; imports nothing."""
    return any(
        base.__name__ == "DiffusionPipeline" and base.__module__.startswith("diffusers.")
        for base in type(candidate).__mro__
    )


def open_loaded_pipeline(pipeline: Any, options: Mapping[str, str]) -> LoadedPipeline:
    """The pipeline as a checkpoint.

    Args:
        pipeline: a `DiffusionPipeline` on its device.
        options: those in `OPTIONS`, as text.

    Raises:
        AlphaBenchError: an option that is unknown, or that only takes effect while loading.
    """
    loading = {one.name for one in fields(DiffusersOptions)} - set(OPTIONS)
    for name in options:
        if name in loading:
            raise AlphaBenchError(
                f"the option {name!r} has no effect on a pipeline that is loaded already",
                hint="set it on the pipeline, or name the checkpoint instead of passing the object",
            )
    chosen = fill(DiffusersOptions, options, owner="a loaded pipeline")
    kind = type(pipeline).__name__
    name = str(getattr(pipeline, "name_or_path", None) or kind)
    if chosen.family is None:
        preset = presets.choose_preset(kind, name, lambda part: _config(pipeline, part))
    elif (named := presets.preset_named(chosen.family)) is not None:
        preset = named
    else:
        raise unknown_name("family of diffusion models", chosen.family, presets.preset_families())
    if preset.negative_prompt_in_card and chosen.negative_prompt is None:
        raise AlphaBenchError(
            f"the family {preset.family!r} is sampled with its authors' negative prompt, which a "
            "loaded pipeline does not hold",
            hint='give it: options={"negative_prompt": "..."}',
        )
    sampling = resolve_sampling(chosen, preset, name=name)
    dtype = str(getattr(pipeline, "dtype", "unknown")).removeprefix("torch.")
    return LoadedPipeline(
        pipeline=pipeline,
        name=name,
        sampling=replace(sampling, dtype=cast(presets.DtypeName, dtype)),
        batch_size=chosen.batch_size,
    )


@dataclass(kw_only=True, eq=False)
class LoadedPipeline:
    """A loaded pipeline and its sampling settings."""

    pipeline: Any
    name: str
    sampling: PipelineSampling
    batch_size: int

    @cached_property
    def identity(self) -> Mapping[str, str]:
        pipeline = self.pipeline
        checker = getattr(pipeline, "safety_checker", None)
        return {
            "kind": "loaded diffusers pipeline",
            "name": self.name,
            "weights": _weights_digest(pipeline),
            "pipeline": type(pipeline).__name__,
            "scheduler": _digest(_config(pipeline, "scheduler")),
            **self.sampling.identity(),
            "batched": "yes" if self.batch_size > 1 else "no",
            "safety_checker": "off" if checker is None else "on",
        }

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        """None individually: what the pipeline does not support is refused for the complete run.

        Raises:
            AlphaBenchError: see `check_edits`.
        """
        check_edits(requests, type(self.pipeline).__name__)
        return {}

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        with _without_bar(self.pipeline):
            return sampled_images(
                self.pipeline,
                type(self.pipeline).__name__,
                self.sampling,
                requests,
                batch_size=self.batch_size,
            )


@contextlib.contextmanager
def _without_bar(pipeline: Any) -> Iterator[None]:
    """The pipeline's own progress bar is off meanwhile: there would be one for each image."""
    before = getattr(pipeline, "_progress_bar_config", {})
    pipeline.set_progress_bar_config(disable=True)
    try:
        yield
    finally:
        pipeline.set_progress_bar_config(**before)


def _config(pipeline: Any, part: str) -> Mapping[str, Any]:
    config = getattr(getattr(pipeline, part, None), "config", {})
    config = config.to_dict() if hasattr(config, "to_dict") else config
    return dict(config) if isinstance(config, Mapping) else {}


def _digest(config: Mapping[str, Any]) -> str:
    text = json.dumps({k: str(v) for k, v in config.items()}, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _weights_digest(pipeline: Any) -> str:
    """`sha256:<hex>` over names, types, shapes and content of all tensors, and LoRA scales.

    Raises:
        AlphaBenchError: a tensor cannot be read.
    """
    import torch

    total = hashlib.sha256()
    for part, module in sorted(pipeline.components.items()):
        if not isinstance(module, torch.nn.Module):
            continue
        for name, tensor in sorted(module.state_dict().items()):
            if not isinstance(tensor, torch.Tensor) or tensor.is_meta:
                raise AlphaBenchError(
                    f"the weights {part}.{name} of the pipeline cannot be read: they are offloaded",
                    hint="pass a pipeline with its weights in memory, or name the checkpoint",
                )
            about = f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}"
            total.update(about.encode() + b"\0")
            flat = tensor.detach().contiguous().cpu().reshape(-1)
            total.update(flat.view(torch.uint8).numpy().data)
        for name, layer in module.named_modules():
            if scaling := getattr(layer, "scaling", None):
                active = getattr(layer, "active_adapters", None)
                total.update(f"{part}.{name} {scaling} {active}\0".encode())
    return f"sha256:{total.hexdigest()}"
