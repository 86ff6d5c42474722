"""`alphabench.scenes.icons` and the pictures it reads."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from alphabench.scenes.icons import load_icon
from alphabench.scenes.spec import CATEGORIES

FOLDER = resources.files("alphabench.scenes") / "icons"


def test_every_category_has_its_picture_and_no_picture_lacks_a_category() -> None:
    pictures = {f.name.removesuffix(".png") for f in FOLDER.iterdir() if f.name.endswith(".png")}
    assert pictures == {category.replace(" ", "_") for category in CATEGORIES}


def test_the_pictures_are_small_enough_to_ship_and_carry_their_licence() -> None:
    assert sum(len(f.read_bytes()) for f in FOLDER.iterdir()) < 700 * 1024
    licence = FOLDER.joinpath("LICENSE").read_text()
    assert "Microsoft Corporation" in licence
    assert "MIT License" in licence
    table = FOLDER.joinpath("README.md").read_text()
    assert all(f"| {category} |" in table for category in CATEGORIES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_icon_fills_its_picture_and_its_shades_span_dark_to_light(category: str) -> None:
    icon = load_icon(category)
    assert max(icon.levels[0].size) == 256
    assert max(icon.levels[-1].size) < 32
    assert icon.aspect == pytest.approx(icon.levels[0].width / icon.levels[0].height)
    assert (np.diff(icon.shade) >= 0).all()
    assert icon.shade.min() >= -1
    assert icon.shade.max() <= 1


def test_the_mean_colour_of_an_icon_is_the_one_people_see() -> None:
    red, green, blue = load_icon("apple").mean_rgb()
    assert red > 1.5 * green
    assert red > 1.5 * blue
