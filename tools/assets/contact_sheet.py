"""Writes contact sheets of the synthetic world, for a person to look at.

python tools/assets/contact_sheet.py colours.png --what colours
python tools/assets/contact_sheet.py random.png --what random --size 128
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from alphabench.detections.objects import COLOURS
from alphabench.scenes.geneval_scenes import applicable_errors, compose
from alphabench.scenes.palette import random_background
from alphabench.scenes.render import Rendered, render
from alphabench.scenes.scene_sampling import random_scene
from alphabench.scenes.spec import CATEGORIES, Scene, SceneObject


class Cell(NamedTuple):
    """One image of the sheet with its caption."""

    rendered: Rendered
    caption: str


def colour_cells(size: int, seed: int) -> Iterator[Cell]:
    """Every category in its own colours and in each of the ten, a row a category."""
    rng = np.random.default_rng(seed)
    for category in CATEGORIES:
        for colour in (None, *COLOURS):
            turn = float(rng.uniform(-15, 15))
            item = SceneObject(
                category=category, colour=colour, x=0.5, y=0.5, size=0.72, rotation_degrees=turn
            )
            ground = random_background(rng, [item])
            scene = Scene(background=ground, objects=(item,), seed=int(rng.integers(2**31)))
            yield Cell(render(scene, size, size), f"{colour or 'natural'} {category}")


def random_cells(size: int, seed: int) -> Iterator[Cell]:
    """Training scenes."""
    rng = np.random.default_rng(seed)
    for index in range(80):
        yield Cell(render(random_scene(rng), size, size), str(index))


def prompt_cells(size: int, seed: int) -> Iterator[Cell]:
    """Each prompt of the mini split, drawn as asked and then with each error that applies."""
    lines = resources.files("alphabench.scenes").joinpath("mini/geneval.jsonl").read_text()
    for number, line in enumerate(lines.splitlines()):
        facts = json.loads(line)
        for error in (None, *applicable_errors(facts)):
            scene = compose(facts, np.random.default_rng([seed, number]), error=error)
            words = facts["prompt"].removeprefix("an image of ")
            caption = words if error is None else f"wrong {error}"
            yield Cell(render(scene, size, size), caption)


def write_sheet(cells: list[Cell], path: Path, *, columns: int, boxes: bool) -> None:
    """Tiles the cells and saves a PNG."""
    side = cells[0].rendered.image.width
    step_x, step_y = side + 4, side + 16
    sheet = Image.new("RGB", (columns * step_x, -(-len(cells) // columns) * step_y), "white")
    pen = ImageDraw.Draw(sheet)
    for index, cell in enumerate(cells):
        left, top = index % columns * step_x, index // columns * step_y
        sheet.paste(cell.rendered.image, (left, top))
        pen.text((left + 1, top + side + 1), cell.caption, fill="black")
        for found in cell.rendered.truth.objects if boxes else ():
            x1, y1, x2, y2 = found.box
            pen.rectangle((left + x1, top + y1, left + x2 - 1, top + y2 - 1), outline="magenta")
    sheet.save(path)


def main() -> None:
    """Write one sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--what", choices=("colours", "random", "prompts"), default="random")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--boxes", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "colours":
        cells, columns = list(colour_cells(arguments.size, arguments.seed)), 1 + len(COLOURS)
    elif arguments.what == "prompts":
        cells, columns = list(prompt_cells(arguments.size, arguments.seed)), 10
    else:
        cells, columns = list(random_cells(arguments.size, arguments.seed)), 10
    write_sheet(cells, arguments.out, columns=columns, boxes=arguments.boxes)


if __name__ == "__main__":
    main()
