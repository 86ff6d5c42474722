"""A fixture for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stored_runs import RunMaker


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Makes run folders with chosen answers."""
    root = tmp_path / "runs"
    root.mkdir()
    return RunMaker(root=root)
