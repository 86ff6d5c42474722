"""A command that is told to stop ends soon, once, with a sentence; a child ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from alphabench.core.stopping import Stopping
from tests.support.processes import PROC, left_of

BEGINNING = """
    import os, signal, sys, threading, time
    from alphabench.core.stopping import Stopping, leave_with_parent

    def say(by):
        print("told of", by.name, flush=True)

    def ready():
        print("ready", flush=True)
"""


def started(
    program: str,
    *,
    ignored: signal.Signals | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """The program, once it has said that it is ready."""

    def signals() -> None:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN if one == ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BEGINNING) + textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(variables or {})},
        preexec_fn=signals,  # noqa: PLW1509  nothing else runs in this process
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


UNWINDS = """
    stopping = Stopping(say, grace_seconds=60)
    with stopping.watched():
        try:
            ready()
            time.sleep(60)
        finally:
            print("cleaned up", flush=True)
            stopping.leave()
"""


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_the_command_and_is_reported_once(by: signal.Signals) -> None:
    process = started(UNWINDS)
    process.send_signal(by)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + by, f"cleaned up\ntold of {by.name}\n", "")


STUCK = """
    threading.Thread(target=time.sleep, args=(60,)).start()  # nobody can interrupt it
    with Stopping(say, grace_seconds={grace}).watched():
        try:
            ready()
            time.sleep(60)
        finally:
            print("unwinding", flush=True)
"""


def test_a_command_that_cannot_unwind_is_ended_all_the_same() -> None:
    process = started(STUCK.format(grace=2.0))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "unwinding\ntold of SIGTERM\n")


def test_a_second_interrupt_ends_it_at_once_without_a_traceback() -> None:
    process = started(STUCK.format(grace=3600))
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "unwinding\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "told of SIGINT\n")
    assert err.count("Traceback") <= 1  # of this program, which catches nothing


DEFERS = """
    class Saving:
        carried_out, taken = False, 0

        def covers(self, by):
            return by == signal.SIGTERM

        def begin(self, by):
            self.taken += 1
            return self.covers(by) and {accepts}

    saving = Saving()
    stopping = Stopping(say, grace_seconds=0.2, deferral=lambda: saving)
    with stopping.watched():
        try:
            ready()
            while saving.taken < 2:
                time.sleep(0.05)
            time.sleep(0.5)  # longer than the grace
            saving.carried_out = True
            print("saved", flush=True)
        finally:
            stopping.leave()
"""


def test_a_command_that_saves_first_takes_its_time_whatever_comes_twice() -> None:
    process = started(DEFERS.format(accepts=True))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "saved\ntold of SIGTERM\n", "")


def test_a_command_that_cannot_save_any_more_ends_as_any_other() -> None:
    process = started(DEFERS.format(accepts=False))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "told of SIGTERM\n")


def test_an_interrupt_ends_a_command_that_would_save_after_sigterm() -> None:
    process = started(DEFERS.format(accepts=True))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "told of SIGINT\n")


def test_what_was_ignored_stays_ignored() -> None:
    process = started(UNWINDS, ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert out == "cleaned up\ntold of SIGTERM\n"


def test_afterwards_signals_mean_what_they_meant() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Stopping(lambda by: None).watched():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    after = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == before


@pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("asleep", ["time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_a_child_ends_with_its_parent_even_while_it_is_stopped(asleep: str, tmp_path: Path) -> None:
    parent = started(
        f"""
        if os.fork() == 0:
            leave_with_parent(os.getppid())
            ready()
            {asleep}
        time.sleep(60)
        """,
        variables={"MARK": str(tmp_path)},
    )
    with parent:
        parent.kill()
        assert left_of(f"MARK={tmp_path}") == {}


@pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc")
def test_a_child_whose_parent_has_gone_already_ends_at_once(tmp_path: Path) -> None:
    parent = started(
        """
        if os.fork() == 0:
            parent = os.getppid()
            ready()
            os.kill(parent, signal.SIGKILL)
            while os.getppid() == parent:
                time.sleep(0.01)
            leave_with_parent(parent)
            time.sleep(60)
        time.sleep(60)
        """,
        variables={"MARK": str(tmp_path)},
    )
    with parent:
        assert left_of(f"MARK={tmp_path}") == {}
