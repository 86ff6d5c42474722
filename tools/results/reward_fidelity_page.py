"""The page of `reward_fidelity`: tables with intervals, and the command that makes them again."""

from __future__ import annotations

from collections.abc import Sequence

from alphabench.reports.markdown import NOTHING, Align, interval, markdown_table, number
from alphabench.reports.reward_fidelity import ALL_TASKS
from alphabench.types import Estimate
from tools.results.judge_strengths import (
    CALLS,
    DETECTOR,
    MEAN_OF_3,
    NOISE_SEED,
    REFERENCE,
    StrengthResult,
    group_needed,
)

CHECKPOINT = "nano?text_scale=1&timesteps=7&temperature=1"
COMMAND = (
    "python -m tools.results.reward_fidelity runs/reward_fidelity \\\n"
    "    --out docs/results/evidence/reward_fidelity"
)

LIMITS = (
    "Nothing about trainings: which reward teaches more is another measurement.",
    "Nothing about other judges. This one was trained on this world, and its noise is made: equal "
    "and independent for all questions, while a real judge errs more on some images than others.",
    "How much a grade suffers from noise, in comparison with yes/no answers, rests on this model "
    "of noise: the same log-odds change many more grades. The column of noise 0 rests on none.",
    "The questions follow from the prompts' facts, a perfect decomposition. One by a language "
    "model can leave something out or ask for something else.",
    "The images are those of the untrained model; a trained one makes other mistakes.",
    "Calls cost differently: for these prompts DVReward asks 3 to 6 questions about an image, "
    "holistic 2, its mean of three 6.",
)


def fidelity_page(results: Sequence[StrengthResult], ceiling: Estimate, *, judge: str) -> str:
    """The whole page; `judge` is the digest of its weights."""
    first = next(iter(results[0].rewards.values()))[ALL_TASKS]
    parts = [
        "# What a reward knows",
        "Written by the command below from kept answers. Brackets are 95% intervals over prompts.",
        f"<!-- not run: takes minutes of one core -->\n```bash\n{COMMAND}\n```",
        "## Design",
        f"The untrained embedded model generates 12 images for each of the {first.n_prompts} "
        f"**development** prompts (`geneval:mini`; `{CHECKPOINT}`, with thoughts). "
        "The truth of an image is the nano detector's verdict by GenEval's rules, which on this "
        "world is near the real one (`bench/alphabench/nano/detector.md`). Rewards are compared "
        "within the images of a prompt only, as a training compares them. "
        f"{first.n_ordered} prompts have right and wrong images; the others have no order and are "
        "left out of pairs right and tau-b.",
        f"Judges: the nano judge (weights `{judge[:19]}`) as it is (noise 0), and the same with "
        "normal noise on its log-odds "
        f"(`tools/results/judge_strengths.py` says how; {CALLS} noisy calls, seed "
        f"{NOISE_SEED}). A noisy judge's number is that of one call, in the mean "
        "over these calls.",
        _judges(results),
        "## Pairs right",
        "Of two images of a prompt, one right and one wrong: the chance that the right one has the "
        "higher reward, ties half (area under the ROC curve within prompts).",
        _by_strength(results, "pair_accuracy"),
        "## Rank correlation",
        "Kendall's tau-b with the truth. A reward without ties reaches at most "
        f"{number(ceiling.value)} on these prompts, since the truth has two values; holistic "
        "grades, which have many ties, can exceed that. Pairs right has no such limit.",
        _by_strength(results, "rank_correlation"),
        "## Best of N",
        f"The share of right images among those with the highest reward of N. One image at random: "
        f"{_cell(first.mean_truth)}.",
        _best_of(results),
        "## By task, the judge as it is",
        _by_task(results[0]),
        "## Paired differences",
        _differences(results),
        "## Group that the noise needs",
        f"Images of a prompt that teach as much as {REFERENCE} without noise "
        "([formula](../../../training/rewards.md#measure-before-you-train)).",
        _groups(results),
        "## What it shows",
        "\n".join(f"- {sentence}" for sentence in findings(results)),
        "## What it does not show",
        "\n".join(f"- {sentence}" for sentence in LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def findings(results: Sequence[StrengthResult]) -> list[str]:
    """What the intervals of the paired differences allow to be said, strength by strength."""
    sentences = []
    for name in results[0].pairs_right:
        one, _, other = name.partition(" - ")
        above = [r.noise for r in results if (r.pairs_right[name].low or 0.0) > 0.0]
        below = [r.noise for r in results if (r.pairs_right[name].high or 0.0) < 0.0]
        rest = [r.noise for r in results if r.noise not in (*above, *below)]
        clauses = [
            f"{what} at noise {', '.join(f'{noise:g}' for noise in noises)}"
            for what, noises in (
                ("more pairs right", above),
                ("fewer pairs right", below),
                ("no difference that these prompts can show", rest),
            )
            if noises
        ]
        sentences.append(f"{one} against {other}: {'; '.join(clauses)}.")
    return [*sentences, *_on_ties(results)]


def _on_ties(results: Sequence[StrengthResult]) -> list[str]:
    """A noisy mean that orders better than the grade without noise."""
    clean = results[0].rewards["holistic"][ALL_TASKS].pair_accuracy.value
    means = [(r.noise, r.rewards[MEAN_OF_3][ALL_TASKS].pair_accuracy.value) for r in results[1:]]
    better = [(noise, mean) for noise, mean in means if clean and mean and mean > clean]
    if not better or clean is None:
        return []
    noise, mean = max(better, key=lambda pair: pair[1])
    return [
        f"The mean of three noisy grades ({mean:.3f} at noise {noise:g}) orders better than one "
        f"without noise ({clean:.3f}): a single grade has few values and many ties, which noise "
        "breaks, more often the right way."
    ]


def _judges(results: Sequence[StrengthResult]) -> str:
    header = ["noise on log-odds", "yes/no answers that change sides", "grades that change"]
    rows = [[f"{one.noise:g}", f"{one.flipped:.1%}", f"{one.regraded:.1%}"] for one in results]
    return markdown_table(header, rows, ["right"] * 3)


def _by_strength(results: Sequence[StrengthResult], metric: str) -> str:
    header = ["reward", *(f"noise {one.noise:g}" for one in results)]
    rows = [
        [name, *(_cell(getattr(one.rewards[name][ALL_TASKS], metric)) for one in results)]
        for name in results[0].rewards
    ]
    return markdown_table(header, rows, _aligned(header))


def _best_of(results: Sequence[StrengthResult]) -> str:
    header = ["reward", "noise", "best of 2", "best of 4", "best of 8"]
    rows = [
        [name, f"{one.noise:g}", *map(_cell, one.rewards[name][ALL_TASKS].best_of.values())]
        for one in results
        for name in one.rewards
        if one.noise == 0.0 or name != DETECTOR
    ]
    return markdown_table(header, rows, _aligned(header))


def _by_task(result: StrengthResult) -> str:
    first = next(iter(result.rewards.values()))
    tasks = [task for task in first if task != ALL_TASKS]
    header = ["pairs right", *(f"{task} ({first[task].n_ordered})" for task in tasks)]
    rows = [
        [name, *(_cell(of[task].pair_accuracy) for task in tasks)]
        for name, of in result.rewards.items()
    ]
    table = markdown_table(header, rows, _aligned(header))
    return f"In brackets behind a task: its prompts that have right and wrong images.\n\n{table}"


def _differences(results: Sequence[StrengthResult]) -> str:
    header = ["difference", "noise", "pairs right", "best of 4"]
    rows = [
        [name, f"{one.noise:g}", _signed(one.pairs_right[name]), _signed(one.best_of_4[name])]
        for name in results[0].pairs_right
        for one in results
    ]
    return markdown_table(header, rows, _aligned(header))


def _groups(results: Sequence[StrengthResult]) -> str:
    noisy = [one for one in results if one.noise]
    header = ["reward", *(f"noise {one.noise:g}" for one in noisy)]
    rows = [
        [name, *(_group(one, name) for one in noisy)]
        for name in results[0].rewards
        if name != DETECTOR
    ]
    return markdown_table(header, rows, _aligned(header))


def _group(result: StrengthResult, name: str) -> str:
    needed = group_needed(result.rewards[name][ALL_TASKS])
    return NOTHING if needed is None else str(needed)


def _aligned(header: Sequence[str]) -> list[Align]:
    align: list[Align] = ["left"]
    return [*align, *["right" for _ in header[1:]]]  # type: ignore[list-item]


def _cell(estimate: Estimate) -> str:
    return NOTHING if estimate.value is None else f"{number(estimate.value)} {interval(estimate)}"


def _signed(estimate: Estimate) -> str:
    if estimate.value is None:
        return NOTHING
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
