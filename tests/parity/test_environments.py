from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.parity.environments import RECIPES, interpreter_of, set_up_environment


def test_an_environment_has_exact_versions_and_is_probed_before_it_counts(tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def run(words: Sequence[str]) -> None:
        assert interpreter_of("mmdet", folder=tmp_path) is None
        ran.append(list(words))
        if "venv" in words:
            (tmp_path / "mmdet").mkdir()

    said = set_up_environment("mmdet", folder=tmp_path, run=run)
    python = str(tmp_path / "mmdet" / "bin" / "python")
    make, install, probe = ran
    assert make == [sys.executable, "-m", "venv", str(tmp_path / "mmdet")]
    assert install[:4] == [python, "-m", "pip", "install"]
    assert {"mmdet==3.3.0", "mmcv-lite==2.1.0", "mmengine==0.10.7"} <= set(install)
    assert any(word.startswith("torch==") and "+" not in word for word in install)
    assert probe[0] == python
    assert Path(probe[1]).is_file()
    assert interpreter_of("mmdet", folder=tmp_path) == Path(python)
    assert f"mmdet?python={python}" in said


def test_one_that_fails_half_way_is_not_taken_for_whole(tmp_path: Path) -> None:
    set_up_environment("mmdet", folder=tmp_path, run=lambda words: _make_folder(words, tmp_path))
    assert interpreter_of("mmdet", folder=tmp_path) is not None

    def fail(words: Sequence[str]) -> None:
        _make_folder(words, tmp_path)
        if "pip" in words:
            raise subprocess.CalledProcessError(1, list(words))

    with pytest.raises(AlphaBenchError, match=r"'mmdet' could not be made: -m pip install"):
        set_up_environment("mmdet", folder=tmp_path, run=fail)
    assert interpreter_of("mmdet", folder=tmp_path) is None


def _make_folder(words: Sequence[str], folder: Path) -> None:
    if "venv" in words:
        (folder / "mmdet").mkdir()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(AlphaBenchError, match="mmdett"):
        set_up_environment("mmdett")


def test_every_recipe_pins_what_it_installs() -> None:
    for recipe in RECIPES.values():
        assert all("==" in package for package in recipe.packages)
        assert "alphabench" in recipe.usage or "--evaluator" in recipe.usage
