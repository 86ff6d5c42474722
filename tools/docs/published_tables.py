"""Writes the tables of published scores into the documentation, from leaderboards/published/*.json.

    python -m tools.docs.published_tables           rewrites docs/benchmarks/*.md
    python -m tools.docs.published_tables --check   says which pages are out of date

A page holds `<!-- published: NAME.json -->` and, further down, `<!-- end -->`; what stands between
them is replaced by the file's note, table and links. Knows no benchmark.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from alphabench.reports.published import Published, published_section, read_published_file

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ROOT / "docs" / "benchmarks"
SCORES: Final = ROOT / "leaderboards" / "published"
_BLOCK: Final = re.compile(
    r"(?P<start><!-- published: (?P<name>[a-z0-9-]+\.json) -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)


def with_tables(page: str, scores: Mapping[str, Published]) -> str:
    """The page with the tables of today.

    Raises:
        KeyError: it names a file that is not among `scores`.
    """

    def block(match: re.Match[str]) -> str:
        _, note, table, links = published_section(scores[match["name"]])
        return f"{match['start']}\n{note}\n\n{table}\n\n{links}\n\n{match['end']}"

    return _BLOCK.sub(block, page)


def out_of_date(pages: Path = PAGES, scores: Path = SCORES) -> dict[Path, str]:
    """Page -> its text as it should be, for each page that differs from it."""
    known = {path.name: read_published_file(path) for path in sorted(scores.glob("*.json"))}
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(pages.glob("*.md"))}
    wanted = {path: with_tables(text, known) for path, text in texts.items()}
    return {path: text for path, text in wanted.items() if text != texts[path]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the pages, or say which ones need it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    check = parser.parse_args(arguments).check
    pages = out_of_date()
    for path, text in pages.items():
        print(path.relative_to(ROOT))
        if not check:
            path.write_text(text, encoding="utf-8")
    sys.exit(1 if check and pages else 0)


if __name__ == "__main__":
    main()
