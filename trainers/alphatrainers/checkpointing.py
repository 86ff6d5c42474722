"""Saves all that a training needs to continue, and restores it: progress, weights, optimiser, task.

A resumed training does exactly what the uninterrupted one would have done. `checkpoint` writes and
reads the files; this module gathers their contents from all processes. Knows no policy and no loss.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers.checkpoint import (
    Counters,
    TrainingCheckpoint,
    TrainingFolder,
    WeightsFormat,
)
from alphatrainers.distributed import Processes
from alphatrainers.judge_noise import JudgeNoise
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.protocols import JsonValue, Task
from alphatrainers.settings import TrainingSettings
from alphatrainers.shard_saving import ShardSaver
from alphatrainers.sharded_files import shard_name
from alphatrainers.shards import can_write_shards, names_of_shards, read_shards, write_shards
from alphatrainers.stop_request import StepAbandoned
from alphatrainers.update import Updater
from alphatrainers.validation_curve import ValidationCurves
from alphatrainers.weight_sets import WeightSets, copy_into, full_values, is_sharded


@dataclass(slots=True, kw_only=True)
class TrainingProgress:
    """How far a training is: what the train loop changes from step to step."""

    step: int = 0
    """Training steps done."""
    images: int = 0
    """Trajectories made, over all processes."""
    zero_spread_steps: dict[str, int] = field(default_factory=lambda: {"image": 0, "text": 0})
    """Consecutive steps without any spread of rewards, by part."""
    cost_usd: float | None = None
    """What scores cost so far; None if no reward reports a cost."""
    recent_reward: float = math.nan
    """Moving mean of the training reward; NaN before the first one."""
    judge_noise: JudgeNoise | None = None
    """Measured in the first step; None where it is not asked for."""
    unmeasured: bool = True
    """Whether the validation that is due at this step is still to come."""


class Moment(NamedTuple):
    """A state between two steps in this process, but for weights and the optimiser's values."""

    progress: TrainingProgress
    old_log_probs: str | None
    queue: JsonValue
    curves: Mapping[str, JsonValue]
    random: dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointer:
    """Saves and restores the stateful parts of one training."""

    folder: TrainingFolder
    weights: WeightSets
    layout: WeightsFormat
    optimizer: WeightOptimizer
    updater: Updater
    curves: ValidationCurves
    task: Task
    settings: TrainingSettings
    processes: Processes
    report: Callable[[str], None]
    saver: ShardSaver
    """Of `processes`."""

    def moment(self, progress: TrainingProgress) -> Moment:
        """The state now; a step that is abandoned later may have changed some of it."""
        streaks = dict(progress.zero_spread_steps)
        return Moment(
            progress=replace(progress, zero_spread_steps=streaks),
            old_log_probs=self.updater.old_log_probs,
            queue=copy.deepcopy(self.task.state()),
            curves=self.curves.state(),
            random=random_state(),
        )

    def save_abandoned(self, moment: Moment) -> bool:
        """Saves the state before a step that changed no weight; False before the first one.

        Raises:
            AlphaBenchError: as `save` and `finish`.
        """
        self.finish()
        step = moment.progress.step
        known = self.processes.of_first(step == 0 or step in self.folder.steps())
        if not known:
            self.save(moment.progress, moment)
            self.finish()
        return step > 0

    def notice(self) -> None:
        """Between two steps: takes note of a checkpoint that has been written meanwhile.

        Raises:
            AlphaBenchError: it could not be written.
        """
        self.saver.notice()

    def finish(self) -> None:
        """Waits until every checkpoint is durable.

        Raises:
            AlphaBenchError: the newest could not be written; those before it are as they were.
        """
        self.saver.finish()

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Within it, checkpoints are saved; what fails there lets the newest be written first."""
        try:
            yield
        except StepAbandoned:
            raise  # `save_abandoned` comes next
        except BaseException:
            failure = self.saver.wait_alone()
            if failure is not None:
                why = f" ({failure.message})" if isinstance(failure, AlphaBenchError) else ""
                self.report(f"the newest checkpoint could not be completed{why}")
            raise

    def save(self, progress: TrainingProgress, moment: Moment | None = None) -> None:
        """Writes a checkpoint in the first process; the others wait until it is durable.

        Where each process has a part, this returns once the parts are copied: the checkpoint is
        durable after `finish`, which the next one waits for.

        Args:
            progress: of the state that the weights have.
            moment: that state, if it has changed since; None takes the state now.

        Raises:
            TrainingStoppedError: if the trained weights of the processes differ.
            AlphaBenchError: this checkpoint, or the one before, could not be written.
        """
        self.finish()
        if len(set(self.processes.gather(self.optimizer.checksum()))) > 1:
            raise TrainingStoppedError(
                f"the weights of the processes differ before step {progress.step}",
                hint="look for randomness that does not come from `Program.seed`, then resume",
            )
        moment = moment or self.moment(progress)
        recent = progress.recent_reward
        counters = Counters(
            step=progress.step,
            updates=self.optimizer.updates,
            position=progress.step * self.settings.prompts_per_step,
            images=progress.images,
            flat_streaks=dict(progress.zero_spread_steps),
            old_log_probs=moment.old_log_probs,
            cost_usd=progress.cost_usd,
            recent_reward=recent if math.isfinite(recent) else None,
            judge_noise=None if progress.judge_noise is None else progress.judge_noise.differences,
            queues=self.processes.gather(moment.queue),
            curves=self.processes.gather(moment.curves)[0],
            unmeasured=progress.unmeasured,
        )
        random: dict[str, Tensor] = {}
        for rank, state in enumerate(self.processes.gather(moment.random)):
            random |= {f"{rank}.{name}": value for name, value in state.items()}
        if self.weights.sharded and self.layout.lora is None and can_write_shards():
            self._save_shards(counters, random)
            return
        weights = {str(view): self.weights.values(view) for view in self.weights.saved_views}
        checkpoint = TrainingCheckpoint(counters, weights, self.optimizer.state(), random)

        def write() -> None:
            if self.processes.first:
                self.folder.save(checkpoint, self.layout, keep=self.settings.keep)

        self.processes.agree(write)

    def _save_shards(self, counters: Counters, random: dict[str, Tensor]) -> None:
        """Each process copies its own part, and writes it in a thread."""
        weights = {str(view): self.weights.tensors(view) for view in self.weights.saved_views}
        optimiser = self.optimizer.tensors()
        parts = {
            shard_name(what, name): value
            for what, values in {**weights, "optimizer": optimiser}.items()
            for name, value in values.items()
            if is_sharded(value)
        }
        same = TrainingCheckpoint(
            counters,
            {view: _not_sharded(values) for view, values in weights.items()},
            _not_sharded(optimiser),
            random,
        )
        self.saver.begin(parts, partial(self._write_shards, same))

    def _write_shards(
        self, same: TrainingCheckpoint, parts: Mapping[str, Tensor], apart: Processes
    ) -> None:
        """In a thread: each process writes into the draft that the first one makes."""
        if not apart.first:
            draft = apart.of_first("")
            if draft:
                apart.agree(partial(write_shards, Path(draft), parts, group=apart.group))
            return
        told = False

        def write(draft: Path) -> None:
            nonlocal told
            told = True
            apart.of_first(str(draft))
            apart.agree(partial(write_shards, draft, parts, group=apart.group))

        try:
            self.folder.save_shards(same, write, keep=self.settings.keep)
        finally:
            if not told:
                apart.of_first("")

    def resume(self) -> TrainingProgress:
        """Restores the newest readable checkpoint everywhere; fresh progress if there is none.

        Raises:
            AlphaBenchError: if no checkpoint can be read, or it does not fit this training.
        """
        stored = self.processes.agree(self._newest)
        step = self.processes.gather(stored.counters.step if stored else None)[0]
        if step is None:
            return TrainingProgress()
        stored = stored or self.folder.load(step, self.layout)
        counters = stored.counters
        if stored.shards is not None:
            self._read_shards(stored, stored.shards)
        else:
            for view in self.weights.saved_views:
                if view not in stored.weights:
                    raise _no_weights(view)
                self.weights.load(view, stored.weights[view])
            self.optimizer.restore(stored.optimiser, updates=counters.updates)
        self.updater.old_log_probs = counters.old_log_probs  # type: ignore[assignment]
        self.curves.restore(counters.curves)
        self._restore_task(counters.queues)
        own = f"{self.processes.rank}."
        set_random_state({k[len(own) :]: v for k, v in stored.random.items() if k.startswith(own)})
        self.report(f"resumed at step {counters.step}")
        recent = counters.recent_reward
        return TrainingProgress(
            step=counters.step,
            images=counters.images,
            zero_spread_steps=dict(counters.flat_streaks),
            cost_usd=counters.cost_usd,
            recent_reward=math.nan if recent is None else recent,
            judge_noise=None
            if counters.judge_noise is None
            else JudgeNoise(differences=tuple(counters.judge_noise)),
            unmeasured=counters.unmeasured,
        )

    def _read_shards(self, stored: TrainingCheckpoint, folder: Path) -> None:
        """Weights and optimiser of any number of processes."""
        names = names_of_shards(folder)
        self.optimizer.restore(stored.optimiser, updates=stored.counters.updates)
        slots = (name.partition("/") for name in names)
        self.optimizer.make_room(name for what, _, name in slots if what == "optimizer")
        own: dict[str, dict[str, Tensor]] = {"optimizer": self.optimizer.tensors()}
        for view in self.weights.saved_views:
            own[str(view)] = self.weights.tensors(view)
            for name, value in own[str(view)].items():
                if shard_name(view, name) in names:
                    continue
                if name not in stored.weights.get(view, {}):
                    raise _no_weights(view)
                copy_into(value, stored.weights[view][name])
        parts = {
            shard_name(what, name): value
            for what, values in own.items()
            for name, value in values.items()
            if shard_name(what, name) in names
        }
        self.processes.agree(partial(read_shards, folder, parts))
        self.weights.compare_copies()

    def _newest(self) -> TrainingCheckpoint | None:
        # The first process sets damaged checkpoints aside; the others load what it could read.
        return self.folder.go_back(self.layout, self.report) if self.processes.first else None

    def _restore_task(self, queues: Sequence[Any]) -> None:
        if len(queues) == self.processes.size:
            self.task.restore(queues[self.processes.rank])
        elif any(queue is not None for queue in queues):
            raise AlphaBenchError(
                f"the task's queues are those of {len(queues)} processes",
                hint=f"resume with {len(queues)} processes",
            )


def _not_sharded(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return full_values({name: value for name, value in values.items() if not is_sharded(value)})


def _no_weights(view: str) -> AlphaBenchError:
    return AlphaBenchError(
        f"the checkpoint holds no {view!r} weights",
        hint="resume with the views it was begun with",
    )


def random_state() -> dict[str, Tensor]:
    """Of torch's own generators in this process."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Takes back what `random_state` gave."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
