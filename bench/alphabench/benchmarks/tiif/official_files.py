"""TIIF-Bench's published file formats: the tree of images, and the tree of judged answers.

Read and written as upstream's scripts at 3aae750 do, quirks included. Knows neither judges nor run
folders.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from alphabench.benchmarks.reporting import ReportScope
from alphabench.benchmarks.tiif.benchmark import tiif_report
from alphabench.benchmarks.tiif.scoring import (
    ATTRIBUTES,
    LENGTHS,
    LEVELS,
    Length,
    is_right,
    stratum,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
from alphabench.statistics import Cluster
from alphabench.types import Estimate, ProtocolName, Report, Sample, Status, Verdict, image_id
from alphabench.upstream.formats import Files, OfficialFormat
from alphabench.upstream.layouts import (
    FolderOptions,
    Layout,
    Listing,
    choose_model,
    files_inside,
    is_image_file,
    listing_of,
)

IMAGES: Final = PurePosixPath("images")
"""The folder that upstream's script is pointed at."""
RESULTS: Final = PurePosixPath("eval_results")
N_TESTMINI: Final = 554
"""Images of the smaller of upstream's two splits; the format does not say which it was."""
MODEL: Final = "alphabench"
"""Upstream names each folder of images and of answers after the model that made the images."""
_HINT: Final = "name the folder of one model, which holds <attribute>/<short or long>/<index>.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TiifJudgedItem:
    """The answers about one image, as upstream stores them."""

    attribute: str
    length: Length
    index: str
    """The file's name without suffix: the line of the item in its file."""
    expected: tuple[Any, ...]
    answers: tuple[Any, ...]
    """As the file has them, whatever they are."""

    def counted(self) -> tuple[int, int]:
        """Right answers and answers, as upstream counts them.

        Answers are paired in order; what one side has more is passed over. At one that is no text
        upstream's script fails, after it has counted the question: all after it is lost.
        """
        right = total = 0
        for expected, said in zip(self.expected, self.answers, strict=False):
            total += 1
            if not (isinstance(expected, str) and isinstance(said, str)):
                break
            right += is_right(said, expected)
        return right, total

    def readable(self) -> tuple[int, int]:
        """Right answers and answers, of those that are texts."""
        pairs = [
            (said, expected)
            for expected, said in zip(self.expected, self.answers, strict=False)
            if isinstance(expected, str) and isinstance(said, str)
        ]
        return sum(is_right(said, expected) for said, expected in pairs), len(pairs)

    @property
    def broken(self) -> bool:
        """One of the paired answers is no text."""
        return self.readable()[1] < min(len(self.expected), len(self.answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class TiifResults:
    """All answers about one model's images."""

    model: str
    items: tuple[TiifJudgedItem, ...]
    unreadable: tuple[str, ...]
    """Files that upstream passes over with a message."""
    alone: bool
    """No other model's answers lie beside it, where upstream would put them into one table."""


def tiif_image_path(sample: Sample, model: str = MODEL) -> PurePosixPath:
    """`style/MODEL/short_description/0.png`: where upstream looks for an image."""
    facts = sample.facts
    return PurePosixPath(facts["type"], model, f"{facts['length']}_description") / (
        f"{facts['index']}.png"
    )


def read_tiif_results(path: Path) -> TiifResults:
    """The tree of one model's answers.

    Args:
        path: the model's folder, or one above it that holds no other model's.

    Raises:
        AlphaBenchError: no such tree, or several models in it.
    """
    folder = _model_folder(path)
    items: list[TiifJudgedItem] = []
    unreadable: list[str] = []
    for attribute in ATTRIBUTES:
        for length in LENGTHS:
            for file in sorted((folder / attribute / length).glob("*.json")):
                if file.name.startswith("._"):
                    continue  # what macOS leaves beside a copied file
                item = _read_item(file, attribute, length)
                if item is None:
                    unreadable.append(str(file.relative_to(folder)))
                else:
                    items.append(item)
    if not items:
        raise AlphaBenchError(f"{str(path)!r} holds no judged answers", hint=_HINT)
    return TiifResults(
        model=folder.name,
        items=tuple(items),
        unreadable=tuple(unreadable),
        alone=len(_models_in(folder.resolve().parent)) <= 1,
    )


def _model_folder(path: Path) -> Path:
    if not path.is_dir():
        raise AlphaBenchError(f"there is no folder {str(path)!r}", hint=_HINT)
    if _is_model(path):
        return path
    models = _models_in(path)
    if not models:
        raise AlphaBenchError(f"{str(path)!r} holds no judged answers", hint=_HINT)
    if len(models) > 1:
        names = ", ".join(str(path / model.name) for model in models)
        raise AlphaBenchError(
            f"{str(path)!r} holds the answers about {len(models)} models", hint=f"name one: {names}"
        )
    return models[0]


def _models_in(path: Path) -> list[Path]:
    return [inside for inside in sorted(path.iterdir()) if _is_model(inside)]


def _is_model(folder: Path) -> bool:
    return any((folder / attribute).is_dir() for attribute in ATTRIBUTES)


def _read_item(file: Path, attribute: str, length: Length) -> TiifJudgedItem | None:
    try:
        fields = read_json(file)
    except UnreadableFileError:
        return None
    if not isinstance(fields, dict):
        return None
    expected, answers = fields.get("gt_answers"), fields.get("model_pred")
    if not isinstance(expected, list) or not isinstance(answers, list):
        return None
    return TiifJudgedItem(
        attribute=attribute,
        length=length,
        index=file.stem,
        expected=tuple(expected),
        answers=tuple(answers),
    )


def accuracies(tree: TiifResults) -> dict[str, tuple[int, int]]:
    """Stratum -> right answers and answers, as upstream counts them."""
    found: dict[str, tuple[int, int]] = {}
    for item in tree.items:
        name = stratum(item.attribute, item.length)
        known, counted = found.get(name, (0, 0)), item.counted()
        found[name] = (known[0] + counted[0], known[1] + counted[1])
    return found


def summarise_tiif_results(path: Path, *, protocol: ProtocolName = "official") -> Report:
    """What upstream's two summary scripts find in a tree of answers, with intervals.

    official: questions without an answer do not exist, and an answer that is no text is wrong and
    the last of its file: see `JudgedItem.counted`. strict: all these are expected and `unparsed`.
    A file that cannot be read is one `failed` verdict under both. The format does not say which
    images were never judged; `partial` tells a tree that lacks one of the 39 attributes or is
    smaller than `testmini`.

    Args:
        path: as `read_tiif_results`.
        protocol: see `scoring.tiif_metrics`.

    Returns:
        A report whose `evaluator` is the name of the model's folder.

    Raises:
        AlphaBenchError: as `read_tiif_results`.
    """
    tree = read_tiif_results(path)
    clusters = [_cluster(item, protocol) for item in tree.items]
    clusters += [_unreadable(name) for name in tree.unreadable]
    n_expected = sum(cluster.n_expected for cluster in clusters)
    n_scored = sum(cluster.n_scored for cluster in clusters)
    unparsed = n_expected - n_scored - len(tree.unreadable)
    counts: dict[Status, int] = {
        "scored": n_scored,
        "unparsed": unparsed,
        "failed": len(tree.unreadable),
    }
    strata = [stratum(attribute, length) for attribute in ATTRIBUTES for length in LENGTHS]
    scope = ReportScope(
        benchmark="tiif",
        split="",
        protocol=protocol,
        evaluator=tree.model,
        statuses={status: n for status, n in counts.items() if n},
        has_all_samples=len(clusters) >= N_TESTMINI
        and {cluster.group for cluster in clusters}.issuperset(strata),
    )
    report = tiif_report(clusters, scope, complete=strata, alone=tree.alone)
    return dataclasses.replace(report, notes=_notes(tree, protocol))


def _notes(tree: TiifResults, protocol: ProtocolName) -> tuple[str, ...]:
    notes = []
    if tree.unreadable:
        notes.append(
            f"{len(tree.unreadable)} files cannot be read and take no part, as upstream passes "
            f"over them (the first: {tree.unreadable[0]})"
        )
    broken = [item for item in tree.items if item.broken]
    if broken and protocol == "official":
        first = f"{broken[0].attribute}/{broken[0].length}/{broken[0].index}.json"
        notes.append(
            f"in {len(broken)} files an answer is no text: as upstream has it, it counts as wrong "
            f"and what follows it in its file is not counted (the first: {first})"
        )
    return tuple(notes)


def _cluster(item: TiifJudgedItem, protocol: ProtocolName) -> Cluster:
    official = protocol == "official"
    right, n_scored = item.counted() if official else item.readable()
    return Cluster(
        sample_id=f"{item.attribute}-{item.index}-{item.length}",
        group=stratum(item.attribute, item.length),
        total=float(right),
        n_scored=n_scored,
        n_expected=n_scored if official else max(n_scored, len(item.expected)),
    )


def _unreadable(name: str) -> Cluster:
    attribute, length, file = PurePosixPath(name).parts
    return Cluster(
        sample_id=f"{attribute}-{PurePosixPath(file).stem}-{length}",
        group=f"{attribute} {length}",
        total=0.0,
        n_scored=0,
        n_expected=1,
    )


def tiif_results_text(report: Report) -> str:
    """The summary of one model as upstream's second script prints it."""
    return tiif_results_table({report.evaluator: report})


def tiif_results_table(reports: Mapping[str, Report]) -> str:
    """The tables of several models, in the given order, as upstream's second script prints them."""
    parts = []
    for level, groups in LEVELS.items():
        prefix = level.replace(" ", "_")
        parts.append(
            _section(f"{prefix}_Following_Overall - Overall", f"{level} Following", reports)
        )
        short = "Real" if level == "Real World" else prefix
        parts += [_section(f"{short}_{group} - {group}", group, reports) for group in groups]
    columns = {f"overall-{length}": _column(reports, f"overall {length}") for length in LENGTHS}
    title = "\n==== Overall average score of 9 sub-attributes ====\n"
    parts.append(title + _frame(columns, list(reports), label="Model"))
    return "\n".join(parts)


def _section(title: str, name: str, reports: Mapping[str, Report]) -> str:
    columns = {str(length): _column(reports, f"{name} {length}") for length in LENGTHS}
    return f"\n==== {title} ====\n" + _frame(columns, list(reports))


def _column(reports: Mapping[str, Report], name: str) -> list[str]:
    """Metrics as pandas shows a column: 4 decimals less the zeros that all of them end in."""
    values = [_value({**report.groups, **report.extras}[name]) for report in reports.values()]
    # Rounded first, as upstream does: 0.58175 is printed as 0.5818.
    texts = ["NaN" if math.isnan(value) else f"{np.round(value, 4):.4f}" for value in values]
    numbers = [text for text in texts if text != "NaN"]
    while numbers and all(text.endswith("0") and text[-2] != "." for text in numbers):
        numbers = [text[:-1] for text in numbers]
    shortened = iter(numbers)
    return [text if text == "NaN" else next(shortened) for text in texts]


def _value(estimate: Estimate) -> float:
    return math.nan if estimate.value is None else estimate.value


def _frame(columns: Mapping[str, Sequence[str]], names: Sequence[str], *, label: str = "") -> str:
    """A table as pandas prints one: names to the left, metrics to the right."""
    first = max(len(name) for name in (*names, label))
    widths = [max(map(len, (heading, *of))) for heading, of in columns.items()]

    def row(name: str, cells: Sequence[str]) -> str:
        shown = (f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        return "  ".join([f"{name:<{first}}", *shown])

    lines = [row("", list(columns))]
    if label:
        lines.append(row(label, [""] * len(columns)))
    lines += [row(name, [of[i] for of in columns.values()]) for i, name in enumerate(names)]
    return "\n".join(lines)


def tiif_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Files:
    """Upstream's tree of images, and its tree of answers.

    An image has a file of answers only when all its questions are scored: upstream writes no other.

    Args:
        samples: in the order wanted.
        images: image id -> stored PNG.
        verdicts: of TIIF's evaluator.
    """
    by_image: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_image.setdefault(verdict.image_id, {})[verdict.question_id] = verdict
    for sample in samples:
        name = image_id(sample.id, 0)
        if name in images:
            yield IMAGES / tiif_image_path(sample), images[name]
    for sample in samples:
        yield from _answers_file(sample, by_image.get(image_id(sample.id, 0), {}))


def _answers_file(
    sample: Sample, verdicts: Mapping[str, Verdict]
) -> Iterator[tuple[PurePosixPath, str]]:
    facts = sample.facts
    found = [verdicts.get(str(i)) for i in range(len(facts["questions"]))]
    judged = [verdict for verdict in found if verdict is not None and verdict.status == "scored"]
    if len(judged) < len(found):
        return
    fields: dict[str, Any] = {
        "attribute": facts["type"],
        "desc": f"{facts['length']}_description",
        "jsonl_file": f"{facts['type']}_eval_prompts.jsonl",
        "line_idx": facts["index"],
        "questions": facts["questions"],
        "gt_answers": facts["answers"],
        "model_pred": [str(verdict.detail.get("answer", "")) for verdict in judged],
        "model_output": "\n".join(dict.fromkeys(str(v.detail.get("reply", "")) for v in judged)),
    }
    path = RESULTS / MODEL / facts["type"] / facts["length"] / f"{facts['index']}.json"
    yield path, json.dumps(fields, ensure_ascii=False, indent=2) + "\n"


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_tiif_results(path),
    text=tiif_results_text,
    files=tiif_export_files,
)


_LENGTHS: Final = ("short_description", "long_description")


def _find_images(root: Path, options: FolderOptions) -> Listing:
    """`ATTRIBUTE/MODEL/short_description/LINE.png`, and long ones."""
    folders = [f for length in _LENGTHS for f in sorted(root.glob(f"*/*/{length}"))]
    files = [path for folder in folders for path in files_inside(folder) if is_image_file(path)]
    model = choose_model(root, (path.parent.parent.name for path in files), options.model)
    return listing_of(
        root, _keyed_files(path for path in files if path.parent.parent.name == model)
    )


def _keyed_files(files: Iterable[Path]) -> Iterator[tuple[str, int, Path]]:
    for path in files:
        length = path.parent
        yield f"{length.parent.parent.name}/{length.name}/{path.stem}", 0, path


def _layout_key(sample: Sample) -> str:
    return str(tiif_image_path(sample, model="").with_suffix(""))


LAYOUT: Final = Layout(
    form="DIR/style/MODEL/short_description/0.png",
    find=_find_images,
    key=_layout_key,
    reads=("model",),
)
