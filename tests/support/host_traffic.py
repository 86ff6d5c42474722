"""What the host asks of a device: each wait for a result and each upload, with the lines that ask.

A *wait* needs a value that the device computes (`item`, `tolist`, `nonzero`, a copy to the host):
the host stands still until all queued work is done. An *upload* is a blocking copy to the device,
which CUDA makes wait as well unless the host's memory is pinned. Knows no device;
`stand_in_device` reports here.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import torch

ROOT: Final = Path(__file__).parents[2]
_TORCH: Final = str(Path(torch.__file__).parent)
_OPTIMISER: Final = (f"{_TORCH}/optim/", f"{_TORCH}/nn/utils/clip_grad.py")
_DEEPEST: Final = 80
"""Frames of a stack that are kept."""
UPLOADS: Final = ("upload", "upload of an index")


class CodeLine(NamedTuple):
    """One frame of a stack."""

    file: str
    """From the repository's root if it lies there, else in full."""
    function: str
    number: int


@dataclass(frozen=True, slots=True)
class HostEvent:
    """One kind of wait or upload, at one place in the code."""

    kind: str
    stack: tuple[CodeLine, ...]
    """Innermost first; empty in the threads that autograd starts itself."""
    thread: str

    @property
    def waits(self) -> bool:
        """It needs a value that the device computes."""
        return self.kind not in UPLOADS

    @property
    def by_optimiser(self) -> bool:
        """Torch's own optimizer or gradient clipping asked for it."""
        return any(line.file.startswith(_OPTIMISER) for line in self.stack)

    @property
    def place(self) -> CodeLine:
        """The innermost line that is not torch's."""
        outside = (line for line in self.stack if not line.file.startswith(_TORCH))
        return next(outside, CodeLine("autograd", "backward", 0))

    def within(self, function: str, file: str = "") -> bool:
        """A function of that name, in a file whose path ends so, is on the stack."""
        return any(line.function == function and line.file.endswith(file) for line in self.stack)

    def within_library(self, name: str) -> bool:
        """A library's code is on the stack; `name` is that of its folder."""
        return any(f"/{name}/" in line.file for line in self.stack)


@dataclass(slots=True)
class HostTraffic:
    """All events between the beginning and the end of a recording, of all threads."""

    events: Counter[HostEvent] = field(default_factory=Counter)

    def waits(self, keep: Callable[[HostEvent], bool] = lambda _: True) -> int:
        """How often the host waited for a result."""
        return sum(n for event, n in self.events.items() if event.waits and keep(event))

    def uploads(self, keep: Callable[[HostEvent], bool] = lambda _: True) -> int:
        """Blocking copies to the device."""
        return sum(n for event, n in self.events.items() if not event.waits and keep(event))

    def by_place(self, *, waits: bool = True) -> list[tuple[str, int]]:
        """`file:line function (kind)` and its number of events, most first."""
        found: Counter[str] = Counter()
        for event, number in self.events.items():
            if event.waits is waits:
                file, function, line = event.place
                found[f"{file}:{line} {function} ({event.kind})"] += number
        return sorted(found.items(), key=lambda row: (-row[1], row[0]))


_recordings: list[HostTraffic] = []
_lock = threading.Lock()


@contextmanager
def recorded() -> Iterator[HostTraffic]:
    """Counts what happens within, in every thread; recordings may be nested."""
    traffic = HostTraffic()
    with _lock:
        _recordings.append(traffic)
    try:
        yield traffic
    finally:
        with _lock:
            # By identity: two empty recordings are equal.
            del _recordings[next(n for n, one in enumerate(_recordings) if one is traffic)]


def report(kind: str, *, hidden: str) -> None:
    """Notes an event in all recordings.

    Args:
        kind: what the host did.
        hidden: the file of the device itself, which no stack shows.
    """
    if not _recordings:
        return
    event = HostEvent(kind, _stack(sys._getframe(1), hidden), threading.current_thread().name)
    with _lock:
        for traffic in _recordings:
            traffic.events[event] += 1


def _stack(frame: FrameType | None, hidden: str) -> tuple[CodeLine, ...]:
    lines: list[CodeLine] = []
    while frame is not None and len(lines) < _DEEPEST:
        code = frame.f_code
        if code.co_filename != hidden:
            file = code.co_filename
            if "site-packages" not in file:  # a virtual environment may lie in the checkout
                file = file.removeprefix(f"{ROOT}/")
            lines.append(CodeLine(file, code.co_name, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)
