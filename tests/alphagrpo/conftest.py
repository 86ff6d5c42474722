"""Drawn images for the tests of DVReward."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support.worlds import Draw, draw_mini


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws images of `dvreward:mini`: `draw(error=0.3)`."""
    return partial(draw_mini, tmp_path)
