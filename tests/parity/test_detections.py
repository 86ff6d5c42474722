from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from alphabench.detections.matching import pair_up
from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.detector import ColourQuery
from alphabench.parity.detections import (
    DetectionComparison,
    MeanColours,
    Row,
    Tolerance,
    Uncompared,
    all_equal,
    compare_detections,
    detection_table,
)

TOLERANCE = Tolerance()


def thing(
    category: str = "cat",
    score: float = 0.9,
    box: tuple[float, float, float, float] = (10, 10, 60, 60),
) -> DetectedObject:
    mask = np.zeros((100, 100), dtype=bool)
    left, top, right, bottom = map(int, box)
    mask[top:bottom, left:right] = True
    return DetectedObject(category=category, score=score, box=box, mask=mask)


def compared(ours: list[DetectedObject], theirs: list[DetectedObject]) -> DetectionComparison:
    pixels = np.full((100, 100, 3), (20, 40, 210), dtype=np.uint8)
    pixels[:, 50:] = (230, 20, 20)
    return compare_detections(
        "a.png",
        Image.fromarray(pixels),
        (ours, theirs),
        colours=MeanColours(),
        tolerance=TOLERANCE,
    )


def test_the_same_objects_are_equal_in_any_order() -> None:
    objects = [thing(), thing(score=0.4, box=(0, 0, 30, 30)), thing("dog", 0.95, (5, 5, 95, 95))]
    row = compared(objects, objects[::-1])
    assert row.within(TOLERANCE)
    assert row.objects == (3, 3)
    assert (row.score_gap, row.box_iou, row.mask_iou) == (0.0, 1.0, 1.0)
    assert row.verdicts == 40  # two categories: 14 prompts about each, and 12 about both


@pytest.mark.parametrize(
    ("theirs", "what"),
    [
        ([thing(score=0.8998)], "score_gap"),
        ([thing(box=(10, 10, 62, 60))], "boxes_apart"),
        ([replace(thing(), mask=np.ones((100, 100), dtype=bool))], "mask_iou"),
        ([thing("dog")], "alone"),
        ([], "alone"),
        ([thing(), thing(score=0.31)], "alone"),
        ([thing(score=0.9002)], "verdicts_apart"),
    ],
)
def test_each_difference_is_seen_and_counts(theirs: list[DetectedObject], what: str) -> None:
    ours = [thing(score=0.89995)] if what == "verdicts_apart" else [thing()]
    row, same = compared(ours, theirs), compared(ours, ours)
    assert getattr(row, what) != getattr(same, what)
    assert not row.within(TOLERANCE)
    assert same.within(TOLERANCE)


def test_a_score_across_genevals_threshold_is_another_verdict_however_small_the_gap() -> None:
    ours, theirs = [thing(score=0.30001)], [thing(score=0.29999)]
    row = compared(ours, theirs)
    assert row.score_gap < 1e-4
    assert row.verdicts_apart > 0


def test_a_mask_on_another_colour_is_another_verdict() -> None:
    red = replace(thing(), mask=np.tile(np.arange(100) >= 50, (100, 1)))
    blue = replace(thing(), mask=np.tile(np.arange(100) < 50, (100, 1)))
    assert compared([red], [blue]).verdicts_apart >= 2
    image = Image.new("RGB", (100, 100), (20, 40, 210))
    assert MeanColours().read([ColourQuery(image=image, found=red)]) == ["blue"]


def test_weak_objects_are_partners_and_never_alone() -> None:
    pairs, alone = pair_up([thing(score=0.0502)], [thing(score=0.0499), thing("dog", 0.04)])
    assert len(pairs) == 1
    assert alone == 0


def test_objects_are_paired_with_the_nearest_of_their_category() -> None:
    left, right = thing(score=0.5, box=(0, 0, 40, 40)), thing(score=0.5, box=(50, 50, 90, 90))
    pairs, alone = pair_up([left, right], [right, left])
    assert alone == 0
    assert {(one.box, other.box) for one, other in pairs} == {
        (left.box, left.box),
        (right.box, right.box),
    }


def test_the_table_has_a_line_for_each_image_and_names_those_that_differ() -> None:
    rows = [compared([thing()], [thing()]), compared([thing()], [thing(score=0.8)])]
    lines = detection_table(rows, TOLERANCE).splitlines()
    assert len(lines) == 4
    assert [line.endswith("DIFFERS") for line in lines] == [False, False, True, False]
    assert lines[-1].startswith("equal on 1 of 2 images")
    assert detection_table([], TOLERANCE).endswith("0 of 0 verdicts the same")


def test_a_image_that_could_not_be_compared_is_not_equal_and_is_reported() -> None:
    failed = Uncompared(image_name="b.png", reason="OSError: cut")
    rows: list[Row] = [compared([thing()], [thing()]), failed]
    assert all_equal(rows[:1], TOLERANCE)
    assert not all_equal(rows, TOLERANCE)
    lines = detection_table(rows, TOLERANCE).splitlines()
    assert lines[2] == "b.png  could not be compared: OSError: cut"
    assert lines[-1].startswith("equal on 1 of 2 images")


def test_images_in_which_nobody_found_anything_show_no_equality() -> None:
    rows = [compared([], []), compared([], [])]
    assert not all_equal(rows, TOLERANCE)
    assert not all_equal([], TOLERANCE)
    assert "no object to compare" in detection_table(rows, TOLERANCE)
    assert all_equal([*rows, compared([thing()], [thing()])], TOLERANCE)
