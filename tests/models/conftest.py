"""A tiny random BAGEL checkpoint in the released layout, made here and now."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.models.bagel.loading import LoadedBagel, load_bagel
from tests.support.tiny_bagel import save_bagel


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder of one's own, to be spoiled."""
    return save_bagel(tmp_path)


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedBagel:
    return load_bagel(save_bagel(tmp_path_factory.mktemp("bagel")))
