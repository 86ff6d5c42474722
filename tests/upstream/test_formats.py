"""Published files and tables: which file is meant, and how a table is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.types import Sample
from alphabench.upstream.csv_tables import csv_text, read_csv_rows
from alphabench.upstream.formats import file_of
from alphabench.upstream.layouts import FolderOptions, find_named, id_with_fact


def test_the_only_file_of_its_kind_in_a_folder_is_meant(tmp_path: Path) -> None:
    for name in ("a.csv", "a.json", "._a.csv"):
        (tmp_path / name).touch()
    expected = tmp_path / "a.csv"
    assert file_of(tmp_path, "*.csv", kind="tables", hint="name one") == expected
    assert file_of(expected, "*.csv", kind="tables", hint="name one") == expected
    (tmp_path / "b.csv").touch()
    with pytest.raises(AlphaBenchError, match="holds 2 tables"):
        file_of(tmp_path, "*.csv", kind="tables", hint="name one")
    with pytest.raises(AlphaBenchError, match="holds 0 pickles"):
        file_of(tmp_path, "*.pkl", kind="pickles", hint="name one")


def test_a_written_table_is_read_back() -> None:
    rows = [{"a": 'x, "y"', "b": "two\nlines"}, {"a": "", "b": "\u98ce"}]
    text = csv_text(("b", "a"), rows)
    assert text.startswith("b,a\n")
    assert read_csv_rows(text.encode(), ("a", "b"), where="t") == rows


def test_images_are_found_by_a_pattern_of_their_names(tmp_path: Path) -> None:
    for name in ("7_0.png", "7_1.jpg", "7_2.txt", "x.png", "._7_3.png"):
        (tmp_path / name).touch()
    find = find_named(re.compile(r"(?P<key>\d+)_(?P<number>\d+)"))
    assert find(tmp_path, FolderOptions()) == {
        "7": {0: tmp_path / "7_0.png", 1: tmp_path / "7_1.jpg"}
    }


def test_a_sample_without_a_benchmarks_fact_has_no_key_in_its_layout() -> None:
    key = id_with_fact("points")
    assert key(Sample(id="7", prompt="p", group="g", facts={"points": []})) == "7"
    with pytest.raises(KeyError):
        key(Sample(id="7", prompt="p", group="g"))
