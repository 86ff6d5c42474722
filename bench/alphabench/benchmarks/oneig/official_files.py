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
from typing import Final

from alphabench.benchmarks import text_accuracy
from alphabench.benchmarks.answered_images import AnsweredImage, answer_counts, sample_clusters
from alphabench.benchmarks.oneig import benchmark, scoring
from alphabench.benchmarks.oneig.scoring import ALIGNMENT
from alphabench.benchmarks.reporting import published_scope, restated_estimates
from alphabench.benchmarks.text_accuracy import LETTER_METRICS, TEXT
from alphabench.core.errors import AlphaBenchError
from alphabench.images import open_rgb
from alphabench.judges.transcription import match_letters
from alphabench.types import Report, Sample, Verdict, image_id
from alphabench.upstream import UpstreamData, csv_tables
from alphabench.upstream.csv_tables import of_one_model
from alphabench.upstream.formats import OfficialFormat, parts_text
from alphabench.upstream.image_grids import find_grids, grid_bytes, grid_cells
from alphabench.upstream.layouts import Layout

_STATED: Final = dict(zip(("ED", "CR", "WAC", "text score"), (*LETTER_METRICS, TEXT), strict=True))
"""Columns of upstream's `text_score` table, and what reports call them."""
_MODES: Final = {"en": "EN", "zh": "ZH", "mini": "EN"}
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
    samples, mode = benchmark.open_oneig(split, data=data).samples(), _MODES[split]
    texts = {one.id: one.facts["text"] for one in samples if "text" in one.facts}
    scores_in = partial(csv_tables.read_model_scores, path)
    aligned = [
        AnsweredImage(sample_id=name, group=name.partition("_")[0], answers=tuple(score) or (None,))
        for name, score in scores_in(f"alignment_prompt_score_{mode}", 1).items()
    ]
    written = []
    for number, means in scores_in(f"text_prompt_score_{mode}", 3).items():
        if (name := f"text_{number}") not in texts:
            raise csv_tables.no_score(number)
        words = match_letters("", texts[name]).expected
        read = [text_accuracy.ReadText(means[0], means[1], means[2] * words)] if means else []
        written.append(text_accuracy.letter_clusters(name, words, read, n_images=1))
    if not (n_expected := len(aligned) + len(written)):
        raise AlphaBenchError(
            f"{str(path)!r} has neither alignment_prompt_score_{mode}*.csv nor "
            f"text_prompt_score_{mode}*.csv",
            hint="name the folder in which upstream's scripts left their results",
        )
    n_scored = answer_counts(aligned)[0] + sum(letters.n_scored for letters, *_ in written)
    is_whole = n_expected >= len(samples)
    scope = published_scope(
        "oneig", "tables by prompt", n_scored, n_expected, split=split, has_all_samples=is_whole
    )
    measured = text_accuracy.LetterMeasure(prompts=written, farthest=benchmark.FARTHEST[split])
    cells = of_one_model(path, csv_tables.read_frame(path, f"text_score_{mode}")) or {}
    numbers = {_STATED[key]: csv_tables.numbers_in(cells.get(key, ""), 1) for key in _STATED}
    stated = {name: number for name, of in numbers.items() for number in of}
    report = scoring.OneIGMeasures(aligned=aligned, written=measured).report(scope)
    groups, extras = (restated_estimates(of, stated) for of in (report.groups, report.extras))
    return replace(report, groups=groups, extras=extras)


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
    measures = benchmark.measures_of(samples, verdicts, split, "official")
    aligned = sorted(measures.aligned, key=lambda one: one.sample_id)  # as upstream adds them up
    found = replace(measures, aligned=aligned).estimates()
    values = {name: one.value for name, one in found.items() if one.value is not None}
    scores = {one.sample_id: [one.mean] for one in sample_clusters(aligned)}
    means = {
        of[0].sample_id.removeprefix("text_"): [[o.mean for o in of] if of[0].n_scored else None]
        for of in measures.written.prompts
    }
    for kind, columns, frame in ((ALIGNMENT, [ALIGNMENT], scores), (TEXT, [*_STATED], means)):
        yield _file(f"{kind}_prompt", split), csv_tables.frame_text([_MODEL], frame)
        overall = [values[name] for one in columns if (name := _STATED.get(one, one)) in values]
        rows = {_MODEL: overall} if overall else {}
        if rows or kind == ALIGNMENT:
            yield _file(kind, split), csv_tables.frame_text(columns, rows)


def _file(kind: str, split: str) -> PurePosixPath:
    return PurePosixPath("results") / f"{kind}_score_{_MODES[split]}_{_MODEL}.csv"


def _format(split: str) -> OfficialFormat:
    read = partial(summarise_oneig_results, split=split)
    write = partial(oneig_export_files, split=split)
    return OfficialFormat(summarise=read, text=parts_text, files=write)


OFFICIAL: Final = _format("en")
OFFICIAL_ZH: Final = _format("zh")
OFFICIAL_MINI: Final = _format("mini")
LAYOUT: Final = Layout(
    form="DIR/anime/MODEL/000.webp, four images in each",
    find=find_grids(tuple(benchmark.CATEGORIES)),
    key=lambda sample: f"{sample.facts['folder']}/{sample.facts['number']}",
    reads=("cells", "model"),
    split=grid_cells,
)
