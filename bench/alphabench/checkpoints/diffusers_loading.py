"""Loads a diffusers pipeline with its LoRA and scheduler, and puts it on its device.

Every setting that the pipeline's call would not take is refused before the first image. Generates
nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from alphabench.checkpoints import image_text_processor, lora
from alphabench.checkpoints.diffusers_options import DiffusersOptions, PipelineSampling
from alphabench.core.errors import AlphaBenchError
from alphabench.weights.location import PipelineFiles
from alphabench.weights.strict_loading import quiet, strict_loading


def load_pipeline(
    source: PipelineFiles,
    options: DiffusersOptions,
    sampling: PipelineSampling,
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
                str(folder),
                **_load_arguments(source, options, getattr(torch, sampling.dtype)),
                **{
                    name: image_text_processor.load_processor(folder / name)
                    for name in image_text_processor.replaced_processors(source.index.components)
                },
            )
    except AlphaBenchError:
        raise
    except Exception as error:  # a boundary: three libraries raise any exception
        first = (str(error).strip().splitlines() or [""])[0]
        raise AlphaBenchError(
            f"{source.name!r} cannot be loaded: {type(error).__name__}: {first}",
            hint="fetch or save the checkpoint again, or update diffusers and transformers",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    _check_call(pipeline, sampling, name=source.name)
    if sampling.shift is not None:
        config = pipeline.scheduler.config
        change = {shift_key(config, name=source.name): sampling.shift}
        pipeline.scheduler = type(pipeline.scheduler).from_config(config, **change)
    if adapter is not None:
        _bind(pipeline, adapter)
    try:
        with quiet():
            return _to_device(pipeline, options.offload, device)
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


def _load_arguments(source: PipelineFiles, options: DiffusersOptions, dtype: Any) -> dict[str, Any]:
    from diffusers.pipelines import pipeline_utils

    # `dtype` replaced `torch_dtype`; other releases ignore the wrong one or warn about it.
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


def _check_call(pipeline: Any, sampling: PipelineSampling, *, name: str) -> None:
    """Refuse settings that the pipeline's call does not take."""
    parameters = inspect.signature(pipeline.__call__).parameters
    for key, value in (
        (sampling.guidance_name, sampling.guidance),
        ("num_inference_steps", sampling.steps),
        ("negative_prompt", sampling.negative_prompt),
        ("max_sequence_length", sampling.max_sequence_length),
        ("width", sampling.width),
    ):
        if value is not None and key not in parameters:
            raise AlphaBenchError(
                f"{type(pipeline).__name__} of {name!r} takes no {key}",
                hint="leave the option out",
            )


def shift_key(config: Mapping[str, Any], *, name: str) -> str:
    """The scheduler's name for the timestep shift."""
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


def _to_device(pipeline: Any, offload: str, device: str) -> Any:
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    if offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)
