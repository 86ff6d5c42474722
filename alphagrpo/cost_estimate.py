"""The estimates that `--dry-run` prints: memory, work, judge calls and cost, from sizes alone.

Reads the small files of a checkpoint that is at hand, and the shapes in a pipeline's weight files;
knows the sizes of the released models that recipes name. Loads no weights, asks no judge and needs
no GPU. Memory of a BAGEL is counted by running an update on shapes (`alphabench.tracing`); the
other estimates are those of `alphatrainers.resource_plan`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import torch

from alphabench.checkpoints import open_checkpoint, pick_checkpoint_kind
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import split_spec
from alphabench.models.bagel.generation_trace import KV_CACHE, WEIGHTS
from alphabench.models.bagel.guidance import Guidance
from alphabench.tracing.ledger import LOGITS, TEMPORARY, PhaseCounts
from alphagrpo.policies.bagel_training_trace import (
    ADAPTERS,
    COPIES,
    GRADIENTS,
    OPTIMISER,
    TrainingLoad,
)
from alphagrpo.policies.factory import guidance, training_adapter
from alphagrpo.policies.policy_protocols import EstimatedCheckpoint, PolicySizes
from alphagrpo.prompts import SMALL
from alphagrpo.recipe import ImageSamplingSettings, PolicySettings, TrainingRecipe
from alphagrpo.rewards.reward_kinds import RewardSettings, load_reward_kind
from alphatrainers.resource_plan import (
    GIB,
    TERA,
    DeviceMemory,
    ModelSizes,
    describe_plan,
    plan_resources,
)
from alphatrainers.settings import TrainingSettings

SIZE_ESTIMATES: Final[Mapping[str, str]] = {
    "bagel": "alphagrpo.policies.bagel_sizes:bagel_sizes",
    "diffusers": "alphagrpo.policies.diffusers_sizes:diffusers_sizes",
    "janus": "alphagrpo.policies.janus_sizes:janus_sizes",
    "nano": "alphagrpo.policies.bagel_sizes:nano_sizes",
}
"""Kind of checkpoint -> function of its settings, location and `training`. It works without the
checkpoint's files where the sizes of a released model are known. Other kinds of checkpoint are
opened, and estimated if they implement `EstimatedCheckpoint`."""
_WIDTHS: Final = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
"""Bytes by the `dtype` of a checkpoint's options."""
SYSTEM_TOKENS: Final = 60
PROMPT_TOKENS: Final = 60
"""Estimated tokens of a system prompt and of a prompt."""
TOKENS_PER_CALL: Final = 400.0
"""Estimate: an image of 512 x 512 pixels and a question."""


def forecast(recipe: TrainingRecipe, *, counted_from: float = math.inf, devices: int = 1) -> str:
    """The plan of a training as lines for a terminal; without estimates where no size is known.

    Args:
        recipe: of the training.
        counted_from: bytes of weights from which on memory is counted by running an update on
            shapes, where the policy can; this takes half a minute.
        devices: GPUs that train together, one process each.
    """
    lines = [
        f"recipe            {recipe.task.kind} on {recipe.policy.checkpoint}",
        f"costs             {recipe.about.costs}",
        f"measured          {recipe.about.measured}",
    ]
    try:
        lines += _estimates(recipe, counted_from=counted_from, devices=devices)
    except AlphaBenchError as error:
        lines.append(f"no estimate: {error}")
    return "\n".join(lines)


def estimate_sizes(recipe: TrainingRecipe) -> PolicySizes:
    """What is known of the policy's sizes.

    Raises:
        AlphaBenchError: nothing is.
    """
    name, own = split_spec(recipe.policy.checkpoint)
    return _with_options(_open_sizes(recipe, name), {**own, **recipe.policy.options})


def _estimates(recipe: TrainingRecipe, *, counted_from: float, devices: int) -> list[str]:
    model = estimate_sizes(recipe)
    draw = recipe.task.draw
    sizes = replace(
        model.sizes,
        latent_tokens=_latent_tokens(draw, model),
        branches=_branches(draw),
        window=_window(recipe),
        cached_image_tokens=0 if draw.tokens is None else _latent_tokens(draw, model),
        read_tokens=_read_tokens(recipe, model),
        written_tokens=recipe.task.thought.max_tokens if _thinks(recipe) else 0,
    )
    sizes = _with_judging(recipe, sizes)
    found = plan_resources(recipe.training, sizes, processes=devices)
    initial = _initial_images(recipe)
    more = 1.0 + initial / found.trajectories
    found = found._replace(judge_calls=found.judge_calls * more, cost_usd=found.cost_usd * more)
    said = []
    weights = sizes.parameters * sizes.bytes_per_parameter
    if weights >= counted_from and model.count_update is not None:
        # Without shards each device holds what one alone does.
        processes = devices if recipe.training.parallel == "shard" else 1
        phases = _count_update(recipe, model, sizes, processes=processes)
        found = found._replace(memory=_counted_memory(phases))
        said.append("Memory is counted from the operators of one update, at its peak.")
    lines = [describe_plan(found), *said]
    if initial:
        lines.append(_initial_line(recipe, model, sizes, initial))
    return lines


def _count_update(
    recipe: TrainingRecipe, model: PolicySizes, sizes: ModelSizes, *, processes: int
) -> Mapping[str, PhaseCounts]:
    assert model.count_update is not None
    draw, thought = recipe.task.draw, recipe.task.thought
    thinks = _thinks(recipe)
    load = TrainingLoad(
        width=draw.width or model.image_size[0],
        height=draw.height or model.image_size[1],
        sigmas=draw.sigmas(),
        window=sizes.window,
        guidance=guidance(draw.guidance),
        # What images take in a context, tokens of text do too.
        prompt_tokens=sizes.read_tokens - (SYSTEM_TOKENS if thinks else 0),
        system_tokens=SYSTEM_TOKENS,
        thought_tokens=thought.max_tokens if thinks else 0,
        top_p=thought.top_p,
    )
    dtype = torch.float32 if sizes.bytes_per_parameter == _WIDTHS["float32"] else torch.bfloat16
    return model.count_update(
        recipe.training, load, dtype=dtype, peaks_only=True, processes=processes
    )


def _counted_memory(phases: Mapping[str, PhaseCounts]) -> DeviceMemory:
    """Of the phase with the highest peak."""
    peak = max(phases.values(), key=lambda counts: counts.peak_bytes).peak

    def gib(*categories: str) -> float:
        return math.fsum(peak.get(name, 0.0) for name in categories) / GIB

    return DeviceMemory(
        weights=gib(WEIGHTS),
        training=gib(ADAPTERS, GRADIENTS, OPTIMISER),
        copies=gib(COPIES),
        contexts=gib(KV_CACHE),
        activations=gib(TEMPORARY, LOGITS),
    )


def _open_sizes(recipe: TrainingRecipe, name: str) -> PolicySizes:
    kind, location = pick_checkpoint_kind(name)
    if kind in SIZE_ESTIMATES:
        module, _, attribute = SIZE_ESTIMATES[kind].partition(":")
        estimate: Callable[[PolicySettings, str, TrainingSettings], PolicySizes]
        estimate = getattr(importlib.import_module(module), attribute)
        return estimate(recipe.policy, location, recipe.training)
    generator = open_checkpoint(recipe.policy.checkpoint, options=recipe.policy.texts())
    checkpoint = training_adapter(generator)
    if isinstance(checkpoint, EstimatedCheckpoint):
        return checkpoint.policy_sizes(recipe.training)
    raise AlphaBenchError(
        f"the sizes of {name!r} are not known without its weights",
        hint="--dry-run knows folders, nano, BAGEL and the models that recipes name",
    )


def _with_options(model: PolicySizes, options: Mapping[str, object]) -> PolicySizes:
    sizes, size = model.sizes, model.image_size
    if {"width", "height"} <= options.keys():
        size = (int(str(options["width"])), int(str(options["height"])))
    width = _WIDTHS.get(str(options.get("dtype")), sizes.bytes_per_parameter)
    wider = width / sizes.bytes_per_parameter
    sizes = replace(
        sizes,
        bytes_per_parameter=width,
        context_bytes_per_token=wider * sizes.context_bytes_per_token,
        activation_bytes_per_token=wider * sizes.activation_bytes_per_token,
        checkpointed_bytes_per_token=wider * sizes.checkpointed_bytes_per_token,
    )
    return replace(model, sizes=sizes, image_size=size)


def _latent_tokens(draw: ImageSamplingSettings, model: PolicySizes) -> int:
    width, height = draw.width or model.image_size[0], draw.height or model.image_size[1]
    marks = 2 if draw.tokens is None else 0
    return (width // model.token_pixels) * (height // model.token_pixels) + marks


def _window(recipe: TrainingRecipe) -> range:
    draw = recipe.task.draw
    if draw.tokens is not None:
        return range(0)
    return draw.window.at(0, n_steps=draw.n_steps, seed=recipe.training.seed)


def _branches(draw: ImageSamplingSettings) -> tuple[int, ...]:
    """Passes over the image by denoising step; all tokens of an image are one such pass."""
    if draw.tokens is not None:
        return (1 if draw.tokens.guidance == 1.0 else 2,)
    how = guidance(draw.guidance) or Guidance(text_scale=1.0)
    return tuple(how.branches(sigma) for sigma in draw.sigmas()[:-1])


def _thinks(recipe: TrainingRecipe) -> bool:
    kinds = set(recipe.task.kinds)
    return bool({"rt2i", "srr"} & kinds) or ("edit" in kinds and recipe.task.think)


def _read_tokens(recipe: TrainingRecipe, model: PolicySizes) -> int:
    text = PROMPT_TOKENS + (SYSTEM_TOKENS if _thinks(recipe) else 0)
    kinds = set(recipe.task.kinds)
    if not {"srr", "edit"} & kinds:
        return text
    # Read as latents and as patches (slightly more); the text is read again without the image.
    image = _latent_tokens(recipe.task.draw, model)
    return text + image + round(1.35 * image) + PROMPT_TOKENS


def _with_judging(recipe: TrainingRecipe, sizes: ModelSizes) -> ModelSizes:
    judged = [
        (load_reward_kind(one.kind), one)
        for one in _all(recipe.rewards.values())
        if load_reward_kind(one.kind).judge_calls > 0.0
    ]
    small = recipe.prompts.source.startswith(SMALL)
    calls = sum(
        kind.judge_calls_small if small and kind.judge_calls_small is not None else kind.judge_calls
        for kind, _ in judged
    )
    return replace(
        sizes,
        calls_per_image=calls,
        judge_tokens_per_call=TOKENS_PER_CALL,
        usd_per_million_tokens=max((one.usd_per_million_tokens for _, one in judged), default=0.0),
    )


def _all(settings: Iterable[RewardSettings]) -> list[RewardSettings]:
    found: list[RewardSettings] = []
    for one in settings:
        found += [one, *_all(one.of.values())]
    return found


def _initial_images(recipe: TrainingRecipe) -> float:
    """Of a step; the mean over steps where only some of them refine."""
    task = recipe.task
    weights = task.mixed if task.kind == "mixed" else {task.kind: 1.0}
    share = weights.get("srr", 0.0) / sum(weights.values())
    if task.refine is None or share == 0.0:
        return 0.0
    return share * task.refine.initial_images * recipe.training.prompts_per_step


def _initial_line(
    recipe: TrainingRecipe, model: PolicySizes, sizes: ModelSizes, images: float
) -> str:
    assert recipe.task.refine is not None
    how = recipe.task.refine
    tokens = _latent_tokens(how.initial, model) * sum(_branches(how.initial))
    work = images * tokens * 2.0 * sizes.active_parameters / TERA
    calls = images * sizes.calls_per_image
    return (
        f"Each step also generates {images:,.4g} initial images: {work:,.3g} TFLOP beside those "
        f"above; their {calls:,.0f} judge calls are counted there."
    )
