"""The errors that a user can fix. What we must fix stays a built-in error or an assertion.

All three packages raise these. The command line prints the message and the hint and exits with
code 2; this module knows nothing of it.
"""

from __future__ import annotations

import difflib
import errno
import functools
import os
from collections.abc import Iterable
from typing import Final

_LONGEST_LINE: Final = 300


class AlphaBenchError(Exception):
    """Something the user can fix.

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
        # By default an exception is unpickled with positional arguments only.
        return functools.partial(type(self), hint=self.hint), (self.message,)


class DamagedError(AlphaBenchError):
    """A file or folder of ours was complete once and cannot be read any more."""


class TrainingStoppedError(AlphaBenchError):
    """A guard stopped the training before it trained on wrong values; what was saved is valid."""


class JudgeUnavailableError(Exception):
    """Raised by a reward whose judge cannot be reached now: the training waits and tries again.

    For a single image that cannot be scored, a reward returns an unscored `Score` instead.
    """


_HINTS: Final = {
    errno.EACCES: "name another path, or change its permissions",
    errno.EPERM: "name another path, or change its permissions",
    errno.EROFS: "name a path that can be written",
    errno.ENOSPC: "free some space and give the same command again",
    errno.EDQUOT: "free some space and give the same command again",
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`) and give the same command again",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`) and give the same command again",
    errno.ENFILE: "close other programs and give the same command again",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "check the path",
    errno.ELOOP: "check the path",
}


_TRANSIENT: Final = (
    errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE,
    errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EINTR, errno.EAGAIN,
)  # fmt: skip


def is_transient(error: BaseException) -> bool:
    """Whether a file could not be read for a reason that is not in the file itself."""
    return isinstance(error, OSError) and error.errno in _TRANSIENT


def from_os_error(error: OSError) -> AlphaBenchError:
    """An operating-system error as a sentence: the last resort of a command line.

    Code that writes a known path uses `alphabench.core.writing.writing`, whose hint is better.
    """
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    paths = f" ({', '.join(map(repr, names))})" if names else ""
    hint = _HINTS.get(error.errno or 0, "fix the cause and give the same command again")
    return AlphaBenchError(f"the operating system reports: {reason}{paths}", hint=hint)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> AlphaBenchError:
    """An error that names the nearest known name, or lists all of them when none is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(name.casefold(), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(choices) or 'none'}"
    return AlphaBenchError(f"there is no {kind} named {name!r}", hint=hint)


def short_line(text: str) -> str:
    """The text without line breaks or control characters, cut to 300 characters."""
    plain = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return plain if len(plain) <= _LONGEST_LINE else f"{plain[: _LONGEST_LINE - 1]}…"
