"""Reads from a run folder what must stay as it was, to record it or to compare it.

    python -m tests.compatibility.recording plain=FOLDER think=FOLDER > image_digests.json

Reads files alone: what the folders are made of must stay as it was, too.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def only(folder: Path, pattern: str) -> Path:
    """The one file of a folder that is named so."""
    (path,) = folder.glob(pattern)
    return path


def report(run: Path) -> dict[str, Any]:
    """The stored report of a run that was examined once."""
    found: dict[str, Any] = json.loads(only(run, "reports/*.json").read_text(encoding="utf-8"))
    return found


def verdicts(run: Path) -> list[dict[str, Any]]:
    """The stored verdicts of a run that was examined once, in the order of their questions."""
    found = rows(only(run, "verdicts/*.jsonl"))
    return sorted(found, key=lambda row: _about(row["verdict"]))


def _about(verdict: dict[str, Any]) -> tuple[str, str]:
    return verdict["image_id"], verdict["question_id"]


def record(run: Path) -> dict[str, Any]:
    """All numbers of a run that asks one question about each image."""
    images = sorted(rows(run / "images.jsonl"), key=lambda row: str(row["image_id"]))
    found = {
        "report": report(run),
        "sha256": {row["image_id"]: row["sha256"] for row in images},
        "verdicts": {row["verdict"]["image_id"]: row["verdict"]["value"] for row in verdicts(run)},
    }
    thoughts = {row["image_id"]: row["notes"]["thought"] for row in images if "notes" in row}
    return {**found, "thoughts": thoughts} if thoughts else found


def _shown(run: Path) -> str:
    """The headline as people read it, of a report by the version that is recorded."""
    page = (run / "report.md").read_text(encoding="utf-8")
    said = re.search(r"\*\*Score (\S+)\*\*, 95% interval (\S+) to (\S+),", page)
    assert said, "a run with a headline"
    return f"{said[1]} [{said[2]}, {said[3]}]"


def main() -> None:
    """Print what is recorded of the named runs."""
    found = {}
    for word in sys.argv[1:]:
        name, _, folder = word.partition("=")
        run = Path(folder)
        found[name] = {"folder": run.name, "shown": _shown(run), **record(run)}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
