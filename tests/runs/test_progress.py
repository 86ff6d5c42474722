"""What a person is told: at once, now and then, and without a number that is not true."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from alphabench.runs.progress import Bars, Lines, begin_phase, duration, rate_words, while_busy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_soon_after_the_start_then_less_often_and_at_the_end() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock=clock)
    lines.begin("generating", total=100, done=20)
    for _ in range(40):
        clock.now += 1.0
        lines.advance()
    lines.end()
    assert said == [
        "generating: 100 images, 20 of them done before",
        "generating: 25/100, 1.0/s, 75 s left",
        "generating: 30/100, 1.0/s, 70 s left",
        "generating: 40/100, 1.0/s, 60 s left",
        "generating: 60/100, 1.0/s, 40 s left",
        "generating: 60/100, 1.0/s, 40 s left",
    ]


def test_a_day_of_work_gets_a_line_a_minute() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock=clock)
    lines.begin("generating", total=1000, done=0)
    for _ in range(100):
        clock.now += 36.0
        lines.advance()
    assert 40 <= len(said) <= 60
    assert said[-1] == "generating: 100/1000, 36 s each, 9 h 00 min left"


def test_what_has_no_result_is_counted_aloud_and_so_is_the_cost() -> None:
    said: list[str] = []
    lines = Lines(said.append, clock=Clock())
    lines.explain(first="first batch", cost=lambda: "$0.12, 900 tokens")
    lines.begin("scoring", total=3, done=0)
    lines.advance()
    lines.advance(unscored=1)
    lines.end()
    assert said[-1] == "scoring: 2/3, 1 unscored, $0.12, 900 tokens"


def test_a_phase_without_any_result_yet_says_what_it_waits_for() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock=clock)
    lines.explain(first="loading weights", cost=str)
    lines.begin("generating", total=3, done=0)
    for _ in range(12):
        clock.now += 1.0
        lines.tick()
    assert said[1:] == [
        "generating: 0/3, loading weights (5 s so far)",
        "generating: 0/3, loading weights (10 s so far)",
    ]


def test_a_phase_that_stalls_names_no_time_left() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock=clock)
    lines.begin("scoring", total=3, done=0)
    lines.advance()
    clock.now = 50.0
    lines.tick()
    assert said[-1] == "scoring: 1/3, 50 s each, none for 50 s"


def test_what_takes_a_moment_is_not_mentioned_and_what_takes_longer_is() -> None:
    said: list[str] = []
    clock = Clock()
    lines = Lines(said.append, clock=clock)
    with lines.busy("loading nano", lambda: "no answer yet"):
        clock.now = 2.0
        lines.tick()
        assert said == []
        for _ in range(60):
            clock.now += 1.0
            lines.tick()
    assert said[0] == "loading nano (3 s so far; no answer yet)"
    assert said[1] == "loading nano (8 s so far; no answer yet)"
    assert 4 <= len(said) <= 6


def test_lines_are_written_while_nothing_advances() -> None:
    said: list[str] = []
    clock = Clock()
    with Lines(said.append, clock=clock) as lines:
        lines.begin("scoring", total=3, done=0)
        clock.now = 9.0
        deadline = time.monotonic() + 10
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert said[1] == "scoring: 0/3, none new (9 s so far)"


@pytest.mark.parametrize("width", [60, 80])
def test_bars_show_phases_counts_and_notes_on_a_terminal(width: int) -> None:
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, width=width)) as bars:
        bars.explain(first="loading weights", cost=str)
        bars.begin("generating", total=4, done=1)
        bars.advance(3)
        bars.end()
        bars.explain(first="first batch", cost=lambda: "$0.12, 900 tokens")
        bars.begin("scoring", total=4, done=0)
        bars.advance(4, unscored=2)
        bars.note("image [red]7[/red] was altered")
        bars.end()
    shown = screen.getvalue()
    assert "generating" in shown
    assert "4/4" in shown
    assert "2 unscored, $0.12" in shown
    assert "image [red]7[/red] was altered" in shown


def test_bars_show_what_takes_longer_than_a_moment() -> None:
    screen = io.StringIO()
    bars = Bars(Console(file=screen, force_terminal=True, width=80), busy_seconds=0.05)
    with bars, while_busy(bars, "loading nano"):
        deadline = time.monotonic() + 10
        while "loading nano" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "loading nano" in screen.getvalue()


def test_rates_and_times_are_readable_from_slow_to_fast() -> None:
    assert [rate_words(one) for one in (240.0, 3.21, 0.5, 0.02)] == [
        "240/s", "3.2/s", "2.0 s each", "50 s each",
    ]  # fmt: skip
    assert [duration(one) for one in (3.4, 99, 600, 11_100)] == [
        "3 s", "99 s", "10 min", "3 h 05 min",
    ]  # fmt: skip


class Counting:
    """A display of somebody's own, with the four methods that are needed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def begin(self, phase: str, *, total: int, done: int) -> None:
        self.seen.append(f"{phase} {done} of {total}")

    def advance(self, count: int = 1, *, unscored: int = 0) -> None:
        self.seen.append(f"{count}, {unscored}")

    def note(self, text: str) -> None:
        self.seen.append(text)

    def end(self) -> None:
        self.seen.append("end")


def test_a_display_of_ones_own_needs_four_methods_and_no_more() -> None:
    counting = Counting()
    with while_busy(counting, "loading"):
        begin_phase(counting, "scoring", total=3, done=1, first="loading", cost=lambda: "$1")
    assert counting.seen == ["scoring 1 of 3"]


def test_a_bar_counts_the_rate_since_the_phase_began_and_shows_the_cost_while_it_waits() -> None:
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, width=90)) as bars:
        bars.explain(first="first batch", cost=lambda: "$0.12")
        bars.begin("scoring", total=1000, done=400)
        bars.end()
        assert "first batch, $0.12" in screen.getvalue()
        time.sleep(0.3)
        bars.advance(2)
        bars.end()
    last = screen.getvalue().rpartition("402/1000")[2]
    assert "first batch" not in last
    assert re.search(r"[1-6]\.\d/s", last), "two in 0.3 s or more, not a burst of a moment"
