"""The part of a table's page that holds two evaluations of each condition against one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphabench.reports.comparison import ComparisonBasis, is_distinguishable, signed
from alphabench.reports.markdown import NOTHING, Align, interval, markdown_table, number
from alphabench.types import Estimate
from tools.results.campaign.contrasts import Contrast, Seeds
from tools.results.campaign.evidence import KeptEvaluation
from tools.results.campaign.table import SWAPPED, CampaignTable

ABOUT = (
    "Within each condition, image by image. Bad images are those that the second evaluation does "
    "not give full marks; their column is what the first one gives them. Images counts those that "
    "were generated or given for one that is scored, discarded ones too."
)


def contrast_sections(
    table: CampaignTable,
    kept: Mapping[str, Mapping[str, Seeds]],
    bases: Mapping[str, ComparisonBasis],
) -> list[str]:
    """Markdown for each contrast of which something is kept.

    Args:
        table: names the contrasts.
        kept: evaluation -> condition -> seed -> its scores.
        bases: of the evaluations' benchmarks.
    """
    parts = []
    for ours, theirs in table.contrasts:
        found = {
            name: one
            for name in table.conditions
            if (one := _contrast(table, kept, bases, (ours, theirs), name)) is not None
        }
        if not found:
            continue
        given = table.evaluations[ours].initial_of
        from_start = given is not None and given[1] == theirs and not _swaps(table, ours)
        parts += [f"## {ours} − {theirs}", ABOUT, _gains(found, from_start=from_start)]
        if more := _differences(table, found):
            parts += ["How much more one condition gains than another:", more]
    return parts


def _contrast(
    table: CampaignTable,
    kept: Mapping[str, Mapping[str, Seeds]],
    bases: Mapping[str, ComparisonBasis],
    names: tuple[str, str],
    condition: str,
) -> Contrast | None:
    ours, theirs = (kept.get(name, {}) for name in names)
    mine, other = dict(ours.get(condition, {})), dict(theirs.get(condition, {}))
    only = table.evaluations[names[1]].conditions
    if only and not any(table.conditions[one].trained for one in only):
        other = next((dict(theirs[one]) for one in only if one in theirs), {})
    if names[0] not in bases:
        return None
    contrast = Contrast(ours=mine, theirs=other, basis=bases[names[0]])
    return contrast if contrast.seeds else None


def _swaps(table: CampaignTable, name: str) -> bool:
    return table.evaluations[name].initial.startswith(SWAPPED)


def _gains(found: Mapping[str, Contrast], *, from_start: bool) -> str:
    """Of the judge, who compares refinements with their start, only where that is compared here."""
    rows = []
    for name, one in found.items():
        seeds = [str(seed) for seed in one.seeds if seed is not None]
        bad = sorted(set(one.bad_images))
        rows.append(
            [
                name,
                ", ".join(seeds) or NOTHING,
                _signed(one.gain),
                _plain(one.worse),
                _plain(one.repaired),
                "–".join(map(str, (bad[0], bad[-1]) if len(bad) > 1 else bad)),
                *([_signed(one.judged_gain), _plain(one.judged_worse)] if from_start else []),
                f"{_images(one.ours)} / {_images(one.theirs)}",
            ]
        )
    head = [
        *("condition", "seeds", "difference", "share worse", "bad images, now", "bad images"),
        *(("by the judge", "share worse by the judge") if from_start else ()),
        "images",
    ]
    return markdown_table(head, rows, aligned(head, left=2))


def _differences(table: CampaignTable, found: Mapping[str, Contrast]) -> str | None:
    rows = []
    for ours, theirs in table.comparisons:
        if ours not in found or theirs not in found:
            continue
        more = found[ours].more_than(found[theirs])
        if more is not None:
            excludes = "yes" if is_distinguishable(more) else "no"
            rows.append([f"{ours} − {theirs}", str(more.n_samples), _signed(more), excludes])
    head = ["difference of differences", "prompts", "value", "interval excludes 0"]
    return markdown_table(head, rows, aligned(head, left=1)) if rows else None


def _signed(one: Estimate | None) -> str:
    if one is None or one.value is None:
        return NOTHING
    return f"{signed(one.value)} [{signed(one.low)}, {signed(one.high)}]"


def _plain(one: Estimate | None) -> str:
    return NOTHING if one is None or one.value is None else f"{number(one.value)} {interval(one)}"


def _images(kept: Seeds) -> str:
    """Images for each one that is scored, over all seeds."""
    runs: list[KeptEvaluation] = list(kept.values())
    counts = [one.images for one in runs if one.images is not None]
    if not runs or len(counts) < len(runs):
        return NOTHING
    return f"{sum(counts) / sum(len(row) for one in runs for row in one.scores):.2f}"


def aligned(head: Sequence[str], *, left: int) -> list[Align]:
    """The first `left` columns on the left, the others on the right."""
    return ["left" if column < left else "right" for column in range(len(head))]
