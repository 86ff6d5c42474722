"""What a person is told: at once, now and then, and without a number that is not true."""

from __future__ import annotations

import io

from rich.console import Console

from alphabench.runs.progress import Bars, Lines


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_at_the_ends_and_every_half_minute() -> None:
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
        "generating: 50/100, 1.0 a second, 50 s left",
        "generating: 60/100, 1.0 a second, 40 s left",
    ]


def test_what_has_no_result_is_counted_aloud() -> None:
    said: list[str] = []
    lines = Lines(said.append, clock=Clock())
    lines.begin("scoring", total=3, done=0)
    lines.advance()
    lines.advance(unscored=1)
    lines.end()
    assert said[-1].endswith("1 unscored")


def test_bars_show_phases_counts_and_notes_on_a_terminal() -> None:
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, width=100)) as bars:
        bars.begin("generating", total=4, done=1)
        bars.advance(3)
        bars.end()
        bars.begin("scoring", total=4, done=0)
        bars.advance(4, unscored=2)
        bars.note("image [red]7[/red] was altered")
        bars.end()
    shown = screen.getvalue()
    assert "generating" in shown
    assert "4/4" in shown
    assert "2 unscored" in shown
    assert "image [red]7[/red] was altered" in shown
