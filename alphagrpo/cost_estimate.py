"""What `--dry-run` says of a recipe: memory, work, judge calls and cost, from sizes alone.

Reads the small files of a checkpoint that is at hand, and the shapes in a pipeline's weight files;
knows the sizes of the released BAGEL and of SD3.5 medium. Loads no weights, asks no judge and needs
no GPU. The estimates are those of `alphatrainers.resource_plan`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import nn

from alphabench.checkpoints import open_checkpoint, pick_kind
from alphabench.checkpoints.bagel import NANO
from alphabench.checkpoints.diffusers import DiffusersCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import split_spec
from alphabench.models.bagel.config import (
    AutoencoderDesign,
    Design,
    LanguageDesign,
    VisionDesign,
)
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.loading import read_sizes
from alphabench.models.bagel.model import Bagel, ImageMarks
from alphabench.weights.location import Source
from alphagrpo.policies.diffusers_policy import EXPERTS as PIPELINE_EXPERTS
from alphagrpo.policies.factory import guidance
from alphagrpo.policies.unified_policy import EXPERTS
from alphagrpo.recipe import JUDGED, DrawSettings, Recipe, RewardSettings
from alphatrainers.algorithms.schedules import sigmas_of_points
from alphatrainers.resource_plan import TERA, ModelSizes, describe_plan, plan_resources

BAGEL_7B: Final = Design(
    language=LanguageDesign(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
    ),
    vision=VisionDesign(
        hidden_size=1152,
        intermediate_size=4304,
        declared_layers=27,
        num_attention_heads=16,
        patch_size=14,
        image_size=980,
    ),
    autoencoder=AutoencoderDesign(),
    latent_side=64,
)
"""ByteDance-Seed/BAGEL-7B-MoT, from its JSON files."""
SYSTEM_TOKENS: Final = 60
PROMPT_TOKENS: Final = 60
"""Guesses at the words that are read."""
QUESTIONS: Final = {"dvreward": 20.0, "holistic": 2.0, "reflection_judge": 1.0}
"""Guesses at a picture's calls; small worlds ask fewer."""
SMALL_QUESTIONS: Final = 5.0
_WIDTHS: Final = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
"""Bytes by the `dtype` of a checkpoint's options."""
TOKENS_PER_CALL: Final = 400.0
"""Guess: a picture of 512 pixels and a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of a policy without its weights."""

    sizes: ModelSizes
    """With nothing of the recipe's programs in it."""
    token_pixels: int
    size: tuple[int, int]
    """Where the recipe names none."""


def forecast(recipe: Recipe) -> str:
    """The plan of a training as lines for a terminal; without estimates where no size is known."""
    lines = [
        f"recipe            {recipe.task.kind} on {recipe.policy.checkpoint}",
        f"costs             {recipe.about.costs}",
        f"measured          {recipe.about.measured}",
    ]
    try:
        lines += _estimates(recipe)
    except AlphaBenchError as error:
        lines.append(f"no estimate: {error}")
    return "\n".join(lines)


def measured(recipe: Recipe) -> Model:
    """What is known of the policy's sizes.

    Raises:
        AlphaBenchError: nothing is.
    """
    name, own = split_spec(recipe.policy.checkpoint)
    return _with_options(_model(recipe, name), {**own, **recipe.policy.options})


def _estimates(recipe: Recipe) -> list[str]:
    model = measured(recipe)
    draw = recipe.task.draw
    sizes = replace(
        model.sizes,
        latent_tokens=_latent_tokens(draw, model),
        branches=_branches(draw),
        window=draw.window.at(0, n_steps=draw.points - 1, seed=recipe.training.seed),
        read_tokens=_read_tokens(recipe, model),
        written_tokens=recipe.task.thought.max_tokens if _thinks(recipe) else 0,
        **_judging(recipe),
    )
    found, initial = plan_resources(recipe.training, sizes), _initial_pictures(recipe)
    more = 1.0 + initial / found.trajectories
    found = found._replace(judge_calls=found.judge_calls * more, cost_usd=found.cost_usd * more)
    lines = [describe_plan(found)]
    if initial:
        lines.append(_initial_line(recipe, model, sizes, initial))
    return lines


def _model(recipe: Recipe, name: str) -> Model:
    kind, location = pick_kind(name)
    if kind == "nano":
        if not NANO.is_dir():
            raise AlphaBenchError(
                "the nano model is not in this copy of the package",
                hint="install a released package",
            )
        return _bagel(recipe, read_sizes(NANO), size=(64, 64), width=4.0)
    if kind == "bagel":
        folder = Path(location).expanduser()
        design = read_sizes(folder) if folder.is_dir() else BAGEL_7B
        return _bagel(recipe, design, size=(1024, 1024), width=2.0)
    if re.search(r"stable-diffusion-3\.5-medium", name):
        return _SD35_MEDIUM
    generator = open_checkpoint(recipe.policy.checkpoint, options=recipe.policy.texts())
    if isinstance(generator, DiffusersCheckpoint) and generator.source.folder is not None:
        return _pipeline(recipe, generator.source, generator.source.folder)
    raise AlphaBenchError(
        f"the sizes of {name!r} are not known without its weights",
        hint="--dry-run knows folders, nano, BAGEL and stable-diffusion-3.5-medium",
    )


def _pipeline(recipe: Recipe, source: Source, folder: Path) -> Model:
    """A pipeline of the SD3 family, by the shapes in its files."""
    shapes = {
        (file.partition("/")[0], name): shape
        for file in source.needed
        if file.endswith(".safetensors")
        for name, shape in _shapes(folder / file).items()
    }
    config, vae = source.read_config("transformer"), source.read_config("vae")
    try:
        width = int(config["num_attention_heads"]) * int(config["attention_head_dim"])
        layers, patch = int(config["num_layers"]), int(config["patch_size"])
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        side = int(config["sample_size"]) * factor
    except (KeyError, TypeError, ValueError) as error:
        raise AlphaBenchError(
            f"the configuration of {source.name!r} does not tell its sizes ({error})",
            hint="--dry-run knows pipelines of the SD3 family",
        ) from error
    linear = {
        name.removesuffix(".weight"): (shape[1], shape[0])
        for (part, name), shape in shapes.items()
        if part == "transformer" and name.endswith(".weight") and len(shape) == 2
    }
    sizes = ModelSizes(
        parameters=float(sum(map(math.prod, shapes.values()))),
        # Half of them work on each token.
        active_parameters=sum(map(math.prod, linear.values())) / 2,
        trained_parameters=_trained(recipe, linear, PIPELINE_EXPERTS),
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        activation_bytes_per_token=2.0 * layers * 26 * width,
        kept_bytes_per_token=2.0 * layers * width,
    )
    return Model(sizes=sizes, token_pixels=factor * patch, size=(side, side))


def _shapes(file: Path) -> dict[str, list[int]]:
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118


def _with_options(model: Model, options: Mapping[str, object]) -> Model:
    sizes, size = model.sizes, model.size
    if {"width", "height"} <= options.keys():
        size = (int(str(options["width"])), int(str(options["height"])))
    width = _WIDTHS.get(str(options.get("dtype")), sizes.bytes_per_parameter)
    wider = width / sizes.bytes_per_parameter
    sizes = replace(
        sizes,
        bytes_per_parameter=width,
        context_bytes_per_token=wider * sizes.context_bytes_per_token,
        activation_bytes_per_token=wider * sizes.activation_bytes_per_token,
        kept_bytes_per_token=wider * sizes.kept_bytes_per_token,
    )
    return replace(model, sizes=sizes, size=size)


def _bagel(recipe: Recipe, design: Design, *, size: tuple[int, int], width: float) -> Model:
    with torch.device("meta"):
        model = Bagel(design, ImageMarks(start=0, end=0))
    language = design.language
    linear = {
        name: (part.in_features, part.out_features)
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    }
    trained = _trained(recipe, linear, EXPERTS)
    # One expert of the two works on each token.
    decoder = sum(p.numel() for p in model.language_model.model.layers.parameters()) / 2
    per_layer = 14 * language.hidden_size + 3 * language.intermediate_size
    key_features = language.num_key_value_heads * language.head_size
    sizes = ModelSizes(
        parameters=float(sum(p.numel() for p in model.parameters())),
        active_parameters=decoder,
        trained_parameters=trained,
        bytes_per_parameter=width,
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        context_bytes_per_token=2 * key_features * language.num_hidden_layers * width,
        activation_bytes_per_token=per_layer * language.num_hidden_layers * width,
        kept_bytes_per_token=language.hidden_size * language.num_hidden_layers * width,
    )
    return Model(sizes=sizes, token_pixels=design.token_pixels, size=size)


def _trained(
    recipe: Recipe, linear: Mapping[str, tuple[int, int]], experts: Mapping[str, str]
) -> float:
    """Of linear layers, given as name -> inputs and outputs."""
    rates, lora = recipe.training.optimiser, recipe.training.lora
    total = 0
    for name, (inputs, outputs) in linear.items():
        owner = next((e for e, pattern in experts.items() if re.fullmatch(pattern, name)), None)
        if owner is None or rates.experts.get(owner, rates.lr) == 0.0:
            continue
        total += inputs * outputs if lora is None else lora.rank * (inputs + outputs)
    return float(total)


_SD35_MEDIUM: Final = Model(
    # 2.5e9 in the transformer (half of it works on each token), the rest in its text encoders.
    sizes=ModelSizes(
        parameters=8.1e9,
        active_parameters=1.25e9,
        trained_parameters=2.4e7,
        latent_tokens=0,
        branches=(),
        read_tokens=0,
        activation_bytes_per_token=2.0 * 24 * 26 * 1536,
        kept_bytes_per_token=2.0 * 24 * 1536,
    ),
    token_pixels=16,
    size=(1024, 1024),
)
"""stabilityai/stable-diffusion-3.5-medium, rounded, with LoRA of rank 32."""


def _latent_tokens(draw: DrawSettings, model: Model) -> int:
    width, height = draw.width or model.size[0], draw.height or model.size[1]
    return (width // model.token_pixels) * (height // model.token_pixels) + 2


def _branches(draw: DrawSettings) -> tuple[int, ...]:
    how = guidance(draw.guidance) or Guidance(text_scale=1.0)
    sigmas = sigmas_of_points(draw.points, shift=draw.shift)
    return tuple(how.branches(sigma) for sigma in sigmas[:-1])


def _thinks(recipe: Recipe) -> bool:
    kinds = set(recipe.task.kinds)
    return bool({"rt2i", "srr"} & kinds) or ("edit" in kinds and recipe.task.think)


def _read_tokens(recipe: Recipe, model: Model) -> int:
    words = PROMPT_TOKENS + (SYSTEM_TOKENS if _thinks(recipe) else 0)
    kinds = set(recipe.task.kinds)
    if not {"srr", "edit"} & kinds:
        return words
    # As latents and as patches, the latter a little more; the words again without the picture.
    picture = _latent_tokens(recipe.task.draw, model)
    return words + picture + round(1.35 * picture) + PROMPT_TOKENS


def _judging(recipe: Recipe) -> dict[str, float]:
    judged = [one for one in _all(recipe.rewards.values()) if one.kind in JUDGED]
    small = recipe.prompts.source.startswith("small:")
    calls = sum(
        SMALL_QUESTIONS if small and one.kind == "dvreward" else QUESTIONS[one.kind]
        for one in judged
    )
    return {
        "calls_per_picture": calls,
        "judge_tokens_per_call": TOKENS_PER_CALL,
        "usd_per_million_tokens": max((one.usd_per_million_tokens for one in judged), default=0.0),
    }


def _all(settings: Iterable[RewardSettings]) -> list[RewardSettings]:
    found: list[RewardSettings] = []
    for one in settings:
        found += [one, *_all(one.of.values())]
    return found


def _initial_pictures(recipe: Recipe) -> float:
    """Of a step; the mean over steps where only some of them refine."""
    task = recipe.task
    weights = task.mixed if task.kind == "mixed" else {task.kind: 1.0}
    share = weights.get("srr", 0.0) / sum(weights.values())
    if task.refine is None or share == 0.0:
        return 0.0
    return share * task.refine.initial_images * recipe.training.prompts_per_step


def _initial_line(recipe: Recipe, model: Model, sizes: ModelSizes, pictures: float) -> str:
    assert recipe.task.refine is not None
    how = recipe.task.refine
    tokens = _latent_tokens(how.initial, model) * sum(_branches(how.initial))
    work = pictures * tokens * 2.0 * sizes.active_parameters / TERA
    calls = pictures * sizes.calls_per_picture
    return (
        f"Each step also draws {pictures:,.4g} initial pictures: {work:,.3g} TFLOP beside those "
        f"above; their {calls:,.0f} judge calls are counted there."
    )
