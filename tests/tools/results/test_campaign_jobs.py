"""Processes of a campaign: each fails alone, and what runs elsewhere is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from tools.results.campaign.jobs import Job, JobOutcomes, run_all_jobs

ROOT = Path(__file__).parents[3]


def job(folder: Path, name: str, code: str, **more: object) -> Job:
    settings = {"keep": lambda _: None, "slug": name, "folder": folder, **more}
    return Job(name=name, words=[sys.executable, "-c", code], **settings)  # type: ignore[arg-type]


def run(*jobs: Job, at_once: int = 2) -> tuple[JobOutcomes, list[str]]:
    said: list[str] = []
    outcome = run_all_jobs(jobs, at_once=at_once, environment=dict(os.environ), report=said.append)
    return outcome, said


def wait_for(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_failure_is_told_with_its_sentence_and_stops_only_what_needs_it(tmp_path: Path) -> None:
    spent: list[float] = []
    wrong = "import sys; print('error: no such thing'); print('hint: none'); sys.exit(2)"
    jobs = [
        job(tmp_path, "wrong", wrong),
        job(tmp_path, "after", "print(1)", needs=("right", "wrong")),
        job(tmp_path, "right", "sum(range(3_000_000))", keep=spent.append),
    ]
    outcome, said = run(*jobs)
    assert outcome.done == ["right"]
    assert outcome.failed == {"wrong": "no such thing (exit code 2)", "after": "wrong failed"}
    assert any("no such thing" in line and str(jobs[0].log) in line for line in said)
    assert jobs[0].failure == "no such thing (exit code 2)"
    assert 0 < spent[0] < 20
    assert not (tmp_path / "after.log").exists()


def test_a_failure_is_forgotten_when_the_next_attempt_succeeds(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = f"import pathlib, sys; p = pathlib.Path({str(flag)!r}); e = p.exists(); p.touch()"
    one = job(tmp_path, "one", f"{code}; sys.exit(0 if e else 'error: first time')")
    assert run(one)[0].failed == {"one": "first time (exit code 1)"}
    assert run(one)[0].done == ["one"]
    assert one.failure is None


def test_an_error_that_is_an_end_is_kept_like_any_other(tmp_path: Path) -> None:
    spent: list[float] = []
    stopped = "import sys; print('error: this looks like reward hacking'); sys.exit(2)"
    jobs = [
        job(tmp_path, "guarded", stopped, keep=spent.append, ended=lambda: True),
        job(tmp_path, "score", "print(1)", needs=("guarded",)),
    ]
    outcome, _ = run(*jobs)
    assert sorted(outcome.done) == ["guarded", "score"]
    assert len(spent) == 1
    assert jobs[0].failure is None


def test_words_may_wait_for_what_a_job_needs(tmp_path: Path) -> None:
    made = tmp_path / "made"

    def words() -> list[str]:
        return [sys.executable, "-c", f"print({made.read_text()!r})"]

    jobs = [
        job(tmp_path, "first", f"open({str(made)!r}, 'w').write('by the first')"),
        job(tmp_path, "second", "print('too early')", needs=("first",), words_then=words),
    ]
    assert sorted(run(*jobs)[0].done) == ["first", "second"]
    assert jobs[1].log.read_text() == "by the first\n"


def test_results_that_cannot_be_kept_are_a_failure(tmp_path: Path) -> None:
    def keep(seconds: float) -> None:
        raise AlphaBenchError("half of it is missing", hint="again")

    one = job(tmp_path, "one", "pass", keep=keep)
    assert run(one)[0].failed == {"one": "half of it is missing"}


def test_so_many_run_at_once_and_each_after_what_it_needs(tmp_path: Path) -> None:
    times = "import time; print(time.time()); time.sleep(0.3); print(time.time())"
    names = ["a", "b", "c"]
    jobs = [
        job(tmp_path, "d", times, needs=("a",)),
        *(job(tmp_path, name, times) for name in names),
    ]
    assert sorted(run(*jobs, at_once=2)[0].done) == ["a", "b", "c", "d"]
    spans = {one.name: [float(t) for t in one.log.read_text().split()] for one in jobs}
    assert spans["d"][0] > spans["a"][1]
    for begin, _ in spans.values():
        assert sum(other <= begin < end for other, end in spans.values()) <= 2


CAMPAIGN = """
import os, sys
from pathlib import Path
from tools.results.campaign.jobs import Job, run_all_jobs
code = "import time; time.sleep(1.5); print('by the first')"
folder = Path(sys.argv[1])
one = Job(name="one", words=[sys.executable, "-c", code], folder=folder, slug="one",
          keep=lambda _: None)
run_all_jobs([one], at_once=1, environment=dict(os.environ), report=print)
"""


def test_after_a_kill_what_still_runs_is_left_alone_and_then_taken_up(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", CAMPAIGN, str(tmp_path)], cwd=ROOT)
    one = job(tmp_path, "one", "print('by the second')")
    wait_for(lambda: one.running)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert one.running
    began = time.monotonic()
    outcome, _ = run(one)
    assert outcome.done == ["one"]
    assert time.monotonic() - began > 0.2
    assert one.log.read_text() == "by the second\n"
    assert not one.running


def test_an_interrupt_lets_the_processes_end_before_it_passes_on(tmp_path: Path) -> None:
    code = """
import signal, sys, time
def end(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    one = job(tmp_path, "one", code)

    def interrupt(message: str) -> None:
        wait_for(lambda: "ready" in one.log.read_text())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all_jobs([one], at_once=1, environment=dict(os.environ), report=interrupt)
    assert one.log.read_text() == "ready\nsaved\n"
    assert not one.running
