"""Everything a recipe decides about the engine, described once, beside its default.

Sections are read strictly by `strict_yaml`. Numbers of devices appear nowhere: they change how the
work is cut, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from alphatrainers.algorithms.advantages import AdvantageScaling
from alphatrainers.algorithms.losses.kl import TextKL
from alphatrainers.algorithms.losses.surrogate import Clip
from alphatrainers.algorithms.schedules import DECAYS
from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.protocols import WeightView
from alphatrainers.setting_checks import (
    require_kl_views,
    require_not_negative,
    require_positive,
)

TextKind = Literal["none", "grpo", "dapo", "dr_grpo", "gspo", "cispo"]
AppliesTo = Literal["both", "image", "text"]
Precision = Literal["float32", "bfloat16", "float16"]


_MOST_TRAJECTORIES: Final = 1_000_000
"""Of one training step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters on the modules that the policy names; everything else is frozen."""

    rank: int = 32
    alpha: float = 64.0
    init: Literal["default", "gaussian"] = "gaussian"

    def __post_init__(self) -> None:
        require_positive(rank=self.rank, alpha=self.alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserSettings:
    """AdamW."""

    lr: float = 5e-5
    """Of experts that `experts` does not name."""
    experts: Mapping[str, float] = field(default_factory=dict)
    """Learning rate by expert, e.g. {gen: 5e-5, und: 1e-6}; 0 freezes it."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-4
    gradient_norm: float = 1.0
    """The gradient is scaled down to this norm over all processes."""
    warmup_updates: int = 0
    """The learning rate rises linearly over these."""
    schedule: Literal["constant", "linear"] = "constant"
    """After the warm-up the rate stays, or falls linearly to 0, which follows the last update."""

    def __post_init__(self) -> None:
        require_positive(eps=self.eps, gradient_norm=self.gradient_norm)
        require_not_negative(lr=self.lr, weight_decay=self.weight_decay)
        require_not_negative(warmup_updates=self.warmup_updates)
        require_not_negative(**{f"experts.{name}": rate for name, rate in self.experts.items()})
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas={self.betas!r}: each is 0 at least and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmaSettings:
    """Moving average of the trained weights: ema <- decay * ema + (1 - decay) * trained."""

    decay: float = 0.9
    every: int = 1
    """Training steps between two updates."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"decay={self.decay:g}: it is 0 at least and below 1")
        require_positive(every=self.every)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLossSettings:
    """The text part."""

    kind: TextKind = "dapo"
    weight: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.28
    limit: float | None = None
    """Largest advantage that counts; AlphaGRPO has none for text."""
    cut_off: Literal["trained", "left_out"] = "trained"
    """Texts that were cut off at their length: their tokens are trained like others, or not."""
    kl: TextKL = "k3"
    kl_weights: Mapping[str, float] = field(default_factory=dict)
    """Distance to other weights by view: {reference: 1e-3}."""

    def __post_init__(self) -> None:
        self.clip()
        require_kl_views(self.kl_weights)

    @property
    def trained(self) -> bool:
        """Whether texts are trained at all."""
        return self.kind != "none"

    def clip(self) -> Clip:
        """As `losses` take it."""
        return Clip(low=self.clip_low, high=self.clip_high)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvantageSettings:
    """Rewards to advantages."""

    std: Literal["none", "group", "batch"] = "batch"
    ddof: Literal[0, 1] = 0
    eps: float = 1e-4
    floor: float = 0.0
    flat_below: float = 0.0
    """A group whose rewards have at most this sample standard deviation counts as flat, as one with
    equal rewards does: it is not trained. With combine=separate for each reward on its own."""
    noise_images: int = 0
    """Images of the first step that are scored twice more; twice the standard deviation of these
    repeats is then a floor like flat_below. 0 measures none."""
    baseline: Literal["mean", "leave_one_out"] = "mean"
    combine: Literal["sum", "separate"] = "sum"
    """Several rewards: their weighted sum, or each normalised in its group first. `separate`
    divides twice, unless std is none: each reward by the spread that std names, and their weighted
    sum by its own over the batch."""

    def __post_init__(self) -> None:
        self.scaling()
        require_not_negative(flat_below=self.flat_below, noise_images=self.noise_images)
        if self.noise_images == 1:
            raise ValueError("noise_images=1: one image has no spread; 0, or 2 and more")
        if self.combine == "separate" and self.baseline != "mean":
            raise ValueError(f"combine=separate has no baseline={self.baseline}: mean")

    def scaling(self) -> AdvantageScaling:
        """As `advantages` takes it."""
        return AdvantageScaling(std=self.std, ddof=self.ddof, eps=self.eps, floor=self.floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """What stops a run; see `guards`."""

    image_mismatch: float = 2e-3
    """Largest |log-probability when replayed - when sampled| of a step before the first update."""
    text_mismatch: float = 0.05
    """The same of a token, as the mean over tokens: of texts, and of images of tokens."""
    flat_steps: int = 3
    """Stop after so many steps in a row in which no group has any spread."""
    unscored_share: float = 0.5
    """Stop if more than this share of a step's trajectories could not be scored."""
    judge_patience_seconds: float = 1800.0
    """How long to wait for a judge that is away."""
    stalled_seconds: float = 900.0
    """Stop if one of several processes makes no progress for so long; 0 never does. A wait for a
    judge does not count, and a checkpoint may take four times as long."""
    stop_when_hacked: bool = False
    """Stop, rather than only warn, when the held-out score falls while the reward rises."""
    leak: Literal["refuse", "allow"] = "refuse"
    """Training prompts that are also validation prompts."""

    def __post_init__(self) -> None:
        require_positive(image_mismatch=self.image_mismatch, text_mismatch=self.text_mismatch)
        require_positive(flat_steps=self.flat_steps)
        require_not_negative(judge_patience_seconds=self.judge_patience_seconds)
        require_not_negative(stalled_seconds=self.stalled_seconds)
        if not 0.0 <= self.unscored_share <= 1.0:
            raise ValueError(f"unscored_share={self.unscored_share:g}: a share lies within 0..1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """Where metrics go; JSON lines always."""

    tensorboard: bool = True
    """If it is installed."""
    wandb: str | None = None
    """Project name; None does not log there."""
    swanlab: str | None = None
    """Project name; None does not log there."""
    kl_every: int | None = 10
    """With LoRA and no weight on the KL to the reference: it is estimated every so many steps, on
    one batch of each process. None never does; with a weight it is measured in each step anyway."""

    def __post_init__(self) -> None:
        require_positive(kl_every=1 if self.kl_every is None else self.kl_every)

    def estimates_kl(self, step: int) -> bool:
        """Whether training step `step`, counted from 0, is one of those."""
        return self.kl_every is not None and (step + 1) % self.kl_every == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """One training."""

    steps: int
    """Training steps: each is one rollout and `updates_per_step` updates."""
    prompts_per_step: int = 32
    group_size: int = 14
    """Trajectories a prompt."""
    updates_per_step: int = 1
    """Optimizer updates a rollout; each on its share of the prompts."""
    rollout_batch: int = 14
    """Trajectories sampled together."""
    text_batch: int | None = None
    """Trajectories whose texts are sampled together, if more than `rollout_batch`: a token costs
    nearly the same for one as for many. Images stay at `rollout_batch`. null: the same for both."""
    replay_batch: int = 14
    """Trajectories replayed together; best equal to `rollout_batch`."""
    seed: int = 0
    lora: LoraSettings | None = field(default_factory=LoraSettings)
    """null trains all parameters of the policy's experts; these must be in float32."""
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    ema: EmaSettings | None = None
    old_decay: str = "none"
    """How the `old` weights follow, by name: see `schedules.DECAYS`."""
    rollout_view: WeightView = "train"
    """Which weights sample; DiffusionNFT samples from `old`."""
    old_log_probs: Literal["auto", "sampled", "replayed"] = "auto"
    """What a ratio's denominator is: the sampler's numbers, or those of a replay under the same
    weights. auto: the sampler's, unless they differ by more than a tenth of the clip of images or,
    in the mean over tokens, of text."""
    image: ImageLossSettings = field(default_factory=ImageLossSettings)
    text: TextLossSettings = field(default_factory=TextLossSettings)
    advantage: AdvantageSettings = field(default_factory=AdvantageSettings)
    context_gradient: bool = False
    """Let the image loss reach what was read before the image."""
    recompute: bool = False
    """Activation checkpointing: less memory, a third more work in training."""
    parallel: Literal["replicate", "shard"] = "replicate"
    """With several processes: full weights in each, or FSDP2."""
    compute: Literal["float32", "tf32", "bfloat16"] = "float32"
    """What passes over float32 weights compute in. bfloat16: full weights, optimiser and sums of
    gradients stay in float32; several processes need parallel=shard."""
    guards: GuardSettings = field(default_factory=GuardSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    validate_every: int = 20
    """Training steps; also at step 0 and at the end."""
    validate_views: tuple[WeightView, ...] = ("train",)
    best_view: WeightView | None = None
    """Which of them `best` holds: the weights of this view's highest point. null: the first."""
    save_every: int = 20
    keep: int = 2
    """Checkpoints that are retained beside the best one."""

    def __post_init__(self) -> None:
        require_positive(steps=self.steps, prompts_per_step=self.prompts_per_step, keep=self.keep)
        require_positive(rollout_batch=self.rollout_batch, replay_batch=self.replay_batch)
        require_positive(text_batch=1 if self.text_batch is None else self.text_batch)
        require_positive(validate_every=self.validate_every, save_every=self.save_every)
        require_positive(updates_per_step=self.updates_per_step)
        if self.group_size < 2:
            raise ValueError(f"group_size={self.group_size}: a group of one compares with nothing")
        if self.prompts_per_step * self.group_size > _MOST_TRAJECTORIES:
            raise ValueError(
                f"prompts_per_step={self.prompts_per_step} times group_size={self.group_size} is "
                f"more than {_MOST_TRAJECTORIES} trajectories a step"
            )
        if self.prompts_per_step % self.updates_per_step:
            raise ValueError("prompts_per_step must be a multiple of updates_per_step")
        if self.old_decay not in DECAYS:
            raise ValueError(f"old_decay={self.old_decay!r} is none of {', '.join(DECAYS)}")
        if self.compute == "bfloat16" and self.lora is not None:
            raise ValueError(
                "compute=bfloat16 is for lora=null: open the policy's checkpoint in bfloat16"
            )
        if not self.image.trained and not self.text.trained:
            raise ValueError("neither text nor image is trained")
        views: set[str] = {self.rollout_view, *self.validate_views}
        views |= {*self.image.kl_weights, *self.text.kl_weights}
        if not self.validate_views or "reference" in self.validate_views:
            raise ValueError("validate_views names trained weights: train, ema or old")
        if "ema" in views and self.ema is None:
            raise ValueError("the view `ema` needs the section `ema`")
        if self.best_view is not None and self.best_view not in self.validate_views:
            known = ", ".join(self.validate_views)
            raise ValueError(f"best_view={self.best_view} is not validated: choose of {known}")

    @property
    def deciding_view(self) -> WeightView:
        """The view whose curve decides which weights are best."""
        return self.best_view or self.validate_views[0]
