"""The updates of one training step: mini-batches, replays, losses, gradients, one step each.

An update takes its share of the step's prompts, whatever process holds them; its means are divided
by counts of all processes. Knows no policy beyond the replay, and no file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from alphabench.core.errors import AlphaBenchError
from alphatrainers.distributed import Processes
from alphatrainers.guards import OldLogProbs, choose_old_log_probs
from alphatrainers.metrics import Sums
from alphatrainers.objective import (
    LossCounts,
    LossShare,
    Objective,
    TrajectoryAdvantage,
    counts_of,
    fetched_shares,
)
from alphatrainers.optimizer import WeightOptimizer
from alphatrainers.protocols import Policy, ReplayAnswer, TextScored, VelocityPredicted, WeightView
from alphatrainers.replay import Replayer, ReplayRequest, replay_request
from alphatrainers.rollout import batches
from alphatrainers.settings import TrainingSettings
from alphatrainers.training_display import NoDisplay, TrainingDisplay
from alphatrainers.trajectory import Trajectory
from alphatrainers.weight_sets import WeightSets


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingItem:
    """A trajectory with its advantages, and the position of its prompt in the step."""

    trajectory: Trajectory
    advantage: TrajectoryAdvantage
    position: int


_Subject = tuple[str, int]
"""What an answer is about: `text` and its segment, or `image` and the number of the query."""


class _Batch(NamedTuple):
    request: ReplayRequest
    advantages: list[TrajectoryAdvantage]
    before: Mapping[_Subject, ReplayAnswer] | None
    """Recorded under the weights that sampled, where these are not those in training."""


@dataclass(slots=True, kw_only=True)
class UpdateReport:
    """What the updates of a step did, in this process."""

    sums: Sums = field(default_factory=Sums)
    gaps: dict[str, float] = field(default_factory=dict)
    """Between replay and sampler before the first update: over all processes."""
    gradient_norms: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Of each update, over all processes."""
    learning_rates: dict[str, float] = field(default_factory=dict)
    """Of the last update, by expert."""
    skipped: int = 0
    """Updates without any trajectory to train."""
    seconds: float = 0.0


class Updater:
    """Updates one policy's weights."""

    def __init__(
        self,
        policy: Policy,
        weights: WeightSets,
        engine: WeightOptimizer,
        replayer: Replayer,
        *,
        settings: TrainingSettings,
        processes: Processes,
        display: TrainingDisplay | None = None,
    ) -> None:
        self._policy, self._weights, self._engine = policy, weights, engine
        self._replayer, self._settings, self._processes = replayer, settings, processes
        self._objective = Objective(settings.image, settings.text)
        self._display = display or NoDisplay()
        self.old_log_probs: OldLogProbs | None = None
        """Decided at the first step that trains anything, and saved in checkpoints."""

    def update(
        self, credited: Sequence[TrainingItem], *, on_policy: bool, estimate_kl: bool = False
    ) -> UpdateReport:
        """All updates of one training step.

        Args:
            credited: this process's trajectories.
            on_policy: whether the trained weights sampled them, so that ratios must be 1 at first.
            estimate_kl: log the distance to the reference of one batch of the last update, where
                no loss asks for it; changes no weight.

        Raises:
            TrainingStoppedError: if replay and sampler disagree, or a gradient is not finite.
        """
        began, done = time.monotonic(), UpdateReport()
        minis = [self._batches(mini) for mini in self._minis(credited)]
        if self.old_log_probs is None and on_policy:
            self.old_log_probs = self._decide([batch for mini in minis for batch in mini])
        if self._wants_record:
            # On policy the first update still finds the weights that sampled in force.
            view: WeightView = "train" if on_policy else self._settings.rollout_view
            first = 1 if on_policy else 0
            self._begin("replay of old weights", minis[first:])
            minis[first:] = [[self._recorded(b, view) for b in mini] for mini in minis[first:]]
        self._begin("update", minis)
        for number, mini in enumerate(minis):
            last = number == len(minis) - 1
            self._update(
                mini, done, checked=on_policy and number == 0, estimated=estimate_kl and last
            )
        self._display.end()
        done.seconds = time.monotonic() - began
        return done

    def _begin(self, phase: str, minis: Sequence[Sequence[_Batch]]) -> None:
        """Shows a phase; it advances by trajectories."""
        rows = sum(len(batch.request.batch) for mini in minis for batch in mini)
        self._display.begin(phase, total=rows, done=0)

    @property
    def _wants_record(self) -> bool:
        """Whether updates of other weights need answers of those that sampled."""
        algorithm = self._settings.image.algorithm
        replays_old = algorithm is not None and algorithm.replays_old
        return self.old_log_probs == "replayed" or replays_old

    def _minis(self, credited: Sequence[TrainingItem]) -> list[list[TrainingItem]]:
        share = self._settings.prompts_per_step // self._settings.updates_per_step
        minis: list[list[TrainingItem]] = [[] for _ in range(self._settings.updates_per_step)]
        for item in sorted(credited, key=lambda item: item.position):
            minis[item.position // share].append(item)
        return minis

    def _batches(self, mini: Sequence[TrainingItem]) -> list[_Batch]:
        settings, local = self._settings, []
        for part in batches(
            mini,
            program=lambda item: item.trajectory.program,
            most=settings.replay_batch,
            group_size=settings.group_size,
        ):
            advantages = [item.advantage for item in part]
            # A batch stays complete while any of it is trained: the same rows as in the rollout.
            if any(advantage.image_trained or advantage.text_trained for advantage in advantages):
                local.append(self._batch([item.trajectory for item in part], advantages))
        if self._weights.sharded:
            return self._padded_to_others(local, mini)
        return local

    def _batch(
        self, trajectories: Sequence[Trajectory], advantages: list[TrajectoryAdvantage]
    ) -> _Batch:
        request = replay_request(
            trajectories,
            self._settings.image,
            with_texts=self._objective.trains_text,
            device=self._policy.device,
        )
        return _Batch(request, advantages, None)

    def _padded_to_others(self, local: list[_Batch], mini: Sequence[TrainingItem]) -> list[_Batch]:
        """Pads with zero-weight batches so that all FSDP ranks run equally many forwards."""
        gathered = self._processes.gather([str(b.request.batch[0].program.shape) for b in local])
        most = max(gathered, key=len)
        if not most:
            return []
        fill = local[-1].request.batch if local else [item.trajectory for item in mini[:1]]
        if not fill:
            raise AlphaBenchError(
                "a process has no trajectory to match the forward passes of the others",
                hint="use fewer processes than prompts of an update, or parallel=replicate",
            )
        nothing = [TrajectoryAdvantage(0.0, 0.0, image_trained=False, text_trained=False)] * len(
            fill
        )
        filled = local + [self._batch(fill, nothing) for _ in range(len(most) - len(local))]
        shapes = self._processes.gather([str(b.request.batch[0].program.shape) for b in filled])
        if any(other != shapes[0] for other in shapes):
            raise AlphaBenchError(
                "processes that share weights got programs of different shapes",
                hint="set parallel=replicate for mixed tasks",
            )
        return filled

    def _decide(self, every: Sequence[_Batch]) -> OldLogProbs | None:
        """Compares a replay of the first batch with the sampler, before anything is trained.

        None where no process has a batch: the next step decides.
        """
        if not any(self._processes.gather(bool(every))):
            return None
        gaps: dict[str, float] = {}
        for batch in every[:1]:
            answers = self._replayer.record(batch.request, "train", counted_as="probe")
            counts = LossCounts(images=1.0, sequences=1.0, tokens=1.0)
            shares: list[LossShare] = []
            others = dict.fromkeys(self._objective.views)
            for answer in answers:
                same = dict.fromkeys(others, answer)
                share = self._objective.share(
                    answer, batch.request, batch.advantages, counts=counts, others=same, before=None
                )
                shares.append(share)
            for one in fetched_shares(shares):
                _widen_gap(gaps, one.gap)
        image, text = self._settings.image, self._settings.text
        algorithm = image.algorithm
        stored = algorithm is not None and algorithm.trains_on.needs_window
        ratios = stored or image.token_algorithm is not None
        clip = min(image.clip_low, image.clip_high) if ratios else None
        text_clip = min(text.clip_low, text.clip_high) if text.trained else None
        chosen = self._old_log_probs(self._largest(gaps), image_clip=clip, text_clip=text_clip)
        wanted = self._settings.old_log_probs
        return chosen if wanted == "auto" else wanted

    def _old_log_probs(
        self,
        gaps: Mapping[str, float],
        *,
        image_clip: float | None = None,
        text_clip: float | None = None,
    ) -> OldLogProbs:
        return choose_old_log_probs(
            gaps,
            self._settings.guards,
            image_clip=image_clip,
            text_clip=text_clip,
            image_tokens=self._settings.image.token_algorithm is not None,
        )

    def _recorded(self, batch: _Batch, view: WeightView) -> _Batch:
        request = batch.request
        if self.old_log_probs == "sampled":
            # The sampler's own log-probabilities of tokens stand for the old weights.
            request = replace(request, texts=())
        answers = self._replayer.record(request, view, counted_as="before")
        self._display.advance(len(request.batch))
        return batch._replace(before=_by_subject(_on_host(answers)))

    def _largest(self, gaps: Mapping[str, float]) -> dict[str, float]:
        """Over all processes; agreed, so that all stop or none."""
        largest: dict[str, float] = {}
        for one in self._processes.gather(dict(gaps)):
            for part, gap in one.items():
                _widen_gap(largest, (part, gap))
        return largest

    def _update(
        self, mini: Sequence[_Batch], done: UpdateReport, *, checked: bool, estimated: bool
    ) -> None:
        local_counts = torch.zeros(3, dtype=torch.float64)
        for batch in mini:
            local_counts += self._objective.count(batch.request, batch.advantages).as_tensor()
        total = self._summed(local_counts)
        if not float(total.sum()):
            done.skipped += 1
            return
        counts, gaps, loss = counts_of(total), dict[str, float](), 0.0
        shares = self._backward_all(
            mini, counts, first=checked, estimated=estimated, changed=bool(done.losses)
        )
        for one in fetched_shares(shares):
            done.sums.add(one.sums)
            _widen_gap(gaps, one.gap)
            loss += one.loss
        if checked:
            done.gaps = self._largest(gaps)
            self._old_log_probs(done.gaps)
        done.losses.append(float(self._summed(torch.tensor([loss], dtype=torch.float64))))
        done.gradient_norms.append(self._engine.update())
        done.learning_rates = self._engine.learning_rates

    def _backward_all(
        self,
        mini: Sequence[_Batch],
        counts: LossCounts,
        *,
        first: bool,
        estimated: bool,
        changed: bool,
    ) -> list[LossShare]:
        """The batches of one update; until a weight has changed, the step may be abandoned."""
        processes = self._processes

        def backward() -> list[LossShare]:
            shares: list[LossShare] = []
            for number, batch in enumerate(mini):
                if not changed and self._weights.sharded:
                    processes.agree(processes.stop.check)  # the others would wait for this one
                elif not changed:
                    processes.stop.check()
                estimate = estimated and number == 0
                shares += self._backward(batch, counts, first=first, estimate=estimate)
                self._display.advance(len(batch.request.batch))
            return shares

        return backward() if changed else processes.agree(backward)

    def _summed(self, local: Tensor) -> Tensor:
        """The sum over processes of numbers of the host; one process alone asks no device."""
        if self._processes.size == 1:
            return local
        return self._processes.sum(local.to(self._policy.device)).cpu()

    def _recorded_views(self, request: ReplayRequest) -> dict[str, dict[_Subject, ReplayAnswer]]:
        """Answers under the views that the losses need, except those that equal the trained one."""
        recorded = {}
        for view in self._objective.views:
            if not self._weights.equals_trained(view):  # type: ignore[arg-type]
                asked = self._objective.under_view(request, view)
                answers = self._replayer.record(asked, view)  # type: ignore[arg-type]
                recorded[view] = _by_subject(answers)
        return recorded

    def _reference(
        self, request: ReplayRequest, recorded: Mapping[_Subject, ReplayAnswer]
    ) -> Mapping[_Subject, ReplayAnswer]:
        """All answers under the reference, for the log; a loss has asked for those recorded."""
        if len(recorded) == len(request.texts) + len(request.points):
            return recorded
        return _by_subject(self._replayer.record(request, "reference", counted_as="kl_estimate"))

    def _backward(
        self, batch: _Batch, counts: LossCounts, *, first: bool, estimate: bool
    ) -> list[LossShare]:
        """One pass with gradients; each answer is sent backward before the next is computed.

        The shares have no gradient any more.
        """
        recorded = self._recorded_views(batch.request)
        reference: Mapping[_Subject, ReplayAnswer] = {}
        if estimate:
            reference = self._reference(batch.request, recorded.get("reference", {}))
        together: list[Tensor] = []
        shares: list[LossShare] = []
        for answer in self._replayer.replay(batch.request, "train"):
            fixed, subject = _on(answer, self._policy.device), _subject(answer)
            others = {
                view: recorded[view][subject] if view in recorded else fixed
                for view in self._objective.views
                if view not in recorded or subject in recorded[view]
            }
            before: ReplayAnswer | None = None
            if batch.before is not None and subject in batch.before:
                before = _on(batch.before[subject], self._policy.device)
            elif self.old_log_probs == "replayed" and first:
                before = fixed
            share = self._objective.share(
                answer, batch.request, batch.advantages, counts=counts, others=others, before=before
            )
            sums = share.sums
            if reference:
                kl = self._objective.reference_kl(
                    fixed, reference[subject], batch.request, batch.advantages
                )
                sums = {**kl, **sums}
            shares.append(share._replace(loss=share.loss.detach(), sums=sums))
            if not share.loss.requires_grad:
                continue
            if self._replayer.how.context_gradient:
                together.append(share.loss)
            else:
                share.loss.backward()  # type: ignore[no-untyped-call]
        if together:
            torch.stack(together).sum().backward()  # type: ignore[no-untyped-call]
        return shares


def _subject(answer: ReplayAnswer) -> _Subject:
    if isinstance(answer, TextScored):
        return "text", answer.segment
    return "image", answer.query


def _by_subject(answers: Sequence[ReplayAnswer]) -> dict[_Subject, ReplayAnswer]:
    return {_subject(answer): answer for answer in answers}


def _widen_gap(gaps: dict[str, float], gap: tuple[str, float] | None) -> None:
    if gap is not None:
        part, size = gap
        # A NaN must not hide behind a number: it compares as the largest.
        gaps[part] = size if math.isnan(size) else max(gaps.get(part, 0.0), size)


def _on(answer: ReplayAnswer, device: torch.device) -> ReplayAnswer:
    """The answer without gradient, on the device."""
    if isinstance(answer, TextScored):
        logp = tuple(logp_T.detach().to(device, non_blocking=True) for logp_T in answer.logp)
        return TextScored(segment=answer.segment, logp=logp)
    v_BX = answer.v_BX.detach().to(device, non_blocking=True)
    return VelocityPredicted(query=answer.query, v_BX=v_BX)


def _on_host(answers: Sequence[ReplayAnswer]) -> tuple[ReplayAnswer, ...]:
    """The answers in the host's memory, in one transfer for each dtype."""
    own = [list(one.logp) if isinstance(one, TextScored) else [one.v_BX] for one in answers]
    tensors = [tensor.detach() for part in own for tensor in part]
    moved: dict[int, Tensor] = {}
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [n for n, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[n].flatten() for n in alike]).cpu()
        parts = torch.split(flat, [tensors[n].numel() for n in alike])
        moved |= {n: part.view(tensors[n].shape) for n, part in zip(alike, parts, strict=True)}
    rest = iter(moved[n] for n in range(len(tensors)))
    return tuple(
        TextScored(segment=one.segment, logp=tuple(next(rest) for _ in one.logp))
        if isinstance(one, TextScored)
        else VelocityPredicted(query=one.query, v_BX=next(rest))
        for one in answers
    )
