"""DPG-Bench's published file formats: the table of questions, result files, and grids of images.

Read and written as upstream's scripts (TencentQQGYLab/ELLA at 3c228f1) do. A grid is only how
images travel: they are stored one by one. Knows neither judges nor run folders.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

from alphabench.benchmarks.dpg.scoring import Answers, JudgedItem, Proposition
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.upstream.layouts import (
    FolderOptions,
    Layout,
    Listing,
    files_inside,
    is_image_file,
    listing_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

CELLS: Final = 4
TABLE_FILE: Final = "dpg_bench.csv"
_COLUMNS: Final = ("item_id", "proposition_id", "dependency", "tuple", "question_natural_language")
_HINT_TABLE: Final = "restore the table from its source"
_HINT_RESULTS: Final = "name the .txt file that upstream's evaluation script wrote"
_DETAIL_LINE: Final = re.compile(r"(?P<path>.*?), \((?P<box>\d+, \d+, \d+, \d+)\), (?P<rest>.*)")
_CATEGORY_LINE: Final = re.compile(r"\t(?P<name>.+): (?P<value>\S+)")


def read_table(content: bytes) -> dict[str, tuple[Proposition, ...]]:
    """Item -> its questions in the order of the table.

    An item's rows stand together: upstream lets a later block of rows replace an earlier one.

    Raises:
        AlphaBenchError: it is not the table of questions.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AlphaBenchError(f"the table cannot be read: {error}", hint=_HINT_TABLE) from error
    lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if lacking or not rows:
        what = f"no column {lacking[0]!r}" if lacking else "no rows"
        raise AlphaBenchError(f"{TABLE_FILE!r} has {what}", hint=_HINT_TABLE)
    found: dict[str, dict[str, Proposition]] = {}
    previous = None
    for number, row in enumerate(rows):
        item = row["item_id"]
        if item != previous:
            found[item] = {}
        previous = item
        one = _proposition(row, number)
        found[item][one.id] = one
    return {item: tuple(of.values()) for item, of in found.items()}


def _proposition(row: Mapping[str, Any], number: int) -> Proposition:
    """One row; `tuple` reads `entity - whole (cat)`, and its category stands before the bracket."""
    where = f"row {number} of {TABLE_FILE!r}"
    for name in _COLUMNS:
        if not isinstance(row.get(name), str):
            raise AlphaBenchError(f"{where} has no {name!r}", hint=_HINT_TABLE)
    try:
        own = int(row["proposition_id"])
        parents = [int(parent) for parent in row["dependency"].split(",")]
    except ValueError as error:
        raise AlphaBenchError(f"{where} has an id that is no number", hint=_HINT_TABLE) from error
    return Proposition(
        id=str(own),
        parents=tuple(str(parent) for parent in parents if parent != 0),
        category=row["tuple"].partition("(")[0].strip(),
        question=row["question_natural_language"],
        row=number,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """What upstream's result file says."""

    scores: Mapping[str, tuple[float, ...]]
    """Item -> score of each image; the mean that ends a line is left out. Upstream takes every file
    for itself: a second one about an item stands under its path."""
    broad: Mapping[str, float]
    """L1 categories, 0 to 1; NaN where upstream has none."""
    narrow: Mapping[str, float]
    """L2 categories."""


def read_results(path: Path) -> ResultFile:
    """The file `<res>.txt`: a line for each item, then the summary.

    Raises:
        AlphaBenchError: the file cannot be read or is not of the format.
    """
    scores: dict[str, tuple[float, ...]] = {}
    tables: dict[str, dict[str, float]] = {"L1": {}, "L2": {}}
    table: dict[str, float] | None = None
    for number, line in enumerate(_lines(path), start=1):
        heading = re.fullmatch(r"(L1|L2) category scores:", line)
        category = _CATEGORY_LINE.fullmatch(line)
        if heading is not None:
            table = tables[heading.group(1)]
        elif category is not None and table is not None:
            table[category["name"]] = _number(category["value"], path, number) / 100
        elif table is None and line and not line.startswith("Model: "):
            file, values = _item_line(line, path, number)
            scores[_key(file, scores)] = values
    if not scores:
        raise AlphaBenchError(f"{str(path)!r} has no results", hint=_HINT_RESULTS)
    return ResultFile(scores=scores, broad=tables["L1"], narrow=tables["L2"])


def _item_line(line: str, path: Path, number: int) -> tuple[str, tuple[float, ...]]:
    """`grids/item.png, s1, ..., sk, mean`; the path may hold commas, the metrics do not."""
    match = re.fullmatch(r"(?P<path>.*?)(?P<metrics>(?:, [-+.\deE]+){2,})", line)
    if match is None:
        raise AlphaBenchError(
            f"line {number} of {str(path)!r} is not 'path, score, ..., mean'", hint=_HINT_RESULTS
        )
    values = [_number(text, path, number) for text in match["metrics"].split(", ")[1:]]
    return match["path"], tuple(values[:-1])


def item_of_file(file: str) -> str:
    """The item that a file of images is about, as upstream takes it from the name."""
    return PurePath(file).name.partition(".")[0]


def _key(file: str, taken: Collection[str]) -> str:
    """The file's item; where that is taken, its path, and a number for a file that stands twice."""
    names = chain([item_of_file(file), file], (f"{file} ({n})" for n in count(2)))
    return next(name for name in names if name not in taken)


def _number(text: str, path: Path, number: int) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise AlphaBenchError(
            f"line {number} of {str(path)!r} has {text!r} for a score", hint=_HINT_RESULTS
        ) from error


def read_details(path: Path, table: Mapping[str, tuple[Proposition, ...]]) -> dict[str, JudgedItem]:
    """Item -> answers, from `<res>_detail.txt`, in the order of the file.

    Lines are `path, (box), question, answer`, without quotation: where a question ends is known
    from the table. An answer counts as yes only if it is the word `yes`, as upstream has it. A
    second file about an item stands under its path.

    Args:
        path: of the file.
        table: of the questions that were asked.

    Raises:
        AlphaBenchError: a line is not of the format, or asks what is not in the table.
    """
    found: dict[str, dict[str, _Asked]] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line:
            continue
        match = _DETAIL_LINE.fullmatch(line)
        item = item_of_file(match["path"]) if match else ""
        if match is None or item not in table:
            raise AlphaBenchError(
                f"line {number} of {str(path)!r} is about no item of the table",
                hint=_HINT_RESULTS,
            )
        image = found.setdefault(match["path"], {}).setdefault(match["box"], {})
        question = _question(match["rest"], table[item])
        if question is None:
            raise AlphaBenchError(
                f"line {number} of {str(path)!r} asks what the table does not", hint=_HINT_RESULTS
            )
        image.setdefault(question, []).append(match["rest"][len(question) + 2 :])
    n_images = max(map(len, found.values()), default=0)
    items: dict[str, JudgedItem] = {}
    for file, images in found.items():
        name, propositions = _key(file, items), table[item_of_file(file)]
        items[name] = JudgedItem(
            id=name,
            propositions=propositions,
            # Upstream stops at an error: a dropped item has lines about its first image alone.
            images=(
                *(_answers(asked, propositions) for asked in images.values()),
                *[{}] * (n_images - len(images)),
            ),
        )
    return items


_Asked = dict[str, list[str]]
"""Question -> the answers to it about one image, in the order of the file."""


def _question(rest: str, propositions: Sequence[Proposition]) -> str | None:
    """The question that a line asks: the longest that fits."""
    fitting = [one.question for one in propositions if rest.startswith(f"{one.question}, ")]
    return max(fitting, key=len, default=None)


def _answers(asked: _Asked, propositions: Sequence[Proposition]) -> Answers:
    """By the question's id; equal questions are taken in the table's order.

    Upstream never asks the first row of the table: where there are too few answers, it is the one
    without.
    """
    found: dict[str, float | None] = {}
    for question, answers in asked.items():
        same = [one for one in propositions if one.question == question]
        if len(answers) < len(same):
            same.sort(key=lambda one: one.row == 0)
        for one, answer in zip(same, answers, strict=False):
            found[one.id] = float(answer == "yes")
    return found


def _lines(path: Path) -> list[str]:
    try:
        return io.StringIO(read_text(path), newline=None).read().split("\n")
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be read: {error}", hint=_HINT_RESULTS
        ) from error


def family_of(item: str) -> str:
    """`partiprompts97` -> `partiprompts`; numbers alone are `numeric`."""
    return item.rstrip("0123456789") or "numeric"


def cell_box(index: int, side: int) -> tuple[int, int, int, int]:
    """Left, upper, right, lower of an image in a grid of two by two, row by row."""
    x, y = index % 2 * side, index // 2 * side
    return x, y, x + side, y + side


def make_grid(images: Sequence[Image]) -> Image:
    """Four images as upstream tiles them.

    Raises:
        AlphaBenchError: not square, or of different sizes.
    """
    from PIL import Image as Pillow

    assert len(images) == CELLS
    side = images[0].width
    for image in images:
        if image.size != (side, side):
            raise AlphaBenchError(
                f"upstream's grids hold square images of one size, not {image.width} x "
                f"{image.height} beside {side} x {side}",
                hint="make the images square: --size",
            )
    grid = Pillow.new("RGB", (2 * side, 2 * side))
    for index, image in enumerate(images):
        grid.paste(image.convert("RGB"), cell_box(index, side)[:2])
    return grid


def split_grid(path: Path, *, cells: int = CELLS, side: int | None = None) -> list[Image]:
    """The images of upstream's grid file, in order; see `cut_grid`.

    Raises:
        AlphaBenchError: the file is no image, or as `cut_grid`.
    """
    try:
        grid = open_rgb(path)
    except UnreadableImageError as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be read as an image: {error}", hint="generate it again"
        ) from error
    return cut_grid(grid, name=str(path), cells=cells, side=side)


def cut_grid(grid: Image, *, name: str, cells: int = CELLS, side: int | None = None) -> list[Image]:
    """The images in a grid, row by row.

    Args:
        grid: RGB.
        name: of its file, for the error.
        cells: 4, or 1 for a file that is one image (`--pic-num 1`).
        side: of one image in pixels (`--resolution`); None takes what the grid's size implies.

    Raises:
        AlphaBenchError: it has another size, or a cell is of one colour, which is what upstream
            crops from beyond the edge of a single image.
    """
    per_side = 1 if cells == 1 else 2
    wanted = grid.width // per_side if side is None else side
    if grid.size != (wanted * per_side, wanted * per_side) or not wanted:
        shape = f"{wanted * per_side} x {wanted * per_side}"
        raise AlphaBenchError(
            f"{name!r} is {grid.width} x {grid.height} pixels, not {shape}",
            hint=f"a file holds {cells} square images of one size, {per_side} by {per_side}",
        )
    images = [grid.crop(cell_box(index, wanted)) for index in range(cells)]
    for number, image in enumerate(images, start=1):
        if all(low == high for low, high in _extrema(image)):
            raise AlphaBenchError(
                f"image {number} of {cells} in {name!r} is of one colour only",
                hint="make the grid again from single images, or import them one by one",
            )
    return images


def _extrema(image: Image) -> tuple[tuple[int, int], ...]:
    """Lowest and highest value of each of the three channels."""
    found: Any = image.getextrema()
    return tuple(found)


def _find_images(root: Path, options: FolderOptions) -> Listing:
    """`ITEM.png`, which holds all images of the item."""
    return listing_of(
        root,
        (
            (path.stem, index, path)
            for path in files_inside(root)
            if is_image_file(path)
            for index in range(options.cells)
        ),
    )


def _split(grid: Image, name: str, options: FolderOptions) -> list[Image]:
    return cut_grid(grid, name=name, cells=options.cells, side=options.side)


LAYOUT: Final = Layout(
    form="DIR/ITEM.png, four images in each",
    find=_find_images,
    key=lambda sample: sample.id,
    reads=("cells", "side"),
    split=_split,
    fits_any=True,
)
