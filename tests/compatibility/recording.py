"""Reads from a folder what must stay as it was, to record it or to compare it.

    python -m tests.compatibility.recording plain=FOLDER think=FOLDER > image_digests.json

A folder is that of a run, of a training, or any other; of the last its files alone count. Files are
all that is read: what the folders are made of must stay as it was, too.
"""

from __future__ import annotations

import hashlib
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


def printed_report(text: str) -> dict[str, Any]:
    """A report as a command prints it with `--json`: without `run`, which 0.1 did not print."""
    printed: dict[str, Any] = json.loads(text)
    return {key: value for key, value in printed.items() if key != "run"}


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


def training(folder: Path) -> dict[str, Any]:
    """All numbers of a training, without its times, and the tensors and the state it ended with.

    Without the state of the process's own generator, which nothing seeds and no number comes from.
    """
    metrics = rows(folder / "metrics.jsonl")
    points = rows(folder / "validation.jsonl")
    last = max((folder / "checkpoints").iterdir())
    return {
        "metrics": [{"step": row["step"], "values": row["values"]} for row in metrics],
        "validation": [{key: row[key] for key in row if key != "seconds"} for row in points],
        "state": json.loads((last / "state.json").read_text(encoding="utf-8")),
        "tensors": {
            f"{name}/{file}": digest
            for name, part in ((last.name, last), ("best", folder / "best"))
            for file, digest in digests(part).items()
            if file.endswith(".safetensors") and file != "random.safetensors"
        },
    }


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by its path in it."""
    root = folder.resolve()
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def table_rows(page: str) -> list[list[str]]:
    """The cells of all rows of Markdown tables."""
    found = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in found]


def results(page: Path) -> list[list[str]]:
    """The rows of the page of a training's results, without the heads of its tables."""
    found = table_rows(page.read_text(encoding="utf-8"))
    numbers = [row for row in found if re.search(r"\d", "".join(row[1:]))]
    return [row for row in numbers if row[0] not in {"run", "task"}]


def _recorded(path: Path) -> Any:
    if path.is_file():
        return results(path)
    if (path / "images.jsonl").is_file():
        return {"folder": path.name, "shown": _shown(path), **record(path)}
    return training(path) if (path / "metrics.jsonl").is_file() else digests(path)


def main() -> None:
    """Print what is recorded of the named folders."""
    named = [word.partition("=")[::2] for word in sys.argv[1:]]
    print(json.dumps({name: _recorded(Path(path)) for name, path in named}, indent=1))


if __name__ == "__main__":
    main()
