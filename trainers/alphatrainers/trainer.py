"""A training: rollout, rewards, advantages, updates; validation and checkpoints between them.

Puts the parts together and holds what survives a restart. A resumed training does exactly what the
uninterrupted one would have done. Knows no model, judge or benchmark.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers import guards, image_monitors, lora_adapters, reward_metrics, strict_yaml
from alphatrainers.algorithms.advantages import Advantages
from alphatrainers.algorithms.schedules import DECAYS
from alphatrainers.checkpoint import (
    Counters,
    TrainingCheckpoint,
    TrainingFolder,
    WeightsFormat,
    random_state,
    set_random_state,
)
from alphatrainers.metrics import MetricsLog, joined_sums, open_sinks
from alphatrainers.objective import Objective, TrajectoryAdvantage
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.panels import save_panel
from alphatrainers.prompt_stream import PromptStream
from alphatrainers.protocols import (
    ReplaySpec,
    ScoredTrajectory,
    StepInfo,
    WeightView,
)
from alphatrainers.replay import Replayer
from alphatrainers.reward_scoring import (
    Scorer,
    ScoreRow,
    advantages_of,
    rewards_of_part,
    row_of,
)
from alphatrainers.rollout import RolloutCollector, batches
from alphatrainers.settings import TrainingSettings
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from alphatrainers.update import TrainingItem, Updater, UpdateReport
from alphatrainers.validation_curve import MeasuredPoint, ValidationCurves
from alphatrainers.weight_sets import WeightSets

T = TypeVar("T")
_UNDECISIVE = (
    "steps",
    "validate_every",
    "validate_views",
    "save_every",
    "keep",
    "logging",
    "guards",
)
"""Settings that may be others when a training is resumed: they change no number of the steps done.
A linear schedule then falls towards the new last step."""


class TrainingOutcome(NamedTuple):
    """How a training ended."""

    step: int
    best_step: int | None
    best: Path | None


class _Collected(NamedTuple):
    """What the rollout of one step gave, in this process."""

    items: list[TrainingItem]
    rows: list[ScoreRow]
    """Of all processes."""
    image: Advantages | None
    text: Advantages | None


class Trainer:
    """One training in one folder; begins anew or goes on, as the folder says."""

    def __init__(
        self,
        parts: TrainerComponents,
        settings: TrainingSettings,
        folder: Path,
        around: RuntimeContext | None = None,
    ) -> None:
        self._parts, self._settings = parts, settings
        self._around = around or RuntimeContext()
        self._processes = self._around.processes
        self._folder = TrainingFolder(folder)
        self._stream = PromptStream(
            parts.prompts, per_step=settings.prompts_per_step, seed=settings.seed
        )
        self._check()
        objective = Objective(settings.image, settings.text)
        views = {*objective.views, settings.rollout_view, *settings.validate_views} - {"train"}
        if settings.ema is not None:
            views.add("ema")
        self._weights = WeightSets(
            parts.policy, settings, views=frozenset(views), processes=self._processes
        )
        self._engine = WeightOptimizer(
            self._weights,
            settings.optimiser,
            self._processes,
            n_updates=settings.steps * settings.updates_per_step,
        )
        how = ReplaySpec(context_gradient=settings.context_gradient, recompute=settings.recompute)
        self._replayer = Replayer(parts.policy, self._weights, how)
        self._updater = Updater(
            parts.policy,
            self._weights,
            self._engine,
            self._replayer,
            settings=settings,
            processes=self._processes,
        )
        self._curves = ValidationCurves(
            parts.validations, settings.guards, folder=self._folder, say=self._say
        )
        self._step = self._images = 0
        self._flat_streaks = {"image": 0, "text": 0}
        self._cost_usd: float | None = None
        self._recent = math.nan

    @property
    def weights(self) -> WeightSets:
        """The trained weights and their copies."""
        return self._weights

    def train(self) -> TrainingOutcome:
        """Trains until the last step; resumes from the folder's newest checkpoint.

        Raises:
            TrainingStoppedError: if a guard stops it; the folder can be resumed.
            AlphaBenchError: if the folder holds another training.
        """
        with ExitStack() as stack:
            if self._processes.first:
                stack.enter_context(self._folder.locked())
            self._agree(self._begin)
            log = self._open_log()
            stack.callback(log.close)
            scorer = stack.enter_context(
                Scorer(
                    self._parts.rewards,
                    patience_seconds=self._settings.guards.judge_patience_seconds,
                    clock=self._around.clock,
                )
            )
            self._resume()
            if self._step == 0:
                self._validate()
            while self._step < self._settings.steps:
                self._train_step(scorer, log)
        return self._outcome()

    def _check(self) -> None:
        settings, parts = self._settings, self._parts
        if self._processes.size > settings.prompts_per_step:
            raise AlphaBenchError(
                f"{self._processes.size} processes for {settings.prompts_per_step} prompts a step",
                hint="a group stays in one process: use fewer processes or more prompts_per_step",
            )
        if settings.image.algorithm is not None:
            rewards_of_part(parts.rewards, "image")
        if settings.text.trained:
            rewards_of_part(parts.rewards, "text")
        if settings.guards.leak == "refuse":
            asked = {validation.name: validation.prompts for validation in parts.validations}
            guards.refuse_leak((prompt.text for prompt in parts.prompts), asked)

    def _begin(self) -> None:
        if not self._processes.first:
            return
        plain = strict_yaml.plain(self._settings)
        decisive = {key: value for key, value in plain.items() if key not in _UNDECISIVE}
        identity: dict[str, Any] = {"settings": decisive, "prompts": self._stream.digest}
        identity["policy"] = dict(self._parts.policy.identity)
        identity["rewards"] = {
            name: {**dict(use.reward.identity), "weight": use.weight, "credits": use.credits}
            for name, use in self._parts.rewards.items()
        }
        identity |= self._parts.decisive
        self._folder.begin(strict_yaml.write(self._settings), decisive=identity)
        self._around.on_begin()

    def _open_log(self) -> MetricsLog:
        if not self._processes.first:
            return MetricsLog(None)
        sinks = open_sinks(self._settings.logging, self._folder.path, run=self._folder.path.name)
        return MetricsLog(self._folder.metrics, sinks)

    def _say(self, message: str) -> None:
        if self._processes.first:
            self._around.report(message)

    def _agree(self, work: Callable[[], T]) -> T:
        """Does the work in each process; if it fails in one, all raise, and none waits for ever."""
        result: T | None = None
        failure: AlphaBenchError | None = None
        try:
            result = work()
        except AlphaBenchError as error:
            failure = error
        if any(self._processes.gather(failure is not None)):
            raise failure or TrainingStoppedError("another process stopped", hint="see its message")
        return result  # type: ignore[return-value]  # without failure there is a result

    # One training step

    def _train_step(self, scorer: Scorer, log: MetricsLog) -> None:
        began, worked = time.monotonic(), time.process_time()
        waited = scorer.waited.seconds
        self._replayer.counts.clear()
        collector = RolloutCollector(
            self._parts.policy,
            scorer,
            batch=self._settings.rollout_batch,
            group_size=self._settings.group_size,
        )
        collected = self._collect(collector)
        on_policy = self._weights.equals_trained(self._settings.rollout_view)
        updated = self._updater.update(collected.items, on_policy=on_policy)
        self._follow()
        self._images += sum(self._processes.gather(collector.spent.trajectories))
        values = self._values(collected, updated)
        seconds = {
            "rollout": collector.spent.rollout,
            "waiting": collector.spent.waiting,
            "judge_away": scorer.waited.seconds - waited,
            "update": updated.seconds,
            "step": time.monotonic() - began,
            "processor": time.process_time() - worked,
        }
        log.write(self._step, values, seconds=seconds)
        self._step += 1
        last = self._step == self._settings.steps
        if last or self._step % self._settings.validate_every == 0:
            self._validate()
        if last or self._step % self._settings.save_every == 0:
            self._save()

    def _collect(self, collector: RolloutCollector) -> _Collected:
        prompts = self._stream.at(self._step)
        position = {prompt.id: place for place, prompt in enumerate(prompts)}
        step_info = StepInfo(
            step=self._step, seed=self._settings.seed, group_size=self._settings.group_size
        )

        def collect() -> list[ScoredTrajectory]:
            mine = self._processes.share(prompts)
            with self._weights.view(self._settings.rollout_view), self._weights.gathered():
                return self._parts.task.collect(mine, collector, step_info)

        scored = self._agree(collect)
        own = [
            (position[item.trajectory.program.prompt.id], item.trajectory.program.id, row_of(item))
            for item in scored
        ]
        every = [entry for part in self._processes.gather(own) for entry in part]
        every.sort(key=lambda entry: entry[:2])
        rows = [row for _, _, row in every]
        place = {name: index for index, (_, name, _) in enumerate(every)}
        if len(place) != len(every):
            raise ValueError("two trajectories of one step have the same program id")
        self._refuse_unscored(collector.stages, rows)
        image, text = self._advantages(rows, "image"), self._advantages(rows, "text")
        made = [item.trajectory for item in scored]
        self._watch_spread("image", image, any(one.images for one in made))
        self._watch_spread("text", text, any(one.texts for one in made))
        items = [
            TrainingItem(
                trajectory=item.trajectory,
                signal=_signal(image, text, place[item.trajectory.program.id]),
                position=position[item.trajectory.program.prompt.id],
            )
            for item in scored
        ]
        costs = [
            cost for cost in self._processes.gather(collector.spent.cost_usd) if cost is not None
        ]
        if costs:
            self._cost_usd = math.fsum([self._cost_usd or 0.0, *costs])
        return _Collected(items, rows, image, text)

    def _refuse_unscored(
        self, stages: Sequence[Sequence[ScoreRow]], rows: Sequence[ScoreRow]
    ) -> None:
        share = self._settings.guards.unscored_share
        for parts in zip_longest(*self._processes.gather(stages), fillvalue=()):
            guards.refuse_unscored([row for part in parts for row in part], share=share)
        guards.refuse_unscored(rows, share=share)

    def _advantages(self, rows: Sequence[ScoreRow], part: Any) -> Advantages | None:
        image, text = self._settings.image, self._settings.text
        if not (text.trained if part == "text" else image.algorithm is not None):
            return None
        uses = rewards_of_part(self._parts.rewards, part)
        return advantages_of(rows, uses, self._settings.advantage)

    def _watch_spread(self, part: str, found: Advantages | None, here: bool) -> None:
        # A step whose task makes no such part says nothing of it.
        if found is None or not any(self._processes.gather(here)):
            return
        self._flat_streaks[part] = guards.flat_streak(
            self._flat_streaks[part],
            part,
            flat_groups=int(found.n_flat_groups),
            groups=int(found.n_groups - found.n_small_groups),
            limit=self._settings.guards.flat_steps,
        )

    def _follow(self) -> None:
        settings = self._settings
        self._weights.follow("old", keep=DECAYS[settings.old_decay].at(self._step))
        if settings.ema is not None and (self._step + 1) % settings.ema.every == 0:
            self._weights.follow("ema", keep=settings.ema.decay)

    def _values(self, collected: _Collected, updated: UpdateReport) -> dict[str, float]:
        """The step's numbers, the same in every process; what was not measured is absent."""
        trajectories = [item.trajectory for item in collected.items]
        updated.sums.add(image_monitors.image_sums(trajectories))
        updated.sums.add(image_monitors.text_sums(trajectories))
        values = joined_sums(self._processes.gather(updated.sums)).means()
        values |= reward_metrics.reward_values(collected.rows, self._parts.rewards)
        values |= reward_metrics.advantage_values("image", collected.image)
        values |= reward_metrics.advantage_values("text", collected.text)
        clip = min(self._settings.image.clip_low, self._settings.image.clip_high)
        values |= reward_metrics.update_values(updated, image_clip=clip)
        values |= reward_metrics.forward_values(self._processes.gather(dict(self._replayer.counts)))
        values["images"] = float(self._images)
        if self._cost_usd is not None:
            values["cost_usd"] = self._cost_usd
        if "reward/total" in values:
            self._recent = guards.moving_mean(self._recent, values["reward/total"])
            self._curves.earned(self._recent)
        return values

    # Between steps

    def _validate(self) -> None:
        for view in self._settings.validate_views:
            with self._weights.view(view), self._weights.gathered():
                found = self._agree(partial(self._measure, view))
                if view == self._settings.validate_views[0]:
                    self._draw_panel()
            first = self._parts.validations[0].name if self._parts.validations else None
            chosen = view == self._settings.validate_views[0]
            best = any(point.best and point.name == first for point in found)
            if chosen and any(self._processes.gather(best)):
                values = self._weights.values(view)
                if self._processes.first:
                    self._folder.keep_best(self._step, values, self._layout)
        self._processes.wait()

    def _measure(self, view: WeightView) -> list[MeasuredPoint]:
        if not self._processes.first:
            return []
        return self._curves.measure(step=self._step, view=view, reward=self._recent)

    def _draw_panel(self) -> None:
        if not (self._parts.panel and self._processes.first):
            return
        drawn = []
        with torch.no_grad():
            for batch in batches(
                self._parts.panel,
                program=lambda program: program,
                most=self._settings.rollout_batch,
                group_size=self._settings.rollout_batch,
            ):
                drawn += self._parts.policy.rollout(batch)
        save_panel(drawn, self._folder.panels / f"step-{self._step:06d}.png")

    @property
    def _layout(self) -> WeightsFormat:
        return WeightsFormat(self._settings.lora, lora_adapters.target_names(self._weights.trained))

    def _save(self) -> None:
        if len(set(self._processes.gather(self._engine.checksum()))) > 1:
            raise TrainingStoppedError(
                f"the weights of the processes have parted before step {self._step}",
                hint="look for randomness that is not the program's own, then resume",
            )
        counters = Counters(
            step=self._step,
            updates=self._engine.updates,
            position=self._step * self._settings.prompts_per_step,
            images=self._images,
            flat_streaks=dict(self._flat_streaks),
            old_log_probs=self._updater.old_log_probs,
            cost_usd=self._cost_usd,
            recent_reward=self._recent if math.isfinite(self._recent) else None,
            queues=self._processes.gather(self._parts.task.state()),
            curves=self._processes.gather(self._curves.state())[0],
        )
        random: dict[str, Tensor] = {}
        for rank, state in enumerate(self._processes.gather(random_state())):
            random |= {f"{rank}.{name}": value for name, value in state.items()}
        weights = {str(view): self._weights.values(view) for view in self._weights.kept}
        checkpoint = TrainingCheckpoint(counters, weights, self._engine.state(), random)
        if self._processes.first:
            self._folder.save(checkpoint, self._layout, keep=self._settings.keep)
        self._processes.wait()

    def _resume(self) -> None:
        stored = self._agree(self._newest)
        step = self._processes.gather(stored.counters.step if stored else None)[0]
        if step is None:
            return
        stored = stored or self._folder.load(step, self._layout)
        counters = stored.counters
        for view in self._weights.kept:
            if view not in stored.weights:
                raise AlphaBenchError(
                    f"the checkpoint holds no {view!r} weights",
                    hint="resume with the views it was begun with",
                )
            self._weights.load(view, stored.weights[view])
        self._engine.restore(stored.optimiser, updates=counters.updates)
        self._step, self._images = counters.step, counters.images
        self._flat_streaks, self._cost_usd = dict(counters.flat_streaks), counters.cost_usd
        self._recent = math.nan if counters.recent_reward is None else counters.recent_reward
        self._updater.old_log_probs = counters.old_log_probs  # type: ignore[assignment]
        self._curves.restore(counters.curves)
        self._restore_task(counters.queues)
        own = f"{self._processes.rank}."
        set_random_state({k[len(own) :]: v for k, v in stored.random.items() if k.startswith(own)})
        self._say(f"resumed at step {self._step}")

    def _newest(self) -> TrainingCheckpoint | None:
        # The others load what the first one has found sound.
        return self._folder.go_back(self._layout, self._say) if self._processes.first else None

    def _restore_task(self, queues: Sequence[Any]) -> None:
        if len(queues) == self._processes.size:
            self._parts.task.restore(queues[self._processes.rank])
        elif any(queue is not None for queue in queues):
            raise AlphaBenchError(
                f"the task's queues are those of {len(queues)} processes",
                hint=f"resume with {len(queues)} processes",
            )

    def _outcome(self) -> TrainingOutcome:
        link = self._folder.path / "best"
        best = link if link.exists() else None
        step = int(link.resolve().name.removeprefix("best-")) if best else None
        return TrainingOutcome(self._step, step, best)


def _signal(image: Advantages | None, text: Advantages | None, place: int) -> TrajectoryAdvantage:
    return TrajectoryAdvantage(
        image=0.0 if image is None else float(image.value_B[place]),
        text=0.0 if text is None else float(text.value_B[place]),
        image_trained=image is not None and bool(image.trained_B[place]),
        text_trained=text is not None and bool(text.trained_B[place]),
    )
