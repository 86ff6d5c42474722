"""One page with the images of two runs side by side, paired by prompt and image number.

The seed of an image follows from the run's seed, the prompt and the number, so the images of a pair
have the same seed unless the runs have different ones; the page then says so. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from alphabench.reports.comparison import (
    RunComparison,
    difference_verdict,
    is_distinguishable,
    signed,
)
from alphabench.reports.gallery import GalleryContent, GalleryHead, GroupBar, page_parts
from alphabench.reports.gallery_entries import GalleryEntry, GallerySample, mean_share
from alphabench.reports.gallery_images import MOST_EMBEDDED
from alphabench.reports.markdown import NOTHING
from alphabench.reports.run_report import stamps
from alphabench.runs.stored_run import ImageResult, SampleResult, StoredRun
from alphabench.types import Estimate, Sample

_STATES: Final = {
    "gained": "A wrong, B right",
    "lost": "A right, B wrong",
    "higher": "B higher",
    "lower": "B lower",
    "both-right": "both right",
    "both-wrong": "both wrong",
    "equal": "equal",
    "unscored": "unscored",
}
_SORTS: Final = {
    "size": "largest difference",
    "high": "B better first",
    "low": "B worse first",
    "": "benchmark order",
    "prompt": "prompt, A to Z",
    "group": "group",
}


def comparison_gallery_parts(
    runs: tuple[StoredRun, StoredRun],
    comparison: RunComparison,
    samples: Sequence[Sample],
    *,
    evaluation: str,
    page_folder: Path,
    most_embedded: int = MOST_EMBEDDED,
) -> Iterator[str]:
    """The page in parts.

    Args:
        runs: baseline and candidate.
        comparison: of the two.
        samples: all samples of their benchmark; those that are in both runs are shown.
        evaluation: whose verdicts, in both runs.
        page_folder: where the page will lie; URLs of images are relative to it.
        most_embedded: the number of images up to which the page holds them all.
    """
    chosen = [run.samples(samples) for run in runs]
    in_both = set.intersection(*({sample.id for sample in one} for one in chosen))
    shared = [sample for sample in chosen[0] if sample.id in in_both]
    pairs = list(
        zip(*(run.sample_results(shared, run.evaluation(evaluation)) for run in runs), strict=True)
    )
    content = GalleryContent(
        head=_head(runs, comparison, evaluation, pairs),
        samples=[_sample(*pair) for pair in pairs],
        roots=[run.root for run in runs],
        states=_STATES,
        sides=_names(runs),
        sorts=_SORTS,
    )
    return page_parts(content, page_folder, most_embedded=most_embedded)


def _sample(before: SampleResult, after: SampleResult) -> GallerySample:
    entries = [
        GalleryEntry(state=_pair_state(*sides), sides=sides)
        for sides in zip(before.images, after.images, strict=True)
    ]
    differences = [
        new - old
        for entry in entries
        for old, new in [[mean_share(side) for side in entry.sides]]
        if old is not None and new is not None
    ]
    return GallerySample(
        sample=before.sample,
        score=sum(differences) / len(differences) if differences else None,
        entries=entries,
    )


def _pair_state(before: ImageResult, after: ImageResult) -> str:
    states, (old, new) = (before.state, after.state), (mean_share(before), mean_share(after))
    if old is None or new is None:
        return "unscored"
    special = {
        ("wrong", "right"): "gained",
        ("right", "wrong"): "lost",
        ("right", "right"): "both-right",
        ("wrong", "wrong"): "both-wrong",
    }
    if states in special:
        return special[states]
    return "equal" if old == new else "higher" if new > old else "lower"


def _names(runs: Sequence[StoredRun]) -> list[str]:
    """The checkpoints; with the folders where both are called the same."""
    names = [run.manifest.title for run in runs]
    if names[0] != names[1]:
        return names
    return [f"{name} ({run.root.name})" for name, run in zip(names, runs, strict=True)]


def _head(
    runs: tuple[StoredRun, StoredRun],
    comparison: RunComparison,
    evaluation: str,
    pairs: Sequence[tuple[SampleResult, SampleResult]],
) -> GalleryHead:
    before, after = runs
    scored = after.evaluation(evaluation)
    warnings = [
        (f"PARTIAL, {'A' if side == 'baseline' else 'B'}", f"{missing}.")
        for side, missing in comparison.partial.items()
    ]
    if scored.report is not None:
        same = stamps(scored.report, after.manifest, scored.identity)
        warnings += [stamp for stamp in same if stamp[0] != "PARTIAL"]
    seeds = [run.manifest.pixels["seed"] for run in runs]
    if seeds[0] != seeds[1]:
        text = f"{seeds[0]} and {seeds[1]}; the images are paired by their number alone."
        warnings.append(("DIFFERENT SEEDS", text))
    in_group = Counter[str]()
    for result, _ in pairs:
        in_group[result.sample.group] += len(result.images)
    differing = _differing(before.manifest.pixels, after.manifest.pixels)
    names = _names(runs)
    return GalleryHead(
        title=f"{names[1]} against {names[0]}",
        about=f"{comparison.benchmark}, evaluation {evaluation}, paired by prompt and seed",
        stamps=warnings,
        score=signed(comparison.headline.value),
        lines=_headline_lines(comparison.headline),
        groups=_bars(comparison.groups, in_group),
        note="Bars: B minus A; to the right of the middle line B scores higher. The interval of a "
        "group stands for that group alone.",
        tables=[("What differs between the runs", differing)] if differing else [],
    )


def _headline_lines(difference: Estimate) -> list[str]:
    if difference.value is None and difference.n_samples:
        return ["the benchmark has no headline; its parts stand below"]
    if difference.value is None:
        return ["no sample was scored in both runs"]
    decision = "distinguishable" if is_distinguishable(difference) else "not distinguishable"
    return [
        f"B minus A, {decision}",
        f"95% interval {signed(difference.low)} to {signed(difference.high)}",
        f"{difference.n_samples} pairs of samples",
    ]


def _bars(groups: Mapping[str, Estimate], in_group: Mapping[str, int]) -> list[GroupBar]:
    ends = [end for one in groups.values() for end in (one.low, one.high) if end is not None]
    scale = max(map(abs, ends), default=1.0) or 1.0
    return [_bar(name, one, scale, in_group.get(name, 0)) for name, one in groups.items()]


def _bar(name: str, difference: Estimate, scale: float, n_pairs: int) -> GroupBar:
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None:
        return GroupBar(name=name, text=NOTHING, n_images=n_pairs)
    x, x_low, x_high = (50 + 50 * end / scale for end in (value, low, high))
    return GroupBar(
        name=name,
        text=signed(value),
        spread=f"95% interval {signed(low)} to {signed(high)}, {difference_verdict(difference)}",
        value=(f"{min(x, 50):.1f}", f"{abs(x - 50):.1f}"),
        interval=(f"{x_low:.1f}", f"{x_high - x_low:.1f}"),
        n_images=n_pairs,
    )


def _differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[tuple[str, str]]:
    keys = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    return [(key, f"A: {ours.get(key, NOTHING)} · B: {theirs.get(key, NOTHING)}") for key in keys]
