"""Rewards: scored beside the sampling, waited for when a judge is away, never made up."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from alphabench.core.errors import AlphaBenchError, TrainingStoppedError
from alphatrainers.protocols import Score, StepInfo
from alphatrainers.reward_scoring import (
    RewardUse,
    Scorer,
    ScoringClock,
    TrajectoryScores,
    advantages_of,
    rewards_of_part,
    row_of,
)
from alphatrainers.rollout import RolloutCollector
from alphatrainers.settings import AdvantageSettings
from alphatrainers.trajectory import Trajectory
from tests.support.forks import Forked
from tests.support.toy_policy import (
    IMAGE,
    PROMPTS,
    Brightness,
    Threes,
    ToyPolicy,
    ToyTask,
    program_of,
)

STEP_INFO = StepInfo(step=0, seed=0, group_size=2)


def trajectories(rows: int = 2) -> list[Trajectory]:
    return ToyPolicy().rollout(
        [program_of(PROMPTS[0], row, STEP_INFO, (IMAGE,)) for row in range(rows)]
    )


@dataclass
class FakeTime:
    """Time that passes only during a sleep."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> ScoringClock:
        return ScoringClock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.slept.append(seconds)


@dataclass
class Broken:
    """Fails in a way of its own."""

    error: Exception | None = None
    identity: Mapping[str, str] = field(default_factory=dict)

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        if self.error is not None:
            raise self.error
        return [Score(value=1.0)]


def test_a_judge_that_comes_back_is_waited_for() -> None:
    time_line, reward, notes = FakeTime(), Brightness(away=3), list[str]()
    with Scorer(
        {"b": RewardUse(reward=reward)},
        patience_seconds=60.0,
        clock=time_line.clock(),
        note=notes.append,
    ) as scorer:
        scored = scorer.submit(trajectories()).result()
    assert time_line.slept == [1.0, 2.0, 4.0]
    first, last = notes
    assert first.startswith("reward 'b' cannot be reached (no judge answers")
    assert "trying again for up to 60 s" in first
    assert last == "reward 'b' is scored again (7 s)"
    assert all(item.scores["b"].value is not None for item in scored)
    assert (scorer.waited.outages, scorer.waited.seconds) == (3, 7.0)


def test_a_judge_that_stays_away_stops_the_training_with_the_reason() -> None:
    time_line = FakeTime()
    with (
        pytest.raises(
            TrainingStoppedError, match=r"'b' could not be reached for .*no judge answers"
        ),
        Scorer(
            {"b": RewardUse(reward=Brightness(away=1000))},
            patience_seconds=100.0,
            clock=time_line.clock(),
        ) as scorer,
    ):
        scorer.submit(trajectories()).result()
    assert time_line.seconds <= 100.0
    assert max(time_line.slept) <= 60.0


def test_leaving_while_a_judge_is_away_does_not_wait_for_it() -> None:
    scorer = Scorer({"b": RewardUse(reward=Brightness(away=1000))}, patience_seconds=1800.0)
    with suppress(KeyboardInterrupt), scorer:
        pending = scorer.submit(trajectories())
        # Now it sleeps between two attempts, the next of which are ever further away.
        while scorer.waited.outages < 3:
            time.sleep(0.01)
        raise KeyboardInterrupt
    with pytest.raises(TrainingStoppedError, match="no judge answers"):
        pending.futures["b"].result(timeout=2.0)


SLOW = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the suite runs with &
from alphatrainers.reward_scoring import RewardUse, Scorer

class Slow:
    identity = {}
    def score(self, trajectories):
        print("called", flush=True)
        time.sleep(600)

with Scorer({"slow": RewardUse(reward=Slow())}, patience_seconds=1800.0) as scorer:
    scorer.submit([]).result()
"""


def test_a_program_that_is_interrupted_does_not_wait_for_a_slow_judge() -> None:
    with Forked("-c", SLOW, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "called\n"
            program.send_signal(signal.SIGINT)
            assert program.wait(timeout=60) != 0
        finally:
            program.kill()


def test_no_thread_of_a_reward_is_left_when_a_training_has_ended() -> None:
    begun = threading.Event()

    @dataclass
    class Lingering(Brightness):
        def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
            begun.set()
            time.sleep(0.3)
            return super().score(trajectories)

    uses = {"ended": RewardUse(reward=Lingering())}
    with Scorer(uses, patience_seconds=1.0) as scorer:
        scorer.submit(trajectories())
        assert begun.wait(10.0)
    assert "reward ended" not in {thread.name for thread in threading.enumerate()}


def test_work_that_has_not_begun_when_the_training_stops_never_begins() -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()
    called: list[int] = []

    @dataclass
    class Waiting(Broken):
        def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
            called.append(len(trajectories))
            begun.release()
            may_end.wait(10.0)
            return [Score(value=1.0)] * len(trajectories)

    uses = {"b": RewardUse(reward=Waiting())}
    with suppress(KeyboardInterrupt), Scorer(uses, patience_seconds=1.0) as scorer:
        first, second = scorer.submit(trajectories(2)), scorer.submit(trajectories(3))
        begun.acquire()
        raise KeyboardInterrupt
    may_end.set()
    assert len(first.result()) == 2
    with pytest.raises(TimeoutError):
        second.futures["b"].result(timeout=0.5)
    assert called == [2]


def test_any_other_failure_leaves_the_batch_unscored_with_its_reason() -> None:
    broken = Broken(error=KeyError("logprobs"))
    with Scorer({"b": RewardUse(reward=broken)}, patience_seconds=1.0) as scorer:
        scored = scorer.submit(trajectories()).result()
    assert [item.scores["b"] for item in scored] == [
        Score(value=None, reason="KeyError: 'logprobs'")
    ] * 2


def test_another_number_of_scores_than_trajectories_is_our_error() -> None:
    with (
        pytest.raises(ValueError, match="1 scores for 2 trajectories"),
        Scorer({"b": RewardUse(reward=Broken())}, patience_seconds=1.0) as scorer,
    ):
        scorer.submit(trajectories()).result()


def test_a_score_is_a_finite_number_or_a_reason_and_never_both() -> None:
    for value, reason in ((None, ""), (1.0, "broken"), (float("nan"), "")):
        with pytest.raises(ValueError, match="value"):
            Score(value=value, reason=reason)


@dataclass
class Watched(Brightness):
    """Waits until the policy has sampled the next batch."""

    next_sampled: threading.Event = field(default_factory=threading.Event)
    in_time: list[bool] = field(default_factory=list)

    def score(self, trajectories: Sequence[Trajectory]) -> Sequence[Score]:
        self.in_time.append(self.next_sampled.wait(timeout=20.0))
        return super().score(trajectories)


class Telling(ToyPolicy):
    """Says when it samples its second batch."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event, self.batches = event, 0

    def rollout(self, programs: Sequence[object]) -> list[Trajectory]:
        self.batches += 1
        if self.batches == 2:
            self.event.set()
        return super().rollout(programs)  # type: ignore[arg-type]


def test_a_batch_is_scored_while_the_next_one_is_sampled() -> None:
    reward = Watched()
    policy = Telling(reward.next_sampled)
    programs = ToyTask(steps=(IMAGE,)).programs(PROMPTS[:2], STEP_INFO)
    with Scorer({"b": RewardUse(reward=reward)}, patience_seconds=1.0) as scorer:
        made = RolloutCollector(policy, scorer, batch=2, group_size=2).collect(programs)
    assert reward.in_time == [True, True]
    assert [item.trajectory.program.id for item in made] == [program.id for program in programs]


def row(group: str, **values: float | None) -> TrajectoryScores:
    return TrajectoryScores(group=group, values=values)


def test_an_unscored_trajectory_leaves_its_group_and_is_not_trained() -> None:
    uses = {"b": RewardUse(reward=Brightness())}
    rows = [row("g", b=1.0), row("g", b=None), row("g", b=3.0), row("h", b=2.0), row("h", b=None)]
    found = advantages_of(rows, uses, AdvantageSettings(std="none"))
    assert found.value_B.tolist() == [-1.0, 0.0, 1.0, 0.0, 0.0]
    assert found.trained_B.tolist() == [True, False, True, False, False]
    assert (int(found.n_small_groups), int(found.n_flat_groups)) == (1, 0)


def test_rewards_add_up_with_their_weights_or_are_normalised_apart() -> None:
    uses = {
        "b": RewardUse(reward=Brightness(), weight=2.0),
        "t": RewardUse(reward=Threes(), weight=0.5),
    }
    rows = [row("g", b=0.0, t=0.0), row("g", b=1.0, t=100.0), row("g", b=2.0, t=None)]
    total = advantages_of(rows, uses, AdvantageSettings(std="none"))
    assert total.value_B.tolist() == [-26.0, 26.0, 0.0]
    apart = advantages_of(rows, uses, AdvantageSettings(combine="separate", eps=0.0))
    assert apart.trained_B.tolist() == [True, True, False]
    assert apart.value_B[1].item() == pytest.approx(1.0)


def test_a_part_without_a_reward_is_refused_and_text_rewards_stay_with_the_text() -> None:
    uses = {"t": RewardUse(reward=Threes(), applies_to="text")}
    assert set(rewards_of_part(uses, "text")) == {"t"}
    with pytest.raises(AlphaBenchError, match="no reward applies to the image part"):
        rewards_of_part(uses, "image")
    with pytest.raises(AlphaBenchError, match="no reward applies"):
        rewards_of_part({"b": RewardUse(reward=Brightness(), weight=0.0)}, "image")


def test_an_unscored_trajectory_keeps_its_reason_in_its_row() -> None:
    reward = Brightness(unscored=frozenset({1}))
    with Scorer({"b": RewardUse(reward=reward)}, patience_seconds=1.0) as scorer:
        rows = [row_of(item) for item in scorer.submit(trajectories()).result()]
    assert rows[1].values == {"b": None}
    assert rows[1].reasons == {"b": "the image could not be read"}
