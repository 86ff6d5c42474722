"""Links and images of the documentation exist, with their anchors, and every page has a place."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from tests.support.page_commands import PAGES, ROOT, name_of
from tools.docs.markdown_links import is_relative, outside_fences, targets

HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*$", re.MULTILINE)
SITE = ROOT / "mkdocs.yml"


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub and the site give to a page's headings."""
    text = "".join(part for fenced, part in outside_fences(page.read_text()) if not fenced)
    found = set(re.findall(r'\b(?:id|name)="([^"]+)"', text))
    for match in HEADING.finditer(text):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", match["text"]).replace("`", "")
        plain = re.sub(r"(?<!\w)[*_]+|[*_]+(?!\w)", "", plain)
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


def dead_links(page: Path) -> list[str]:
    """The targets of a page that lead nowhere."""
    dead = []
    for target in targets(page.read_text()):
        if not is_relative(target) and not target.startswith("#"):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        missing_anchor = anchor and file.suffix == ".md" and anchor not in anchors_of(file)
        if not file.exists() or not file.is_relative_to(ROOT) or missing_anchor:
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_heading_has_the_anchor_that_github_gives_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b_c`, d?\n\n```\n# no heading\n```\n## [e](f.md) -- *g*\n")
    assert anchors_of(page) == {"a-b_c-d", "e----g"}


def nav_of(entries: object) -> list[str]:
    """The pages that a navigation names, in order."""
    if isinstance(entries, str):
        return [entries]
    parts = entries.values() if isinstance(entries, dict) else entries
    assert not isinstance(parts, (int, float, type(None)))
    return [page for part in parts for page in nav_of(part)]  # type: ignore[attr-defined]


def test_every_page_of_the_documentation_is_in_the_navigation() -> None:
    text = re.sub(r"!!python/\S+", "", SITE.read_text())
    nav = nav_of(yaml.safe_load(text)["nav"])
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert pages - set(nav) == set(), "name these pages in mkdocs.yml"
    assert len(nav) == len(set(nav))
