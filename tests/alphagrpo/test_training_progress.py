"""What a training shows while it runs."""

from __future__ import annotations

import io
import itertools

from rich.console import Console

from alphagrpo.training_progress import TrainingLines, TrainingScreen
from alphagrpo.training_state import TrainingState
from alphatrainers.protocols import ValidationPoint
from alphatrainers.reporting.history import CurvePoint, MetricsLine
from alphatrainers.training_display import StepSummary, TrainingDisplay

VALUES = {
    "image/kl": 0.0123, "image/clip_fraction": 0.25, "text/clip_fraction": 0.0,
    "image/groups": 8.0, "image/zero_std_groups": 3.0, "reward/unscored_share": 0.125,
}  # fmt: skip
POINT = ValidationPoint(value=0.6, low=0.5, high=0.7, items={})


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def step(display: TrainingDisplay, number: int, reward: float, clock: Clock, took: float) -> None:
    display.begin("rollout", total=8, done=0)
    clock.now += took
    display.advance(4)
    display.advance(4)
    values = {"reward/mean": reward, **VALUES}
    display.step_done(StepSummary(step=number, values=values, seconds={"step": took}))
    display.end()


def test_a_line_a_step_says_reward_kl_clip_pace_and_time_left() -> None:
    said: list[str] = []
    clock = Clock()
    lines = TrainingLines(TrainingState(clock=clock), said.append, clock=clock)
    lines.start(step=0, steps=10)
    step(lines, 1, 0.5, clock, 30.0)
    step(lines, 2, 0.9, clock, 30.0)
    assert said[-1] == (
        "step 2/10: reward 0.900, KL 0.012, clip 25%, 3/8 groups zero-std, 12% unscored,"
        " 30.0 s/step, 4 min left"
    )
    assert any(line.startswith("step 2/10: rollout 4/8") for line in said), "a long phase speaks"


FULL = {
    "reward/mean": 1.05, "reward/dv/mean": 0.95, "reward/dv/quality/mean": 0.99,
    "reward/dv/semantic/mean": 0.93, "reward/dv/questions/mean": 4.6, "reward/dv/std": 0.1,
    "reward/tags/mean": 1.0, "image/kl": 0.0123, "image/clip_fraction": 0.25,
    "text/completion_length": 41.6,
}  # fmt: skip


def full_step(display: TrainingDisplay, number: int) -> None:
    """A step of a real training has all of these."""
    seconds = {"step": 20.0, "rollout": 12.4, "reward_wait": 3.0, "update": 4.4, "cpu": 18.0}
    values = {**FULL, "images": 96.0 * number}
    memory = {"gpu_peak_gib": 61.23, "process_peak_gib": 9.0}
    display.step_done(StepSummary(step=number, values=values, seconds=seconds, memory=memory))


def test_a_line_says_parts_held_out_score_length_phases_images_a_second_and_memory() -> None:
    said: list[str] = []
    clock = Clock()
    lines = TrainingLines(TrainingState(clock=clock), said.append, clock=clock)
    lines.start(step=0, steps=10)
    lines.measured("g", "train", POINT)
    lines.begin("rollout", total=8, done=0)
    clock.now += 20.0
    full_step(lines, 1)
    assert said[-1] == (
        "step 1/10: reward 1.050, dv 0.95 (quality 0.99, semantic 0.93), tags 1.00,"
        " held out 0.600 [0.50, 0.70], KL 0.012, clip 25%, 42 tokens,"
        " 20.0 s/step (rollout 12, rewards 3.0, update 4.4), 4.8 images/s, 3 min left,"
        " GPU 61.2 GiB"
    )
    clock.now += 20.0
    full_step(lines, 2)
    assert "4.8 images/s" in said[-1], "of the step, not of all so far"


def test_a_training_of_refinements_shows_refined_images_against_initial_ones() -> None:
    state = TrainingState()
    assert state.refinement() == ""
    values = {
        "refinement/refined/mean": 0.78, "refinement/initial/mean": 0.74,
        "refinement/improved_share": 0.41,
    }  # fmt: skip
    state.step_done(StepSummary(step=1, values=values, seconds={"step": 1.0}))
    assert state.refinement() == "refined 0.780 from 0.740, 41% better"


def test_a_resumed_training_counts_the_images_of_its_own_steps_and_remembers_the_kl() -> None:
    before = MetricsLine(
        step=0, values={"images": 960.0, "image/kl": 0.5}, seconds={"step": 1.0}, memory={}
    )
    state = TrainingState(steps=[before])
    values = {"images": 1056.0}
    state.step_done(StepSummary(step=2, values=values, seconds={"step": 10.0}))
    assert state.pace()[1] == "9.6 images/s"
    assert state.numbers() == ["KL 0.5"], "measured every few steps only"


def test_a_phase_of_an_hour_speaks_each_minute_and_a_short_one_each_ten_seconds() -> None:
    said: list[str] = []
    clock = Clock()
    lines = TrainingLines(TrainingState(clock=clock), said.append, clock=clock)
    lines.start(step=0, steps=10)
    lines.begin("rollout", total=5000, done=0)
    at = []
    for _ in range(3600):
        clock.now += 1.0
        n = len(said)
        lines.advance()
        at += [clock.now] * (len(said) - n)
    gaps = [later - one for one, later in itertools.pairwise(at)]
    assert at[0] <= 10.0
    assert gaps[0] == 10.0
    assert gaps[-1] == 60.0
    assert max(gaps) == 60.0, "never silent for longer"


def test_a_full_step_fits_terminals_of_any_width() -> None:
    for width in (60, 80, 120, 200):
        clock, out = Clock(), io.StringIO()
        console = Console(file=out, force_terminal=True, width=width)
        with TrainingScreen(TrainingState(clock=clock), console) as screen:
            screen.start(step=0, steps=4)
            screen.measured("g", "train", POINT)
            full_step(screen, 1)
        assert "…" not in out.getvalue(), width
        for word in ("GPU 61.2 GiB", "4.8 images/s", "semantic 0.93", "42 tokens"):
            assert word in out.getvalue()


def test_short_steps_do_not_flood_a_log_and_the_first_and_the_last_are_in_it() -> None:
    said: list[str] = []
    clock = Clock()
    lines = TrainingLines(TrainingState(clock=clock), said.append, clock=clock)
    lines.start(step=0, steps=100)
    for number in range(1, 101):
        step(lines, number, 0.5, clock, 1.0)
    shown = [int(line.split("/")[0].removeprefix("step ")) for line in said]
    assert (shown[0], shown[-1]) == (1, 100)
    assert 9 <= len(shown) <= 12


def test_the_change_of_the_reward_is_between_the_first_and_the_last_steps() -> None:
    old = [
        MetricsLine(step=n, values={"reward/mean": 0.2}, seconds={"step": 1.0}) for n in range(5)
    ]
    state = TrainingState(steps=old)
    assert state.reward() == "reward 0.200", "the last five steps are the first ones"
    for number in range(6, 11):
        values = {"reward/mean": 0.5}
        state.step_done(StepSummary(step=number, values=values, seconds={"step": 1.0}))
    assert state.reward() == "reward 0.500 (+0.300)"


def test_a_resumed_training_remembers_its_first_validation() -> None:
    before = CurvePoint(step=0, name="g", view="train", value=0.5, low=0.4, high=0.6)
    state = TrainingState(points=[before])
    assert state.held_out() == "held out 0.500 [0.40, 0.60]"
    state.measured("g", "train", POINT)
    state.measured("g", "train", None)
    assert state.held_out() == "held out 0.600 [0.50, 0.70] (+0.100)"


def test_the_held_out_score_is_the_one_of_the_weights_that_best_holds() -> None:
    raw = ValidationPoint(value=0.5, low=0.4, high=0.6, items={})
    for view, shown in ((None, "0.500"), ("ema", "0.600"), ("old", "0.500")):
        state = TrainingState(best_view=view)
        state.measured("g", "train", raw)
        state.measured("g", "ema", POINT)
        state.measured("g, refined always", "ema", raw)
        assert state.held_out().startswith(f"held out {shown}")


def test_nothing_is_said_of_what_was_not_measured() -> None:
    state = TrainingState()
    state.step_done(StepSummary(step=1, values={"loss": 1.0}, seconds={"step": 1.0}))
    assert state.numbers() == []
    assert state.reward() == "reward none"
    assert state.seconds_left is None


def test_on_a_narrow_terminal_nothing_is_cut_off() -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with TrainingScreen(TrainingState(clock=clock), console) as screen:
        screen.start(step=0, steps=4)
        screen.measured("g", "train", POINT)
        step(screen, 1, 0.5, clock, 30.0)
    assert "12% unscored" in out.getvalue()
    assert "…" not in out.getvalue()


def test_a_terminal_shows_the_step_the_numbers_and_the_phase_and_escapes_names() -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    state = TrainingState(clock=clock)
    with TrainingScreen(state, console) as screen:
        screen.start(step=0, steps=4)
        screen.measured("g", "train", POINT)
        step(screen, 1, 0.5, clock, 30.0)
        screen.begin("validation \x1b[2Jg, scoring", total=60, done=12)
        screen.note("a message\x1b[2J")
    text = out.getvalue()
    assert "step 1/4" in text
    assert "30.0 s/step  90 s left" in text
    assert "held out 0.600" in text
    assert "scoring 12/60" in text
    assert "a message" in text
    assert "\x1b[2J" not in text
