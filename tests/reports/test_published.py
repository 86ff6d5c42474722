from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from alphabench.benchmarks.wise.scoring import EDITIONS
from alphabench.core.errors import AlphaBenchError
from alphabench.reports.published import (
    Published,
    PublishedRow,
    published_section,
    read_published,
)

SHIPPED = Path(__file__).parents[2] / "leaderboards" / "published"


def shipped(benchmark: str, title: str = "") -> Published:
    (found,) = (
        one for one in read_published(SHIPPED) if (one.benchmark, one.title) == (benchmark, title)
    )
    return found


def weighted(row: PublishedRow, edition: str) -> float:
    weights = EDITIONS[edition].weights
    return sum(weights[name] * score for name, score in row.groups.items())


def test_every_shipped_score_names_a_source_at_a_fixed_version() -> None:
    rows = [row for published in read_published(SHIPPED) for row in published.rows]
    assert len(rows) >= 100
    for row in rows:
        assert row.source
        of_commit = row.url.startswith("https://github.com/") and any(
            len(part) == 40 for part in row.url.split("/")
        )
        of_paper = re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}v\d+", row.url)
        assert of_commit or of_paper, row.url


def test_no_model_is_listed_twice_with_the_same_prompts_and_source() -> None:
    for published in read_published(SHIPPED):
        keys = [(row.model, row.prompts, row.source) for row in published.rows]
        assert len(set(keys)) == len(keys), published.benchmark


def test_every_shipped_geneval_score_is_the_mean_of_its_tasks_up_to_rounding() -> None:
    geneval = shipped("geneval")
    with_tasks = [row for row in geneval.rows if row.groups]
    assert len(with_tasks) >= 20
    for row in with_tasks:
        assert set(row.groups) == set(geneval.groups)
        assert sum(row.groups.values()) / 6 == pytest.approx(row.overall, abs=0.0101)


def test_shipped_wise_scores_follow_from_their_categories_or_the_note_names_them() -> None:
    for title, edition, rounding in (
        ("WISE_Verified", "verified", 0.0001),
        ("WISE, legacy edition", "legacy", 0.0101),
    ):
        published = shipped("wise", title)
        off = [
            row.model
            for row in published.rows
            if row.groups and abs(weighted(row, edition) - row.overall) > rounding
        ]
        assert len(off) == 1
        assert off[0] in published.note


def test_the_shipped_tiif_scores_are_the_mean_of_short_and_long() -> None:
    for row in shipped("tiif", "testmini").rows:
        assert sum(row.groups.values()) / 2 == pytest.approx(row.overall, abs=1e-6)


@pytest.mark.parametrize("language", ["English", "Chinese"])
def test_no_shipped_gedit_score_is_above_the_mean_of_its_two_parts(language: str) -> None:
    for row in shipped("gedit", f"{language} instructions").rows:
        if row.groups:  # a geometric mean for each image is at most the arithmetic one
            assert row.overall <= sum(row.groups.values()) / 2 + 0.01


def test_shipped_imgedit_scores_follow_from_their_types_as_the_note_says() -> None:
    published = shipped("imgedit", "basic suite")
    n_edits = {"extract": 117, "style": 100, "add": 95, "adjust": 94, "background": 94,
               "replace": 92, "remove": 86, "action": 36, "compose": 23}  # fmt: skip
    over_edits = []
    for row in (row for row in published.rows if row.groups):
        assert set(row.groups) == set(published.groups) == set(n_edits)
        by_types = sum(row.groups.values()) / 9
        by_edits = sum(n_edits[kind] * score for kind, score in row.groups.items()) / 737
        if abs(by_types - row.overall) > 0.0101:
            assert by_edits == pytest.approx(row.overall, abs=0.0101)
            over_edits.append(row.model)
    assert over_edits == ["GPT-4o", "MagicBrush", "Ovis-U1"]
    assert all(model in published.note for model in over_edits)


@pytest.mark.parametrize(
    ("benchmark", "titles", "rounding"),
    [
        ("oneig", ["English", "Chinese"], 0.0011),
        ("unigenbench", ["short English prompts", "short Chinese prompts", "long English prompts",
                         "long Chinese prompts"], 0.0001),
    ],
)  # fmt: skip
def test_shipped_scores_that_are_means_follow_from_their_parts(
    benchmark: str, titles: list[str], rounding: float
) -> None:
    for title in titles:
        published = shipped(benchmark, title)
        with_parts = [row for row in published.rows if row.groups]
        assert len(with_parts) >= 10
        for row in with_parts:
            assert list(row.groups) == list(published.groups)
            mean = sum(row.groups.values()) / len(row.groups)
            assert mean == pytest.approx(row.overall, abs=rounding), (title, row.model)


def test_shipped_rise_scores_are_the_share_of_all_items() -> None:
    sizes = {"temporal_reasoning": 85, "causal_reasoning": 90, "spatial_reasoning": 100,
             "logical_reasoning": 85}  # fmt: skip
    for row in shipped("rise", "360 items").rows:
        over_items = sum(sizes[name] * share for name, share in row.groups.items()) / 360
        assert over_items == pytest.approx(row.overall, abs=0.0011), row.model


def test_the_shipped_scores_have_the_range_of_our_reports() -> None:
    for published in read_published(SHIPPED):
        best = {"gedit": 10, "imgedit": 5}.get(published.benchmark, 1)
        for row in published.rows:
            assert all(0 <= score <= best for score in (row.overall, *row.groups.values()))


def test_published_scores_are_listed_with_their_source_and_no_rank() -> None:
    heading, note, table, links = published_section(shipped("geneval"))
    assert heading == "## Published elsewhere, not ranked with ours"
    assert "without intervals" in note
    assert "rank" not in table
    assert "evaluator" not in table
    assert "| [GenEval README] " in table
    assert "[GenEval README]: https://github.com/djghosh13/geneval/blob/" in links


def test_an_edition_has_a_section_of_its_own_with_its_judge_and_decimals() -> None:
    heading, note, table, _ = published_section(shipped("wise", "WISE_Verified"))
    assert heading.endswith("not ranked with ours: WISE_Verified")
    assert note.endswith("Prompts: original. Evaluator: Qwen3.5-35B-A3B.")
    first = [cell.strip() for cell in table.splitlines()[2].split("|")]
    assert first[1:4] == ["NanoBanana-Pro", "0.8760", "0.8975"]


def test_what_rows_do_not_share_has_a_column() -> None:
    _, note, table, _ = published_section(shipped("wise", "WISE, legacy edition"))
    assert "Evaluator" not in note
    header = [cell.strip() for cell in table.splitlines()[0].split("|")]
    assert header[1:4] == ["model", "prompts", "evaluator"]


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
        ({"evaluator": 4}, "rows.evaluator"),
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


def test_the_readme_counts_the_published_scores() -> None:
    readme = (SHIPPED.parents[1] / "README.md").read_text(encoding="utf-8")
    (stated,) = re.findall(r"\[(\d+) published scores\]", readme)
    assert int(stated) == sum(len(one.rows) for one in read_published(SHIPPED))
