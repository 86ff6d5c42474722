"""Which commands of the documentation a test runs, and why it leaves out the others.

The mark of a block changes what is done with it: `<!-- not run: why -->` leaves out all its
commands, `<!-- run -->` runs those that would be left out as slow, and `<!-- exit 2 -->` says what
they exit with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.support.page_commands import PageCommand, page_commands

MADE: Final = ("run", "generate", "train")
"""Commands that make a folder under `runs/`."""
_OFFLINE_CHECKPOINTS: Final = ("nano", "scene:", "images:", "python:", "runs/")
_EVALUATORS_WITH_WEIGHTS: Final = ("mask2former", "mmdet", "mplug", "ocr")
_OFFLINE_JUDGES: Final = ("nano", "scripted:", "python:")
_PLACEHOLDER: Final = re.compile(r"(?<![\w./-])[A-Z][A-Z_]*(?![\w-])|<[^>]+>|\.\.\.$")


def why_left_out(command: PageCommand) -> str | None:
    """Why a test does not run a command; None where it does. Looks at the command alone."""
    mark = command.block.mark
    if mark.startswith("not run"):
        return mark.removeprefix("not run").strip(" :") or "the page says so"
    words = command.alphabench_words
    if words is None:
        return "only checked to exist: not a command of alphabench"
    if command.launcher:
        return f"started by {command.launcher}"
    if any("$" in word for word in words):
        return "uses variables of the shell"
    if named := next((word for word in words if _PLACEHOLDER.search(word)), None):
        return f"{named} stands for a name of the reader's"
    return _why_not_here(command, words) or (
        None if mark == "run" or mark.startswith("exit") else _why_slow(command, words)
    )


def _why_not_here(command: PageCommand, words: Sequence[str]) -> str | None:
    if words and words[0].endswith("-completion"):
        return "changes the configuration of your shell"
    if set(words) & {"-h", "--help"}:
        return None
    return next(_missing_here(command, words), None)


def _missing_here(command: PageCommand, words: Sequence[str]) -> Iterator[str]:
    verb = words[0] if words else ""
    if address := next((word for word in words if re.search(r"https?://", word)), None):
        yield f"needs a server: {address}"
    if command.option("--devices", "--device") not in (None, "cpu"):
        yield "needs GPUs"
    if verb == "fetch" or command.option("--setup"):
        yield "needs the network"
    checkpoint, judge = command.option("--ckpt"), command.option("--judge", "--refine-judge")
    if checkpoint and not checkpoint.startswith(_OFFLINE_CHECKPOINTS):
        yield f"needs weights: {checkpoint}"
    if judge and not judge.startswith(_OFFLINE_JUDGES):
        yield f"needs weights: {judge}"
    evaluator = words[1] if verb == "doctor" and len(words) > 1 else command.option("--evaluator")
    if evaluator and evaluator.startswith(_EVALUATORS_WITH_WEIGHTS):
        yield f"needs weights: {evaluator}"
    if verb == "train" and len(words) > 1 and words[1].startswith("bagel"):
        yield "needs weights of BAGEL"
    has_prompts = command.option("--prompts") is not None
    if verb in ("run", "generate") and len(words) > 1 and ":" not in words[1] and not has_prompts:
        yield f"needs official data: {words[1]}"


def _why_slow(command: PageCommand, words: Sequence[str]) -> str | None:
    verb = words[0] if words else ""
    if set(words) & {"--dry-run", "--help", "-h"}:
        return None
    if verb in ("run", "generate") and command.option("--limit", "--prompts") is None:
        return "generates all images of a split: pytest --whole runs it"
    if command.option("--refine") is not None:
        return "refines images: pytest --whole runs it"
    if verb == "calibrate":
        return "asks a judge about many scenes: pytest --whole runs it"
    if verb == "train":
        return "trains: pytest --whole runs it"
    return None


def is_slow(reason: str) -> bool:
    """Whether a command is left out for its time alone."""
    return reason.endswith("--whole runs it")


def plan(page: Path, *, slow_too: bool = False) -> list[tuple[PageCommand, str | None]]:
    """The commands of a page in order, each with the reason why it is left out, if it is.

    A command that reads what one before it would have made is left out with that one.
    """
    planned: list[tuple[PageCommand, str | None]] = []
    absent: dict[str, int] = {}
    present: set[str] = set()
    for command in page_commands(page):
        reason = why_left_out(command)
        if slow_too and reason and is_slow(reason):
            reason = None
        words = command.alphabench_words or ()
        out = command.option("--out")
        makes = out or ("runs/" if words[:1] and words[0] in MADE else None)
        if reason is None:
            reason = _needs(command, words, absent, present)
        if makes:
            if reason is None:
                absent.pop(makes, None)
                present.add(makes)
            else:
                absent[makes] = command.line
                present.discard(makes)
        planned.append((command, reason))
    return planned


def _needs(
    command: PageCommand, words: Sequence[str], absent: dict[str, int], present: set[str]
) -> str | None:
    for word in words:
        if word == command.option("--out") and words[0] in MADE:
            continue
        path = word.partition("=")[2] if word.startswith("--") else word
        if path in present - {"runs/"}:
            continue
        for folder, line in absent.items():
            inside = path == folder or path.startswith(f"{folder.rstrip('/')}/")
            if inside or (path == "runs" and folder.startswith("runs")):
                return f"reads {folder} of line {line}, which is not run"
    return None
