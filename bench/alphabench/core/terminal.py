r"""Writes to the terminal: the one place where text that may come from anywhere is echoed.

Manifests, reports, prompts, replies and file names may hold sequences that move the cursor, rename
the window or turn the reading direction round; they are shown as what they are, `\u001b`, which is
the same text in JSON.
"""

from __future__ import annotations

import re
from typing import Final

import typer

_ACTING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but for tab and newline, marks of direction, halves of surrogate pairs."""


def shown(text: str) -> str:
    """The text, with all that a terminal would act upon as an escape."""
    return _ACTING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: str, *, err: bool = False) -> None:
    """A line of output, or of standard error."""
    typer.echo(shown(text), err=err)


def warn(text: str) -> None:
    """A line of standard error."""
    echo(text, err=True)
