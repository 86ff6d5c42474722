"""The protocols between the engine and policy, reward, task and validation.

The engine owns weights, log-probabilities of latents, losses and updates; the policy owns what a
model is. Which weights are in force while a policy is called (trained, old, reference, EMA) is the
engine's decision: it changes the parameters of `Policy.module` in place or switches its adapters,
so a policy looks its layers up when called and caches nothing that depends on weights between
calls.

Shapes: B trajectories of a batch; X the axes of one latent; T tokens of one text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from alphatrainers.trajectory import Program, TrainingPrompt, Trajectory

T = TypeVar("T")
WeightView = Literal["train", "old", "reference", "ema"]
JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocityQuery:
    """One velocity that a replay computes, for all trajectories of the batch."""

    segment: int
    """Index of the segment of the image; its context is all segments before it."""
    x_BX: Tensor
    """Latents, float32, on the policy's device."""
    sigma_B: Tensor
    """Noise level of each; all equal where `guided`."""
    guided: bool
    """True: guided as in the rollout (`GenerateImage.guidance`); False: the plain branch."""
    sigma: float | None = None
    """The noise level of all, for decisions on the host; None where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScored:
    """Answer for one sampled text or image of tokens: log-probabilities of the ids as sampled."""

    segment: int
    logp: tuple[Tensor, ...]
    """One float32 tensor (T,) a trajectory, under the distribution that was sampled
    (`GenerateText.temperature`, `top_p`; `GenerateImageTokens.guidance`, `temperature`); exactly as
    long as the segment's `ids`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocityPredicted:
    """Answer to one query."""

    query: int
    """Its number in `queries`."""
    v_BX: Tensor
    """Noise minus image, in the shape of `VelocityQuery.x_BX`."""


ReplayAnswer = TextScored | VelocityPredicted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySpec:
    """How a replay treats gradients and memory."""

    context_gradient: bool = False
    """False: what was read before a sampled segment is constant for it, and every answer can be
    sent backward alone. True: gradients flow through contexts, answers share one graph."""
    recompute: bool = False
    """Activation checkpointing."""


@runtime_checkable
class TextsTogether(Protocol):
    """A policy that can sample the texts of more trajectories together than their images."""

    def rollout_in_slices(
        self, programs: Sequence[Program], *, images_together: int
    ) -> list[Trajectory]:
        """As `Policy.rollout`, but everything except sampled text goes in slices of this size."""
        ...


@runtime_checkable
class HalfPrecision(Protocol):
    """A policy whose units can compute in half precision while their weights are float32."""

    def compute_in(self, dtype: torch.dtype) -> None:
        """Casts the weights outside the units, but those that need float32; none is trained.

        From now on it gives its units tokens of this type, in which their weights are gathered.
        """
        ...


class Policy(Protocol):
    """A model that generates text and images. Its only randomness comes from `Program.seed`."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides its results: checkpoint, revision, dtype. Another one is another run."""
        ...

    @property
    def module(self) -> nn.Module:
        """All weights. The engine puts LoRA layers into it, shards it, and swaps its values."""
        ...

    @property
    def device(self) -> torch.device:
        """Where queries must lie."""
        ...

    @property
    def experts(self) -> Mapping[str, str]:
        """Named groups of trainable modules: {"gen": regex, "und": regex}.

        Each regex must match the full dotted names of Linear modules in `module` (for LoRA), and is
        also held against the owning module of each parameter (for full training).
        """
        ...

    @property
    def units(self) -> Sequence[nn.Module]:
        """Submodules that FSDP shards one by one; each is only ever run by calling it.

        A replay of one shape of program takes the same calls of them in every process, whatever
        the lengths of texts and prompts: at each call all processes gather its weights together.
        The module that calls them, if there is one, comes last: only then are the next one's
        weights gathered during the work of one. Its own weights stay whole.
        """
        ...

    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        """Samples programs of one `shape`, together, without gradients; in their order."""
        ...

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        """Computes the trajectories (of one `shape`) once under the weights in force.

        Reads every context once, however many queries lie on it, and computes each answer only when
        it is requested, so that its graph can be freed before the next. Gradients are recorded if
        the caller has them enabled.

        Args:
            trajectories: of one batch; the more alike the batch is to the rollout's, the nearer the
                log-probabilities.
            texts: numbers of the segments whose ids are scored: texts, and images of tokens.
            queries: velocities wanted, sorted by segment.
            how: gradients through contexts, recomputation.

        Returns:
            One answer for each text and each query, in the order of segments, queries in their own.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One reward of one trajectory: a number, or the reason why there is none; never 0 for that."""

    value: float | None
    reason: str = ""
    """Why it is unscored."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Finer numbers for the log, e.g. `semantic`, `quality`."""
    cost_usd: float | None = None
    """Cost of the judge calls; None if it is not reported."""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"{self!r}: either a value or the reason why there is none")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self!r}: a value is finite")


class RewardFunction(Protocol):
    """Scores trajectories. Called from a worker thread while the policy goes on sampling."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What makes its numbers: model, revision, protocol."""
        ...

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        """One score each, in order.

        An unscored trajectory leaves its group and is not trained. Any exception but the one below
        makes all of them unscored, with its text as the reason.

        Raises:
            JudgeUnavailableError: nothing can be scored now; the training waits and tries again.
        """
        ...


@runtime_checkable
class RepeatableReward(Protocol):
    """A reward that can be asked again; others answer `RewardFunction.score` anew each time."""

    def score_repeat(self, trajectories: Sequence[Trajectory], repeat: int) -> Sequence[Score]:
        """As `RewardFunction.score`, by answers that no cache gives for another `repeat`.

        Args:
            trajectories: to score.
            repeat: 1 or more; `score` is number 0.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrajectory:
    """A trajectory and its scores, by the reward's name in the recipe."""

    trajectory: Trajectory
    scores: Mapping[str, Score]


class TrajectoryCollector(Protocol):
    """Given to a task: makes and scores trajectories."""

    def collect(
        self, programs: Sequence[Program], *, scored: bool = True
    ) -> list[ScoredTrajectory]:
        """Rolls the programs out in batches, scoring each batch while the next is sampled.

        In their order. With `scored=False` the scores are empty.
        """
        ...


class Exchange(Protocol):
    """Does a piece of work in each process and gives its results in all, by rank."""

    def __call__(self, work: Callable[[], T]) -> list[T]:
        """All processes call it equally often; where the work of one fails, it raises in all.

        Args:
            work: its result is pickled.
        """
        ...


def alone(work: Callable[[], T]) -> list[T]:
    """The `Exchange` of a process that has whole groups: with nobody."""
    return [work()]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """Which rollout this is; a resumed run gives the same ones again."""

    step: int
    """Number of the training step, from 0."""
    seed: int
    """Of the run."""
    group_size: int
    members: Mapping[str, range] = field(default_factory=dict)
    """Of prompts whose group is split over processes, by prompt id: the members made here."""
    exchange: Exchange = alone
    """Between the processes, where groups are split."""

    def members_of(self, prompt: TrainingPrompt) -> range:
        """The members of the prompt's group that this process makes."""
        return self.members.get(prompt.id, range(self.group_size))


@runtime_checkable
class SplitsGroups(Protocol):
    """A task that may make a part of a group, as `StepInfo.members_of` says."""

    @property
    def splits_groups(self) -> bool:
        """Whether it does; False where members of a group depend on one another."""
        ...


class Task(Protocol):
    """Turns prompts into trajectories to train on: one stage or several, rewards rectified."""

    def collect(
        self, prompts: Sequence[TrainingPrompt], collector: TrajectoryCollector, step_info: StepInfo
    ) -> list[ScoredTrajectory]:
        """All trajectories to train on, each prompt's group complete (but see `SplitsGroups`).

        Runs on each process for its own prompts; communicates by `StepInfo.exchange` alone. Scores
        may be replaced (false-positive rectification, a task's own format rewards) but not
        invented.
        """
        ...

    def state(self) -> JsonValue:
        """What must survive a restart (queues); None where there is nothing."""
        ...

    def restore(self, state: JsonValue) -> None:
        """Takes back what `state` gave."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationPoint:
    """One point of a validation curve. `low` and `high` are its 95% interval."""

    value: float
    low: float
    high: float
    items: Mapping[str, float]
    """Score of each sample, for paired comparison with other points of the same curve."""
    folder: Path | None = None
    """The run folder."""


class Validation(Protocol):
    """Measures the weights in force with something other than the reward."""

    @property
    def name(self) -> str:
        """Of the curve, e.g. `geneval:mini`."""
        ...

    @property
    def prompts(self) -> Sequence[str]:
        """Its prompts, so that a leak into the training data is refused."""
        ...

    def measure(self, *, step: int, view: WeightView) -> ValidationPoint | None:
        """The weights of `view` are in force. Runs in the first process only.

        None: it could not be measured; the curve has a gap, and nothing becomes a number.
        """
        ...


@runtime_checkable
class SharedValidation(Protocol):
    """A validation whose work is shared by all processes."""

    def assist(self) -> None:
        """Runs in each other process while the first one measures, with the same weights."""
        ...
