"""The command that continues one that was stopped, and the message that names it."""

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
    """The command to continue with: the same arguments, unless the command changes them.

    A command finds it as the `obj` of its context.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words: Callable[[], Sequence[str]] = lambda: words
        """Called after the command was stopped."""

    def print(self, by: signal.Signals) -> None:
        """Write the message to standard error, unbuffered; shows the terminal's cursor again."""
        cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        again = shlex.join(["alphabench", *self.words()])
        print(f"{cursor}\n{_HOW[by]}; to continue: {again}", file=sys.stderr, flush=True)
