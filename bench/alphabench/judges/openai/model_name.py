"""Checks that the model that answers is the one that was requested. Sends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from alphabench.core.errors import AlphaBenchError

_SNAPSHOT_SUFFIX: Final = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{3,4})")
"""What hosts append to an undated name to say which snapshot answered."""


@dataclass(kw_only=True)
class AnsweringModel:
    """The model that a judge's replies name; one snapshot within a process."""

    expected: str
    seen: str | None = field(default=None, init=False)
    """The name in the replies so far."""

    def check(self, reported: str) -> None:
        """Refuse a reply of another model; a host that reports no name is believed.

        Args:
            reported: the reply's `model` field, possibly empty.

        Raises:
            AlphaBenchError: another name than was requested, or than answered before.
        """
        if not reported:
            return
        if not _is_same_model(reported, self.expected):
            raise AlphaBenchError(
                f"the judge {self.expected!r} was requested, but {reported!r} answered",
                hint=f"if they are the same, add the judge's option served_as={reported}",
            )
        if self.seen not in (None, reported):
            raise AlphaBenchError(
                f"the judge changed from {self.seen!r} to {reported!r} within one run",
                hint="name the dated model after #, and give the same command again",
            )
        self.seen = reported


def _is_same_model(reported: str, expected: str) -> bool:
    """Whether `reported` is the expected name or a dated form of it."""
    reported, expected = reported.casefold(), expected.casefold()
    suffix = reported.removeprefix(expected)
    return reported == expected or (
        suffix != reported and _SNAPSHOT_SUFFIX.fullmatch(suffix) is not None
    )
