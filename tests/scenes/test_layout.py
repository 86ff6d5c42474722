"""`alphabench.scenes.layout`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alphabench.scenes.layout import Extent, Look, canvas_extent, scatter
from alphabench.scenes.render import render
from alphabench.scenes.scene_sampling import place_objects
from alphabench.scenes.spec import CATEGORIES, Background, Scene

_SIDES = st.floats(0.1, 0.4)
_EXTENTS = st.lists(st.builds(Extent, _SIDES, _SIDES), max_size=5)


@given(st.integers(0, 2**32), _EXTENTS, st.floats(0.5, 2.0), st.floats(0.0, 0.05))
def test_scattered_footprints_lie_on_the_canvas_and_keep_their_gap(
    seed: int, footprints: list[Extent], aspect: float, gap: float
) -> None:
    canvas = canvas_extent(aspect)
    spots = scatter(np.random.default_rng(seed), footprints, canvas, gap=gap)
    placed = list(zip(spots or [], footprints, strict=False))
    for i, (spot, own) in enumerate(placed):
        assert own.width / 2 - 1e-9 <= spot.x <= canvas.width - own.width / 2 + 1e-9
        assert own.height / 2 - 1e-9 <= spot.y <= canvas.height - own.height / 2 + 1e-9
        for other, extent in placed[:i]:
            beside = abs(spot.x - other.x) - (own.width + extent.width) / 2
            over = abs(spot.y - other.y) - (own.height + extent.height) / 2
            assert max(beside, over) >= gap - 1e-9


def test_what_does_not_fit_gets_no_place() -> None:
    rng = np.random.default_rng(0)
    assert scatter(rng, [Extent(1.1, 0.2)], canvas_extent(1.0)) is None
    assert scatter(rng, [Extent(0.9, 0.9), Extent(0.9, 0.9)], canvas_extent(1.0)) is None


@given(
    st.sampled_from(CATEGORIES),
    st.floats(0.2, 0.5),
    st.floats(-180, 180),
    st.booleans(),
    st.sampled_from([(96, 96), (144, 96), (96, 144)]),
)
def test_a_drawn_object_stays_inside_its_footprint(
    category: str, size: float, turn: float, mirrored: bool, canvas: tuple[int, int]
) -> None:
    look = Look(
        category=category, colour="red", size=size, rotation_degrees=turn, mirrored=mirrored
    )
    extent = canvas_extent(canvas[0] / canvas[1])
    spots = scatter(np.random.default_rng(0), [look.footprint], extent)
    assert spots is not None
    scene = Scene(background=Background(), objects=place_objects([look], spots, extent), seed=0)
    (found,) = render(scene, *canvas).truth.objects
    x1, y1, x2, y2 = (edge / 96 for edge in found.box)
    slack = 1.6 / 96
    assert x1 >= spots[0].x - look.footprint.width / 2 - slack
    assert x2 <= spots[0].x + look.footprint.width / 2 + slack
    assert y1 >= spots[0].y - look.footprint.height / 2 - slack
    assert y2 <= spots[0].y + look.footprint.height / 2 + slack
