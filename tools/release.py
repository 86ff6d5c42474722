"""Release notes: the part of CHANGELOG.md about one version, for the page of that release.

`python -m tools.release notes 0.2.0` prints it. Knows nothing of git or of packages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
app = typer.Typer(help="What a release needs.", no_args_is_help=True)


def release_notes(changelog: str, version: str) -> str:
    """The text below `## VERSION (DATE)`, up to the next version.

    Raises:
        ValueError: the changelog has no such version, or nothing below it.
    """
    parts = re.split(r"^## (\S+)(?: \([0-9-]+\))?$", changelog, flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    if not texts.get(version, "").strip():
        raise ValueError(
            f"CHANGELOG.md has no entries for {version}; it has {', '.join(texts) or 'no version'}"
        )
    return texts[version].strip()


@app.callback()
def _commands() -> None:
    """Keeps `notes` a subcommand though it is the only one."""


@app.command()
def notes(version: Annotated[str, typer.Argument(help="As in the changelog: 0.2.0.")]) -> None:
    """Print the part of CHANGELOG.md about one version."""
    try:
        print(release_notes(CHANGELOG.read_text(encoding="utf-8"), version))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    app()
