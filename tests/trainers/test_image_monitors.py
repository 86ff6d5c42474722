"""Monitors and panels: what images and texts look like in the mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from alphatrainers.image_monitors import image_sums, text_sums, thumbnails
from alphatrainers.panels import save_panel
from alphatrainers.protocols import StepInfo
from alphatrainers.trajectory import SampledImage, Trajectory
from tests.support.toy_policy import PLAIN_IMAGE, PROMPTS, TEXT, ToyPolicy, program_of

STEP_INFO = StepInfo(step=0, seed=0, group_size=2)


def shown(*colours: str, groups: int = 1) -> list[Trajectory]:
    programs = [
        program_of(PROMPTS[0], row, STEP_INFO, (TEXT, PLAIN_IMAGE)) for row in range(len(colours))
    ]
    made = ToyPolicy().rollout(programs)
    found = []
    for row, (trajectory, colour) in enumerate(zip(made, colours, strict=True)):
        *others, sampled = trajectory.segments
        assert isinstance(sampled, SampledImage)
        image = replace(sampled, image=Image.new("RGB", (4, 4), colour))
        program = replace(trajectory.program, group=str(row * groups // len(colours)))
        found.append(replace(trajectory, program=program, segments=(*others, image)))
    return found


def mean(trajectories: list[Trajectory], name: str) -> float:
    total, number = image_sums(trajectories)[f"image/{name}"]
    return total / number


def test_a_collapsed_group_has_no_diversity_and_black_and_white_have_all_of_it() -> None:
    assert mean(shown("red", "red", "red"), "diversity") == 0.0
    assert mean(shown("black", "white"), "diversity") == 1.0


def test_images_of_different_groups_are_not_compared() -> None:
    assert mean(shown("black", "black", "white", "white", groups=2), "diversity") == 0.0


def test_brightness_and_saturation_are_those_of_the_colours() -> None:
    assert mean(shown("red", "white"), "saturation") == 0.5
    assert mean(shown("red", "white"), "brightness") == pytest.approx((1 / 3 + 1) / 2)
    assert mean(shown("red", "white"), "contrast") == pytest.approx(0.0, abs=1e-12)


def test_texts_are_counted_as_sampled_and_absent_without_any() -> None:
    trajectories = shown("red", "red")
    sums = text_sums(trajectories)
    ids = [text.ids for trajectory in trajectories for text in trajectory.texts]
    assert sums["text/completion_length"] == (float(sum(map(len, ids))), 2.0)
    assert image_sums([]) == {}
    assert text_sums([]) == {}


def test_a_panel_shows_images_side_by_side_in_their_order(tmp_path: Path) -> None:
    images = [one.images[-1].image for one in shown("red", "lime", "blue")]
    save_panel(images, tmp_path / "panel.png")
    with Image.open(tmp_path / "panel.png") as panel:
        assert panel.size == (8, 8)
        corners = [panel.getpixel(place) for place in ((0, 0), (7, 0), (0, 7), (7, 7))]
    assert corners == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def test_pairs_of_a_group_that_is_split_over_processes_count_once() -> None:
    whole = shown("black", "white", "red")
    for cut in (1, 2):
        mine, others = whole[:cut], whole[cut:]
        parts = [
            image_sums(mine, thumbnails(others)).get("image/diversity", (0.0, 0.0)),
            image_sums(others, thumbnails(mine)).get("image/diversity", (0.0, 0.0)),
        ]
        total, pairs = (sum(values) for values in zip(*parts, strict=True))
        assert (total / pairs, pairs) == (pytest.approx(mean(whole, "diversity")), 3.0)
