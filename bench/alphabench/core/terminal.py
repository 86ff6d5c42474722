r"""Writes to the terminal; escapes control characters in text from untrusted sources.

Manifests, reports, prompts, replies and file names may hold sequences that move the cursor, rename
the window or reverse the reading direction. They are shown escaped, as in `\u001b`, which is the
same text in JSON.
"""

from __future__ import annotations

import re
from typing import Final

import typer

_CONTROL_CHARACTERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters other than tab and newline, direction marks, unpaired surrogates."""


def shown(text: str) -> str:
    """The text with every character that a terminal would act upon escaped."""
    return _CONTROL_CHARACTERS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def echo(text: str, *, err: bool = False) -> None:
    """A line of output, or of standard error."""
    typer.echo(shown(text), err=err)


def warn(text: str) -> None:
    """A line of standard error."""
    echo(text, err=True)
