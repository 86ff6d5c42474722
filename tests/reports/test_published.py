from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.reports.published import published_section, read_published

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


def published_file(folder: Path, **row: object) -> None:
    whole = {"model": "m", "prompts": "p", "overall": 0.5, "source": "s", "url": "https://e.org/a"}
    content = {"benchmark": "geneval", "note": "n", "groups": [], "rows": [{**whole, **row}]}
    (folder / "geneval.json").write_text(f"\ufeff{json.dumps(content)}")


def test_a_byte_order_mark_and_further_keys_are_passed_over(tmp_path: Path) -> None:
    published_file(tmp_path, remark="later")
    (tmp_path / "._geneval.json").write_bytes(b"\x00\x05\x16\x07")
    assert [row.model for row in read_published(tmp_path)[0].rows] == ["m"]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "https://e.org/ [x]: y"}, "url"),
        ({"url": "https://e.org/)<img src=x>"}, "url"),
        ({"overall": float("nan")}, "rows.overall"),
        ({"overall": "0.5"}, "rows.overall"),
        ({"groups": {"a": None}}, "rows.groups.a"),
    ],
)
def test_a_figure_that_is_none_is_named_by_its_key(
    tmp_path: Path, row: dict[str, object], key: str
) -> None:
    published_file(tmp_path, **row)
    with pytest.raises(AlphaBenchError, match=f"'{key}' is"):
        read_published(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": [{"model": "x"}]}'])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "geneval.json").write_text(content)
    with pytest.raises(AlphaBenchError, match="is no list of published scores"):
        read_published(tmp_path)
