from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject
from alphabench.parity.detections import DetectionComparison, Tolerance, Uncompared
from alphabench.parity.geneval import ParitySettings, compare_files, detector_parity
from tests.evaluators.conftest import noise_image
from tests.support.mmdet_tiny import save_checkpoint


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images" / "00000" / "samples"
    folder.mkdir(parents=True)
    noise_image(64, 48).save(folder / "0000.png")
    return tmp_path / "images"


def said(_: str) -> None:
    """Progress that nobody reads."""


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match="there are no images below"):
        detector_parity(tmp_path, ParitySettings(), progress=said)


def test_an_interpreter_that_is_missing_or_without_mmdet_is_refused(
    images: Path, tmp_path: Path
) -> None:
    weights = save_checkpoint(tmp_path / "a.pth", 2)
    absent = ParitySettings(weights=weights, python=tmp_path / "python")
    with pytest.raises(AlphaBenchError, match="there is no interpreter"):
        detector_parity(images, absent, progress=said)
    with pytest.raises(AlphaBenchError, match="has no mmdet"):
        detector_parity(
            images, ParitySettings(weights=weights, python=Path(sys.executable)), progress=said
        )


def test_a_image_that_fails_costs_no_other(images: Path) -> None:
    (whole,) = images.rglob("*.png")
    whole.with_name("0001.png").write_bytes(whole.read_bytes()[:200])
    noise_image(64, 48).save(whole.with_name("0002.png"))
    noise_image(64, 48).save(whole.with_name("0003.png"))
    found = [DetectedObject(category="cat", score=0.9, box=(1, 1, 9, 9))]

    def look(path: Path, _: Image.Image) -> tuple[list[DetectedObject], list[DetectedObject]]:
        if path.stem == "0002":
            raise RuntimeError("mmdet: ValueError: too narrow")
        if path.stem == "0003":
            raise AlphaBenchError("the mmdet process did not get ready", hint="see why")
        return found, found

    files = sorted(images.rglob("*.png"))
    rows = compare_files(images, files, look, tolerance=Tolerance(), progress=said)
    assert isinstance(rows[0], DetectionComparison)
    assert [row.reason.partition(":")[0] for row in rows if isinstance(row, Uncompared)] == [
        "UnreadableImageError",
        "RuntimeError",
        "AlphaBenchError",
    ]


def test_an_original_that_never_starts_is_said_at_once(images: Path) -> None:
    def look(*_: object) -> tuple[list[DetectedObject], list[DetectedObject]]:
        raise AlphaBenchError("the mmdet process did not get ready", hint="see why")

    files = sorted(images.rglob("*.png"))
    with pytest.raises(AlphaBenchError, match="did not get ready"):
        compare_files(images, files, look, tolerance=Tolerance(), progress=said)


@pytest.mark.mmdet
@pytest.mark.timeout(900)
def test_the_original_asks_for_consent_to_its_pickle(images: Path, tmp_path: Path) -> None:
    """Names the interpreter by ALPHABENCH_MMDET_PYTHON."""
    python = os.environ.get("ALPHABENCH_MMDET_PYTHON")
    if python is None:
        pytest.skip("ALPHABENCH_MMDET_PYTHON names no interpreter")
    sides = ParitySettings(weights=save_checkpoint(tmp_path / "a.pth", 2), python=Path(python))
    with pytest.raises(AlphaBenchError, match="is a pickle, which can run code"):
        detector_parity(images, sides, progress=said)
