from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs.published_tables import SCORES, main, out_of_date, with_tables


def test_the_pages_show_the_published_scores_of_today() -> None:
    assert list(out_of_date()) == [], "run python -m tools.docs.published_tables"


def test_every_file_of_published_scores_is_on_a_page() -> None:
    pages = Path(__file__).parents[3] / "docs" / "benchmarks"
    text = "".join(page.read_text(encoding="utf-8") for page in pages.glob("*.md"))
    for path in SCORES.glob("*.json"):
        assert f"<!-- published: {path.name} -->" in text


def page_with(block: str) -> str:
    return f"# Page\n\n<!-- published: geneval.json -->\n{block}<!-- end -->\n\nafter\n"


def test_a_block_is_replaced_and_the_rest_of_the_page_kept(tmp_path: Path) -> None:
    page = tmp_path / "geneval.md"
    page.write_text(page_with("old\n"))
    (changed,) = out_of_date(tmp_path).values()
    assert changed.startswith("# Page\n\n<!-- published: geneval.json -->\n")
    assert changed.endswith("<!-- end -->\n\nafter\n")
    assert "old" not in changed
    assert "| BAGEL " in changed
    page.write_text(changed)
    assert out_of_date(tmp_path) == {}


def test_a_file_that_does_not_exist_is_named() -> None:
    with pytest.raises(KeyError, match=r"geneval\.json"):
        with_tables(page_with(""), {})


def test_a_check_of_pages_that_are_up_to_date_succeeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--check"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == ""
