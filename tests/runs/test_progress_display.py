"""Which display a run has: none, lines, bars, a live bar in a notebook, or one's own."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.progress import Lines, Silent
from alphabench.runs.progress_display import NotebookBars, in_notebook, progress_display


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Displayed:
    """What a notebook shows: the latest state of each cell of output."""

    def __init__(self) -> None:
        self.cells: list[Any] = []

    def display(self, shown: Any, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        self.cells.append(shown)
        place = len(self.cells) - 1
        return SimpleNamespace(update=lambda newer: self.cells.__setitem__(place, newer))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Displayed:
    displayed = Displayed()
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    shell = type("ZMQInteractiveShell", (), {})()
    vars(package).update(get_ipython=lambda: shell, display=display)
    vars(display).update(display=displayed.display)
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return displayed


def test_nothing_is_shown_where_nobody_watches_unless_it_is_wanted() -> None:
    with progress_display(None) as shown:
        assert isinstance(shown, Silent)
    with progress_display(False) as shown:
        assert isinstance(shown, Silent)
    with progress_display(True) as shown:
        assert isinstance(shown, Lines)
    own = Silent()
    with progress_display(own) as shown:
        assert shown is own


def test_an_object_without_the_methods_is_refused() -> None:
    with pytest.raises(AlphaBenchError, match="no method begin"), progress_display("yes"):  # type: ignore[arg-type]
        pass


def test_a_notebook_has_a_live_bar_for_each_phase(notebook: Displayed) -> None:
    assert in_notebook()
    with progress_display(None) as shown:
        assert isinstance(shown, NotebookBars)
    clock = Clock()
    bars = NotebookBars(clock=clock)
    bars.begin("generating", total=8, done=2)
    clock.now = 1.0
    bars.advance(2)
    assert repr(notebook.cells[0]) == "generating: 4/8, 2.0/s, 2 s left"
    bars.advance(3, unscored=1)  # too early to be shown
    assert "4/8" in repr(notebook.cells[0])
    bars.end()
    bars.begin("<scoring>", total=0, done=0)
    assert repr(notebook.cells[0]) == "generating: 7/8, 5.0/s, 0 s left, 1 unscored"
    assert "&lt;scoring&gt;: 0/0" in notebook.cells[1]._repr_html_()
    assert '<progress value="7" max="8">' in notebook.cells[0]._repr_html_()


def test_a_terminal_of_ipython_is_no_notebook(
    notebook: Displayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = type("TerminalInteractiveShell", (), {})()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    assert not in_notebook()
