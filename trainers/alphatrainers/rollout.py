"""Makes and scores trajectories for a task: a batch is scored while the next one is sampled.

Batches depend on the programs alone, so that another number of processes makes the same ones as
long as a batch is no larger than a group. Knows no task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from alphatrainers import lora_adapters
from alphatrainers.protocols import Policy, Score, ScoredTrajectory, TextsTogether
from alphatrainers.reward_scoring import PendingScores, Scorer, TrajectoryScores, row_of
from alphatrainers.stop_request import StopRequest
from alphatrainers.training_display import NoDisplay, TrainingDisplay
from alphatrainers.trajectory import Program, Trajectory

T = TypeVar("T")


def batches(
    items: Sequence[T], *, program: Callable[[T], Program], most: int, group_size: int
) -> Iterator[list[T]]:
    """Neighbours of one shape, at most `most`; of one group where a group fills a batch."""
    batch: list[T] = []
    last: Hashable = None
    for item in items:
        spec = program(item)
        key = (spec.shape, spec.group if most <= group_size else None)
        if batch and (key != last or len(batch) == most):
            yield batch
            batch = []
        batch.append(item)
        last = key
    if batch:
        yield batch


@dataclass(slots=True, kw_only=True)
class RolloutCosts:
    """Time (seconds) and cost (dollars) of one step's rollouts, for the log."""

    rollout: float = 0.0
    waiting: float = 0.0
    """For rewards, after the last batch was sampled."""
    trajectories: int = 0
    cost_usd: float | None = None
    """Of all scores; None if no reward reports a cost."""

    def add(self, scores: Iterable[Score]) -> None:
        """Adds what they cost."""
        costs = [score.cost_usd for score in scores if score.cost_usd is not None]
        if costs:
            self.cost_usd = math.fsum([self.cost_usd or 0.0, *costs])


class RolloutCollector:
    """The rollouts of one training step."""

    def __init__(
        self,
        policy: Policy,
        scorer: Scorer,
        *,
        batch: int,
        group_size: int,
        text_batch: int | None = None,
        display: TrainingDisplay | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self._stop = StopRequest() if stop is None else stop
        self._policy, self._scorer = policy, scorer
        self._display = display or NoDisplay()
        self._images_together, self._group_size = batch, group_size
        self._batch = max(batch, text_batch or 0) if isinstance(policy, TextsTogether) else batch
        self.spent = RolloutCosts()
        self.stages: list[list[TrajectoryScores]] = []
        """Scores of each scored rollout, whether or not the task trains on it."""

    def collect(
        self, programs: Sequence[Program], *, scored: bool = True
    ) -> list[ScoredTrajectory]:
        """See `protocols.TrajectoryCollector`; a request to stop cuts it off."""
        with self._stop.abandonable():
            return self._collect(programs, scored=scored)

    def _collect(self, programs: Sequence[Program], *, scored: bool) -> list[ScoredTrajectory]:
        pending: list[PendingScores] = []
        made: list[ScoredTrajectory] = []
        self._display.begin("rollout", total=len(programs), done=0)
        for batch in batches(
            programs, program=lambda p: p, most=self._batch, group_size=self._group_size
        ):
            trajectories = self._roll_out(batch)
            if scored:
                pending.append(self._scorer.submit(trajectories))
            else:
                made += [ScoredTrajectory(trajectory=t, scores={}) for t in trajectories]
        began = time.monotonic()
        self._display.begin("rewards", total=len(programs), done=0)
        for waiting in pending:
            made += waiting.result()
            self._display.advance(len(waiting.trajectories))
        self._display.end()
        self.spent.waiting += time.monotonic() - began
        if scored:
            self.stages.append([row_of(one) for one in made])
            self.spent.add(score for one in made for score in one.scores.values())
        return made

    def _roll_out(self, batch: Sequence[Program]) -> list[Trajectory]:
        began = time.monotonic()
        with torch.no_grad(), lora_adapters.held_casts(self._policy.module):
            if isinstance(self._policy, TextsTogether) and len(batch) > self._images_together:
                trajectories = self._policy.rollout_in_slices(
                    batch, images_together=self._images_together
                )
            else:
                trajectories = self._policy.rollout(batch)
        self.spent.rollout += time.monotonic() - began
        self.spent.trajectories += len(batch)
        self._display.advance(len(batch))
        if [made.program.id for made in trajectories] != [program.id for program in batch]:
            raise ValueError("the policy's trajectories are not those of the programs, in order")
        return trajectories
