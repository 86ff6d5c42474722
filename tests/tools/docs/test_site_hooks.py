"""The site shows the files of the repository that its pages link to."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs the extra docs")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

HOOKS = Path(__file__).parents[3] / "tools" / "docs" / "site_hooks.py"
SETTINGS = f"""
site_name: test
theme: mkdocs
plugins: []
hooks: [{HOOKS}]
markdown_extensions: [fenced_code]
not_in_nav: |
  source/
validation: {{omitted_files: warn, not_found: warn, unrecognized_links: warn, anchors: warn}}
"""


def built(root: Path, page: str) -> Path:
    """Builds a site whose one page is given, strictly; returns its folder."""
    (root / "docs").mkdir()
    (root / "docs" / "index.md").write_text(page)
    (root / "mkdocs.yml").write_text(SETTINGS)
    build(load_config(str(root / "mkdocs.yml"), strict=True))
    return root / "site"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_linked_source_file_becomes_a_page(tmp_path: Path) -> None:
    write(tmp_path / "examples" / "one.py", "print('<b>')\n")
    site = built(tmp_path, "# A\n\n[one](../examples/one.py)\n")
    assert 'href="source/examples/one.py/"' in (site / "index.html").read_text()
    assert "print(&#39;&lt;b&gt;&#39;)" in (
        site / "source" / "examples" / "one.py" / "index.html"
    ).read_text().replace("'", "&#39;")


def test_links_of_a_linked_markdown_file_are_followed(tmp_path: Path) -> None:
    write(
        tmp_path / "cards" / "README.md",
        "# Card\n\n[data](../data/a.jsonl) [A](../docs/index.md)\n",
    )
    write(tmp_path / "data" / "a.jsonl", "{}\n")
    site = built(tmp_path, "# A\n\n[card](../cards/README.md)\n")
    card = (site / "source" / "cards" / "index.html").read_text()
    assert 'href="../data/a.jsonl/"' in card
    assert 'href="../.."' in card
    assert (site / "source" / "data" / "a.jsonl" / "index.html").is_file()


def test_a_linked_folder_shows_its_readme_or_its_files(tmp_path: Path) -> None:
    write(tmp_path / "cards" / "README.md", "# Card of a model\n")
    write(tmp_path / "plain" / "one.txt", "1\n")
    site = built(tmp_path, "# A\n\n[cards](../cards/) [plain](../plain)\n")
    assert "Card of a model" in (site / "source" / "cards" / "index.html").read_text()
    assert "one.txt" in (site / "source" / "plain" / "index.html").read_text()


def test_a_linked_file_that_is_not_text_can_be_downloaded(tmp_path: Path) -> None:
    (tmp_path / "icons").mkdir()
    (tmp_path / "icons" / "a.png").write_bytes(b"\x89PNG")
    site = built(tmp_path, "# A\n\n![icon](../icons/a.png)\n")
    assert 'src="source/icons/a.png"' in (site / "index.html").read_text()
    assert (site / "source" / "icons" / "a.png").read_bytes() == b"\x89PNG"


def test_the_changelog_of_the_root_is_a_page(tmp_path: Path) -> None:
    write(tmp_path / "CHANGELOG.md", "# Changes\n\n## 0.1\n")
    site = built(tmp_path, "# A\n\n[changes](../CHANGELOG.md#01)\n")
    assert 'href="changelog/#01"' in (site / "index.html").read_text()


@pytest.mark.parametrize("target", ["../examples/none.py", "none.md", "#none", "../../outside.md"])
def test_a_dead_link_fails_a_strict_build(tmp_path: Path, target: str) -> None:
    with pytest.raises(Abort, match="strict mode"):
        built(tmp_path, f"# A\n\n[dead]({target})\n")
