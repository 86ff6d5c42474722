"""Runs processes, so many at once, each after the one that it needs; any of them may fail alone.

A job's process holds a lock that the operating system frees when the process ends, however it ends.
So a second campaign, or one that is started again after a kill, leaves alone what still runs. Knows
no training: a job is words, a folder for its log, and what to do when it has succeeded.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import replace_file

_PAUSE_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 120.0
_END_OF_LOG: Final = 20_000
_LONGEST_SENTENCE: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process and what becomes of its results."""

    name: str
    words: Sequence[str]
    folder: Path
    """Of its log, its lock and the note of its failure."""
    slug: str
    """Begins the names of these files."""
    keep: Callable[[float], None]
    """Called in this process after success, with the seconds of processor that the process took.

    An AlphaBenchError from it is the job's failure.
    """
    needs: tuple[str, ...] = ()
    """Jobs that must succeed before."""
    words_then: Callable[[], Sequence[str]] | None = None
    """Gives the words when the process begins, where they depend on what was needed before."""
    ended: Callable[[], bool] = lambda: False
    """Whether a process that ended with an error ended as it should: asked after each error."""

    @property
    def log(self) -> Path:
        return self.folder / f"{self.slug}.log"

    @property
    def _note(self) -> Path:
        return self.folder / f"{self.slug}.failed.json"

    @property
    def failure(self) -> str | None:
        """Why its last attempt failed; None if it did not."""
        if not self._note.is_file():
            return None
        return str(json.loads(self._note.read_text(encoding="utf-8"))["sentence"])

    def note_failure(self, sentence: str | None) -> None:
        """Stores why it failed, for a later look; None: it did not."""
        if sentence is None:
            self._note.unlink(missing_ok=True)
        else:
            replace_file(self._note, json.dumps({"sentence": sentence}))

    def lock(self) -> int | None:
        """A descriptor that holds its lock; None while another process does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / f"{self.slug}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    @property
    def running(self) -> bool:
        """Whether some process works on it."""
        if not (self.folder / f"{self.slug}.lock").is_file():
            return False
        descriptor = self.lock()
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None


@dataclass(slots=True, kw_only=True)
class JobOutcomes:
    """What became of all jobs."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Name -> the sentence that says why."""


def run_all_jobs(
    jobs: Sequence[Job],
    *,
    at_once: int,
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> JobOutcomes:
    """Runs all, in order as far as what they need allows; a failure stops only what needs it.

    Args:
        jobs: a job that needs one that is not among them may begin at once.
        at_once: processes at a time.
        environment: of the processes.
        report: receives a line when a job begins, ends or fails.
    """
    outcome = JobOutcomes()
    waiting, names = list(jobs), {job.name for job in jobs}
    running: dict[subprocess.Popen[bytes], Job] = {}
    try:
        while waiting or running:
            for process in list(running):
                if (seconds := _seconds_if_ended(process)) is not None:
                    _conclude(running.pop(process), process.returncode, seconds, outcome, report)
            for job in list(waiting):
                if failed := [one for one in job.needs if one in outcome.failed]:
                    waiting.remove(job)
                    outcome.failed[job.name] = f"{failed[0]} failed"
                    continue
                ready = all(one not in names or one in outcome.done for one in job.needs)
                if not ready or len(running) >= at_once:
                    continue
                if (started := _start(job, environment)) is not None:
                    waiting.remove(job)
                    running[started] = job
                    report(f"begins: {job.name}")
            time.sleep(_PAUSE_SECONDS)
    finally:
        _stop(list(running))
    return outcome


def _start(job: Job, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
    """The process, which holds the job's lock from now on; None while another one does."""
    descriptor = job.lock()
    if descriptor is None:
        return None
    try:
        job.note_failure(None)
        with job.log.open("wb") as log:
            return subprocess.Popen(
                list(job.words if job.words_then is None else job.words_then()),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
    finally:
        os.close(descriptor)


def _seconds_if_ended(process: subprocess.Popen[bytes]) -> float | None:
    """The processor's seconds of a process that has ended; None while it runs."""
    before = _children_seconds()
    if process.poll() is None:
        return None
    return _children_seconds() - before


def _children_seconds() -> float:
    """Of the processes that were waited for: it grows by those of one when `poll` finds its end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _conclude(
    job: Job, code: int, seconds: float, outcome: JobOutcomes, report: Callable[[str], None]
) -> None:
    sentence = None if code == 0 or job.ended() else _sentence(job.log, code)
    if sentence is None:
        try:
            job.keep(seconds)
        except AlphaBenchError as error:
            sentence = error.message
    job.note_failure(sentence)
    if sentence is None:
        outcome.done.append(job.name)
        report(f"done: {job.name}")
        return
    outcome.failed[job.name] = sentence
    report(f"failed: {job.name}: {sentence} (log: {job.log})")


def _sentence(log: Path, code: int) -> str:
    """The error at the end of a log, in one line."""
    lines = log.read_bytes()[-_END_OF_LOG:].decode(errors="replace").splitlines()
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if line.startswith("error: ")]
    what = errors[-1].removeprefix("error: ") if errors else (said or ["it printed nothing"])[-1]
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"{what[:_LONGEST_SENTENCE]} ({how})"


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Lets processes save what they did; kills those that do not end."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
