"""Tables as pandas writes them, with an index."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream.csv_tables import frame_text, numbers_in, read_frame


def test_what_is_written_is_read_again_and_nothing_is_an_empty_cell(tmp_path: Path) -> None:
    text = frame_text(["m", "n"], {"000": [0.5, None], "001": [[1.0, 0.0], "a, b"]})
    (tmp_path / "score_EN_m.csv").write_text(text)
    assert read_frame(tmp_path, "score_EN") == {
        "000": {"m": "0.5", "n": ""},
        "001": {"m": "[1.0, 0.0]", "n": "a, b"},
    }
    assert read_frame(tmp_path, "score_ZH") == {}


def test_a_row_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",m\n000,1\n000,0\n")
    with pytest.raises(AlphaBenchError, match="two rows '000'"):
        read_frame(tmp_path / "t.csv")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=4))
def test_numbers_of_a_cell_are_those_that_were_written(numbers: list[float]) -> None:
    assert numbers_in(str(numbers), len(numbers)) == numbers
    assert numbers_in(str(numbers[0]), 1) == numbers[:1]
    assert numbers_in("", len(numbers)) == []
    with pytest.raises(AlphaBenchError, match="no score"):
        numbers_in(str(numbers), len(numbers) + 1)
