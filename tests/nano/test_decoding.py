"""Decoding on maps written by hand: what a perfect network would say must come out as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.nano import decoding
from alphabench.nano.decoding import Group, ImageMaps, find_groups
from alphabench.nano.detector_network import BOX_UNIT, CELLS, STRIDE, Placement

CATEGORIES, COLOURS = 5, 3
Cells = tuple[int, int, int, int]
"""First column, first row, columns and rows of an object that fills its box."""


def perfect_maps(objects: list[tuple[Cells, int, int]]) -> ImageMaps:
    """Maps that are certain of rectangles with a category and a colour."""
    centre = np.full((CELLS, CELLS), -9.0, np.float32)
    category = np.full((CATEGORIES + 1, CELLS, CELLS), -5.0, np.float32)
    category[0] = 5.0
    colour = np.zeros((COLOURS, CELLS, CELLS), np.float32)
    offset = np.zeros((2, CELLS, CELLS), np.float32)
    box = np.zeros((4, CELLS, CELLS), np.float32)
    rows, columns = np.mgrid[0:CELLS, 0:CELLS].astype(np.float32)
    for (x, y, width, height), kind, hue in objects:
        inside = np.s_[y : y + height, x : x + width]
        centre[y + height // 2, x + width // 2] = 6.0
        category[(0, *inside)], category[(kind + 1, *inside)] = -5.0, 5.0
        colour[(hue, *inside)] = 5.0
        offset[(0, *inside)] = (x + width / 2 - 0.5 - columns)[inside]
        offset[(1, *inside)] = (y + height / 2 - 0.5 - rows)[inside]
        reaches = (
            columns + 0.5 - x,
            rows + 0.5 - y,
            x + width - columns - 0.5,
            y + height - rows - 0.5,
        )
        for edge, reach in enumerate(reaches):
            box[(edge, *inside)] = reach[inside] / BOX_UNIT
    return ImageMaps(centre, category, colour, offset, box)


def in_pixels(cells: Cells) -> tuple[float, ...]:
    x, y, width, height = cells
    return x * STRIDE, y * STRIDE, (x + width) * STRIDE, (y + height) * STRIDE


def test_an_empty_picture_has_no_objects() -> None:
    assert find_groups(perfect_maps([])) == []


def test_an_object_comes_out_with_its_category_colour_box_and_cells() -> None:
    (group,) = find_groups(perfect_maps([((4, 6, 9, 5), 3, 2)]))
    assert (group.category, group.colour) == (3, 2)
    assert group.box == pytest.approx(in_pixels((4, 6, 9, 5)), abs=1e-3)
    expected = np.zeros((CELLS, CELLS), bool)
    expected[6:11, 4:13] = True
    assert np.array_equal(group.soft_HW > 0.5, expected)


def test_two_objects_of_one_category_that_touch_stay_two() -> None:
    cells: list[Cells] = [(3, 3, 8, 8), (11, 3, 8, 8)]
    groups = find_groups(perfect_maps([(c, 1, 0) for c in cells]))
    boxes = sorted(group.box for group in groups)
    assert len(boxes) == 2
    for box, expected in zip(boxes, cells, strict=True):
        assert box == pytest.approx(in_pixels(expected), abs=1e-3)


def test_two_peaks_on_one_object_are_one_object_with_all_its_cells() -> None:
    maps = perfect_maps([((4, 4, 12, 12), 0, 0)])
    maps.centre_HW[10, 7] = 5.0
    maps.offset_2HW[0, 4:16, 4:8] -= 3.0  # the left cells vote for the second peak
    (group,) = find_groups(maps)
    assert (group.soft_HW > 0.5).sum() == 144


def test_cells_that_vote_for_a_centre_nobody_found_do_not_blur_another_object() -> None:
    maps = perfect_maps([((2, 2, 5, 5), 1, 1), ((20, 20, 6, 6), 2, 2)])
    maps.centre_HW[23, 23] = -9.0
    (group,) = find_groups(maps)
    assert (group.category, (group.soft_HW > 0.5).sum()) == (1, 25)


def test_a_surer_peak_and_a_surer_category_never_lower_the_score() -> None:
    weights = (0.1, 0.8, 0.5, 0.2)
    lower = decoding.calibrated((1.0, 0.0, 1.0, -0.5), weights)
    higher = decoding.calibrated((1.0, 2.0, 1.5, -0.5), weights)
    assert 0.0 < lower < higher < 1.0


def test_peaks_come_highest_first_and_neighbours_of_a_peak_are_none() -> None:
    heat = np.zeros((6, 6), np.float32)
    heat[1, 1], heat[1, 2], heat[4, 4] = 0.6, 0.5, 0.9
    assert decoding.find_peaks(heat, lowest=0.1).tolist() == [[4, 4], [1, 1]]


def test_a_box_returns_to_the_pixels_of_the_picture_and_is_cut_at_its_edges() -> None:
    placement = Placement(width=256, height=128, scale=0.5)
    assert decoding.box_in_image((-3.0, 8.0, 200.0, 60.0), placement) == (0.0, 16.0, 256.0, 120.0)


def test_a_mask_has_the_pictures_size_and_covers_the_objects_cells() -> None:
    soft = np.zeros((CELLS, CELLS), np.float32)
    soft[0:8, 0:16] = 1.0
    mask = decoding.mask_in_image(soft, Placement(width=256, height=128, scale=0.5))
    assert mask.shape == (128, 256)
    assert mask[:60, :124].all()
    assert not mask[68:].any()
    assert not mask[:, 132:].any()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(0, 3), st.integers(3, 7), st.integers(3, 7),
            st.integers(0, CATEGORIES - 1), st.integers(0, COLOURS - 1),
        ),
        max_size=8,
        unique_by=lambda item: item[:2],
    )
)  # fmt: skip
def test_whatever_stands_apart_is_found_exactly_once(
    items: list[tuple[int, int, int, int, int, int]],
) -> None:
    objects = [((8 * c, 8 * r, w, h), kind, hue) for c, r, w, h, kind, hue in items]

    def told(group: Group) -> tuple[int, int, tuple[float, ...]]:
        return group.category, group.colour, tuple(round(edge, 2) for edge in group.box)

    found = sorted(told(group) for group in find_groups(perfect_maps(objects)))
    assert found == sorted((kind, hue, in_pixels(cells)) for cells, kind, hue in objects)
