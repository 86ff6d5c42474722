"""Tells the user that an image endpoint does not answer, while its requests are repeated.

Knows no HTTP: it is told of faults and answers, and of the time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

_LOG: Final = logging.getLogger("alphabench.checkpoints")
"""Notes for the user while the run waits; written to standard error by default."""
_FAULTS: Final = 2
_SILENT_SECONDS: Final = 10.0
"""How long a host that has answered before may answer nothing until the user is told."""
_NOTE_SECONDS: Final = 60.0


def warn_user(sentence: str) -> None:
    """Print a sentence on the log of checkpoints."""
    _LOG.warning(sentence)


@dataclass(kw_only=True)
class SilenceNotes:
    """One host; times are in seconds of any clock."""

    address: str
    attempts: int
    """Tries for one image."""
    _has_answered: bool = False
    _faults: int = 0
    """In a row."""
    _silent_since: float | None = None
    _noted_at: float | None = None

    def answered(self, now: float) -> None:
        """An image came, or a refusal."""
        if self._noted_at is not None and self._silent_since is not None:
            _LOG.warning("%s answers again (%.0f s)", self.address, now - self._silent_since)
        self._has_answered = True
        self._faults, self._silent_since, self._noted_at = 0, None, None

    def failed(self, fault: str, now: float) -> None:
        """A request failed and may be repeated."""
        self._faults += 1
        self._silent_since = now if self._silent_since is None else self._silent_since
        silent = now - self._silent_since
        if self._faults < _FAULTS or (self._has_answered and silent < _SILENT_SECONDS):
            return
        if self._noted_at is None or now - self._noted_at >= _NOTE_SECONDS:
            self._noted_at = now
            _LOG.warning(
                "%s does not answer (%s); each image is tried %d times. Start it, or stop this "
                "with Ctrl-C and correct the address: finished images are saved",
                self.address,
                fault,
                self.attempts,
            )
