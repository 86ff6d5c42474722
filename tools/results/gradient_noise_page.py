"""The page of `gradient_noise`: what the kept products say, with intervals, and what not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from alphabench.reports.markdown import NOTHING, Align, markdown_table
from alphabench.types import Estimate
from tools.results.gradient_products import StateNumbers
from tools.results.gradient_statistics import PartNoise, part_noise

PAGE: Final = "README.md"
NUMBERS: Final = "numbers.json"
COMMAND: Final = (
    "python -m tools.results.gradient_noise runs/gradient_noise \\\n"
    "    --out docs/results/evidence/gradient_noise"
)
LIMITS: Final = (
    "Nothing about whole trainings: a gradient is measured at one point, before any update, and "
    "Adam divides it by its own running size.",
    "A higher signal-to-noise is no better direction. Where thoughts lose their form, a part of "
    "release's signal in the text is that of the form; the cosine says how far it turns the mean.",
    "Disturbed states are made: a high temperature and shaken weights break the form at random. A "
    "training that loses it may lose it otherwise.",
    "The distances to other weights (KL) are left out of the loss, since they have no noise of "
    "rewards; at the untrained weights their gradient is 0.",
    "Other models, judges and image algorithms than AWM.",
)


def noise_page(states: Sequence[StateNumbers]) -> str:
    """The whole page."""
    first = states[0]
    noise = {one.name: {p: part_noise(of) for p, of in one.products.items()} for one in states}
    parts = [
        "# Credit for the form: signal and noise of the gradient",
        "Written by the command below from kept numbers. Brackets are 95% intervals over batches.",
        f"<!-- not run: takes half an hour of one core -->\n```bash\n{COMMAND}\n```",
        "**Question.** A thought has a form, one pair of tags, which a reward checks. `own` credit "
        "gives this reward to the text alone, with weight 0.1, as the nano recipes do. `release` "
        "gives it to text and image with weight 1, as AlphaGRPO's released recipe for text to "
        "image does. What does that do to the gradient of either part?",
        f"**Design.** {_design(first)}",
        "## States",
        _states(states),
        "## Signal-to-noise",
        "Of one batch: the squared length of the mean gradient over the trace of the covariance, "
        "both estimated without bias from products of different batches, so that a value can be "
        "negative. Batches that are averaged add up: at 0.01, the mean of 100 batches has as much "
        "signal as noise.",
        _signals(states, noise),
        "## What release changes",
        "Size: root mean square of release's gradients over own's. Cosine: between the two mean "
        "gradients, corrected for their noise, so that it can exceed 1; a dash where a signal "
        "cannot be told from 0.",
        _changes(states, noise),
        "## What it shows",
        "\n".join(f"- {sentence}" for sentence in credit_findings(states, noise)),
        "## What it does not show",
        "\n".join(f"- {sentence}" for sentence in LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def _design(first: StateNumbers) -> str:
    batches = first.batches
    prompts = first.counts["groups"] // batches
    values = ", ".join(f"{size:,} of the {part}" for part, size in first.sizes.items())
    return (
        f"{batches} batches of {prompts} prompts with {first.group_size} images in each state, "
        "with the settings, prompts and judge of `nano-awm` (a step of that recipe has twice as "
        "many prompts). A batch is a training step that stops before the optimizer; no weight "
        "changes between batches. Both credits see the same thoughts, images and scores. Trained "
        f"values: {values} (LoRA of the two experts). The thought is sampled before its image: "
        "given the thought, its form is a constant, so that for the image part it should be "
        "noise."
    )


def credit_findings(
    states: Sequence[StateNumbers], noise: dict[str, dict[str, PartNoise]]
) -> list[str]:
    """What the intervals allow to be said."""
    sentences = []
    same = [one.name for one in states if one.same]
    if same:
        sentences.append(
            f"{_listed(same)}: every thought of every group has the same reward of the form, so "
            "that the credits give the same gradients. There is nothing to choose between them."
        )
    for state in (one for one in states if not one.same):
        for part, found in noise[state.name].items():
            sentences.append(f"{state.name}, {part}: {_sentence(found)}.")
    return sentences


def _sentence(found: PartNoise) -> str:
    low, high = found.difference.low, found.difference.high
    assert low is not None
    assert high is not None
    if high < 0.0:
        what = "the signal-to-noise is lower under release"
    elif low > 0.0:
        what = "the signal-to-noise is higher under release"
    else:
        what = "no difference in signal-to-noise that these batches can show"
    cosine = found.cosine
    if cosine.low is None or cosine.high is None:
        return f"{what}; whether the mean turns cannot be told"
    turned = "the mean turns" if cosine.high < 1.0 else "no turn of the mean that they can show"
    return f"{what} ({_signed(found.difference)}); {turned} (cosine {_plain(cosine, 2)})"


def _states(states: Sequence[StateNumbers]) -> str:
    header = [
        "state",
        "temperature",
        "batches",
        "thoughts without form",
        "groups with one reward of form",
        *(f"flat groups, {part}: own, release" for part in states[0].sizes),
    ]
    rows = []
    for one in states:
        counts = one.counts
        groups, thoughts = counts["groups"], counts["trajectories"]
        rows.append(
            [
                one.name,
                f"{one.temperature:g}",
                str(one.batches),
                f"{counts['without_form']:,} of {thoughts:,}",
                f"{counts['form_flat']} of {groups}",
                *(
                    f"{counts[f'flat/own/{p}']}, {counts[f'flat/release/{p}']} of {groups}"
                    for p in one.sizes
                ),
            ]
        )
    shaken = [f"`{one.name}`: {_shaking(one)}" for one in states if one.shaken]
    table = markdown_table(header, rows, _aligned(header))
    return "\n\n".join([table, *shaken])


def _shaking(state: StateNumbers) -> str:
    return (
        f"normal noise with standard deviation {state.shaken:g} on the second factors of the "
        "text's LoRA layers, which are 0 before a training; one sample of the noise, its size "
        "chosen by the share of thoughts that lose their form."
    )


def _signals(states: Sequence[StateNumbers], noise: dict[str, dict[str, PartNoise]]) -> str:
    header = ["state", "part", "own", "release", "release - own"]
    rows = []
    for state in states:
        for part, found in noise[state.name].items():
            own = _plain(found.snr["own"])
            rest = (
                ["the same", NOTHING]
                if state.same
                else [_plain(found.snr["release"]), _signed(found.difference)]
            )
            rows.append([state.name, part, own, *rest])
    return markdown_table(header, rows, _aligned(header, left=2))


def _changes(states: Sequence[StateNumbers], noise: dict[str, dict[str, PartNoise]]) -> str:
    header = ["state", "part", "size", "cosine"]
    rows = [
        [state.name, part, f"{found.norm_ratio:.2f}", _plain(found.cosine, 2)]
        for state in states
        if not state.same
        for part, found in noise[state.name].items()
    ]
    return markdown_table(header, rows, _aligned(header, left=2))


def _plain(one: Estimate, digits: int = 4) -> str:
    if one.value is None:
        return NOTHING
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def _signed(one: Estimate) -> str:
    if one.value is None:
        return NOTHING
    return f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _aligned(header: Sequence[str], *, left: int = 1) -> list[Align]:
    return ["left" if column < left else "right" for column in range(len(header))]
