"""What one update of a BAGEL takes, counted by running it on shapes without weights.

The trainer's own code runs: adapters, replay, losses, backward passes, optimiser, and FSDP2 for a
group of processes that only this one belongs to. See `alphabench.tracing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from alphabench.models.bagel.bagel_inference import UnifiedBagel
from alphabench.models.bagel.config import BagelConfig
from alphabench.models.bagel.generation_trace import WEIGHTS, shaped_bagel, words
from alphabench.models.bagel.guidance import Guidance
from alphabench.models.bagel.sampling_config import BagelSampling
from alphabench.tracing.extrapolation import at_depth
from alphabench.tracing.ledger import TEMPORARY, PhaseCounts, TensorLedger
from alphabench.tracing.shapes_only import shapes_only
from alphagrpo.policies.unified_policy import UMMPolicy
from alphatrainers.distributed import Processes
from alphatrainers.objective import Objective, TrajectoryAdvantage
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.protocols import ReplaySpec
from alphatrainers.replay import Replayer
from alphatrainers.settings import TrainingSettings
from alphatrainers.trajectory import (
    GenerateImage,
    GenerateText,
    InputText,
    Program,
    SampledImage,
    SampledText,
    TrainingPrompt,
    Trajectory,
)
from alphatrainers.update import TrainingItem, Updater
from alphatrainers.weight_sets import WeightSets, is_sharded

T = TypeVar("T")
ADAPTERS, COPIES, GRADIENTS, OPTIMISER = "adapters", "copies", "gradients", "optimiser"
TEXT, IMAGE, STEP = "text", "image", "optimiser step"
"""Phases of an update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLoad:
    """What one batch of trajectories holds."""

    width: int
    height: int
    """Of the images; pixels."""
    sigmas: tuple[float, ...]
    window: range
    """Denoising steps that are stored and trained."""
    guidance: Guidance | None = None
    prompt_tokens: int = 60
    system_tokens: int = 60
    thought_tokens: int = 0
    """Of each thought; 0 is none."""
    top_p: float = 1.0
    """Of their sampling."""


class LoneProcess(Processes):
    """One process of several whose others are not there: they are taken to hold the same."""

    def sum(self, tensor: Tensor) -> Tensor:
        """See `Processes.sum`."""
        return tensor

    def gather(self, value: T) -> list[T]:
        """See `Processes.gather`."""
        return [value] * self.size

    def copy_from_first(self, tensor: Tensor) -> None:
        """See `Processes.copy_from_first`."""

    def wait(self) -> None:
        """See `Processes.wait`."""


def trace_update(
    config: BagelConfig,
    training: TrainingSettings,
    load: TrainingLoad,
    *,
    dtype: torch.dtype,
    processes: int = 1,
    peaks_only: bool = False,
    values: bool = False,
) -> dict[str, PhaseCounts]:
    """Counts by phase for one batch of `training.replay_batch` trajectories and one optimiser step.

    `text` reads the prompt and trains on the thoughts; `image` reads prompt and thoughts and trains
    on all steps of the window; each only where the recipe trains it.

    Args:
        config: sizes of the model.
        training: of the recipe; its `replay_batch` is the batch.
        load: what a trajectory holds.
        dtype: of the weights that are not trained, or of all where no LoRA is.
        processes: that train together, this one's share is counted.
        peaks_only: run one step of the window, the most guided one, so that only the peak of
            `image` is that of all; a quarter of the time.
        values: see `trace_generation`.
    """
    how = _How(dtype=dtype, processes=processes, peaks_only=peaks_only, values=values)

    def trace(layers: int) -> Mapping[str, PhaseCounts]:
        language = replace(config.language, num_hidden_layers=layers)
        shallow = replace(config, language=language)
        with _group(processes, alone=training.compute != "bfloat16"):
            return _trace(shallow, _one_batch(training), load, how)

    return at_depth(trace, config.language.num_hidden_layers)


def _one_batch(training: TrainingSettings) -> TrainingSettings:
    return replace(
        training,
        prompts_per_step=1,
        updates_per_step=1,
        group_size=max(2, training.replay_batch),
    )


@contextmanager
def _group(processes: int, *, alone: bool) -> Iterator[None]:
    """A process group whose other members are not there; they neither send nor wait.

    Args:
        processes: members.
        alone: one process needs no group.
    """
    if processes == 1 and alone:
        yield
        return
    from torch import distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=0, world_size=processes, store=FakeStore())
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _trace(
    config: BagelConfig,
    training: TrainingSettings,
    load: TrainingLoad,
    how: _How,
) -> dict[str, PhaseCounts]:
    found: dict[str, PhaseCounts] = {}
    group = LoneProcess(rank=0, size=how.processes)
    counted = shapes_only(vocabulary=config.language.vocab_size, values=how.values)
    with counted as ledger, _as_gpu_optimiser():
        policy = UMMPolicy(
            UnifiedBagel(shaped_bagel(config, ledger, dtype=how.dtype), BagelSampling()),
            identity={},
        )
        weights = WeightSets(policy, training, views=_copied_views(training), processes=group)
        ledger.rebook(TEMPORARY, COPIES)
        ledger.book(WEIGHTS, policy.module.parameters())
        if training.lora is not None:
            ledger.book(ADAPTERS, weights.trained.values())
        engine = _HeldOptimizer(weights, training.optimiser, group, n_updates=training.steps)
        _fill_gradients(weights, ledger)
        engine.update()  # makes the optimiser's tensors
        ledger.rebook(TEMPORARY, OPTIMISER)
        _fill_gradients(weights, ledger)
        engine.held = True
        run = _Run(
            config=config,
            policy=policy,
            weights=weights,
            engine=engine,
            group=group,
            ledger=ledger,
        )
        if training.text.trained and load.thought_tokens:
            found[TEXT] = run.count(training, _trajectory(config, load, images=0))
        if training.image.algorithm is not None:
            found[IMAGE] = _images(run, training, load, peaks_only=how.peaks_only)
        engine.held = False
        with ledger.phase(found, STEP):
            engine.update()
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """Arguments of `trace_update`."""

    dtype: torch.dtype
    processes: int
    peaks_only: bool
    values: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A training that was set up."""

    config: BagelConfig
    policy: UMMPolicy
    weights: WeightSets
    engine: WeightOptimizer
    group: Processes
    ledger: TensorLedger

    def count(self, training: TrainingSettings, trajectory: Trajectory) -> PhaseCounts:
        """Replays and losses, forward and backward, of one batch of alike trajectories."""
        replay = ReplaySpec(
            context_gradient=training.context_gradient, recompute=training.recompute
        )
        updater = Updater(
            self.policy,
            self.weights,
            self.engine,
            Replayer(self.policy, self.weights, replay),
            settings=training,
            processes=self.group,
        )
        advantage = TrajectoryAdvantage(1.0, 1.0, image_trained=True, text_trained=True)
        item = TrainingItem(trajectory=trajectory, advantage=advantage, position=0)
        found: dict[str, PhaseCounts] = {}
        with self.ledger.phase(found, ""):
            updater.update([item] * training.replay_batch, on_policy=False)
        return found[""]


def _images(
    run: _Run, training: TrainingSettings, load: TrainingLoad, *, peaks_only: bool
) -> PhaseCounts:
    """One and two trained steps of each kind, and from them all; the highest of the peaks."""
    algorithm = training.image.algorithm
    assert algorithm is not None
    kinds: dict[int, float] = {1: 1.0}
    if algorithm.trains_on.needs_window:
        guidance = load.guidance or Guidance(text_scale=1.0)
        kinds = {guidance.branches(load.sigmas[step]): load.sigmas[step] for step in load.window}
        branches = [guidance.branches(load.sigmas[step]) for step in load.window]
        times = {level: branches.count(kind) for kind, level in kinds.items()}
    else:
        times = {1.0: training.image.levels}
    if peaks_only:
        guided = _trajectory(run.config, load, images=1, level=kinds[max(kinds)])
        return run.count(_levels(training, 1), guided)
    total: PhaseCounts | None = None
    for level, count in times.items():
        one, two = (
            run.count(
                _levels(training, n),
                _trajectory(run.config, load, images=n, level=level),
            )
            for n in (1, 2)
        )
        total = _with_more(total or one, one, two, count if total else count - 1)
    assert total is not None, "a window is not empty"
    return total


def _levels(training: TrainingSettings, count: int) -> TrainingSettings:
    return replace(training, image=replace(training.image, levels=count))


def _with_more(total: PhaseCounts, one: PhaseCounts, two: PhaseCounts, times: int) -> PhaseCounts:
    """`total` with so many more of what `two` has beyond `one`."""
    return PhaseCounts(
        flops=total.flops + times * (two.flops - one.flops),
        bytes_moved=total.bytes_moved + times * (two.bytes_moved - one.bytes_moved),
        operators=total.operators + times * (two.operators - one.operators),
        peak=max(total.peak, two.peak, key=lambda peak: sum(peak.values())),
    )


def _trajectory(
    config: BagelConfig, load: TrainingLoad, *, images: int, level: float = 1.0
) -> Trajectory:
    """Prompt and thought, and an image with `images` trained steps near a noise level.

    Without images the thought is trained; with them it is read.
    """
    steps: list[Any] = [InputText(text=words(load.prompt_tokens))]
    segments: list[Any] = list(steps)
    if load.thought_tokens:
        steps.insert(0, InputText(text=words(load.system_tokens), role="system"))
        segments.insert(0, steps[0])
        thought = GenerateText(max_tokens=load.thought_tokens, top_p=load.top_p, trained=not images)
        steps.append(thought)
        segments.append(
            SampledText(
                spec=thought,
                ids=(3,) * load.thought_tokens,
                logp_T=torch.zeros(load.thought_tokens),
                finished=True,
                text="",
            )
        )
    if images:
        image = _image(config, load, images, level)
        steps.append(image.spec)
        segments.append(image)
    prompt = TrainingPrompt(id="", text="")
    program = Program(id="", group="", prompt=prompt, steps=tuple(steps), seed=0)
    return Trajectory(program=program, segments=tuple(segments))


def _image(config: BagelConfig, load: TrainingLoad, steps: int, level: float) -> SampledImage:
    spec = GenerateImage(
        width=load.width,
        height=load.height,
        sigmas=(*(level * (1.0 - 0.01 * step) for step in range(steps + 1)), 0.0),
        window=range(steps),
        guidance=load.guidance,
    )
    tokens = (load.width // config.token_pixels) * (load.height // config.token_pixels)
    latent = torch.zeros((tokens, config.latent_features))
    return SampledImage(
        spec=spec,
        path_NX=torch.stack([latent] * (steps + 1)),
        velocity_SX=torch.stack([latent] * steps),
        logp_S=torch.zeros(steps),
        final_X=latent,
        image=Image.new("RGB", (1, 1)),
    )


class _HeldOptimizer(WeightOptimizer):
    """An optimizer that can be told to leave the gradients as they are."""

    held = False

    def update(self) -> float:
        """See `WeightOptimizer.update`."""
        return 0.0 if self.held else super().update()


def _fill_gradients(weights: WeightSets, ledger: TensorLedger) -> None:
    """As after the first of many batches."""
    for parameter in weights.trained.values():
        parameter.grad = torch.zeros_like(parameter)
    ledger.book(GRADIENTS, [parameter.grad for parameter in weights.trained.values()])


def _copied_views(training: TrainingSettings) -> frozenset[str]:
    """The weights beside the trained ones, as the trainer keeps them."""
    objective = Objective(training.image, training.text)
    views = {*objective.views, training.rollout_view, *training.validate_views} - {"train"}
    return frozenset(views | ({"ema"} if training.ema is not None else set()))


@contextmanager
def _as_gpu_optimiser() -> Iterator[None]:
    """AdamW takes all parameters of a group at once, as on a GPU by default; shards one by one."""

    def together(optimiser: Any, args: Any, kwargs: Any) -> None:
        del args, kwargs
        for group in optimiser.param_groups:
            group["foreach"] = not any(map(is_sharded, group["params"]))

    hook = register_optimizer_step_pre_hook(together)
    try:
        yield
    finally:
        hook.remove()
