from __future__ import annotations

import math
from importlib.resources import files

import numpy as np
import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import COLOURS
from alphabench.evaluators.detection.coco import GENEVAL_NAMES
from alphabench.evaluators.detection.detector_self_test import (
    BALLS,
    EXPECTATIONS,
    _ball_query,
    _photograph,
    run_detector_self_test,
)
from tests.evaluators.conftest import ScriptedColours, ScriptedDetector

RIGHT = [{"person": 0.99, "tie": 0.4}, {"cat": 0.95}, {"cup": 0.9, "spoon": 0.8, "person": 0.2}]
TRUE_COLOURS = list(BALLS)


def test_a_detector_and_a_reader_that_see_what_is_there_pass() -> None:
    run_detector_self_test(ScriptedDetector(RIGHT), ScriptedColours(TRUE_COLOURS))


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([{}, {}, {}], r"no person above 0\.3 in person\.jpg \(best: 0\.000; objects .* 0\)"),
        ([RIGHT[0], {"cat": 0.3}, RIGHT[2]], r"no cat above 0\.3 in cat\.jpg \(best: 0\.300"),
        ([RIGHT[0], RIGHT[1], {"bowl": 0.9}], r"no cup above 0\.3"),
        ([RIGHT[0], RIGHT[1], {"cup": 0.9, "cat": 0.6}], r"a cat in cup\.jpg with score 0\.600"),
        ([dict.fromkeys(GENEVAL_NAMES, 0.9)] * 3, r"a cat in person\.jpg"),
        ([{"person": math.nan}, RIGHT[1], RIGHT[2]], r"scores in person\.jpg are not finite"),
    ],
    ids=["nothing", "at the threshold", "wrong class", "one too many", "everything", "nan"],
)
def test_a_detector_that_errs_must_not_score(objects: list[dict[str, float]], words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words) as raised:
        run_detector_self_test(ScriptedDetector(objects), ScriptedColours(TRUE_COLOURS))
    assert "must not score" in raised.value.hint
    assert "alphabench doctor" in raised.value.hint


def test_a_reader_that_mixes_colours_up_must_not_score() -> None:
    with pytest.raises(AlphaBenchError, match="calls a yellow ball 'orange'"):
        run_detector_self_test(
            ScriptedDetector(RIGHT), ScriptedColours(["red", "orange", "green", "blue"])
        )


def test_the_bundled_photographs_are_small_and_have_a_stated_licence() -> None:
    folder = files("alphabench.evaluators.detection") / "self_test_images"
    sources = (folder / "SOURCES.md").read_text()
    total = 0
    for expected in EXPECTATIONS:
        content = (folder / expected.file).read_bytes()
        total += len(content)
        assert f"| `{expected.file}` |" in sources
        assert max(_photograph(expected.file).size) <= 512
    assert total < 250_000


def test_expectations_use_words_that_detectors_use() -> None:
    for expected in EXPECTATIONS:
        assert {expected.shown, *expected.absent} <= set(GENEVAL_NAMES)
        assert expected.shown not in expected.absent
    assert set(BALLS) <= set(COLOURS)


def test_a_ball_fills_its_mask_with_its_colour_and_nothing_else() -> None:
    query = _ball_query(BALLS["red"])
    assert query.found.mask is not None
    pixels = np.array(query.image)
    inside = pixels[query.found.mask].astype(int)
    assert (inside[:, 0] > inside[:, 1:].max(axis=1) + 40).all()
    assert (pixels[~query.found.mask] == 225).all()
