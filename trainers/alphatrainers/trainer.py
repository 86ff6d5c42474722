"""A training: rollouts, rewards, advantages and updates, with validation and checkpoints between.

The train loop, and how its parts are put together. Saving and restoring is `checkpointing`,
validation is `validator`. Knows no model, judge or benchmark.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from alphatrainers import guards, image_monitors, lora_adapters, reward_metrics, strict_yaml
from alphatrainers.algorithms.advantages import Advantages
from alphatrainers.algorithms.schedules import DECAYS
from alphatrainers.checkpoint import TrainingFolder, WeightsFormat
from alphatrainers.checkpointing import Checkpointer, Moment, TrainingProgress
from alphatrainers.group_shares import exchange_of, share_of_step, splits_groups
from alphatrainers.judge_noise import NOISE_FACTOR
from alphatrainers.metrics import MetricsLog, joined_sums, peak_memory
from alphatrainers.objective import Objective
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.prompt_stream import PromptStream
from alphatrainers.protocols import ReplaySpec, ScoredTrajectory, StepInfo, alone
from alphatrainers.replay import Replayer
from alphatrainers.reward_scoring import Scorer, TrajectoryScores, rewards_of_part
from alphatrainers.rollout import RolloutCollector, RolloutCosts
from alphatrainers.settings import TrainingSettings
from alphatrainers.shard_saving import ShardSaver
from alphatrainers.step_scores import (
    StepAdvantages,
    StepScores,
    measure_noise,
    share_scores,
    step_advantages,
    training_items,
)
from alphatrainers.stop_request import StepAbandoned
from alphatrainers.trackers import open_sinks
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents, training_identity
from alphatrainers.training_display import NoDisplay, StepSummary, observed
from alphatrainers.trajectory import Trajectory
from alphatrainers.update import Updater, UpdateReport
from alphatrainers.validation_curve import ValidationCurves
from alphatrainers.validator import Validator
from alphatrainers.weight_sets import WeightSets


class TrainingOutcome(NamedTuple):
    """How a training ended."""

    step: int
    best_step: int | None
    best: Path | None
    stopped: bool = False
    """By a request, before the last step; `step` is where it continues."""


class Trainer:
    """One training in one folder; starts it or continues it, as the folder says."""

    def __init__(
        self,
        components: TrainerComponents,
        settings: TrainingSettings,
        folder: Path,
        context: RuntimeContext | None = None,
    ) -> None:
        self._components, self._settings = components, settings
        self._context = context or RuntimeContext()
        self._processes = self._context.processes
        shown = self._context.display if self._processes.first else NoDisplay()
        self._display = observed(shown, self._processes.activity)
        self._prompts = PromptStream(
            components.prompts, per_step=settings.prompts_per_step, seed=settings.seed
        )
        self._check()
        policy, self._folder = components.policy, TrainingFolder(folder)
        objective = Objective(settings.image, settings.text)
        views = {*objective.views, settings.rollout_view, *settings.validate_views} - {"train"}
        if settings.ema is not None:
            views.add("ema")
        self._weights = WeightSets(
            policy, settings, views=frozenset(views), processes=self._processes
        )
        optimizer = WeightOptimizer(
            self._weights,
            settings.optimiser,
            self._processes,
            n_updates=settings.steps * settings.updates_per_step,
        )
        replay = ReplaySpec(
            context_gradient=settings.context_gradient, recompute=settings.recompute
        )
        self._replayer = Replayer(policy, self._weights, replay)
        self._updater = Updater(
            policy,
            self._weights,
            optimizer,
            self._replayer,
            settings=settings,
            processes=self._processes,
            display=self._display,
        )
        self._curves = ValidationCurves(
            components.validations,
            settings.guards,
            folder=self._folder,
            report=self._report,
            processes=self._processes,
        )
        layout = WeightsFormat(settings.lora, lora_adapters.target_names(self._weights.trained))
        self._validator = Validator(
            curves=self._curves,
            policy=policy,
            panel=components.panel,
            weights=self._weights,
            layout=layout,
            folder=self._folder,
            settings=settings,
            processes=self._processes,
            display=self._display,
        )
        self._checkpointer = Checkpointer(
            folder=self._folder,
            weights=self._weights,
            layout=layout,
            optimizer=optimizer,
            updater=self._updater,
            curves=self._curves,
            task=components.task,
            settings=settings,
            processes=self._processes,
            report=self._report,
            saver=ShardSaver(self._processes),
        )

    @property
    def weights(self) -> WeightSets:
        """The trained weights and their copies."""
        return self._weights

    def train(self) -> TrainingOutcome:
        """Trains until the last step; resumes from the folder's newest checkpoint.

        Raises:
            TrainingStoppedError: if a guard stops it; the folder can be resumed.
            AlphaBenchError: if the folder holds another training.

        Returns:
            How it ended: at the last step, or where `Processes.stop` requested it.
        """
        settings = self._settings
        with ExitStack() as stack:
            if self._processes.first:
                stack.enter_context(self._folder.locked())
            self._processes.agree(self._begin)
            self._processes.agree(self._folder.require_begun)
            log = self._open_log()
            stack.callback(log.close)
            scorer = Scorer(
                self._components.rewards,
                patience_seconds=settings.guards.judge_patience_seconds,
                clock=self._context.clock,
                note=self._report,
            )
            stack.enter_context(self._processes.stop.in_force())
            stack.enter_context(
                self._processes.expecting_progress(
                    stalled_seconds=settings.guards.stalled_seconds,
                    judge_seconds=settings.guards.judge_patience_seconds,
                )
            )
            self._display.begin("reading the newest checkpoint", total=0, done=0)
            progress = self._checkpointer.resume()
            self._display.end()
            self._display.start(step=progress.step, steps=settings.steps)
            before = self._checkpointer.moment(progress)
            try:
                with self._checkpointer.finishing(), scorer:
                    while progress.step < settings.steps or progress.unmeasured:
                        before = self._checkpointer.moment(progress)
                        self._advance(progress, scorer, log)
                    self._display.begin("saving a checkpoint", total=0, done=0)
                    self._checkpointer.finish()
                    self._display.end()
            except StepAbandoned:
                return self._stopped(before)
        return self._outcome(progress.step)

    def _advance(self, progress: TrainingProgress, scorer: Scorer, log: MetricsLog) -> None:
        """The validation that is due, or else a training step; then a checkpoint if one is due."""
        settings = self._settings
        if progress.unmeasured:
            self._measure(progress, log)
            progress.unmeasured = False
        else:
            self._train_step(progress, scorer, log)
            progress.step += 1
            progress.unmeasured = self._is_due(progress.step, settings.validate_every)
        due = progress.step > 0 and self._is_due(progress.step, settings.save_every)
        if due and not progress.unmeasured:
            self._display.begin("saving a checkpoint", total=0, done=0)
            self._checkpointer.save(progress)
            self._display.end()
        else:
            self._checkpointer.notice()

    def _is_due(self, step: int, every: int) -> bool:
        return step == self._settings.steps or step % every == 0

    def _stopped(self, before: Moment) -> TrainingOutcome:
        """After a request to stop: saves the state before what was abandoned."""
        step, steps = before.progress.step, self._settings.steps
        self._display.begin("saving a checkpoint", total=0, done=0)
        saved = self._checkpointer.save_abandoned(before)
        self._processes.stop.saved = (
            f"after {step} of {steps} steps, which are saved"
            if saved
            else "before the end of the first step, with nothing to save"
        )
        self._display.end()
        return self._outcome(step, stopped=True)

    def _measure(self, progress: TrainingProgress, log: MetricsLog) -> None:
        self._validator.measure(step=progress.step, reward=progress.recent_reward, log=log)
        if self._processes.first:
            self._context.on_measured()

    def _train_step(self, progress: TrainingProgress, scorer: Scorer, log: MetricsLog) -> None:
        """One rollout and its updates; writes one line of metrics."""
        began, worked = time.monotonic(), time.process_time()
        waited = scorer.waited.seconds
        settings, processes = self._settings, self._processes
        self._replayer.counts.clear()
        collector = RolloutCollector(
            self._components.policy,
            scorer,
            batch=settings.rollout_batch,
            group_size=settings.group_size,
            text_batch=settings.text_batch,
            display=self._display,
            stop=processes.stop,
        )
        prompts = self._prompts.at(progress.step)
        share = share_of_step(prompts, settings, processes)
        step_info = StepInfo(
            step=progress.step,
            seed=settings.seed,
            group_size=settings.group_size,
            members=share.members,
            exchange=exchange_of(processes) if share.members else alone,
        )

        def collect() -> list[ScoredTrajectory]:
            with (
                self._weights.view(settings.rollout_view),
                self._weights.gathered(),
                self._weights.computing(),
            ):
                return self._components.task.collect(share.prompts, collector, step_info)

        scored = processes.agree(collect)
        scores = share_scores(scored, prompts, processes)
        self._refuse_unscored(collector.stages, scores.rows)
        self._measure_noise(progress, scored, scores, scorer, collector.spent)
        advantages = step_advantages(
            scores.rows, self._components.rewards, settings, progress.judge_noise
        )
        trajectories = [one.trajectory for one in scored]
        self._watch_spread(progress, advantages, trajectories)
        on_policy = self._weights.equals_trained(settings.rollout_view)
        items = training_items(scored, scores, advantages)
        estimated = settings.lora is not None and settings.logging.estimates_kl(progress.step)
        updated = self._updater.update(items, on_policy=on_policy, estimate_kl=estimated)
        self._move_copies(progress.step)
        self._count_costs(progress, collector)
        values = self._values(scores, advantages, trajectories, updated)
        self._note_reward(progress, values)
        values["images"] = float(progress.images)
        if progress.cost_usd is not None:
            values["cost_usd"] = progress.cost_usd
        seconds = {
            "rollout": collector.spent.rollout,
            "reward_wait": collector.spent.waiting,
            "judge_unavailable": scorer.waited.seconds - waited,
            "update": updated.seconds,
            "step": time.monotonic() - began,
            "cpu": time.process_time() - worked,
        }
        memory = peak_memory()
        log.write(progress.step, values, seconds=seconds, memory=memory)
        self._display.step_done(
            StepSummary(step=progress.step + 1, values=values, seconds=seconds, memory=memory)
        )

    def _check(self) -> None:
        """Refuses what would fail, or would measure nothing, after the first rollout."""
        settings, components = self._settings, self._components
        guards.refuse_idle(
            settings, processes=self._processes.size, splits=splits_groups(components.task)
        )
        if settings.image.trained:
            rewards_of_part(components.rewards, "image")
        if settings.text.trained:
            rewards_of_part(components.rewards, "text")
        if settings.guards.leak == "refuse":
            validated = {one.name: one.prompts for one in components.validations}
            guards.refuse_leak((prompt.text for prompt in components.prompts), validated)

    def _begin(self) -> None:
        """Claims the folder in the first process."""
        if not self._processes.first:
            return
        identity = training_identity(
            self._components, self._settings, prompts_digest=self._prompts.digest
        )
        self._folder.begin(strict_yaml.to_yaml(self._settings), decisive=identity)
        self._context.on_begin()

    def _open_log(self) -> MetricsLog:
        if not self._processes.first:
            return MetricsLog(None)
        settings, path = self._settings, self._folder.path
        config = self._context.config or strict_yaml.to_plain(settings)
        sinks = open_sinks(settings.logging, path, run=path.resolve().name, config=config)
        return MetricsLog(self._folder.metrics, sinks, report=self._report)

    def _report(self, message: str) -> None:
        if self._processes.first:
            self._context.report(message)

    def _refuse_unscored(
        self, stages: Sequence[Sequence[TrajectoryScores]], rows: Sequence[TrajectoryScores]
    ) -> None:
        share = self._settings.guards.unscored_share
        for parts in zip_longest(*self._processes.gather(stages), fillvalue=()):
            guards.refuse_unscored([row for part in parts for row in part], share=share)
        guards.refuse_unscored(rows, share=share)

    def _watch_spread(
        self,
        progress: TrainingProgress,
        advantages: StepAdvantages,
        trajectories: Sequence[Trajectory],
    ) -> None:
        """Counts steps without any spread of rewards; skips parts that the task did not make."""
        parts: list[tuple[str, Advantages | None, bool]] = [
            ("image", advantages.image, any(one.final_images for one in trajectories)),
            ("text", advantages.text, any(one.texts for one in trajectories)),
        ]
        floors = {"image": advantages.image_floor, "text": advantages.text_floor}
        for part, advantage, made_here in parts:
            if advantage is None or not any(self._processes.gather(made_here)):
                continue
            progress.zero_spread_steps[part] = guards.count_zero_spread(
                progress.zero_spread_steps[part],
                part,
                flat_groups=int(advantage.n_flat_groups),
                groups=int(advantage.n_groups - advantage.n_small_groups),
                limit=self._settings.guards.flat_steps,
                floor=floors[part],
            )

    def _measure_noise(
        self,
        progress: TrainingProgress,
        scored: Sequence[ScoredTrajectory],
        scores: StepScores,
        scorer: Scorer,
        spent: RolloutCosts,
    ) -> None:
        """Once, where the settings want it: how far rewards of the same images lie apart."""
        images = self._settings.advantage.noise_images
        if images == 0 or progress.judge_noise is not None:
            return
        self._display.begin("rewards", total=0, done=0)
        noise, further = measure_noise(scored, scores, scorer, self._processes, images=images)
        self._display.end()
        progress.judge_noise = noise
        spent.add(further)
        weights = {name: use.weight for name, use in self._components.rewards.items()}
        self._report(
            f"{len(noise.differences)} images were scored twice more: their reward has a noise of "
            f"{noise.deviation(weights):.3g}; groups with less than {NOISE_FACTOR:g} times the "
            "noise as their spread are not trained"
        )

    def _move_copies(self, step: int) -> None:
        """Moves the old and the EMA weights towards the trained ones."""
        settings = self._settings
        self._weights.move_copy("old", decay=DECAYS[settings.old_decay].at(step))
        if settings.ema is not None and (step + 1) % settings.ema.every == 0:
            self._weights.move_copy("ema", decay=settings.ema.decay)

    def _count_costs(self, progress: TrainingProgress, collector: RolloutCollector) -> None:
        spent = self._processes.gather((collector.spent.trajectories, collector.spent.cost_usd))
        progress.images += sum(trajectories for trajectories, _ in spent)
        costs = [cost for _, cost in spent if cost is not None]
        if costs:
            progress.cost_usd = math.fsum([progress.cost_usd or 0.0, *costs])

    def _values(
        self,
        scores: StepScores,
        advantages: StepAdvantages,
        trajectories: Sequence[Trajectory],
        updated: UpdateReport,
    ) -> dict[str, float]:
        """The step's numbers, the same in every process; what was not measured is absent."""
        settings, processes = self._settings, self._processes
        elsewhere: list[image_monitors.Thumbnail] = []
        if processes.size > settings.prompts_per_step:  # groups are split
            shown = processes.gather(image_monitors.thumbnails(trajectories))
            del shown[processes.rank]
            elsewhere = [one for part in shown for one in part]
        updated.sums.add(image_monitors.image_sums(trajectories, elsewhere))
        updated.sums.add(image_monitors.text_sums(trajectories))
        values = joined_sums(processes.gather(updated.sums)).means()
        values |= reward_metrics.reward_values(scores.rows, self._components.rewards)
        values |= reward_metrics.refinement_values(scores.rows, self._components.rewards)
        image, text = advantages.image, advantages.text
        values |= reward_metrics.advantage_values("image", image, advantages.image_floor)
        values |= reward_metrics.advantage_values("text", text, advantages.text_floor)
        clip = min(settings.image.clip_low, settings.image.clip_high)
        values |= reward_metrics.update_values(updated, image_clip=clip)
        return values | reward_metrics.forward_values(processes.gather(dict(self._replayer.counts)))

    def _note_reward(self, progress: TrainingProgress, values: dict[str, float]) -> None:
        if "reward/mean" in values:
            progress.recent_reward = guards.moving_mean(
                progress.recent_reward, values["reward/mean"]
            )
            self._curves.backfill_reward(progress.recent_reward)

    def _outcome(self, step: int, *, stopped: bool = False) -> TrainingOutcome:
        best_step = self._folder.best_step()
        best = None if best_step is None else self._folder.path / "best"
        return TrainingOutcome(step, best_step, best, stopped)
