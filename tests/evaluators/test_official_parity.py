from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from alphabench.errors import AlphaBenchError
from alphabench.evaluators.detection.official_parity import Sides, detector_parity
from tests.evaluators.conftest import picture
from tests.evaluators.mmdet_tiny import save_checkpoint


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images" / "00000" / "samples"
    folder.mkdir(parents=True)
    picture(64, 48).save(folder / "0000.png")
    return tmp_path / "images"


def said(_: str) -> None:
    """Progress that nobody reads."""


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="there are no pictures below"):
        detector_parity(tmp_path, Sides(), progress=said)


def test_an_interpreter_that_is_missing_or_without_mmdet_is_refused(
    images: Path, tmp_path: Path
) -> None:
    weights = save_checkpoint(tmp_path / "a.pth", 2)
    absent = Sides(weights=weights, python=tmp_path / "python")
    with pytest.raises(AlphaBenchError, match="there is no interpreter"):
        detector_parity(images, absent, progress=said)
    with pytest.raises(AlphaBenchError, match="has no mmdet"):
        detector_parity(images, Sides(weights=weights, python=Path(sys.executable)), progress=said)


@pytest.mark.mmdet
@pytest.mark.timeout(900)
def test_the_original_asks_for_consent_to_its_pickle(images: Path, tmp_path: Path) -> None:
    """Names the interpreter by ALPHABENCH_MMDET_PYTHON."""
    python = os.environ.get("ALPHABENCH_MMDET_PYTHON")
    if python is None:
        pytest.skip("ALPHABENCH_MMDET_PYTHON names no interpreter")
    sides = Sides(weights=save_checkpoint(tmp_path / "a.pth", 2), python=Path(python))
    with pytest.raises(AlphaBenchError, match="is a pickle, which can run code"):
        detector_parity(images, sides, progress=said)
