"""What a training will need, from sizes alone: memory, work, judge calls and their price.

Loads no weights and needs no device. Estimates: attention over contexts, decoding of
images and communication are left out. Knows no model; a recipe gives its sizes.

One forward of a token costs 2 FLOPs an active parameter; a training step costs 3 forwards, 4 with
activation checkpointing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from alphatrainers.objective import Objective
from alphatrainers.settings import TrainingSettings

TERA, GIB = 1e12, 2.0**30
PEAKS: Final = {"H100": 989.0, "A100": 312.0}
"""TFLOP a second in bfloat16 without sparsity, from NVIDIA's data sheets."""
UTILISATION: Final = 0.35
"""Assumed fraction of the peak that a training reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSizes:
    """Of one model and one program of a recipe."""

    parameters: float
    """All weights."""
    active_parameters: float
    """That one token of text or image passes through."""
    trained_parameters: float
    bytes_per_parameter: float = 2.0
    latent_tokens: int
    """Tokens of one generated image, start and end tokens included."""
    branches: tuple[int, ...]
    """Forwards of each denoising step: 1, or more where guidance is active."""
    window: range = range(0)
    """Steps that are stored and trained."""
    read_tokens: int
    """Of prompt and input images, in all branches together."""
    written_tokens: int = 0
    """Most tokens of generated text."""
    cached_image_tokens: int = 0
    """Tokens of one generated image whose keys and values are stored while it is sampled, token by
    token; 0 for denoising."""
    context_bytes_per_token: float = 0.0
    """Keys and values of all layers."""
    activation_bytes_per_token: float = 0.0
    """Saved for the backward pass of one token."""
    checkpointed_bytes_per_token: float = 0.0
    """The same with activation checkpointing."""
    calls_per_image: float = 0.0
    """Judge calls for one image."""
    judge_tokens_per_call: float = 0.0
    usd_per_million_tokens: float = 0.0


class TrajectoryWork(NamedTuple):
    """FLOPs (in units of 1e12) of one trajectory."""

    prefill: float
    decoded: float
    sampled_images: float
    trained_images: float
    trained_texts: float
    other_weights: float
    """Replays under reference, old and EMA weights, and under those that sampled."""

    @property
    def total(self) -> float:
        return sum(self)


class DeviceMemory(NamedTuple):
    """GiB in each process."""

    weights: float
    training: float
    """Trained values in float32, their gradients, and the optimizer's two."""
    copies: float
    """Old, EMA, and the trained values saved while one is in force."""
    contexts: float
    activations: float

    @property
    def total(self) -> float:
        return sum(self)


class ResourcePlan(NamedTuple):
    """Of a complete training; per step unless a field says otherwise."""

    steps: int
    trajectories: int
    devices: int
    prompts_share: int
    """Prompts of the device that has most."""
    largest_share: int
    """Trajectories of the device that has most."""
    work: TrajectoryWork
    memory: DeviceMemory
    judge_calls: float
    cost_usd: float
    """Of the complete training."""

    @property
    def gpu_hours(self) -> dict[str, float]:
        """Of the complete training without its judges and validations, by kind of GPU."""
        tflop = self.trajectories * self.work.total * self.steps
        return {name: tflop / (peak * UTILISATION) / 3600.0 for name, peak in PEAKS.items()}

    @property
    def hours(self) -> dict[str, float]:
        """From start to end: those of the device that has most trajectories; the others wait."""
        share = self.largest_share / self.trajectories
        return {name: hours * share for name, hours in self.gpu_hours.items()}


def plan_resources(
    settings: TrainingSettings, sizes: ModelSizes, *, processes: int = 1
) -> ResourcePlan:
    """What `settings` need with such sizes, on so many devices."""
    trajectories = settings.prompts_per_step * settings.group_size
    prompts_here = -(-settings.prompts_per_step // processes)
    calls = trajectories * sizes.calls_per_image
    tokens = calls * sizes.judge_tokens_per_call * settings.steps
    return ResourcePlan(
        steps=settings.steps,
        trajectories=trajectories,
        devices=processes,
        prompts_share=prompts_here,
        largest_share=prompts_here * settings.group_size,
        work=_work(settings, sizes),
        memory=_memory(settings, sizes, processes),
        judge_calls=calls,
        cost_usd=tokens * sizes.usd_per_million_tokens / 1e6,
    )


def describe_plan(plan: ResourcePlan) -> str:
    """The plan as lines for a terminal."""
    work, memory = plan.work, plan.memory
    step = plan.trajectories * work.total
    free = " (no usd_per_million_tokens is set)" if plan.judge_calls and not plan.cost_usd else ""
    price = f"{plan.cost_usd:,.2f} USD{free}"
    rows: Sequence[tuple[str, str]] = [
        ("training steps", f"{plan.steps}"),
        *_device_rows(plan),
        ("trajectories a step", f"{plan.trajectories} ({plan.largest_share} a device at most)"),
        ("work a trajectory", f"{work.total:,.3g} TFLOP"),
        ("  prefill", f"{work.prefill:,.3g}"),
        ("  decoding text", f"{work.decoded:,.3g}"),
        ("  sampling images", f"{work.sampled_images:,.3g}"),
        ("  training on images", f"{work.trained_images:,.3g}"),
        ("  training on text", f"{work.trained_texts:,.3g}"),
        ("  other weights", f"{work.other_weights:,.3g}"),
        ("work a step", f"{step:,.3g} TFLOP"),
        ("work in all", f"{step * plan.steps:,.3g} TFLOP"),
        *(
            (f"{name}-hours in all, at {UTILISATION:.0%}", _hours(hours))
            for name, hours in plan.gpu_hours.items()
        ),
        *(
            (f"hours on {plan.devices} {name}", _hours(hours))
            for name, hours in plan.hours.items()
            if plan.devices > 1
        ),
        ("memory a device", f"{memory.total:,.1f} GiB"),
        ("  weights", f"{memory.weights:,.1f}"),
        ("  trained values, gradients, optimiser", f"{memory.training:,.1f}"),
        ("  copies of trained values", f"{memory.copies:,.1f}"),
        ("  KV cache", f"{memory.contexts:,.1f}"),
        ("  activations", f"{memory.activations:,.1f}"),
        ("judge calls a step", f"{plan.judge_calls:,.0f}"),
        ("judge calls in all", f"{plan.judge_calls * plan.steps:,.0f}"),
        ("judges' price in all", price),
    ]
    width = max(len(name) for name, _ in rows)
    note = (
        "Estimates: attention over contexts, decoding, communication, judges and validations are "
        "left out."
    )
    return "\n".join([*(f"{name:<{width}}  {value}" for name, value in rows), note])


def _device_rows(plan: ResourcePlan) -> list[tuple[str, str]]:
    if plan.devices == 1:
        return []
    return [("devices", f"{plan.devices}"), ("prompts a device", f"{plan.prompts_share} at most")]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _trained_forwards(settings: TrainingSettings, sizes: ModelSizes) -> int:
    """Forward passes of the image loss for one image, backward not counted."""
    if settings.image.token_algorithm is not None:
        return sum(sizes.branches)
    algorithm = settings.image.algorithm
    if algorithm is None:
        return 0
    passes = [sizes.branches[step] for step in sizes.window]
    return algorithm.trains_on.forwards(settings.image, passes)


def _work(settings: TrainingSettings, sizes: ModelSizes) -> TrajectoryWork:
    token = 2.0 * sizes.active_parameters / TERA
    image_flops = token * sizes.latent_tokens
    backward = 4.0 if settings.recompute else 3.0
    forwards = _trained_forwards(settings, sizes)
    texts = sizes.written_tokens if settings.text.trained else 0
    read = token * sizes.read_tokens
    replay = read + image_flops * forwards + token * texts
    others = len(Objective(settings.image, settings.text).views)
    algorithm = settings.image.algorithm
    replays_old = algorithm is not None and algorithm.replays_old
    recorded = replays_old or settings.old_log_probs == "replayed"
    late = (settings.updates_per_step - 1) / settings.updates_per_step if recorded else 0.0
    return TrajectoryWork(
        prefill=2.0 * read,  # in the rollout, and in the replay
        decoded=token * sizes.written_tokens,
        sampled_images=image_flops * sum(sizes.branches),
        trained_images=backward * image_flops * forwards,
        trained_texts=backward * token * texts,
        other_weights=(others + late) * replay,
    )


def _memory(settings: TrainingSettings, sizes: ModelSizes, processes: int) -> DeviceMemory:
    parts = processes if settings.parallel == "shard" else 1
    objective = Objective(settings.image, settings.text)
    views = {*objective.views, settings.rollout_view, *settings.validate_views} - {"train"}
    if settings.ema is not None:
        views.add("ema")
    if settings.lora is not None:
        views.discard("reference")  # it is the policy with its adapters out of force
    branches = max(sizes.branches, default=1)
    context_tokens = (sizes.read_tokens + sizes.written_tokens) * settings.replay_batch
    context_tokens += sizes.cached_image_tokens * settings.rollout_batch
    per_token = (
        sizes.checkpointed_bytes_per_token
        if settings.recompute
        else sizes.activation_bytes_per_token
    )
    trained = sizes.branches if sizes.cached_image_tokens else ()
    guided = max([*trained, *(sizes.branches[step] for step in sizes.window)], default=1)
    longest = max(sizes.latent_tokens * guided, sizes.written_tokens)
    return DeviceMemory(
        weights=sizes.parameters * sizes.bytes_per_parameter / parts / GIB,
        training=sizes.trained_parameters * 16.0 / parts / GIB,
        copies=sizes.trained_parameters * 4.0 * (len(views) + bool(views)) / parts / GIB,
        contexts=sizes.context_bytes_per_token * context_tokens * branches / GIB,
        activations=per_token * longest * settings.replay_batch / GIB,
    )
