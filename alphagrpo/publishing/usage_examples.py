"""How published weights are loaded: the commands and, for a pipeline, the Python code of a card.

Knows no training beyond its recipe's settings.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from alphabench.core.public_texts import public_text
from alphabench.reports.markdown import fenced, inline
from alphagrpo.publishing.base_model import BUNDLED, BaseModel

_PIPELINE_ARGUMENTS: Final = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "width": "width",
    "height": "height",
}
"""Option of a pipeline checkpoint -> the argument of its call."""
_PIPELINE_LORA: Final = "pytorch_lora_weights.safetensors"
"""The adapter as diffusers reads it; `alphagrpo.policies.pipeline_lora` writes it."""
_PREFIXES: Final = {"bagel": "bagel:", BUNDLED: "bagel:", "janus": "janus:"}
"""Kind of the base -> what tells the kind of complete weights whose hub id does not show it."""
_DTYPES: Final = ("float32", "float16", "bfloat16")
_OF_ONE_MACHINE: Final = ("cache_dir", "offload", "offline", "inferencer")
"""Options that decide no image, or are a file of the user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """What is loaded, by the names that its card uses."""

    place: str
    """The hub id, or the folder's name."""
    adapter: bool
    """A LoRA beside its base; otherwise complete weights."""
    base: BaseModel | None
    """None where it is not known."""
    options: Mapping[str, str]
    """Settings that the validations generated with, as they are typed after `--set`."""
    benchmark: str
    """That the example runs."""


def usage_section(weights: PublishedWeights) -> list[str]:
    """The paragraphs and code blocks of the section."""
    parts = ["With AlphaBench:", code_block(_command(weights), "bash")]
    if weights.adapter and (weights.base is None or weights.base.spec == "BASE"):
        named = "the base model" if weights.base is None else inline(weights.base.name)
        parts.append(f"`BASE` is the folder or hub id of {named}.")
    if weights.base is not None and weights.base.kind == "diffusers":
        parts += ["With diffusers:", code_block(_pipeline_code(weights), "python")]
    elif weights.base is not None and weights.base.kind == BUNDLED:
        parts.append("The base is the small model inside AlphaBench, so nothing else is needed.")
    return parts


def code_block(text: str, language: str) -> str:
    """A fenced block in which the text cannot end the fence."""
    fence, newline, rest = fenced(text).partition("\n")
    return f"{fence}{language}{newline}{rest}"


def _command(weights: PublishedWeights) -> str:
    given = [
        f"--set={key}={public_text(value)}"
        for key, value in weights.options.items()
        if key not in _OF_ONE_MACHINE
    ]
    if not weights.adapter:
        prefix = _PREFIXES.get(weights.base.kind, "") if weights.base is not None else ""
        place = f"{prefix}{weights.place}"
        return _lines(["alphabench", "run", weights.benchmark, "--ckpt", place], given)
    base = "BASE" if weights.base is None else weights.base.spec
    words = ["alphabench", "run", weights.benchmark, "--ckpt", base, "--lora", weights.place]
    return _lines(words, given)


def _lines(words: Sequence[str], options: Sequence[str]) -> str:
    """A command, with its options on a line of their own if there are any."""
    first = shlex.join(words)
    return f"{first} \\\n    {shlex.join(options)}" if options else first


def _pipeline_code(weights: PublishedWeights) -> str:
    assert weights.base is not None
    base = weights.base.repo or "BASE"
    loaded = base if weights.adapter else weights.place
    arguments = [json.dumps(loaded)]
    if weights.adapter and weights.base.revision:
        arguments.append(f"revision={json.dumps(weights.base.revision)}")
    dtype = weights.options.get("dtype")
    arguments.append(f"dtype=torch.{dtype if dtype in _DTYPES else 'bfloat16'}")
    lines = ["import torch", "from diffusers import DiffusionPipeline"]
    lines += ["", f"pipeline = DiffusionPipeline.from_pretrained({', '.join(arguments)})"]
    if weights.adapter:
        arguments = [json.dumps(weights.place), f'weight_name="{_PIPELINE_LORA}"']
        lines.append(f"pipeline.load_lora_weights({', '.join(arguments)})")
    call = ['"a red cube on a blue sphere"', *_call_arguments(weights.options)]
    lines.append(f"image = pipeline({', '.join(call)}).images[0]")
    return "\n".join(lines)


def _call_arguments(options: Mapping[str, str]) -> Sequence[str]:
    """Those of the options that are numbers."""
    return [
        f"{argument}={options[key]}"
        for key, argument in _PIPELINE_ARGUMENTS.items()
        if options.get(key, "").replace(".", "", 1).isdigit()
    ]
