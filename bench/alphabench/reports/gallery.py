"""The gallery: one HTML file with every image of a run, its prompt, verdict, reason and replies.

It needs no server, network or framework, and filters, sorts and searches by itself. Text of the
head is escaped by the template; all other text is JSON that the script shows as text. The page's
content security policy allows its own style and script only. Knows no benchmark's rules.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from alphabench.reports.gallery_entries import (
    STATE_MARKS,
    GalleryEntry,
    GallerySample,
    card_json,
    detail_json,
    mean_share,
    unscored_status,
)
from alphabench.reports.gallery_images import (
    MOST_EMBEDDED,
    ShownImage,
    StoredImage,
    embedded_files,
    shown_images,
)
from alphabench.reports.markdown import NOTHING, interval, number
from alphabench.reports.run_report import (
    absence_reason,
    coverage_words,
    identity_rows,
    stamps,
)
from alphabench.runs.stored_run import SampleResult, StoredEvaluation, StoredRun
from alphabench.types import Estimate, Report, Sample

_TEMPLATE: Final = "gallery.html.jinja"
_CHUNKS_BUFFERED: Final = 256
_SORTS: Final = {
    "": "benchmark order",
    "low": "score, lowest first",
    "high": "score, highest first",
    "prompt": "prompt, A to Z",
    "group": "group",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBar:
    """One group's score with its interval as a bar; lengths in percent of the bar, as text."""

    name: str
    text: str
    spread: str = ""
    """The interval in words."""
    value: tuple[str, str] | None = None
    """Where the bar begins and how long it is; None where nothing was scored."""
    interval: tuple[str, str] | None = None
    n_images: int = 0
    """Images to filter by this group; 0 where no sample is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryHead:
    """What stands above the images."""

    title: str
    about: str
    stamps: Sequence[tuple[str, str]] = ()
    score: str = ""
    """Empty where nothing was scored yet."""
    lines: Sequence[str] = ()
    """Beside the score: interval, coverage."""
    groups: Sequence[GroupBar] = ()
    tables: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    """Folded: title and rows."""
    note: str = ""
    """Beside the groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryContent:
    """All that a gallery shows."""

    head: GalleryHead
    samples: Sequence[GallerySample]
    roots: Sequence[Path]
    """The run folder of each side."""
    states: Mapping[str, str]
    """State -> what its filter says, in order."""
    sides: Sequence[str] = ()
    """The names of the two runs of a comparison."""
    sorts: Mapping[str, str]
    """Order -> what its choice says; the first is the default."""


def gallery_html(
    run: StoredRun,
    samples: Sequence[Sample],
    *,
    evaluation: StoredEvaluation | None,
    most_embedded: int = MOST_EMBEDDED,
) -> str:
    """The complete page; see `gallery_parts`."""
    return "".join(gallery_parts(run, samples, evaluation=evaluation, most_embedded=most_embedded))


def gallery_parts(
    run: StoredRun,
    samples: Sequence[Sample],
    *,
    evaluation: StoredEvaluation | None,
    most_embedded: int = MOST_EMBEDDED,
) -> Iterator[str]:
    """The page that lies in a run folder as `gallery.html`, in parts.

    Args:
        run: the run whose images are shown.
        samples: those of the run, in the order wanted.
        evaluation: with the verdicts and the report to show; None shows the images alone.
        most_embedded: the number of images up to which the page holds them all and can be sent
            alone; a longer page refers to the images that lie beside it.
    """
    results = run.sample_results(samples, evaluation)
    content = GalleryContent(
        head=_run_head(run, results, evaluation),
        samples=[_sample(one) for one in results],
        roots=(run.root,),
        states={state: f"{mark} {state}" for state, mark in STATE_MARKS.items()},
        sorts=_SORTS,
    )
    return page_parts(content, run.root, most_embedded=most_embedded)


def page_parts(
    content: GalleryContent, page_folder: Path, *, most_embedded: int = MOST_EMBEDDED
) -> Iterator[str]:
    """The page in parts.

    Args:
        content: what it shows.
        page_folder: where the page will lie; URLs of images are relative to it.
        most_embedded: see `gallery_parts`.
    """
    style, script = (
        files("alphabench.reports").joinpath(name).read_text(encoding="utf-8")
        for name in ("gallery.css", "gallery.js")
    )
    shown = _shown(content, page_folder, most_embedded)
    sources = _sources(content.samples)
    counts = _counts(content.samples)
    parts = _template().stream(
        head=content.head,
        sides=content.sides,
        sorts=content.sorts,
        states=[
            (state, label, counts.by_state[state])
            for state, label in content.states.items()
            if counts.by_state[state]
        ],
        statuses=sorted(counts.by_status.items()),
        groups=list(counts.by_group.items()),
        n_entries=counts.by_group.total(),
        widest=max((len(one.entries) for one in content.samples), default=1),
        cards=(Markup(card_json(one, shown)) for one in content.samples),  # noqa: S704 - see there
        details=(
            Markup(detail_json(one, sources.get(one.sample.id)))  # noqa: S704 - see there
            for one in content.samples
        ),
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        style_digest=_digest(style),
        script_digest=_digest(script),
    )
    parts.enable_buffering(_CHUNKS_BUFFERED)
    return iter(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """Numbers of entries."""

    by_group: Counter[str]
    by_state: Counter[str]
    by_status: Counter[str]


def _counts(samples: Sequence[GallerySample]) -> _Counts:
    counts = _Counts(by_group=Counter(), by_state=Counter(), by_status=Counter())
    for one in samples:
        counts.by_group[one.sample.group] += len(one.entries)
        for entry in one.entries:
            counts.by_state[entry.state] += 1
            counts.by_status.update(entry.statuses)
    return counts


def _sample(result: SampleResult) -> GallerySample:
    shares = [share for image in result.images if (share := mean_share(image)) is not None]
    return GallerySample(
        sample=result.sample,
        score=sum(shares) / len(shares) if shares else None,
        entries=[
            GalleryEntry(
                state=image.state,
                statuses=(unscored_status(image),) if image.state == "unscored" else (),
                sides=(image,),
            )
            for image in result.images
        ],
    )


def _shown(
    content: GalleryContent, page_folder: Path, most_embedded: int
) -> dict[tuple[int, str], ShownImage]:
    """(side, image id) -> its image."""
    stored = {
        (side, image.image_id): StoredImage(content.roots[side], image.record.path)
        for one in content.samples
        for entry in one.entries
        for side, image in enumerate(entry.sides)
        if image.record is not None
    }
    shown = shown_images(list(stored.values()), page_folder, most_embedded=most_embedded)
    return dict(zip(stored, shown, strict=True))


def _sources(samples: Sequence[GallerySample]) -> dict[str, str]:
    """Sample -> the data URI of its source image."""
    paths = {
        one.sample.id: one.sample.source_image
        for one in samples
        if one.sample.source_image is not None
    }
    return dict(zip(paths, embedded_files(list(paths.values())), strict=True))


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("alphabench", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_representable,
        keep_trailing_newline=True,
    )
    return environment.get_template(_TEMPLATE)


def _representable(value: Any) -> Any:
    """Text without what UTF-8 or HTML cannot hold: NUL and lone surrogates."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _digest(content: str) -> str:
    """As a content security policy names a script: sha256 in base64."""
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _run_head(
    run: StoredRun, results: Sequence[SampleResult], evaluation: StoredEvaluation | None
) -> GalleryHead:
    manifest = run.manifest
    if evaluation is None or evaluation.report is None:
        return GalleryHead(title=manifest.title, about=f"{manifest.benchmark}, not scored")
    report = evaluation.report
    headline, scale = report.headline, _scale(report)
    spread = f"95% interval {number(headline.low)} to {number(headline.high)}"
    if headline.value is None:
        spread = f"no headline: {report.withheld}" if report.withheld else absence_reason(headline)
    in_group = Counter[str]()
    for one in results:
        in_group[one.sample.group] += len(one.images)
    return GalleryHead(
        title=manifest.title,
        about=f"{manifest.benchmark}, {report.protocol} protocol, evaluator {report.evaluator}",
        stamps=stamps(report, manifest, evaluation.identity),
        score=number(headline.value),
        lines=(
            spread,
            f"{headline.n_samples} samples",
            f"coverage {coverage_words(report)}",
            *_bounds(report),
        ),
        groups=[
            _group_bar(name, one, scale, in_group[name]) for name, one in report.groups.items()
        ],
        tables=[
            *([("Further metrics", _metric_rows(report.extras))] if report.extras else []),
            (
                "Checkpoint, evaluator and data",
                identity_rows(manifest, report, evaluation.identity),
            ),
        ],
    )


def _bounds(report: Report) -> list[str]:
    """What the score would be, were the rest worst or best; empty where there is no rest."""
    if report.coverage >= 1 or report.bounds is None:
        return []
    low, high = report.bounds
    return [f"bounds if all unscored fail / pass: {number(low)} to {number(high)}"]


def _metric_rows(metrics: Mapping[str, Estimate]) -> list[tuple[str, str]]:
    return [(name, f"{number(one.value)} {interval(one)}") for name, one in metrics.items()]


def _group_bar(name: str, estimate: Estimate, scale: float, n_images: int) -> GroupBar:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        text = f"{NOTHING} {absence_reason(estimate)}"
        return GroupBar(name=name, text=text, n_images=n_images)
    value, low, high = (100 * v / scale for v in (estimate.value, estimate.low, estimate.high))
    return GroupBar(
        name=name,
        text=number(estimate.value),
        spread=f"95% interval {number(estimate.low)} to {number(estimate.high)}",
        value=("0", f"{value:.1f}"),
        interval=(f"{low:.1f}", f"{high - low:.1f}"),
        n_images=n_images,
    )


def _scale(report: Report) -> float:
    """The full length of a bar: 1, 10 or 100, whichever is the first that holds every score."""
    highs = [one.high for one in (report.headline, *report.groups.values()) if one.high is not None]
    return next(
        (s for s in (1.0, 10.0, 100.0) if max(highs, default=0.0) <= s), max(highs, default=1)
    )
