"""What may be published of texts that a user wrote for one machine: no folders, no addresses.

A name stays, where it lies does not.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from alphabench.core.yaml_parsing import Tree

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


def public_recipe(recipe: Tree) -> str:
    """A recipe as YAML that names no folder and no address of the machine it was written on.

    Without its notes: they are about the trainings of whoever wrote it.
    """
    kept = {key: value for key, value in recipe.items() if key != "about"}
    return yaml.safe_dump(_public(kept), sort_keys=False, allow_unicode=True)


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _public(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_public(one) for one in value]
    return public_text(value) if isinstance(value, str) else value
