"""Where people look: one HTML file with every image of a run, its prompt, verdict and reason.

Needs no server, no network and no framework; it filters and searches by itself. All text comes
from data and is escaped, and the page's own policy forbids any script or style but ours. Knows no
benchmark's rules.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from alphabench.images import UnreadableImageError, open_rgb
from alphabench.reports.markdown import NOTHING, number
from alphabench.reports.run_report import absence, coverage_words, stamps
from alphabench.runs.stored_run import (
    ImageResult,
    ImageState,
    SampleResult,
    StoredEvaluation,
    StoredRun,
)
from alphabench.types import Estimate, Report, Sample

_MARKS: Final[Mapping[ImageState, str]] = {
    "right": "✓",
    "partly": "◐",
    "wrong": "✕",
    "unscored": "–",
}
_COLUMNS: Final = {1: "one", 2: "two", 3: "three"}


def gallery_html(
    run: StoredRun,
    samples: Sequence[Sample],
    *,
    evaluation: StoredEvaluation | None,
    embed_pixels: int | None = None,
) -> str:
    """The page whole; see `gallery_parts`."""
    return "".join(gallery_parts(run, samples, evaluation=evaluation, embed_pixels=embed_pixels))


def gallery_parts(
    run: StoredRun,
    samples: Sequence[Sample],
    *,
    evaluation: StoredEvaluation | None,
    embed_pixels: int | None = None,
) -> Iterator[str]:
    """The page that lies in a run folder as `gallery.html`, piece by piece.

    Args:
        run: whose images.
        samples: those of the run, in the order wanted.
        evaluation: whose verdicts and figures to show; None shows the images alone.
        embed_pixels: put thumbnails of at most this many pixels a side into the page, so that it
            can be sent alone; None refers to the images that lie beside it.
    """
    judged = run.sample_results(samples, evaluation)
    style, script = _asset("gallery.css"), _asset("gallery.js")
    columns = _COLUMNS.get(run.images_per_sample, "many")
    yield _head(f"{run.manifest.benchmark}: {run.manifest.checkpoint}", style, script)
    yield _top(run, evaluation)
    yield _bar(judged)
    yield f'<main class="{columns}">'
    for one in judged:
        yield _card(one, run.root, embed_pixels)
    yield '<p id="empty" hidden>No image matches.</p></main>'
    yield _DIALOG
    yield f"<script>{script}</script></body></html>\n"


_DIALOG: Final = """
<dialog><div><div class="stage"><img alt=""><svg class="boxes" aria-hidden="true"></svg></div>
<section><h2></h2><span class="mark"></span><p class="why"></p><p class="about"></p>
<nav><button type="button" class="previous">← previous</button>
<button type="button" class="next">next →</button>
<button type="button" class="seen" aria-pressed="true">what the evaluator saw</button>
<button type="button" class="close">close</button></nav></section></div></dialog>
"""


def _head(title: str, style: str, script: str) -> str:
    policy = (
        f"default-src 'none'; img-src 'self' file: data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_text(title)}</title>\n<style>{style}</style></head><body>\n"
    )


def _top(run: StoredRun, evaluation: StoredEvaluation | None) -> str:
    manifest, report = run.manifest, evaluation.report if evaluation else None
    parts = [f'<header class="top"><h1>{_text(manifest.checkpoint)}</h1>']
    if report is None or evaluation is None:
        parts.append(f'<p class="what">{_text(manifest.benchmark)}, not scored</p></header>')
        return "".join(parts)
    what = f"{manifest.benchmark}, {report.protocol} protocol, evaluator {report.evaluator}"
    parts.append(f'<p class="what">{_text(what)}</p>')
    for stamp, meaning in stamps(report, manifest, evaluation.identity):
        plain_meaning = meaning.replace("`", "")
        parts.append(f'<p class="stamp"><b>{_text(stamp)}</b>: {_text(plain_meaning)}</p>')
    headline = report.headline
    spread = f"95% interval {number(headline.low)} to {number(headline.high)}"
    if headline.value is None:
        spread = f"no headline: {report.withheld}" if report.withheld else absence(headline)
    parts.append(
        f'<div class="figures"><div class="score"><strong>{number(headline.value)}</strong>'
        f"<span>{_text(spread)}</span><span>{headline.n_samples} samples, "
        f'coverage {coverage_words(report)}</span></div><div class="groups">'
    )
    scale = _scale(report)
    parts += [_group(name, figure, scale) for name, figure in report.groups.items()]
    return "".join([*parts, "</div></div></header>\n"])


def _group(name: str, figure: Estimate, scale: float) -> str:
    """One group: name, figure, and a bar with its interval drawn over it."""
    drawn = '<rect class="well" width="100%" height="7"></rect>'
    if figure.value is not None and figure.low is not None and figure.high is not None:
        value, low, high = (100 * v / scale for v in (figure.value, figure.low, figure.high))
        spread = f'x="{low:.1f}%" width="{high - low:.1f}%"'
        drawn += (
            f'<rect class="value" width="{value:.1f}%" height="7"></rect>'
            f'<rect class="spread" {spread} y="2" height="3"></rect>'
        )
    words = number(figure.value) if figure.value is not None else f"{NOTHING} {absence(figure)}"
    return (
        f'<div class="group"><span title="{_text(name)}">{_text(name)}</span><span>{words}</span>'
        f'<svg aria-hidden="true">{drawn}</svg></div>'
    )


def _scale(report: Report) -> float:
    """The full length of a bar: 1, 10 or 100, whichever holds every figure."""
    highs = [one.high for one in (report.headline, *report.groups.values()) if one.high is not None]
    return next(
        (s for s in (1.0, 10.0, 100.0) if max(highs, default=0.0) <= s), max(highs, default=1)
    )


def _bar(judged: Sequence[SampleResult]) -> str:
    groups = Counter[str]()
    states = Counter[str]()
    for one in judged:
        groups[one.sample.group] += len(one.images)
        states.update(image.state for image in one.images)
    total = sum(groups.values())
    shown = [state for state in _MARKS if state != "partly" or states[state]]
    by_state = [(f"{_MARKS[state]} {state}", state, states[state]) for state in shown]
    return (
        '<div class="bar"><div>'
        f"{_choices('state', 'verdict', total, by_state)}"
        '<input type="search" id="search" placeholder="Search prompts and reasons" '
        'aria-label="Search prompts and reasons"><span id="shown" role="status"></span>'
        f"{_choices('group', 'group', total, [(name, name, n) for name, n in groups.items()])}"
        "</div></div>\n"
    )


def _choices(key: str, label: str, total: int, choices: Iterable[tuple[str, str, int]]) -> str:
    buttons = [
        f'<button type="button" data-filter="{key}" data-value="{_text(value)}" '
        f'aria-pressed="{"false" if value else "true"}">'
        f"{_text(name)} <small>{count}</small></button>"
        for name, value, count in [("all", "", total), *choices]
    ]
    return f'<div class="choices" role="group" aria-label="{label}">{"".join(buttons)}</div>'


def _card(one: SampleResult, root: Path, embed_pixels: int | None) -> str:
    sample = one.sample
    figures = [_figure(image, root, embed_pixels) for image in one.images]
    return (
        f'<article data-group="{_text(sample.group)}"><h2>{_text(sample.prompt)}</h2>'
        f"<p>{_text(sample.group)} · {_text(sample.id)}</p>"
        f'<div class="images">{"".join(figures)}</div></article>\n'
    )


def _figure(image: ImageResult, root: Path, embed_pixels: int | None) -> str:
    about = f"image {image.image_id}"
    attributes = ""
    shown = '<div class="none">no image</div>'
    if image.record is not None:
        record = image.record
        about = f"{about} · seed {record.seed}"
        source, size = f"./{quote(record.path)}", ""
        if embed_pixels is not None:
            source, size = _thumbnail(root / record.path, embed_pixels)
        attributes = f' data-size="{size}"' if size else ""
        attributes += _objects(image)
        shown = (
            f'<button type="button" class="open"><img loading="lazy" decoding="async" '
            f'src="{_text(source)}" alt="{_text(about)}"></button>'
        )
    reason = f"<span>{_text(image.reason)}</span>" if image.reason else ""
    return (
        f'<figure class="{image.state}" data-about="{_text(about)}"{attributes}>{shown}'
        f"<figcaption><b>{_MARKS[image.state]} {_state_words(image)}</b>{reason}</figcaption>"
        "</figure>"
    )


def _state_words(image: ImageResult) -> str:
    """The state; with several questions or marks between none and full, the mean too."""
    values = [verdict.value for verdict in image.verdicts if verdict.value is not None]
    if image.state == "unscored" or (len(values) == 1 and values[0] in (0.0, 1.0)):
        return image.state
    return f"{image.state} · {number(sum(values) / len(values))}"


def _objects(image: ImageResult) -> str:
    """What the evaluator says it saw, for the large view: [name, x1, y1, x2, y2, score] each."""
    seen = [
        [str(name), *(round(part, 3) for part in box)]
        for verdict in image.verdicts
        for name, boxes in _mapping(verdict.detail.get("objects")).items()
        for box in (boxes if isinstance(boxes, list) else ())
        if _is_box(box)
    ]
    return f' data-objects="{_text(json.dumps(seen, ensure_ascii=False))}"' if seen else ""


def _is_box(content: Any) -> bool:
    """`x1, y1, x2, y2, score`; other evaluators may keep other things under the same name."""
    return (
        isinstance(content, list)
        and len(content) == 5
        and all(isinstance(part, (int, float)) and math.isfinite(part) for part in content)
    )


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _thumbnail(path: Path, pixels: int) -> tuple[str, str]:
    """A data URI, and the size of the stored image; an unreadable one keeps its place, empty."""
    try:
        image = open_rgb(path)
    except UnreadableImageError:
        return "data:,", ""
    size = f"{image.width}x{image.height}"
    image.thumbnail((pixels, pixels))
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", size


def _asset(name: str) -> str:
    return files("alphabench.reports").joinpath(name).read_text(encoding="utf-8")


def _source(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _text(text: str) -> str:
    """Escaped for element content and for quoted attributes; what UTF-8 or HTML lacks goes."""
    known = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return escape(known, quote=True)
