"""The one error a user can mend. What we must mend stays a built-in error or an assertion.

Knows nothing of the command line; `cli.py` prints it as one sentence and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AlphaBenchError(Exception):
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

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.message, self.hint)


def _rebuild(message: str, hint: str) -> AlphaBenchError:
    """Keyword-only arguments survive the trip from a worker process only through a function."""
    return AlphaBenchError(message, hint=hint)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> AlphaBenchError:
    """An error that names the nearest known name, or lists all of them when none is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(name.casefold(), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(choices) or 'none'}"
    return AlphaBenchError(f"there is no {kind} named {name!r}", hint=hint)
