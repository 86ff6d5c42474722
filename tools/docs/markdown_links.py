"""Links of markdown pages: finds and rewrites them. Knows no site and opens no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

FENCE: Final = re.compile(r"^ {0,3}(?P<marks>`{3,}|~{3,})(?P<language>[^\n`]*)$")
TARGET: Final = re.compile(
    r"(?P<before>\]\(\s*<?|^ {0,3}\[[^\]\n]+\]:\s*|\b(?:src|href|srcset)=\")"
    r"(?P<target>[^)\s>\"]+)",
    re.MULTILINE,
)
"""`[text](target)`, `[name]: target`, and the attributes of the few HTML tags that GitHub shows."""
CODE: Final = re.compile(r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.DOTALL)


def outside_fences(markdown: str) -> Iterator[tuple[bool, str]]:
    """The page in parts, in order: whether a part is a fenced block, and its text."""
    part: list[str] = []
    fence = ""
    for line in markdown.splitlines(keepends=True):
        match = FENCE.match(line.rstrip("\n"))
        if not fence and match:
            yield False, "".join(part)
            part, fence = [line], match["marks"]
        elif fence and match and not match["language"].strip() and match["marks"].startswith(fence):
            yield True, "".join([*part, line])
            part, fence = [], ""
        else:
            part.append(line)
    yield bool(fence), "".join(part)


def rewritten(markdown: str, change: Callable[[str], str]) -> str:
    """The page with `change(target)` for the target of each link; code stays as it is."""
    return "".join(
        part if fenced else _rewritten_text(part, change)
        for fenced, part in outside_fences(markdown)
    )


def targets(markdown: str) -> list[str]:
    """The targets of a page's links and images, in order."""
    found: list[str] = []

    def keep(target: str) -> str:
        found.append(target)
        return target

    rewritten(markdown, keep)
    return found


def is_relative(target: str) -> bool:
    """Whether a target is a path: neither `https://...`, nor `mailto:...`, nor an anchor."""
    return not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|#|//", target)


def _rewritten_text(text: str, change: Callable[[str], str]) -> str:
    code = [match.span() for match in CODE.finditer(text)]

    def replace(match: re.Match[str]) -> str:
        if any(start <= match.start("target") < end for start, end in code):
            return match[0]
        return match["before"] + change(match["target"])

    return TARGET.sub(replace, text)
