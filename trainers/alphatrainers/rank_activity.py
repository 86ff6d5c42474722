"""What one process of a training does, as its heartbeats describe it to the others.

A process makes progress when a phase begins, a batch of it is done, or a collective operation ends.
How long it may make none follows from the phase: rewards wait for a judge, a validation may, and a
checkpoint is written in one piece. Knows no store, no display, no judge and no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

_FILES: Final = 4.0
"""Reading or saving a checkpoint may take so many times as long as other work without progress."""
_BEFORE: Final = "nothing yet"


class ActivityReport(NamedTuple):
    """What a heartbeat says of the process that it comes from."""

    phase: str
    """The one that it began last."""
    progress: int
    """Changes when it has made any."""
    allowed_seconds: float | None
    """It may make no progress for so long; None without limit."""
    waits: bool
    """For the other processes, in a collective operation."""

    def to_text(self) -> str:
        return json.dumps(self)

    @classmethod
    def from_text(cls, text: str) -> ActivityReport:
        return cls(*json.loads(text))


@dataclass(slots=True, kw_only=True)
class RankActivity:
    """Written by the main thread, read by the one that sends heartbeats."""

    phase: str = _BEFORE
    progress: int = 0
    stalled_seconds: float = 0.0
    """Longest time without progress; 0 has no limit."""
    judge_seconds: float = 0.0
    """So much longer in a validation, which may wait for a judge."""
    _scores: bool = False
    _waits: bool = False

    def begin(self, phase: str) -> None:
        """A phase begins."""
        self.phase, self._scores = phase, phase == "rewards"
        self.progress += 1

    def advance(self) -> None:
        """A part of it is done."""
        self.progress += 1

    def end(self) -> None:
        """It is over; the next one begins soon."""
        self._scores = False
        self.progress += 1

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within it, the process waits for the others."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            self.progress += 1

    def report(self) -> ActivityReport:
        """Of this moment."""
        return ActivityReport(self.phase, self.progress, self._allowed(), self._waits)

    def _allowed(self) -> float | None:
        if self.stalled_seconds == 0.0 or self._scores:
            return None
        if self.phase.startswith("validation"):
            return self.stalled_seconds + self.judge_seconds
        return self.stalled_seconds * (_FILES if "checkpoint" in self.phase else 1.0)


@dataclass(slots=True)
class _Silence:
    progress: int = -1
    beats: int = 0


class StallWatch:
    """Counts for how many heartbeats each process has made no progress.

    Args:
        beat_seconds: between two heartbeats.
    """

    def __init__(self, beat_seconds: float) -> None:
        self._beat_seconds = beat_seconds
        self._silent: dict[int, _Silence] = {}

    def stalled(self, reports: Mapping[int, ActivityReport]) -> list[int]:
        """The processes that hang, after one more heartbeat; ascending.

        One that waits for the others does not, unless all do: then they wait for one another.
        """
        late = [rank for rank, report in reports.items() if self._is_late(rank, report)]
        working = [rank for rank in late if not reports[rank].waits]
        if working or not all(report.waits for report in reports.values()):
            return sorted(working)
        return sorted(late) if len(late) == len(reports) else []

    def seconds(self, rank: int) -> float:
        """How long a process has made no progress."""
        return self._silent[rank].beats * self._beat_seconds

    def _is_late(self, rank: int, report: ActivityReport) -> bool:
        silence = self._silent.setdefault(rank, _Silence())
        # Counted, not timed: while this process is suspended, nothing grows old.
        silence.beats = silence.beats + 1 if report.progress == silence.progress else 0
        silence.progress = report.progress
        allowed = report.allowed_seconds
        return allowed is not None and silence.beats * self._beat_seconds > allowed
