"""What may be published of texts that a user wrote for one machine: no folders, no addresses.

A name stays, where it lies does not.
"""

from __future__ import annotations

import re
from typing import Final

_ADDRESS: Final = re.compile(r"\bhttps?://[^\s#?]*")
_FOLDERS: Final = re.compile(
    r"(?:^|(?<=[:=,\s'\"(]))(?:~[^/\s]*|\.{1,2}|[A-Za-z]:)?/(?=\S)(?:[^/?#,:]+/(?=[^/?#,:]))*"
)
"""The folders before a file's name, in an absolute path or one that begins with `.` or `~`."""
_WINDOWS: Final = re.compile(r"\b[A-Za-z]:\\(?:[^\\?#,:]+\\)*")


def public_text(text: str) -> str:
    """`http://10.0.0.1:8000/v1#model` is `http://HOST#model`, `/data/me/BAGEL` is `BAGEL`."""
    pieces = re.split(f"({_ADDRESS.pattern})", text)
    return "".join(
        "http://HOST" if _ADDRESS.fullmatch(piece) else _FOLDERS.sub("", _WINDOWS.sub("", piece))
        for piece in pieces
    )
