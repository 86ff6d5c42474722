"""What several of these tests compare with, loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.bagel_reference import Golden


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    """BAGEL's reference values; tests of others have a fixture of this name of their own."""
    from tests.support.bagel_reference import open_golden

    return open_golden(shared)
