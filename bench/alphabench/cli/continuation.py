"""The command that continues one that was stopped, and the message that names it."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

from alphabench.core.stopping import UNDER_TORCHRUN, Deferral

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
        self.reason: Callable[[], str | None] = lambda: ""
        """Called then, too: what stopped it, if that was no person; None if it was told before."""

        self.deferral: Deferral | None = None
        """A command that ends by itself after SIGTERM."""

    def print(self, by: signal.Signals) -> None:
        """Write the message to standard error, unbuffered; shows the terminal's cursor again.

        Of the processes that torchrun started, only the first one writes it.
        """
        cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        reason = self.reason()
        if os.environ.get("RANK", "0") != "0" or reason is None:
            return
        again = f"{_program()} {shlex.join(self.words())}"
        how = reason or _HOW[by]
        print(f"{cursor}\n{how}; to continue: {again}", file=sys.stderr, flush=True)


def _program() -> str:
    """What starts this program again: under torchrun, torchrun with as many processes."""
    if UNDER_TORCHRUN not in os.environ:
        return "alphabench"
    here, everywhere = os.environ.get("LOCAL_WORLD_SIZE"), os.environ.get("WORLD_SIZE")
    # The options of several nodes are on each node's own command line, not in the environment.
    options = f"--nproc-per-node {here}" if here == everywhere else "..."
    return f"torchrun {options} -m alphabench"
