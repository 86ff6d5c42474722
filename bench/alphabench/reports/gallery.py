"""The gallery: one HTML file with every image of a run, its prompt, verdict and reason.

It needs no server, network or framework, and filters and searches by itself. All text comes from
data and is escaped by the template; the page's content security policy allows its own style and
script only. Knows no benchmark's rules.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from alphabench.images import UnreadableImageError, open_rgb
from alphabench.reports.markdown import NOTHING, number
from alphabench.reports.run_report import absence_reason, coverage_words, stamps
from alphabench.runs.stored_run import (
    ImageResult,
    ImageState,
    SampleResult,
    StoredEvaluation,
    StoredRun,
)
from alphabench.types import Estimate, Report, Sample

_TEMPLATE: Final = "gallery.html.jinja"
_CHUNKS_BUFFERED: Final = 256
_MARKS: Final[Mapping[ImageState, str]] = {
    "right": "✓",
    "partly": "◐",
    "wrong": "✕",
    "unscored": "–",
}
_COLUMNS: Final = {1: "one", 2: "two", 3: "three"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupBar:
    """One group's score, with its interval as a bar; lengths in percent, as text."""

    name: str
    text: str
    value: str = ""
    interval: tuple[str, str] | None = None
    """Where it begins and how long it is; None where nothing was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """One image as the page shows it."""

    state: ImageState
    caption: str
    reason: str
    about: str
    source: str | None
    """None where there is no image."""
    size: str
    """`WIDTHxHEIGHT` of the stored image, where the page embeds a smaller one; else empty."""
    objects: str
    """JSON: [name, x1, y1, x2, y2, score] of each detected object; empty where there is none."""


def gallery_html(
    run: StoredRun,
    samples: Sequence[Sample],
    *,
    evaluation: StoredEvaluation | None,
    embed_pixels: int | None = None,
) -> str:
    """The complete page; see `gallery_parts`."""
    return "".join(gallery_parts(run, samples, evaluation=evaluation, embed_pixels=embed_pixels))


def gallery_parts(
    run: StoredRun,
    samples: Sequence[Sample],
    *,
    evaluation: StoredEvaluation | None,
    embed_pixels: int | None = None,
) -> Iterator[str]:
    """The page that lies in a run folder as `gallery.html`, in parts.

    Args:
        run: the run whose images are shown.
        samples: those of the run, in the order wanted.
        evaluation: with the verdicts and the report to show; None shows the images alone.
        embed_pixels: put thumbnails of at most this many pixels a side into the page, so that it
            can be sent alone; None refers to the images that lie beside it.
    """
    results = run.sample_results(samples, evaluation)
    style, script = (
        files("alphabench.reports").joinpath(name).read_text(encoding="utf-8")
        for name in ("gallery.css", "gallery.js")
    )
    parts = _template().stream(
        benchmark=run.manifest.benchmark,
        checkpoint=run.manifest.checkpoint,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        style_digest=_digest(style),
        script_digest=_digest(script),
        columns=_COLUMNS.get(run.images_per_sample, "many"),
        cards=(
            (one.sample, [_figure(image, run.root, embed_pixels) for image in one.images])
            for one in results
        ),
        **_choices(results),
        **_summary(run, evaluation),
    )
    parts.enable_buffering(_CHUNKS_BUFFERED)
    return iter(parts)


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


def _summary(run: StoredRun, evaluation: StoredEvaluation | None) -> dict[str, Any]:
    if evaluation is None or evaluation.report is None:
        return {"report": None}
    report = evaluation.report
    headline, scale = report.headline, _scale(report)
    spread = f"95% interval {number(headline.low)} to {number(headline.high)}"
    if headline.value is None:
        spread = f"no headline: {report.withheld}" if report.withheld else absence_reason(headline)
    return {
        "report": report,
        "stamps": stamps(report, run.manifest, evaluation.identity),
        "score": number(headline.value),
        "spread": spread,
        "coverage": coverage_words(report),
        "groups": [_group_bar(name, one, scale) for name, one in report.groups.items()],
    }


def _group_bar(name: str, estimate: Estimate, scale: float) -> _GroupBar:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return _GroupBar(name=name, text=f"{NOTHING} {absence_reason(estimate)}")
    value, low, high = (100 * v / scale for v in (estimate.value, estimate.low, estimate.high))
    return _GroupBar(
        name=name,
        text=number(estimate.value),
        value=f"{value:.1f}",
        interval=(f"{low:.1f}", f"{high - low:.1f}"),
    )


def _scale(report: Report) -> float:
    """The full length of a bar: 1, 10 or 100, whichever is the first that holds every score."""
    highs = [one.high for one in (report.headline, *report.groups.values()) if one.high is not None]
    return next(
        (s for s in (1.0, 10.0, 100.0) if max(highs, default=0.0) <= s), max(highs, default=1)
    )


def _choices(results: Sequence[SampleResult]) -> dict[str, Any]:
    """What the filters offer: (label, value, number of images) each."""
    groups = Counter[str]()
    states = Counter[ImageState]()
    for one in results:
        groups[one.sample.group] += len(one.images)
        states.update(image.state for image in one.images)
    return {
        "n_images": groups.total(),
        "by_group": [(name, name, count) for name, count in groups.items()],
        "by_state": [
            (f"{mark} {state}", state, states[state])
            for state, mark in _MARKS.items()
            if state != "partly" or states[state]
        ],
    }


def _figure(image: ImageResult, root: Path, embed_pixels: int | None) -> _Figure:
    about, source, size, objects = f"image {image.image_id}", None, "", ""
    if (record := image.record) is not None:
        about = f"{about} · seed {record.seed}"
        source, objects = f"./{quote(record.path)}", _objects(image)
        if embed_pixels is not None:
            source, size = _thumbnail(root / record.path, embed_pixels)
    return _Figure(
        state=image.state,
        caption=f"{_MARKS[image.state]} {_state_words(image)}",
        reason=image.reason,
        about=about,
        source=source,
        size=size,
        objects=objects,
    )


def _state_words(image: ImageResult) -> str:
    """The state; with several questions or marks between none and full, the mean too."""
    values = [verdict.value for verdict in image.verdicts if verdict.value is not None]
    if image.state == "unscored" or (len(values) == 1 and values[0] in (0.0, 1.0)):
        return image.state
    return f"{image.state} · {number(sum(values) / len(values))}"


def _objects(image: ImageResult) -> str:
    """What the evaluator detected, for the large view."""
    seen = [
        [str(name), *(round(part, 3) for part in box)]
        for verdict in image.verdicts
        for name, boxes in _mapping(verdict.detail.get("objects")).items()
        for box in (boxes if isinstance(boxes, list) else ())
        if _is_box(box)
    ]
    return json.dumps(seen, ensure_ascii=False) if seen else ""


def _is_box(content: Any) -> bool:
    """`x1, y1, x2, y2, score`; other evaluators may store something else under the same name."""
    return (
        isinstance(content, list)
        and len(content) == 5
        and all(isinstance(part, (int, float)) and math.isfinite(part) for part in content)
    )


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _thumbnail(path: Path, pixels: int) -> tuple[str, str]:
    """A data URI, and the size of the stored image; `data:,` for one that cannot be read."""
    try:
        image = open_rgb(path)
    except UnreadableImageError:
        return "data:,", ""
    size = f"{image.width}x{image.height}"
    image.thumbnail((pixels, pixels))
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", size
