"""The calibration of rewards as a markdown report, which says in words what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alphabench.reports.markdown import NOTHING, Align, inline, interval, markdown_table, number
from alphabench.reports.reward_calibration import EXACT, RewardCalibration, RewardRow
from alphabench.reports.reward_fidelity import ALL_TASKS, BEST_OF
from alphabench.types import Estimate

_SHOWN_REASONS: Final = 5


def rewards_markdown(calibration: RewardCalibration) -> str:
    """Tables of order, noise and tasks, with what they say."""
    of = calibration
    judge = "\n".join(f"- {inline(key)}: {inline(value)}" for key, value in of.judge.items())
    truth = f"Truth: {inline(of.truth)}." if of.truth else "There is no truth."
    parts = [
        "# Calibration of rewards",
        f"{of.n_images} images of {of.n_prompts} prompts of {inline(of.benchmark)}; each reward "
        f"asked for {_times(of.repeats)}. {truth} Brackets: 95% interval over prompts.",
        judge,
        *(["## Order", _order_table(of.rows), _ordered_note(of)] if of.truth else []),
        "## Noise",
        _noise_table(of),
        *(["## By task", _task_table(of.rows)] if of.truth and len(of.rows[0].metrics) > 1 else []),
        "## What follows",
        "\n".join(f"- {sentence}" for sentence in conclusions(of)),
    ]
    return "\n\n".join(parts) + "\n"


def conclusions(calibration: RewardCalibration) -> list[str]:
    """Which reward to take, and with how large a group, in sentences."""
    return [*_on_order(calibration), *_on_noise(calibration), *_on_gaps(calibration)]


def _on_order(of: RewardCalibration) -> list[str]:
    if not of.truth:
        return ["Without a truth this shows how noisy each reward is, not whether it is right."]
    ordered = of.rows[0].metrics[ALL_TASKS].n_ordered
    if not ordered:
        return ["The truth is the same for all images of each prompt: no order can be right."]
    sentences = []
    for names, difference in of.differences.items():
        best, _, other = names.partition(" - ")
        if difference.value is None or difference.low is None:
            continue
        shown = f"{difference.value:+.3f} {_signed(difference)}"
        if difference.low > 0:
            sentences.append(f"`{best}` orders pairs right more often than `{other}`: {shown}.")
        else:
            sentences.append(
                f"`{best}` and `{other}` cannot be told apart by {ordered} prompts ({shown}): take "
                "the one with fewer calls, or measure on more prompts."
            )
    if not sentences:
        shown = _cell(of.rows[0].metrics[ALL_TASKS].pair_accuracy)
        sentences.append(f"`{of.rows[0].name}` orders {shown} of the pairs right.")
    return sentences


def _on_noise(of: RewardCalibration) -> list[str]:
    if of.repeats < 2:
        return ["Each reward was asked for once, which shows no noise: repeat with --repeats 3."]
    sentences = []
    for row in of.rows:
        if row.share is None:
            text = "gives all images of a prompt the same: it teaches nothing"
        elif row.group is None:
            text = "differs between images of a prompt by its noise alone: no group is large enough"
        elif row.share >= EXACT:
            text = f"repeats as good as exactly: a group of {of.reference} stays {of.reference}"
        else:
            text = f"needs a group of {row.group} to teach as much as {of.reference} without noise"
        sentences.append(f"`{row.name}` {text}.")
    return sentences


def _on_gaps(of: RewardCalibration) -> list[str]:
    first = sorted(of.reasons.items(), key=lambda pair: -pair[1])[:_SHOWN_REASONS]
    return [f"Not scored, {number_}: {inline(reason)}." for reason, number_ in first]


def _order_table(rows: Sequence[RewardRow]) -> str:
    header = ["reward", "pairs right", "tau-b", "one image", *(f"best of {n}" for n in BEST_OF)]
    cells = []
    for row in rows:
        of = row.metrics[ALL_TASKS]
        shown = (of.pair_accuracy, of.rank_correlation, of.mean_truth, *of.best_of.values())
        cells.append([f"`{row.name}`", *map(_cell, shown)])
    return markdown_table(header, cells, _aligned(header))


def _ordered_note(of: RewardCalibration) -> str:
    metrics = of.rows[0].metrics[ALL_TASKS]
    return (
        f"Pairs right and tau-b rest on the {metrics.n_ordered} of {metrics.n_prompts} prompts "
        "whose images differ in truth. Pairs right: the chance to order two such images right, 0.5 "
        "by guessing. Best of N: the truth of the image with the highest reward among N."
    )


def _noise_table(of: RewardCalibration) -> str:
    header = [
        "reward", "calls an image", "signal", "noise", "reliability",
        f"group for {of.reference}", "flat prompts",
    ]  # fmt: skip
    cells = []
    for row in of.rows:
        metrics = row.metrics[ALL_TASKS]
        parts = metrics.reliability
        cells.append(
            [
                f"`{row.name}`",
                f"{row.calls:.1f}",
                NOTHING if parts is None else _cell(parts.signal),
                NOTHING if parts is None else _cell(parts.noise),
                number(row.share),
                NOTHING if row.group is None else str(row.group),
                f"{metrics.n_flat:.3g} of {metrics.n_prompts}",
            ]
        )
    return markdown_table(header, cells, _aligned(header))


def _task_table(rows: Sequence[RewardRow]) -> str:
    tasks = [task for task in rows[0].metrics if task != ALL_TASKS]
    header = ["pairs right", *map(inline, tasks)]
    cells = [
        [f"`{row.name}`", *(_cell(row.metrics[task].pair_accuracy) for task in tasks)]
        for row in rows
    ]
    return markdown_table(header, cells, _aligned(header))


def _aligned(header: Sequence[str]) -> list[Align]:
    return ["left", *["right" for _ in header[1:]]]  # type: ignore[list-item]


def _cell(estimate: Estimate) -> str:
    return NOTHING if estimate.value is None else f"{number(estimate.value)} {interval(estimate)}"


def _signed(estimate: Estimate) -> str:
    return f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _times(number_: int) -> str:
    return {1: "once", 2: "twice"}.get(number_, f"{number_} times")
