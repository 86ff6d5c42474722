"""Scores trajectories while the next ones are sampled, and turns scores into advantages.

Every reward has one worker thread, so a reward is never called twice at once and scoring overlaps
with the sampling of the next batch. The training waits for a judge that is unavailable; then it
stops. A failure is an unscored trajectory with its reason, never a number. Knows no judge and no
model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import KW_ONLY, dataclass, field
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

import torch

from alphabench.core.errors import AlphaBenchError, JudgeUnavailableError, TrainingStoppedError
from alphatrainers.algorithms.advantages import Advantages, group_advantages, separate_advantages
from alphatrainers.judge_noise import JudgeNoise, spread_floor
from alphatrainers.protocols import RepeatableReward, RewardFunction, Score, ScoredTrajectory
from alphatrainers.settings import AdvantageSettings, AppliesTo
from alphatrainers.trajectory import Trajectory

T = TypeVar("T")
FINISH_SECONDS: Final = 30.0
ABANDON_SECONDS: Final = 2.0
"""How long the end of a training waits for the threads of its rewards; after an error less."""
LONGEST_WAIT: Final = 60.0
NOTE_SECONDS: Final = 60.0
"""Between two notes about a judge that stays away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardUse:
    """A reward in a recipe."""

    reward: RewardFunction
    weight: float = 1.0
    applies_to: AppliesTo = "both"
    """The segments that it rewards: text, image or both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringClock:
    """Time, as an argument."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] | None = None
    """None sleeps until the wait is over or the scores are abandoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingScores:
    """Scores on their way."""

    trajectories: tuple[Trajectory, ...]
    futures: Mapping[str, Future[Sequence[Score]]]

    def result(self) -> list[ScoredTrajectory]:
        """Waits for them.

        Raises:
            TrainingStoppedError: if a judge stayed away too long.
        """
        columns = {name: future.result() for name, future in self.futures.items()}
        return [
            ScoredTrajectory(
                trajectory=trajectory, scores={name: c[row] for name, c in columns.items()}
            )
            for row, trajectory in enumerate(self.trajectories)
        ]


@dataclass(slots=True, kw_only=True)
class JudgeOutages:
    """How long judges were unavailable, for the log."""

    seconds: float = 0.0
    outages: int = 0


class Scorer:
    """Calls all rewards of a recipe, each in a thread of its own."""

    def __init__(
        self,
        uses: Mapping[str, RewardUse],
        *,
        patience_seconds: float,
        clock: ScoringClock | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Begins a thread for each reward.

        Args:
            uses: the rewards by name.
            patience_seconds: how long a judge that is unavailable is waited for.
            clock: time.
            note: shows a message to the user; called from the rewards' threads.
        """
        self.uses = dict(uses)
        self.waited = JudgeOutages()
        clock = clock or ScoringClock()
        self._patience, self._now, self._note = patience_seconds, clock.now, note
        self._abandoned = threading.Event()
        self._sleep = clock.sleep or self._abandoned.wait
        self._threads = {name: _Worker(f"reward {name}") for name in uses}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandoned.set()
        for thread in self._threads.values():
            thread.stop()
        for thread in self._threads.values():
            thread.join(FINISH_SECONDS if kind is None else ABANDON_SECONDS)

    def submit(self, trajectories: Sequence[Trajectory], *, repeat: int = 0) -> PendingScores:
        """Begins to score; returns at once.

        Args:
            trajectories: to score.
            repeat: tells apart scores of the same trajectories that shall be independent.
        """
        batch = tuple(trajectories)
        futures = {
            name: thread.submit(self._score, name, batch, repeat)
            for name, thread in self._threads.items()
        }
        return PendingScores(trajectories=batch, futures=futures)

    def _score(self, name: str, batch: tuple[Trajectory, ...], repeat: int) -> Sequence[Score]:
        if self._abandoned.is_set():
            raise TrainingStoppedError(
                f"reward {name!r} was not called: the training stopped",
                hint="repeat the command",
            )
        outage, wait = _Outage(name, self._patience, self._note, began=self._now()), 1.0
        while True:
            try:
                scores = scores_of_repeat(self.uses[name].reward, batch, repeat)
            except JudgeUnavailableError as error:
                away = self._now() - outage.began
                if away + wait > self._patience or self._abandoned.is_set():
                    # Set here: otherwise this thread would start the next batch before it is
                    # cancelled.
                    self._abandoned.set()
                    raise TrainingStoppedError(
                        f"reward {name!r} could not be reached for {away:.0f} seconds: {error}",
                        hint="start its judge again, then continue with --resume",
                    ) from error
                self.waited.outages += 1
                self.waited.seconds += wait
                outage.lasts(away, error)
                self._sleep(wait)
                wait = min(2.0 * wait, LONGEST_WAIT)
                continue
            except Exception as error:  # noqa: BLE001  a boundary: it becomes a status
                reason = f"{type(error).__name__}: {error}"
                return [Score(value=None, reason=reason)] * len(batch)
            if len(scores) != len(batch):
                raise ValueError(
                    f"reward {name!r} gave {len(scores)} scores for {len(batch)} trajectories"
                )
            outage.is_over(self._now())
            return scores


def scores_of_repeat(
    reward: RewardFunction, batch: Sequence[Trajectory], repeat: int
) -> Sequence[Score]:
    """The scores of one repeat, independent of those of others as far as the reward can do that."""
    if repeat and isinstance(reward, RepeatableReward):
        return reward.score_repeat(batch, repeat)
    return reward.score(batch)


@dataclass(slots=True)
class _Outage:
    """Tells the user about a reward whose judge is away, and when it is back."""

    reward: str
    patience: float
    note: Callable[[str], None]
    _: KW_ONLY
    began: float
    noted_at: float | None = None
    """Seconds after the beginning."""

    def lasts(self, away: float, error: JudgeUnavailableError) -> None:
        """It has been away for so many seconds."""
        if self.noted_at is None or away - self.noted_at >= NOTE_SECONDS:
            self.noted_at = away
            self.note(
                f"reward {self.reward!r} cannot be reached ({error}); trying again for up to "
                f"{self.patience - away:.0f} s (guards.judge_patience_seconds). Start its judge, "
                "or stop this with Ctrl-C: the steps that were saved are kept"
            )

    def is_over(self, now: float) -> None:
        if self.noted_at is not None:
            self.note(f"reward {self.reward!r} is scored again ({now - self.began:.0f} s)")


class _Worker:
    """One thread that does its work in order.

    Unlike an executor's, the program does not wait for it without limit: an interrupted training
    ends while its judge is retried.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Waits until the thread has ended, so many seconds at most.

        One that frees tensors while the interpreter ends aborts the process: a finished training
        under torchrun then counts as failed.
        """
        self._thread.join(seconds)

    def submit(self, work: Callable[..., T], *args: object) -> Future[T]:
        """Begins when all that was submitted before is done."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work(*args))
            except BaseException as error:  # noqa: BLE001  a boundary: the waiting thread raises it
                future.set_exception(error)

        self._work.put(run)
        return future

    def stop(self) -> None:
        """What has not begun yet never will."""
        self._stopped = True
        self._work.put(lambda: None)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            if self._stopped:
                return
            work()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryScores:
    """What is known of one trajectory in every process: small enough to be sent around."""

    group: str
    values: Mapping[str, float | None]
    reasons: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Finer numbers of each reward, for the log."""
    task: str = ""
    """The task of its program, where a training has several."""


def row_of(scored: ScoredTrajectory) -> TrajectoryScores:
    """The scores of a trajectory without the trajectory."""
    return TrajectoryScores(
        group=scored.trajectory.program.group,
        values={name: score.value for name, score in scored.scores.items()},
        reasons={name: s.reason for name, s in scored.scores.items() if s.reason},
        parts={name: dict(s.parts) for name, s in scored.scores.items() if s.parts},
        task=scored.trajectory.program.task,
    )


def rewards_of_part(
    uses: Mapping[str, RewardUse], part: Literal["image", "text"]
) -> dict[str, RewardUse]:
    """The rewards that apply to a part of a trajectory.

    Raises:
        AlphaBenchError: if there is none.
    """
    applying = {name: use for name, use in uses.items() if use.applies_to in {"both", part}}
    if not any(use.weight != 0.0 for use in applying.values()):
        raise AlphaBenchError(
            f"no reward applies to the {part} part",
            hint=f"set `credits: {part}` or `credits: both` on one, or train no {part}",
        )
    return applying


def advantages_of(
    rows: Sequence[TrajectoryScores],
    uses: Mapping[str, RewardUse],
    settings: AdvantageSettings,
    noise: JudgeNoise | None = None,
) -> Advantages:
    """How much better each trajectory did than its group, by the rewards in `uses` (float64).

    A trajectory that misses any of them is unscored.

    Args:
        rows: scores of the step.
        uses: the rewards that apply.
        settings: how they become advantages.
        noise: of the rewards' judges; None is not measured.
    """
    names = list(uses)
    number = {group: index for index, group in enumerate(dict.fromkeys(r.group for r in rows))}
    group_B = torch.tensor([number[row.group] for row in rows])
    table = [[_or_nan(row.values[name]) for name in names] for row in rows]
    reward_BR = torch.tensor(table, dtype=torch.float64).reshape(len(rows), len(names))
    weight_R = torch.tensor([uses[name].weight for name in names], dtype=torch.float64)
    scaling = settings.scaling()
    if settings.combine == "separate" and len(names) > 1:
        return separate_advantages(
            reward_BR,
            group_B,
            weight_R=weight_R,
            scaling=scaling,
            flat_below_R=[spread_floor(settings, noise, {name: 1.0}) for name in names],
        )
    return group_advantages(
        total_rewards(reward_BR, weight_R),
        group_B,
        scaling=scaling,
        baseline=settings.baseline,
        flat_below=spread_floor(settings, noise, _weights(uses)),
    )


def largest_floor(
    uses: Mapping[str, RewardUse], settings: AdvantageSettings, noise: JudgeNoise | None
) -> float | None:
    """The spread up to which a group is flat, of the reward that has most; None where none is."""
    if noise is None and settings.flat_below == 0.0:
        return None
    weights = _weights(uses)
    if settings.combine == "sum":
        return spread_floor(settings, noise, weights)
    return max(spread_floor(settings, noise, {name: 1.0}) for name in weights)


def _weights(uses: Mapping[str, RewardUse]) -> dict[str, float]:
    return {name: use.weight for name, use in uses.items()}


def total_rewards(reward_BR: torch.Tensor, weight_R: torch.Tensor) -> torch.Tensor:
    """The weighted sum of each row; NaN where one is missing."""
    return (reward_BR * weight_R).sum(1)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
