"""OneIG-Bench's published files, read and written as upstream's scripts at 41b4983 do.

anime/MODEL/000.webp              the images of a prompt, two by two; black where there is none
alignment_prompt_score_EN_*.csv   the score of each prompt (`anime_000`), in a column for each model
text_prompt_score_EN_*.csv        [ED, CR, WAC] of each prompt (`000`); text_score_EN_*.csv, of all
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from alphabench.benchmarks.oneig import benchmark, scoring
from alphabench.benchmarks.reporting import published_scope
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.images import open_rgb
from alphabench.types import Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData, layouts
from alphabench.upstream.csv_tables import ABSENT, csv_text, read_csv_rows
from alphabench.upstream.formats import HINT, OfficialFormat
from alphabench.upstream.image_grids import grid_bytes, quarters

_STATED: Final = {
    "ED": scoring.DISTANCE,
    "CR": scoring.EXACT,
    "WAC": scoring.WORDS,
    "text score": scoring.TEXT,
}
"""Columns of upstream's `text_score` table, and what reports call them."""
_MODEL: Final = "alphabench"


def summarise_oneig_results(path: Path, data: UpstreamData, *, split: str) -> Report:
    """What upstream's scripts compute, from their tables of scores by prompt.

    The text score weighs prompts by the words of their texts, so the prompts must be on this
    machine; where prompts have different numbers of images, upstream's own table of all decides.

    Args:
        path: a folder with both tables by prompt or one of them, or a table.
        data: where official data lies.
        split: the language.

    Raises:
        AlphaBenchError: no table, several of a kind or of several models, or one of another form.
    """
    samples, mode = benchmark.open_oneig(split, data=data).samples(), _mode(split)
    aligned = [
        scoring.AlignedPrompt(sample_id=name, folder=name.partition("_")[0], images=((value,),))
        for name, (value,) in _by_prompt(path, f"alignment_prompt_score_{mode}", 1)
    ]
    blank = {one.sample_id: one for one in benchmark.written_prompts(samples, (), "official")}
    written = []
    for number, (distance, exact, share) in _by_prompt(path, f"text_prompt_score_{mode}", 3):
        if (prompt := blank.get(f"text_{number}")) is None:
            raise _other_form(number)
        prompt = replace(prompt, n_images=1, n_read=int(share is not None))
        sums = (distance or 0.0, exact or 0.0, (share or 0.0) * prompt.words)
        written.append(replace(prompt, distance=sums[0], exact=sums[1], matched=sums[2]))
    if not (n_expected := len(aligned) + len(written)):
        raise AlphaBenchError(
            f"{str(path)!r} has neither alignment_prompt_score_{mode}*.csv nor "
            f"text_prompt_score_{mode}*.csv",
            hint="name the folder in which upstream's scripts left their results",
        )
    n_scored = sum(one.score() is not None for one in aligned) + sum(one.n_read for one in written)
    scope = published_scope(
        "oneig",
        "tables by prompt",
        n_scored,
        n_expected,
        split=split,
        has_all_samples=n_expected >= len(samples),
    )
    report = scoring.oneig_report(aligned, written, scope, farthest=benchmark.farthest_of(split))
    stated: dict[str, float] = {}
    for row in _rows(path, f"text_score_{mode}", most=1):
        found = {name: _numbers(row.get(column, ""), 1)[0] for column, name in _STATED.items()}
        stated = {name: value for name, value in found.items() if value is not None}
    groups, extras = (
        {
            name: one.restated(stated[name]) if name in stated and one.n_scored else one
            for name, one in of.items()
        }
        for of in (report.groups, report.extras)
    )
    return replace(report, groups=groups, extras=extras)


def oneig_results_text(report: Report) -> str:
    """The scores of upstream's tables, a line each."""
    scores = {**report.groups, **report.extras}
    return "\n".join(
        f"{name}: {one.value}" for name, one in scores.items() if one.value is not None
    )


def oneig_export_files(
    samples: Sequence[Sample],
    images: Mapping[str, Path],
    verdicts: Sequence[Verdict],
    *,
    split: str,
) -> Iterator[tuple[PurePosixPath, str | bytes]]:
    """The images as upstream tiles them, and its four tables."""
    for sample in samples:
        paths = [images.get(image_id(sample.id, index)) for index in range(scoring.IMAGES)]
        if opened := {place: open_rgb(path) for place, path in enumerate(paths) if path}:
            folder = PurePosixPath("images") / sample.group / _MODEL
            yield folder / f"{sample.facts['number']}.webp", grid_bytes(opened, name=sample.id)
    aligned = benchmark.aligned_prompts(samples, verdicts)
    written = benchmark.written_prompts(samples, verdicts, "official")
    scores = sorted((one.sample_id, one.score()) for one in aligned)
    known = [score for _, score in scores if score is not None]
    sums = [one.sums() for one in written if one.n_read]
    means = [(one.sample_id[len("text_") :], _shares(one.sums())) for one in written]
    tables: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
        "alignment_prompt": ([_MODEL], scores),
        "alignment": (["alignment"], [(_MODEL, sum(known) / len(known))] if known else []),
        "text_prompt": ([_MODEL], means),
    }
    if sums:
        total = np.sum(np.array(sums), axis=0)
        score = float(scoring.text_scores(total[None], benchmark.farthest_of(split))[0])
        tables["text"] = (list(_STATED), [(_MODEL, *(_shares(total.tolist()) or ()), score)])
    for kind, (columns, rows) in tables.items():
        cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
        head = ["", *columns]
        text = csv_text(head, [dict(zip(head, row, strict=True)) for row in cells])
        yield PurePosixPath("results") / f"{kind}_score_{_mode(split)}_{_MODEL}.csv", text


def _shares(sums: Sequence[float]) -> list[float] | None:
    """ED, CR and WAC; None without an image."""
    n_read, distance, exact, matched, words = sums
    return [distance / n_read, exact / n_read, matched / words] if n_read else None


def _mode(split: str) -> str:
    return "ZH" if split == "zh" else "EN"


def _rows(path: Path, name: str, *, most: int | None = None) -> list[Mapping[str, str]]:
    """The rows of one of upstream's tables; none where there is none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.name.startswith(name)]
    if len(files) > 1:
        raise AlphaBenchError(f"{str(path)!r} has {len(files)} files {name}*", hint="keep one")
    rows = list(read_csv_rows(files[0], ("",), where=str(files[0]))) if files else []
    if any(len(row) != 2 for row in rows if most is None) or len(rows) > (most or len(rows)):
        raise AlphaBenchError(f"{str(files[0])!r} is about several models", hint="keep one of them")
    return rows


def _by_prompt(path: Path, name: str, n: int) -> Iterator[tuple[str, list[float | None]]]:
    """What a table has of each prompt: n numbers, or None as often."""
    for row in _rows(path, name):
        (cell,) = (row[column] for column in row if column)
        numbers = _numbers(cell, n)
        if not 0 <= (numbers[-1] or 0.0) <= 1:
            raise _other_form(cell)
        yield row[""], numbers


def _numbers(cell: str, n: int) -> list[float | None]:
    if cell in ABSENT:
        return [None] * n
    try:
        found = parse_json(cell)
        numbers: list[float | None] = [float(one) for one in (found if n > 1 else [found])]
    except (UnreadableFileError, TypeError, ValueError) as error:
        raise _other_form(cell) from error
    if len(numbers) != n or not np.all(np.isfinite(np.array(numbers, dtype=float))):
        raise _other_form(cell)
    return numbers


def _other_form(what: str) -> AlphaBenchError:
    return AlphaBenchError(f"{what!r} in a table is no score of OneIG-Bench's prompts", hint=HINT)


def _find_images(root: Path, options: layouts.FolderOptions) -> layouts.Listing:
    """`anime/MODEL/000.webp`, each with all images of a prompt; its number opens the name."""
    tops = [root / name for name in benchmark.CATEGORIES if (root / name).is_dir()]
    inside = [folder for top in tops for folder in sorted(top.iterdir()) if folder.is_dir()]
    model = layouts.choose_model(root, (folder.name for folder in inside), options.model)
    files = (
        path
        for folder in inside
        if folder.name == model
        for path in sorted(folder.iterdir())
        if layouts.is_image_file(path) and path.name[:3].isdecimal()
    )
    named = ((f"{path.parent.parent.name}/{path.name[:3]}", path) for path in files)
    places = range(options.cells)
    return layouts.listing_of(root, ((key, place, path) for key, path in named for place in places))


def _format(split: str) -> OfficialFormat:
    return OfficialFormat(
        summarise=partial(summarise_oneig_results, split=split),
        text=oneig_results_text,
        files=partial(oneig_export_files, split=split),
    )


OFFICIAL: Final = _format("en")
OFFICIAL_ZH: Final = _format("zh")
OFFICIAL_MINI: Final = _format("mini")
LAYOUT: Final = layouts.Layout(
    form="DIR/anime/MODEL/000.webp, four images in each",
    find=_find_images,
    key=lambda sample: f"{sample.facts['folder']}/{sample.facts['number']}",
    reads=("cells", "model"),
    split=lambda grid, _, options: [grid] if options.cells == 1 else quarters(grid),
)
