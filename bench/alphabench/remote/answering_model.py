"""Checks that the model that answers is the one that was requested. Sends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from alphabench.core.errors import AlphaBenchError

_SNAPSHOT_SUFFIX: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{3,4})")
"""What hosts append to an undated name to say which snapshot answered."""
_LISTED_AS: Final = "models/"
"""Gemini's prefix of every name, which its own replies leave out."""


@dataclass(kw_only=True)
class AnsweringModel:
    """The model that the replies of a judge or checkpoint name; one snapshot within a process."""

    expected: str
    part: str = "judge"
    """What it is used as, for the error message."""
    option: str = "the judge's option served_as="
    """How another name can be accepted."""
    seen: str | None = field(default=None, init=False)
    """The snapshot in the replies so far; a name without a date says nothing about it."""

    def check(self, reported: str) -> None:
        """Refuse a reply of another model; a host that reports no name is believed.

        Args:
            reported: the name in the reply, possibly empty.

        Raises:
            AlphaBenchError: another name than was requested, or than answered before.
        """
        name, expected = _bare(reported), _bare(self.expected)
        if not name or name == expected:
            return
        if not _is_snapshot_of(name, expected):
            raise AlphaBenchError(
                f"the {self.part} {self.expected!r} was requested, but {reported!r} answered",
                hint=f"if they are the same, add {self.option}{reported}",
            )
        if self.seen not in (None, name):
            raise AlphaBenchError(
                f"the {self.part} changed from {self.seen!r} to {reported!r} within one run",
                hint="name the dated model after #, and give the same command again",
            )
        self.seen = name


def _bare(name: str) -> str:
    return name.casefold().removeprefix(_LISTED_AS)


def _is_snapshot_of(name: str, expected: str) -> bool:
    """Whether `name` is a dated form of the expected one."""
    return _SNAPSHOT_SUFFIX.fullmatch(name.removeprefix(expected)) is not None
