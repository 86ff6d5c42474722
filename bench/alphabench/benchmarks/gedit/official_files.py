"""GEdit-Bench's published files: images, score tables, and the summary that upstream prints.

Read and written as upstream's scripts at 570eba6 do (stepfun-ai/Step1X-Edit). A table holds both
languages; a summary is of one. Knows neither judges nor run folders.

    MODEL/fullset/GROUP/LANGUAGE/KEY.png, KEY_SRCIMG.png           edited and source image
    MODEL/BACKBONE/eval_results_new/MODEL_GROUP_gpt_score.csv      one line for each pair
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from alphabench import statistics
from alphabench.benchmarks.gedit.benchmark import ROWS
from alphabench.benchmarks.gedit.scoring import GROUPS, SCORES, SETTINGS, macro_average
from alphabench.benchmarks.gedit.viescore import JUDGE_SOURCE, QUALITY, QUESTION, SEMANTICS
from alphabench.benchmarks.reporting import ReportScope, build_report
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_text
from alphabench.statistics import Cluster, mean_of_groups
from alphabench.types import Estimate, Report, Sample, Verdict
from alphabench.upstream.formats import OfficialFormat
from alphabench.upstream.layouts import (
    FolderOptions,
    Layout,
    Listing,
    choose_model,
    is_image_file,
    listing_of,
)

Language = Literal["en", "cn"]
MODEL: Final = "alphabench"
"""The name under which a run is written: upstream's scripts take names from folders."""
RESULTS: Final = "eval_results_new"
COLUMNS: Final = (
    "source_image", "edited_image", "instruction", "sementics_score", "quality_score",
    "intersection_exist", "instruction_language",
)  # fmt: skip
"""Spelt as upstream spells them."""
INTERSECTION: Final = ", intersection"
_SUFFIX: Final = "_gpt_score.csv"
_HINT: Final = "restore the file, or have upstream's evaluation script write it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class GEditScoreRow:
    """One line of a table."""

    group: str
    semantics: float
    quality: float
    in_intersection: bool
    language: str

    @property
    def overall(self) -> float:
        return math.sqrt(self.semantics * self.quality)


def read_gedit_results(path: Path) -> list[GEditScoreRow]:
    """All lines of the eleven tables of one model and backbone, in upstream's order of groups.

    Args:
        path: the folder with the tables, one above it, or one of the tables.

    Raises:
        AlphaBenchError: a group has no table, there are tables of several models, or a line is
            not of the format.
    """
    root = path if path.is_dir() else path.parent
    tables: dict[str, Path] = {}
    for file in sorted(root.rglob(f"*{_SUFFIX}")):
        group = next((g for g in GROUPS if file.name.endswith(f"_{g}{_SUFFIX}")), None)
        if group is not None and tables.setdefault(group, file) != file:
            raise AlphaBenchError(
                f"{str(root)!r} holds several tables of {group!r}",
                hint="name the folder of one model and one backbone",
            )
    if missing := [group for group in GROUPS if group not in tables]:
        raise AlphaBenchError(
            f"{str(root)!r} holds no table of {', '.join(missing)}",
            hint="upstream's summary needs one for each of the eleven groups",
        )
    return [row for group in GROUPS for row in _rows(tables[group], group)]


def summarise_gedit_results(path: Path, language: Language = "en") -> Report:
    """What upstream's summary finds in the tables for one language, with intervals.

    As upstream's: a line that stands twice counts twice, and every average is missing (upstream
    prints nan) where a group has no line. The format does not say which images were never
    judged: all that it holds counts as expected.

    Raises:
        AlphaBenchError: as `read_gedit_results`, or no line is in this language.
    """
    rows = [row for row in read_gedit_results(path) if row.language == language]
    if not rows:
        raise AlphaBenchError(
            f"{str(path)!r} has no line in the language {language!r}",
            hint="the data say en and cn: name the benchmark gedit:en or gedit:cn",
        )
    full = {name: _clusters(rows, name) for name in SCORES}
    shared = {name: _clusters([r for r in rows if r.in_intersection], name) for name in SCORES}
    both = ((full, ""), (shared, INTERSECTION))
    averages = {
        f"{n}{of}": macro_average(clusters[n], GROUPS)[0] for clusters, of in both for n in SCORES
    }
    withheld = statistics.unscored_groups(full[QUESTION], GROUPS, kind="groups")
    by_group = {
        f"{group} {name}{of}": metric
        for clusters, of in both
        for name in SCORES
        for group, metric in statistics.group_estimates(clusters[name], SETTINGS).items()
        if name != QUESTION or of
    }
    scope = ReportScope(
        benchmark="gedit",
        split=language,
        protocol="official",
        evaluator=f"published scores ({language})",
        statuses={"scored": len(rows)},
        has_all_samples=len(rows) >= ROWS[language],
    )
    return build_report(
        scope,
        averages.pop(QUESTION),
        statistics.group_estimates(full[QUESTION], SETTINGS),
        coverage=1.0,
        bounds=statistics.bounds(
            full[QUESTION], mean_of_groups, SETTINGS.value_range, needed=GROUPS
        ),
        extras={**averages, **by_group},
        withheld=withheld,
    )


def gedit_results_text(report: Report) -> str:
    """The end of what upstream's script prints: full set and intersection, SC, PQ and O."""
    lines = ["Overall:"]
    lines += [_line(group, _of_group(report, group, "")) for group in GROUPS]
    lines += [_line("Average", _average(report, "")), "", "Intersection:"]
    lines += [_line(group, _of_group(report, group, INTERSECTION)) for group in GROUPS]
    return "\n".join([*lines, _line("Average Intersection", _average(report, INTERSECTION))])


def gedit_image_path(sample: Sample) -> PurePosixPath:
    """`fullset/GROUP/LANGUAGE/KEY.png`: where upstream looks for an edited image."""
    task, language, key = (
        str(sample.facts[name]) for name in ("task_type", "instruction_language", "key")
    )
    return PurePosixPath("fullset") / task / language / f"{key}.png"


def gedit_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """Edited and source images as upstream names them, and its tables, combined and by group.

    An image without a score has no line: the format cannot state that it was not judged.

    Args:
        samples: in the order wanted.
        images: image id -> stored PNG.
        verdicts: of GEdit-Bench's evaluator.
    """
    root = PurePosixPath(MODEL)
    for sample in samples:
        edited = images.get(f"{sample.id}/0")
        if edited is not None:
            path = root / gedit_image_path(sample)
            yield path, edited
            yield path.with_name(f"{path.stem}_SRCIMG.png"), Path(sample.facts[JUDGE_SOURCE])
    scored = {statistics.sample_of(v): v for v in verdicts if v.status == "scored"}
    rows = [(s.group, _table_row(s, scored[s.id])) for s in samples if s.id in scored]
    folder = root / "judge" / RESULTS
    for group in GROUPS:
        yield folder / f"{MODEL}_{group}{_SUFFIX}", _table(row for g, row in rows if g == group)
    yield folder / f"{MODEL}_combined{_SUFFIX}", _table(row for _, row in rows)


def _table_row(sample: Sample, verdict: Verdict) -> list[Any]:
    path = PurePosixPath(MODEL) / gedit_image_path(sample)
    return [
        path.with_name(f"{path.stem}_SRCIMG.png"),
        path,
        sample.prompt,
        _plain(verdict.number(SEMANTICS)),
        _plain(verdict.number(QUALITY)),
        sample.facts["Intersection_exist"],
        sample.facts["instruction_language"],
    ]


def _plain(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else repr(value)


def _table(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def _rows(file: Path, group: str) -> Iterator[GEditScoreRow]:
    try:
        text = read_text(file)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=_HINT) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in COLUMNS[3:] if name not in (reader.fieldnames or ())]:
        raise AlphaBenchError(f"{str(file)!r} has no column {missing[0]!r}", hint=_HINT)
    for fields in reader:
        where = f"line {reader.line_num} of {str(file)!r}"
        yield GEditScoreRow(
            group=group,
            semantics=_score(fields["sementics_score"], where),
            quality=_score(fields["quality_score"], where),
            in_intersection=_flag(fields["intersection_exist"], where),
            language=str(fields["instruction_language"]),
        )


def _score(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise AlphaBenchError(f"{where} has the score {text!r}", hint=_HINT)
    return value


def _flag(text: str | None, where: str) -> bool:
    if text not in ("True", "False"):
        raise AlphaBenchError(f"{where} says {text!r} of the intersection", hint=_HINT)
    return text == "True"


def _clusters(rows: Iterable[GEditScoreRow], name: str) -> list[Cluster]:
    """One of `SCORES`, which are named as the fields of a row are.

    Every line is a sample of its own: the tables do not say which belong together.
    """
    return [
        Cluster(
            sample_id=f"{number:05}",
            group=row.group,
            total=float(getattr(row, name)),
            n_scored=1,
            n_expected=1,
        )
        for number, row in enumerate(rows)
    ]


def _of_group(report: Report, group: str, of: str) -> list[Estimate | None]:
    overall = report.extras.get(f"{group} {QUESTION}{of}") if of else report.groups.get(group)
    others = [report.extras.get(f"{group} {name}{of}") for name in (SEMANTICS, QUALITY)]
    return [*others, overall]


def _average(report: Report, of: str) -> list[Estimate | None]:
    overall = report.extras.get(f"{QUESTION}{of}") if of else report.headline
    return [*(report.extras.get(f"{name}{of}") for name in (SEMANTICS, QUALITY)), overall]


def _line(name: str, metrics: Sequence[Estimate | None]) -> str:
    values = [math.nan if one is None or one.value is None else one.value for one in metrics]
    return f"{name}: " + ", ".join(f"{value:.3f}" for value in values)


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_gedit_results(path, language="en"),
    text=gedit_results_text,
    files=gedit_export_files,
)
OFFICIAL_CN: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_gedit_results(path, language="cn"),
    text=gedit_results_text,
    files=gedit_export_files,
)


_SET: Final = "fullset"


_LANGUAGES: Final = ("en", "cn")


_SOURCE: Final = "_SRCIMG"
"""Suffix of the name of a source image, which is in the folder of the edited one."""


def _find_images(root: Path, options: FolderOptions) -> Listing:
    """`MODEL/fullset/GROUP/LANGUAGE/KEY.png`, or from `fullset` or the groups on."""
    base = _groups_folder(root, options.model)
    files = (path for path in sorted(base.glob("*/*/**/*")) if is_image_file(path)) if base else ()
    return listing_of(
        root,
        (
            (path.relative_to(base).with_suffix("").as_posix(), 0, path)
            for path in files
            if base and not path.stem.endswith(_SOURCE)
        ),
    )


def _groups_folder(root: Path, wanted: str | None) -> Path | None:
    """The folder that holds a folder for each group."""
    if wanted is None:
        for folder in (root / _SET, root):
            if any(next(folder.glob(f"*/{language}"), None) for language in _LANGUAGES):
                return folder
    models = (folder.parent.name for folder in root.glob(f"*/{_SET}") if folder.is_dir())
    model = choose_model(root, models, wanted)
    return None if model is None else root / model / _SET


def _layout_key(sample: Sample) -> str:
    """Rows that share group, language and key share an image, as in upstream's scripts."""
    return str(gedit_image_path(sample).relative_to(_SET).with_suffix(""))


LAYOUT: Final = Layout(
    form="DIR/MODEL/fullset/style_change/en/KEY.png",
    find=_find_images,
    key=_layout_key,
    reads=("model",),
)
