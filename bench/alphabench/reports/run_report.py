"""The report of one evaluation as markdown, and as the summary that a command prints.

Both give scores, intervals, what could not be scored, and the identity of all parts.
Knows no benchmark's rules; everything it prints comes from the report and the run folder.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from alphabench.core import terminal
from alphabench.reports.markdown import (
    NOTHING,
    fenced,
    inline,
    interval,
    markdown_table,
    number,
    plain_text,
    width,
)
from alphabench.runs.merging import PARTS
from alphabench.runs.run_pages import GALLERY_FILE, page_of_evaluation
from alphabench.runs.store import Manifest
from alphabench.runs.stored_run import StoredEvaluation, StoredRun, verdict_reason
from alphabench.types import Estimate, Report, Sample, Status

if TYPE_CHECKING:
    from rich.console import Group

STATUS_MEANINGS: Final[Mapping[Status, str]] = {
    "scored": "has a value",
    "missing": "no image, or not scored yet",
    "refused": "the checkpoint, a model or a filter declined",
    "unparsed": "the answer could not be read",
    "failed": "an error",
}
_OF_EDITS: Final = ("gedit", "imgedit", "rise")
"""Benchmarks of edits, which ask a judge whether an edit was made."""
_MOST_REASONS: Final = 12
_MOST_EXAMPLES: Final = 3
_OWN_ROWS: Final = frozenset(
    {
        "benchmark",
        "benchmark.data_digest",
        "benchmark.images_per_sample",
        "benchmark.prompt_style",
        "seed",
    }
)

_NO_EDITS_SEEN: Final = frozenset(
    f"sha256:{digest}"
    for digest in (
        "5257914ea261595a057d30d31ccf9564e8ac03937bff5226a9c7b4b13ea0f2c5",
        "8577f619e740c95f40734bc6da72a1f960b1a4f85b1ed0469b5255ccedf05db9",
        "b19a6ab1dc7c4d634356abb499691b83b7b243149dea0d7387c550e9d6904033",
    )
)
"""The weights of the judge `nano` before it was trained on edits that were not or half made."""


def report_markdown(
    run: StoredRun, evaluation: StoredEvaluation, *, gallery: str | None = "gallery.html"
) -> str:
    """The content of `report.md` in a run folder.

    Args:
        run: the run of the report.
        evaluation: with verdicts and a report.
        gallery: relative path of the gallery; None where there is none.
    """
    report, identity, manifest = evaluation.report, evaluation.identity, run.manifest
    assert report is not None
    parts = [
        f"# {inline(manifest.benchmark)}: {inline(manifest.title)}",
        *[_quoted(*stamp) for stamp in stamps(report, manifest, identity)],
        _headline(report),
        "## Groups",
        *_estimates(report.groups, "group"),
        *(["## Further metrics", *_estimates(report.extras, "metric")] if report.extras else []),
        "## What could not be scored",
        *_account(run, evaluation, report),
        "## What this rests on",
        _identity_table(manifest, report, identity),
        *_circumstances(manifest.circumstances),
        *([f"Every image with its verdict: [{gallery}]({gallery})."] if gallery else []),
    ]
    return "\n\n".join(parts) + "\n"


def report_parts(
    run: StoredRun,
    samples: Sequence[Sample],  # noqa: ARG001 - every writer of a report is called with them
    *,
    evaluation: StoredEvaluation,
) -> Iterator[str]:
    """`report_markdown`, as the registry's table of reports has it."""
    gallery = page_of_evaluation(run, GALLERY_FILE, evaluation.name)
    yield report_markdown(run, evaluation, gallery=gallery)


def _quoted(stamp: str, meaning: str) -> str:
    """A stamp as markdown. Its meaning may contain data; its code marks do not come from data."""
    return f"> **{stamp}**: " + inline(meaning, 400).replace("\\`", "`")


def stamps(
    report: Report, manifest: Manifest | None = None, identity: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """Warnings that belong to the score: stamp and meaning, the most serious first.

    Args:
        report: the report.
        manifest: of the run; None for published results.
        identity: of the evaluator; None where it is not known.
    """
    identity = identity or {}
    warnings = []
    if missing := missing_parts(report, manifest):
        warnings.append(("PARTIAL", f"{missing}. It is not a score of the whole benchmark."))
    if (stamp := self_test_stamp(identity)) is not None:
        warnings.append(stamp)
    if report.benchmark in _OF_EDITS and identity.get("judge.model") in _NO_EDITS_SEEN:
        warnings.append(
            (
                "THIS JUDGE DOES NOT SEE EDITS",
                "this version of the judge `nano` gives full marks whether or not the edit was "
                "made; score the edits again, with today's or with another judge.",
            )
        )
    if (reason := not_comparable_reason(report, identity)) is not None:
        warnings.append(("NOT COMPARABLE", reason))
    return [*warnings, *(("NOTE", f"{note}.") for note in report.notes)]


def missing_parts(report: Report, manifest: Manifest | None) -> str:
    """Why a report is partial; empty for a complete one. Published results have no manifest."""
    if not report.partial:
        return ""
    clauses = []
    if manifest is not None and manifest.shard is not None:
        clauses.append(f"the run folder holds {manifest.shard}")
    if manifest is not None and manifest.limit is not None:
        clauses.append(f"the run was limited to {manifest.limit} samples")
    if report.coverage < 1:
        clauses.append(f"{coverage_words(report)} of the expected verdicts have a value")
    return "; ".join(clauses) or "some samples or images of the benchmark are not in this result"


def self_test_stamp(identity: Mapping[str, str]) -> tuple[str, str] | None:
    """Stamp and meaning where an evaluator scored without a complete self-test; None otherwise."""
    tested = identity.get("self_test", "on")
    if tested == "on":
        return None
    if tested == "off":
        return "SELF-TEST OFF", "the evaluator was not checked on images with known answers."
    return (
        "SELF-TEST IN PART",
        f"the evaluator was checked in part ({tested}: that it answers in the needed form, not "
        "that its answers are right).",
    )


def not_comparable_reason(report: Report, identity: Mapping[str, str]) -> str | None:
    """Why the score is not comparable with published ones; None where it is."""
    if report.split in ("mini", "mini-test"):
        return (
            f"the `{report.split}` split is authored over a small synthetic world; "
            "its scores are not comparable with published ones."
        )
    if report.evaluator == "nano":
        return (
            "the `nano` evaluator knows a small synthetic world; "
            "its scores are not comparable with published ones."
        )
    if identity.get("judge.kind") == "nano":
        return (
            "the `nano` judge knows a small synthetic world; "
            "its scores are not comparable with published ones."
        )
    return None


Stamps = Sequence[tuple[str, str]]
"""As `stamps` returns them."""


def summary_lines(report: Report, marks: Stamps = ()) -> list[str]:
    """The report in a few plain lines, for a log or a pipe.

    Args:
        report: the report.
        marks: its `stamps`, for the last lines.
    """
    shown = _with_samples(report.groups)
    rows = [("score", report.headline), *shown.items()]
    names = [plain_text(name, 40) for name, _ in rows]
    longest = max(width(name) for name in names)
    texts = [headline_words(report), *(_estimate_text(of) for of in shown.values())]
    lines = [
        f"{name}{' ' * (longest - width(name))}  {text}"
        for name, text in zip(names, texts, strict=True)
    ]
    return [f"{_title(report)}  (brackets: 95% interval)", *lines, *_closing_lines(report, marks)]


def summary_table(report: Report, marks: Stamps = ()) -> Group:
    """The same for a terminal: a table of rich, and the lines below it."""
    from rich import box
    from rich.console import Group as RichGroup
    from rich.table import Table as RichTable
    from rich.text import Text

    lines = _closing_lines(report, marks)
    if report.withheld:
        lines.insert(0, f"no headline: {plain_text(report.withheld)}")
    shown = RichTable(
        title=Text(_title(report), style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    for heading in ("group", "score", "95% interval", "samples", "scored"):
        is_name = heading == "group"
        shown.add_column(heading, justify="left" if is_name else "right", no_wrap=not is_name)
    for name, estimate in _with_samples(report.groups).items():
        shown.add_row(*[Text(plain_text(cell)) for cell in (name, *_terminal_cells(estimate))])
    shown.add_section()
    last = ("score", *_terminal_cells(report.headline))
    shown.add_row(*[Text(plain_text(cell)) for cell in last], style="bold")
    return RichGroup(shown, Text(terminal.shown("\n".join(lines))))


def _with_samples(estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Those about which something was asked: a limited run has groups without any sample."""
    return {name: of for name, of in estimates.items() if of.n_expected}


def _without_samples(estimates: Mapping[str, Estimate], kind: str) -> list[str]:
    """How many were left out by `_with_samples`, as a sentence; empty for none."""
    n_empty = len(estimates) - len(_with_samples(estimates))
    if not n_empty:
        return []
    has = "has" if n_empty == 1 else "have"
    return [f"{n_empty} of {_counted(len(estimates), kind)} {has} no sample in this run"]


def _counted(number_of: int, what: str) -> str:
    return f"{number_of} {what}" if number_of == 1 else f"{number_of} {what}s"


def _title(report: Report) -> str:
    split = f":{report.split}" if report.split else ""
    partial = "  PARTIAL" if report.partial else ""
    return (
        plain_text(f"{report.benchmark}{split}, {report.protocol} protocol, {report.evaluator}")
        + partial
    )


def _closing_lines(report: Report, marks: Stamps) -> list[str]:
    lines = _without_samples(report.groups, "group")
    lines += [f"coverage {coverage_words(report)}"]
    if report.coverage < 1 and report.bounds is not None:
        low, high = report.bounds
        lines.append(
            f"bounds if all unscored verdicts are worst / best: {number(low)} to {number(high)}"
        )
    return [
        *lines,
        *(
            f"{plain_text(stamp)}: {plain_text(text.replace('`', ''), 400)}"
            for stamp, text in marks
        ),
    ]


def coverage_words(report: Report) -> str:
    """`98.3% (236 of 240)`; 100% only if nothing is missing."""
    headline = report.headline
    percent = min(100 * report.coverage, 99.9) if report.coverage < 1 else 100
    return f"{percent:.3g}% ({headline.n_scored} of {headline.n_expected})"


def headline_words(report: Report) -> str:
    """The headline, or why there is none."""
    if report.withheld:
        return f"{NOTHING} no headline: {plain_text(report.withheld)}"
    return _estimate_text(report.headline)


def absence_reason(estimate: Estimate) -> str:
    """Why an estimate has no value, briefly."""
    if not estimate.n_expected:
        return "no sample"
    return "withheld" if estimate.n_scored else "nothing scored"


def _estimate_text(estimate: Estimate) -> str:
    scored = f"{estimate.n_scored} of {estimate.n_expected} scored"
    if estimate.value is None:
        return f"{NOTHING} {absence_reason(estimate)}, {scored}"
    samples = _counted(estimate.n_samples, "sample")
    return f"{number(estimate.value)} {interval(estimate)}  {samples}, {scored}"


def _headline(report: Report) -> str:
    headline = report.headline
    if report.withheld:
        return f"**No headline: {inline(report.withheld)}**; coverage {coverage_words(report)}."
    if headline.value is None:
        reason = absence_reason(headline)
        return f"**Score {NOTHING}: {reason}** of {headline.n_expected} expected verdicts."
    return (
        f"**Score {number(headline.value)}**, 95% interval {number(headline.low)} to "
        f"{number(headline.high)}, from {_counted(headline.n_samples, 'sample')}; "
        f"coverage {coverage_words(report)}."
    )


def _cells(estimate: Estimate) -> list[str]:
    value = (
        f"{NOTHING} {absence_reason(estimate)}"
        if estimate.value is None
        else number(estimate.value)
    )
    scored = f"{estimate.n_scored} / {estimate.n_expected}"
    return [value, interval(estimate), str(estimate.n_samples), scored]


def _terminal_cells(estimate: Estimate) -> list[str]:
    """`_cells`, with the reason for an absent value in the wider column of intervals."""
    value, between, *counts = _cells(estimate)
    if estimate.value is None:
        return [NOTHING, absence_reason(estimate), *counts]
    return [value, between, *counts]


def _estimates(estimates: Mapping[str, Estimate], kind: str) -> list[str]:
    """A table, and a sentence about those without samples."""
    left_out = [f"{sentence}." for sentence in _without_samples(estimates, kind)]
    rows = [[inline(name), *_cells(of)] for name, of in _with_samples(estimates).items()]
    if not rows:
        return left_out or ["None."]
    table = markdown_table(
        [kind, "score", "95% interval", "samples", "scored / expected"],
        rows,
        ["left", "right", "right", "right", "right"],
    )
    return [table, *left_out]


def _account(run: StoredRun, evaluation: StoredEvaluation, report: Report) -> list[str]:
    unscored_statuses = {s: n for s, n in report.statuses.items() if s != "scored" and n}
    if not unscored_statuses and report.coverage >= 1:
        return ["Nothing: every expected verdict has a value."]
    rows = [[status, str(n), STATUS_MEANINGS[status]] for status, n in unscored_statuses.items()]
    parts = [markdown_table(["status", "verdicts", "meaning"], rows, ["left", "right", "left"])]
    if report.bounds is not None:
        low, high = report.bounds
        parts.append(
            "The score rests on what was scored. If every other verdict were the worst possible, "
            f"it would be {number(low)}; if every one were the best, {number(high)}."
        )
    absent = [(absence.status, absence.reason, name) for name, absence in run.absences.items()]
    unscored = [
        (v.status, verdict_reason(v.detail), v.image_id)
        for v in evaluation.verdicts
        if v.status != "scored" and v.image_id not in run.absences
    ]
    return [
        *parts,
        *_reasons("Missing images:", absent),
        *_reasons("Images that were not scored:", unscored),
    ]


def _reasons(title: str, cases: Iterable[tuple[str, str, str]]) -> list[str]:
    """Equal reasons together, the most frequent first; each with a few of its images."""
    images: dict[tuple[str, str], list[str]] = {}
    for status, reason, name in cases:
        images.setdefault((status, inline(reason) or "no reason given"), []).append(name)
    if not images:
        return []
    counts = Counter({key: len(names) for key, names in images.items()}).most_common()
    rows = [
        [str(n), status, reason, _examples(images[status, reason])]
        for (status, reason), n in counts[:_MOST_REASONS]
    ]
    shown = markdown_table(
        ["count", "status", "why", "for example"], rows, ["right", "left", "left", "left"]
    )
    rest = counts[_MOST_REASONS:]
    more = [f"And {sum(n for _, n in rest)} more, for {len(rest)} other reasons."] if rest else []
    return [title, shown, *more]


def _examples(names: list[str]) -> str:
    return ", ".join(inline(name, 40) for name in names[:_MOST_EXAMPLES])


def identity_rows(
    manifest: Manifest, report: Report, identity: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What decides images and scores, as (name, value), unescaped."""
    pixels = manifest.pixels
    return [
        ("benchmark", manifest.benchmark),
        ("data sha256", pixels.get("benchmark.data_digest", NOTHING)),
        ("prompts", pixels.get("benchmark.prompt_style", NOTHING)),
        ("images per sample", pixels.get("benchmark.images_per_sample", NOTHING)),
        ("protocol", report.protocol),
        ("evaluator", report.evaluator),
        *[(f"evaluator: {key}", identity[key]) for key in sorted(identity) if key != "protocol"],
        ("checkpoint", manifest.checkpoint),
        *_prefixed(pixels, "checkpoint."),
        ("seed", pixels.get("seed", NOTHING)),
        *[(key, pixels[key]) for key in sorted(pixels) if not _has_row(key)],
        ("fingerprint of the images", manifest.fingerprint),
    ]


def _identity_table(manifest: Manifest, report: Report, identity: Mapping[str, str]) -> str:
    rows = [
        [inline(key), inline(value)] for key, value in identity_rows(manifest, report, identity)
    ]
    return markdown_table(["what", "value"], rows, ["left", "left"])


def _prefixed(pixels: Mapping[str, str], prefix: str) -> list[tuple[str, str]]:
    kind = prefix.rstrip(".")
    return [
        (f"{kind}: {key.removeprefix(prefix)}", pixels[key])
        for key in sorted(pixels)
        if key.startswith(prefix)
    ]


def _has_row(key: str) -> bool:
    return key in _OWN_ROWS or key.startswith("checkpoint.")


def _circumstances(circumstances: Mapping[str, Any]) -> list[str]:
    """Recorded, not decisive: times, versions, and the command that made the images."""
    rows = [
        [inline(name), inline(value)]
        for key, content in circumstances.items()
        if key not in ("command", "evaluator", PARTS)  # which evaluator scored stands above
        for name, value in _flat(key, content)
    ]
    shown = [markdown_table(["circumstance", "value"], rows, ["left", "left"])] if rows else []
    command = circumstances.get("command")
    if isinstance(command, list) and command:
        program, *arguments = [str(word) for word in command]
        shown += ["Made by:", fenced(shlex.join([PurePath(program).name, *arguments]))]
    return [*shown, *_parts(circumstances.get(PARTS))]


def _parts(parts: Any) -> list[str]:
    """The folders that the run was merged from, each with its machine and its versions."""
    if not isinstance(parts, list):
        return []
    rows = []
    for part in parts:
        if not isinstance(part, Mapping) or not isinstance(part.get("circumstances"), Mapping):
            continue
        own = part["circumstances"]
        cells = [part.get("folder"), *(own.get(key) for key in ("began", "host", "device"))]
        packages = own.get("packages")
        versions = packages if isinstance(packages, Mapping) else {}
        cells.append(", ".join(f"{name} {version}" for name, version in versions.items()) or None)
        rows.append([NOTHING if cell is None else inline(str(cell), 200) for cell in cells])
    header = ["folder", "began", "host", "device", "packages"]
    table = markdown_table(header, rows, ["left"] * len(header))
    return [f"Merged from {_counted(len(rows), 'folder')}:", table] if rows else []


def _flat(key: str, content: Any) -> list[tuple[str, str]]:
    if isinstance(content, Mapping):
        return [(f"{key}: {name}", str(value)) for name, value in content.items()]
    return [(key, NOTHING if content is None else str(content))]
