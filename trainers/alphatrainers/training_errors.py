"""The errors a user can mend, and the stop that a run decides on itself. Knows no command line.

Whoever offers a command turns these into one sentence and exit code 2; the engine must not import
the harness, whose own error has the same two attributes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TrainingError(Exception):
    """Something the user can put right.

    Attributes:
        message: one clear sentence, without a full stop, with the offending value in it.
        hint: what to do next: a command or a choice.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}"


class TrainingStoppedError(TrainingError):
    """A guard stopped the run before it trained on something wrong; what was saved is sound."""


class DamagedError(TrainingError):
    """What was written whole cannot be read any more."""


class JudgeUnavailableError(Exception):
    """Raised by a reward whose judge cannot be reached now: the run waits and asks again.

    For one picture that cannot be scored, a reward gives an unscored `Score` instead.
    """


def unknown_key(kind: str, name: str, known: Iterable[str]) -> TrainingError:
    """An error that names the nearest known name, or lists all of them when none is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(choices) or 'none'}"
    return TrainingError(f"there is no {kind} named {name!r}", hint=hint)
