"""A training that is asked to stop saves the state between two steps; its numbers stay the same."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from alphatrainers.distributed import Processes
from alphatrainers.protocols import (
    ReplayAnswer,
    ReplaySpec,
    Score,
    ValidationPoint,
    VelocityQuery,
)
from alphatrainers.reward_scoring import RewardUse
from alphatrainers.stop_request import StepAbandoned, StopRequest
from alphatrainers.trainer import Trainer, TrainingOutcome
from alphatrainers.trainer_components import RuntimeContext, TrainerComponents
from alphatrainers.trajectory import Program, Trajectory
from tests.support.toy_policy import PROMPTS, Brightness, ToyPolicy, ToyTask
from tests.support.toy_training import settings_of

OPTIONS = (
    "training.steps=4",
    "training.save_every=3",
    "training.validate_every=2",
    "training.updates_per_step=2",
    "training.old_log_probs=auto",
)
LAST = "checkpoints/step-000004"


@dataclass
class Moments:
    """Counts pieces of work; at some of them a SIGTERM comes."""

    chosen: frozenset[int] = frozenset()
    passed: int = 0
    stop: StopRequest = field(default_factory=StopRequest)

    def tick(self) -> None:
        self.passed += 1
        if self.passed in self.chosen:
            assert self.stop.begin(signal.SIGTERM)


class Interrupted(ToyPolicy):
    """A signal may come before a batch is sampled, or before an answer of a replay."""

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        self._moments = moments

    def rollout(self, programs: Sequence[Program]) -> list[Trajectory]:
        self._moments.tick()
        return super().rollout(programs)

    def replay(
        self,
        trajectories: Sequence[Trajectory],
        *,
        texts: Sequence[int],
        queries: Sequence[VelocityQuery],
        how: ReplaySpec,
    ) -> Iterator[ReplayAnswer]:
        for answer in super().replay(trajectories, texts=texts, queries=queries, how=how):
            self._moments.tick()
            yield answer


@dataclass
class Measured:
    """A validation in the middle of which a signal may come."""

    policy: ToyPolicy
    moments: Moments
    name: str = "held out"
    prompts: Sequence[str] = ("zebra",)

    def measure(self, *, step: int, view: Any) -> ValidationPoint | None:
        self.moments.tick()
        value = float(sum(float(p.detach().sum()) for p in self.policy.module.parameters()))
        return ValidationPoint(value=value, low=value, high=value, items={"zebra": value})


def trained(folder: Path, moments: Moments) -> TrainingOutcome:
    """The training, from where it stands to its end or its next signal."""
    processes = Processes()
    moments.stop = processes.stop
    policy = Interrupted(moments)
    parts = TrainerComponents(
        policy=policy,
        task=ToyTask(),
        rewards={"brightness": RewardUse(reward=Brightness())},
        prompts=PROMPTS,
        validations=[Measured(policy, moments)],
    )
    context = RuntimeContext(processes=processes)
    outcome = Trainer(parts, settings_of(*OPTIONS).training, folder, context).train()
    assert outcome.stopped == processes.stop.carried_out
    return outcome


def rows(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in {"seconds", "memory"}} for row in found]


def test_a_training_stopped_at_random_moments_ends_as_one_that_was_left_alone(
    tmp_path: Path,
) -> None:
    whole, broken, undisturbed = tmp_path / "whole", tmp_path / "broken", Moments()
    assert not trained(whole, undisturbed).stopped
    chosen = random.Random(3).sample(range(1, undisturbed.passed + 1), 8)
    moments, stops = Moments(chosen=frozenset(chosen)), 0
    while (outcome := trained(broken, moments)).stopped:
        stops += 1
        saved = [path.name for path in (broken / "checkpoints").glob("step-*")]
        assert outcome.step == 0 or f"step-{outcome.step:06d}" in saved
    assert outcome.step == 4
    assert stops >= 4, "some come while another one is carried out"
    for name in ("metrics.jsonl", "validation.jsonl"):
        assert rows(broken / name) == rows(whole / name), name
    for file in (whole / LAST).rglob("*.safetensors"):
        found, expected = load_file(broken / file.relative_to(whole)), load_file(file)
        assert all(bool((found[key] == expected[key]).all()) for key in expected), file
    states = [(folder / LAST / "state.json").read_text() for folder in (broken, whole)]
    assert states[0] == states[1]


def test_an_update_that_has_changed_weights_is_finished_and_saved(tmp_path: Path) -> None:
    # A validation, two groups sampled, 4 answers of a probe, 8 of the first update: the second one.
    moments = Moments(chosen=frozenset({20}))
    outcome = trained(tmp_path / "run", moments)
    assert (outcome.stopped, outcome.step) == (True, 1)
    assert len(rows(tmp_path / "run" / "metrics.jsonl")) == 1
    state = json.loads((tmp_path / "run/checkpoints/step-000001/state.json").read_text())
    assert state["updates"] == 2
    assert "unmeasured" not in state, "earlier versions read it, too"


def test_a_signal_before_and_after_a_training_unwinds_the_process() -> None:
    stop = StopRequest()
    assert not stop.covers(signal.SIGTERM)
    assert not stop.begin(signal.SIGTERM)
    with stop.in_force():
        assert not stop.covers(signal.SIGINT)
        assert stop.begin(signal.SIGTERM)
        assert stop.begin(signal.SIGTERM), "launcher and scheduler send one each"
        with pytest.raises(StepAbandoned), stop.abandonable():
            pytest.fail("nothing is begun after a request")
    assert stop.covers(signal.SIGTERM), "what was saved is not cut off by another one"


def test_where_another_process_has_ended_nothing_can_be_saved_any_more() -> None:
    stop = StopRequest()
    stop.useless = lambda: True
    with stop.in_force():
        assert not stop.begin(signal.SIGTERM)
    assert not stop.requested


class Asking(Brightness):
    """The signal comes while the main thread waits for this reward."""

    def __init__(self, stop: StopRequest) -> None:
        super().__init__()
        self.stop, self.asked = stop, threading.Event()

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        self.stop.nudge()
        self.asked.wait(60.0)
        return super().score(trajectories)


def test_a_training_that_waits_for_its_judge_does_not_wait_to_stop(tmp_path: Path) -> None:
    processes = Processes()
    reward = Asking(processes.stop)
    parts = TrainerComponents(
        policy=ToyPolicy(),
        task=ToyTask(),
        rewards={"slow": RewardUse(reward=reward)},
        prompts=PROMPTS,
    )
    before = signal.signal(
        signal.SIGTERM, lambda number, _: processes.stop.begin(signal.Signals(number))
    )
    try:
        context = RuntimeContext(processes=processes)
        outcome = Trainer(parts, settings_of(*OPTIONS).training, tmp_path, context).train()
    finally:
        signal.signal(signal.SIGTERM, before)
        reward.asked.set()
    assert outcome.stopped
