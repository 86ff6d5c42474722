from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.errors import AlphaBenchError
from alphabench.published import published_section, read_published

SHIPPED = Path(__file__).parents[2] / "leaderboards" / "published"


def test_every_shipped_figure_names_a_source_at_a_fixed_commit() -> None:
    rows = [row for published in read_published(SHIPPED) for row in published.rows]
    assert len(rows) >= 15
    for row in rows:
        assert row.source
        assert row.url.startswith("https://github.com/")
        assert any(len(part) == 40 for part in row.url.split("/"))


def test_every_shipped_overall_is_the_mean_of_its_tasks_up_to_rounding() -> None:
    (geneval,) = read_published(SHIPPED)
    with_tasks = [row for row in geneval.rows if row.groups]
    assert len(with_tasks) == len(geneval.rows) - 1
    for row in with_tasks:
        assert set(row.groups) == set(geneval.groups)
        assert sum(row.groups.values()) / 6 == pytest.approx(row.overall, abs=0.0101)


def test_published_figures_are_listed_with_their_source_and_no_rank() -> None:
    heading, note, table, links = published_section(read_published(SHIPPED)[0])
    assert heading == "## Published elsewhere, not ranked with ours"
    assert "without intervals" in note
    assert "rank" not in table
    assert "| [GenEval README] " in table
    assert "[GenEval README]: https://github.com/djghosh13/geneval/blob/" in links


def test_a_folder_without_published_figures_gives_none(tmp_path: Path) -> None:
    assert read_published(tmp_path / "absent") == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"model": "x"}]}'])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "geneval.json").write_text(content)
    with pytest.raises(AlphaBenchError, match="is no list of published figures"):
        read_published(tmp_path)
