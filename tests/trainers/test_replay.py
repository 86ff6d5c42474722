"""Replay: one pass for each set of weights, contexts read once, answers checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from alphatrainers.distributed import Processes
from alphatrainers.image_algorithms import ImageLossSettings
from alphatrainers.protocols import (
    ReplayAnswer,
    ReplaySpec,
    StepInfo,
    TextScored,
    VelocityPredicted,
    WeightView,
)
from alphatrainers.replay import Replayer, ReplayRequest, replay_request
from alphatrainers.settings import LoraSettings, TrainingSettings
from alphatrainers.trajectory import ProgramStep, Trajectory
from alphatrainers.weight_sets import WeightSets
from tests.support.toy_policy import IMAGE, PLAIN_IMAGE, PROMPTS, TEXT, ToyPolicy, program_of

STEP_INFO = StepInfo(step=0, seed=0, group_size=4)
CPU = torch.device("cpu")


def rolled_out(policy: ToyPolicy, *steps: ProgramStep, rows: int = 3) -> list[Trajectory]:
    return policy.rollout([program_of(PROMPTS[1], row, STEP_INFO, steps) for row in range(rows)])


def weights_of(policy: ToyPolicy, *views: str, lora: bool = True) -> WeightSets:
    settings = TrainingSettings(steps=1, lora=LoraSettings(rank=2) if lora else None)
    return WeightSets(policy, settings, views=frozenset(views), processes=Processes())


def request_of(
    batch: Sequence[Trajectory], image: ImageLossSettings | None = None
) -> ReplayRequest:
    return replay_request(batch, image or ImageLossSettings(), with_texts=True, device=CPU)


@pytest.mark.parametrize("views", [("train",), ("train", "reference"), ("train", "old", "ema")])
def test_each_pass_reads_a_context_once_and_predicts_each_stored_step_once(
    views: tuple[WeightView, ...],
) -> None:
    policy = ToyPolicy()
    weights = weights_of(policy, *views)
    batch = rolled_out(policy, TEXT, IMAGE)
    replayer = Replayer(policy, weights, ReplaySpec())
    policy.counts.clear()
    request = request_of(batch)
    for view in views:
        replayer.record(request, view)
    # The prompt has 3 tokens and a text at most 4; 3 steps are stored.
    passes = len(views)
    assert policy.counts == {"replay cell": 7 * passes, "replay painter": 3 * passes}
    for view in views:
        assert replayer.counts[f"{view}/trajectories"] == 3
        assert replayer.counts[f"{view}/texts"] == 3
        assert replayer.counts[f"{view}/velocities"] == 9


def test_a_replay_on_the_same_batch_gives_the_samplers_numbers_to_the_last_bit() -> None:
    policy = ToyPolicy()
    weights = weights_of(policy)
    batch = rolled_out(policy, TEXT, IMAGE, TEXT, IMAGE)
    answers = Replayer(policy, weights, ReplaySpec()).record(request_of(batch), "train")
    texts = [answer for answer in answers if isinstance(answer, TextScored)]
    velocities = [answer for answer in answers if isinstance(answer, VelocityPredicted)]
    assert [text.segment for text in texts] == [1, 3]
    for text in texts:
        for row, trajectory in enumerate(batch):
            sampled = trajectory.texts[text.segment // 2].logp_T
            assert torch.equal(text.logp[row], sampled)
    for number, answer in enumerate(velocities):
        stored = [t.images[number // 3].velocity_SX[number % 3] for t in batch]
        assert torch.equal(answer.v_BX, torch.stack(stored))


def test_old_reference_and_ema_weights_start_as_the_trained_ones() -> None:
    policy = ToyPolicy()
    weights = weights_of(policy, "old", "ema", "reference")
    replayer = Replayer(policy, weights, ReplaySpec())
    request = request_of(rolled_out(policy, IMAGE))
    views: list[WeightView] = ["train", "old", "ema", "reference"]
    first, *others = [replayer.record(request, view) for view in views]
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert isinstance(one, VelocityPredicted)
            assert isinstance(two, VelocityPredicted)
            assert torch.equal(one.v_BX, two.v_BX)


def test_noised_images_are_the_same_for_every_view_and_batch_and_spread_over_the_levels() -> None:
    policy = ToyPolicy()
    batch = rolled_out(policy, PLAIN_IMAGE)
    image = ImageLossSettings(kind="nft", levels=4, level_range=(0.2, 1.0))
    together, alone = request_of(batch, image), request_of(batch[2:], image)
    levels = torch.stack([point.query.sigma_B for point in together.points])
    for number, (one, two) in enumerate(zip(together.points, alone.points, strict=True)):
        assert torch.equal(one.query.x_BX[2:], two.query.x_BX)
        high = 1.0 - 0.2 * number
        assert bool(((levels[number] > high - 0.2) & (levels[number] <= high)).all())
    assert not any(point.query.guided for point in together.points)


def test_untrained_segments_are_context_and_are_not_asked_for() -> None:
    policy = ToyPolicy()
    quiet = type(TEXT)(max_tokens=4, trained=False)
    batch = rolled_out(policy, quiet, IMAGE)
    assert request_of(batch).texts == ()
    without = replay_request(batch, ImageLossSettings(kind="none"), with_texts=False, device=CPU)
    assert (without.texts, without.points) == ((), ())


class Careless(ToyPolicy):
    """Gives other answers than those requested."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def replay(self, trajectories: Sequence[Trajectory], **request: Any) -> Iterator[ReplayAnswer]:
        answers = list(super().replay(trajectories, **request))
        if self.fault == "order":
            answers.reverse()
        if self.fault == "missing":
            answers.pop()
        for answer in answers:
            if self.fault == "cut" and isinstance(answer, TextScored):
                yield TextScored(segment=answer.segment, logp=tuple(p[:-1] for p in answer.logp))
            elif self.fault == "shape" and isinstance(answer, VelocityPredicted):
                yield VelocityPredicted(query=answer.query, v_BX=answer.v_BX[:1])
            else:
                yield answer


@pytest.mark.parametrize("fault", ["order", "missing", "cut", "shape"])
def test_answers_that_were_not_requested_are_refused(fault: str) -> None:
    policy = Careless(fault)
    weights = weights_of(policy)
    batch = rolled_out(policy, TEXT, IMAGE)
    with pytest.raises(ValueError, match=r"the policy|log-probabilities|of shape"):
        Replayer(policy, weights, ReplaySpec()).record(request_of(batch), "train")
