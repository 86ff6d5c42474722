"""The command that goes on with one that was stopped, and the sentence that says so."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

_HOW: Final = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}


class Continuation:
    """What to type to go on: the same words, unless the verb knows better.

    A verb finds it as the `obj` of its context.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words: Callable[[], Sequence[str]] = lambda: words
        """Asked when the command has been stopped."""

    def say(self, by: signal.Signals) -> None:
        """On standard error, past any buffer; gives a terminal its cursor back."""
        cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        again = shlex.join(["alphabench", *self.words()])
        print(f"{cursor}\n{_HOW[by]}; to continue: {again}", file=sys.stderr, flush=True)
