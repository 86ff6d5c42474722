"""WISE's published files: score lines, full results, and the summary that upstream prints.

Read and written as upstream's scripts at eb51174 do, of both editions; a line with `score` is of
`verified`, one with `consistency` of `legacy`. Knows neither judges nor run folders.

    <id>.png                                         the images
    <part>_scores_results.jsonl                      prompt_id, Subcategory and the scores
    <part>_full_results.json                         prompt_id, prompt, key, image_path, evaluation
"""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from alphabench import statistics
from alphabench.benchmarks.reporting import (
    ReportScope,
    build_report,
    restated_estimates,
    scored_share,
)
from alphabench.benchmarks.wise.scoring import (
    CATEGORIES,
    LEGACY,
    METRICS,
    VERIFIED,
    WiseEdition,
    weighted_headline,
    without_thoughts,
)
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json, read_text
from alphabench.statistics import Cluster
from alphabench.types import Estimate, Report, Sample, Verdict
from alphabench.upstream.formats import OfficialFormat
from alphabench.upstream.layouts import Layout, find_numbered

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "cultural_common_sense": ("culture",),
    "spatio-temporal_reasoning": ("time", "space"),
    "natural_science": ("biology", "physics", "chemistry"),
}
"""Upstream's three files, by the categories in them."""
_LARGEST: Final = 9.0
"""One digit is all that a legacy reply can state."""
_LISTED: Final = 10
_HINT: Final = "restore the file, or have upstream's evaluation script write it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLine:
    """One line of a scores file."""

    edition: WiseEdition | None
    """None where the line has none of the fields that tell."""
    prompt_id: int
    score: float | None
    """0 to 1 (a legacy digit above 2 gives more); None where the line states none."""


def read_wise_results(path: Path) -> list[ScoreLine]:
    """The lines of a scores file, or of every `*.jsonl` of a folder, in order of names.

    As upstream's summary, lines that are blank, no JSON, or without a whole number for an id are
    passed over, and a line without a usable score is kept: its prompt is there.

    Raises:
        AlphaBenchError: nothing to read, a line that stops upstream's script, or lines of two
            editions.
    """
    return list(_read(path, Counter()))


def _read(path: Path, skipped: Counter[str]) -> list[ScoreLine]:
    """As `read_wise_results`; why lines were passed over is counted in `skipped`."""
    if path.is_dir():
        files = [file for file in sorted(path.glob("*.jsonl")) if not file.name.startswith("._")]
    else:
        files = [path]
    lines = [line for file in files for line in _lines(file, skipped)]
    editions = {line.edition.name for line in lines if line.edition is not None}
    if not editions:
        raise AlphaBenchError(f"{str(path)!r} holds no scores of WISE", hint=_HINT)
    if len(editions) > 1:
        raise AlphaBenchError(
            f"{str(path)!r} mixes scores of wise@verified and wise@legacy, whose ids differ",
            hint="give the files of one edition alone",
        )
    return lines


def summarise_wise_results(path: Path) -> Report:
    """What upstream's summary script finds in scores files, with intervals.

    Upstream's quirks are kept: an id given twice counts twice, and a line without a usable score
    makes its prompt present and counts in no mean. A folder needs all 1,000 ids; of a single file
    only the categories that it has must be complete. There is no overall score unless each of the
    six categories has a score. Sums are taken in the order of the lines, to the last bit.

    Raises:
        AlphaBenchError: as `read_wise_results`, or ids are missing: upstream's script stops, too.
    """
    skipped: Counter[str] = Counter()
    lines = _read(path, skipped)
    edition = next(line.edition for line in lines if line.edition is not None)
    present = {line.prompt_id for line in lines}
    named = {edition.category(number) for number in present} - {None}
    wanted = list(CATEGORIES) if path.is_dir() else [name for name in CATEGORIES if name in named]
    _check_presence(edition, wanted, present, path=path)
    images = _clusters(lines, edition)
    groups = _in_order_of_lines(lines, edition, statistics.group_estimates(images))
    formula = weighted_headline(edition)
    overall, withheld = statistics.over_all_groups(
        statistics.estimate(images, formula), images, CATEGORIES, kind="categories"
    )
    if overall.value is not None:
        means = {name: np.array([metric.value]) for name, metric in groups.items()}
        overall = overall.restated(float(formula(means)[0]))
    n_expected = sum(cluster.n_expected for cluster in images)
    n_scored = sum(cluster.n_scored for cluster in images)
    scope = ReportScope(
        benchmark="wise",
        split="",
        protocol="official",
        evaluator=f"published scores ({edition.name})",
        statuses={"scored": n_scored, "unparsed": n_expected - n_scored},
        has_all_samples=len(wanted) >= len(CATEGORIES),
    )
    return build_report(
        scope,
        overall,
        {name: groups[name] for name in CATEGORIES if name in groups},
        coverage=scored_share(n_scored, n_expected),
        bounds=statistics.bounds(images, formula, needed=CATEGORIES),
        withheld=withheld,
        notes=tuple(
            f"{n} lines {why}, and are passed over as upstream does" for why, n in skipped.items()
        ),
    )


def _in_order_of_lines(
    lines: Sequence[ScoreLine], edition: WiseEdition, groups: Mapping[str, Estimate]
) -> dict[str, Estimate]:
    """The means as upstream adds them up: score after score, as the lines come."""
    scores: dict[str, list[float]] = {}
    for line in lines:
        if line.score is not None:
            scores.setdefault(str(edition.category(line.prompt_id)), []).append(line.score)
    means = {name: reduce(add, of) / len(of) for name, of in scores.items()}
    return restated_estimates(groups, means)


def wise_results_text(report: Report) -> str:
    """The end of what upstream's script prints: `Overall Evaluation Summary` and what follows."""
    edition = VERIFIED if VERIFIED.name in report.evaluator else LEGACY
    groups = {name: metric for name, metric in report.groups.items() if metric.n_scored}
    lines = ["=" * 50, f"{'':17}Overall Evaluation Summary", "=" * 50, ""]
    lines += ["Aggregated Category Scores:"]
    for name, metric in groups.items():
        lines += [
            f"  Category: {name.upper()}",
            f"    Average {edition.label}: {metric.value:.2f}",
            f"    Number of samples: {metric.n_scored}",
            "",
        ]
    if report.headline.value is None:
        why = report.withheld or "nothing was scored"
        return "\n".join([*lines, "", f"No overall score: {why}."])
    means = [f"{groups[name].value:.2f}" for name in CATEGORIES]
    overall = f"{report.headline.value:.2f}"
    return "\n".join(
        [
            *lines,
            "",
            "--- Overall WiScore Across All Categories ---",
            f"Overall WiScore: {overall}",
            "Cultural\tTime\tSpace\tBiology\tPhysics\tChemistry\tOverall",
            "\t\t".join([means[0], "\t".join(means[1:]), overall]),
        ]
    )


def wise_export_files(
    samples: Sequence[Sample], images: Mapping[str, Path], verdicts: Sequence[Verdict]
) -> Iterator[tuple[PurePosixPath, str | Path]]:
    """The images as upstream names them, and its two result files for each of three parts.

    An image without a scored verdict has no line, as upstream leaves out what it could not read.

    Args:
        samples: in the order wanted.
        images: image id -> stored PNG.
        verdicts: of WISE's evaluator.
    """
    for name, path in images.items():
        yield PurePosixPath(f"{name.rpartition('/')[0]}.png"), path
    scored = {statistics.sample_of(v): v for v in verdicts if v.status == "scored"}
    for part, categories in PARTS.items():
        of_part = [s for s in samples if s.group in categories and s.id in scored]
        scores = [json.dumps(_score_record(s, scored[s.id]), ensure_ascii=False) for s in of_part]
        full = [_full_record(sample, scored[sample.id]) for sample in of_part]
        yield PurePosixPath(f"{part}_scores_results.jsonl"), "".join(f"{one}\n" for one in scores)
        text = json.dumps(full, ensure_ascii=False, indent=2)
        yield PurePosixPath(f"{part}_full_results.json"), text


def _score_record(sample: Sample, verdict: Verdict) -> dict[str, Any]:
    scores = (
        {"score": verdict.value}
        if verdict.question_id == VERIFIED.question
        else {metric: verdict.number(metric) for metric in METRICS}
    )
    return {"prompt_id": int(sample.id), "Subcategory": sample.facts["Subcategory"], **scores}


def _full_record(sample: Sample, verdict: Verdict) -> dict[str, Any]:
    reply = str(verdict.detail.get("reply", ""))
    verified = verdict.question_id == VERIFIED.question  # whose script stores what it cleaned
    return {
        "prompt_id": int(sample.id),
        "prompt": sample.prompt,
        "key": sample.facts["Explanation"],
        "image_path": f"{sample.id}.png",
        "evaluation": without_thoughts(reply) if verified else reply,
    }


def _lines(file: Path, skipped: Counter[str]) -> Iterator[ScoreLine]:
    try:
        text = read_text(file)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=_HINT) from error
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        where = f"line {number} of {str(file)!r}"
        try:
            fields = parse_json(line)
        except UnreadableFileError:
            skipped["are no JSON" if line.strip() else "are blank"] += 1
            continue
        if not isinstance(fields, dict):
            raise AlphaBenchError(f"{where}: not a JSON object", hint=_HINT)
        if isinstance(fields.get("prompt_id"), int):
            yield _score_line(fields, where=where)
        else:
            skipped["have no whole number for a prompt id"] += 1


def _score_line(fields: Mapping[str, Any], *, where: str) -> ScoreLine:
    edition: WiseEdition | None = None
    score = None
    if "score" in fields:
        edition, score = VERIFIED, _binary(fields["score"])
    elif set(METRICS) & fields.keys():
        edition, score = LEGACY, _three([fields.get(metric) for metric in METRICS], where=where)
    return ScoreLine(edition=edition, prompt_id=int(fields["prompt_id"]), score=score)


def _binary(value: Any) -> float | None:
    """0 or 1, true being 1; upstream passes over anything else."""
    return float(value) if isinstance(value, int | float) and value in (0, 1) else None


def _three(values: Sequence[Any], *, where: str) -> float | None:
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    if not all(0 <= value <= _LARGEST for value in values):
        raise AlphaBenchError(
            f"{where} states {max(values)!r}, which no reply can: older scripts and forks wrote "
            "such a number where the judge's reply could not be read",
            hint="remove those lines, or have the images judged again",
        )
    return LEGACY.score(tuple(map(float, values)))


def _check_presence(
    edition: WiseEdition, categories: Sequence[str], present: set[int], *, path: Path
) -> None:
    wanted = [edition.ranges[name] for name in categories]
    missing = [i for first, last in wanted for i in range(first, last + 1) if i not in present]
    if not categories:
        raise AlphaBenchError(f"{str(path)!r} has no prompt id of WISE", hint=_HINT)
    if missing:
        named = ", ".join(map(str, missing[:_LISTED]))
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise AlphaBenchError(
            f"{str(path)!r} lacks the prompt ids {named}{more} of wise@{edition.name}; "
            "upstream's summary stops there",
            hint="have those images judged, too",
        )


def _clusters(lines: Iterable[ScoreLine], edition: WiseEdition) -> list[Cluster]:
    """Each id once, with all its scores; ids outside the edition are in no category."""
    scores: dict[int, list[float | None]] = {}
    for line in lines:
        if edition.category(line.prompt_id) is not None:
            scores.setdefault(line.prompt_id, []).append(line.score)
    clusters = []
    for prompt_id, given in scores.items():
        known = [score for score in given if score is not None]
        clusters.append(
            Cluster(
                sample_id=str(prompt_id),
                group=str(edition.category(prompt_id)),
                total=sum(known),
                n_scored=len(known),
                n_expected=len(given),
            )
        )
    return clusters


OFFICIAL: Final = OfficialFormat(
    summarise=lambda path, _data: summarise_wise_results(path),
    text=wise_results_text,
    files=wise_export_files,
)


LAYOUT: Final = Layout(form="DIR/1.png", find=find_numbered, key=lambda sample: sample.id)
