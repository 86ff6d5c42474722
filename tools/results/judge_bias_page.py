"""The page of `judge_bias`: tables with intervals, and what they do and do not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from alphabench.reports.markdown import NOTHING, Align, interval, markdown_table, number
from alphabench.types import Estimate
from tools.results.biased_judge import CENTRE

if TYPE_CHECKING:
    from tools.results.judge_bias import BiasResult

COMMAND: Final = (
    "python -m tools.results.judge_bias runs/reward_fidelity \\\n"
    "    --out docs/results/evidence/judge_bias"
)
LIMITS: Final = (
    "How far a training drifts: a preference within groups is where that begins, and the images "
    "here are those of the untrained model.",
    "Other biases. This one shifts all answers about an image alike; one that depends on the "
    "question may reach the rewards otherwise.",
    "How the same bias of a real judge would reach its grades: that best and worst grade part by "
    "as many log-odds as yes and no is this page's rule. A judge may be surer of its grades.",
)


def bias_page(results: Sequence[BiasResult], mean: float) -> str:
    """The whole page."""
    first = next(iter(results[0].by_truth.values()))
    parts = [
        "# What a biased judge does to a reward",
        "Written by the command below from kept answers. Brackets are 95% intervals over prompts.",
        f"<!-- not run: takes minutes of one core -->\n```bash\n{COMMAND}\n```",
        "**Question.** A judge likes bright images. How much do rewards by it prefer them, and how "
        "much of the truth do they still know, before anything is trained?",
        "**Design.** The images, the truth and the answers of the nano judge are those of [what a "
        f"reward knows](../reward_fidelity/README.md): 12 images for each of {first.n_prompts} "
        "**development** prompts. To every answer about an image of brightness b a bias of "
        f"strength · (b − {CENTRE:g}) is added, in log-odds: of yes against no, and of the best "
        "grade and reason against the worst, with those between in proportion "
        "(`tools/results/biased_judge.py`). The brightness of these images is "
        f"{mean:.2f} in the mean. Rewards are compared within the images of a prompt.",
        "## Answers that the bias changes",
        _answers(results),
        "## What the reward knows",
        "Of two images of a prompt, one right and one wrong: the chance that the right one has the "
        "higher reward, ties half.",
        _by_strength(results, "by_truth", "pair_accuracy"),
        "## What it prefers",
        "Kendall's tau-b of the reward and the brightness, within the images of a prompt.",
        _by_strength(results, "by_brightness", "rank_correlation"),
        "Brightness of the image with the highest reward of four; at random "
        f"{_cell(next(iter(results[0].by_brightness.values())).mean_truth)}.",
        _best(results, "by_brightness"),
        f"The share of right images among them; at random {_cell(first.mean_truth)}.",
        _best(results, "by_truth"),
        "## Paired differences",
        "Of the best of four.",
        _differences(results),
        "## What it shows",
        "\n".join(f"- {sentence}" for sentence in bias_findings(results)),
        "## What it does not show",
        "\n".join(f"- {sentence}" for sentence in LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def bias_findings(results: Sequence[BiasResult]) -> list[str]:
    """What the intervals of the paired differences allow to be said."""
    sentences = []
    for name in results[0].brightness_of_best:
        one, _, other = name.partition(" - ")
        for what, of in (("brighter", "brightness_of_best"), ("more often right", "truth_of_best")):
            found = [(r.strength, getattr(r, of)[name]) for r in results]
            above = [s for s, e in found if (e.low or 0.0) > 0.0]
            below = [s for s, e in found if (e.high or 0.0) < 0.0]
            rest = [s for s, _ in found if s not in (*above, *below)]
            clauses = [
                f"{said} at strength {', '.join(f'{s:g}' for s in strengths)}"
                for said, strengths in (
                    (f"{one}'s is {what}", above),
                    (f"{other}'s is {what}", below),
                    ("no difference that these prompts can show", rest),
                )
                if strengths
            ]
            sentences.append(f"Best of four by {one} and by {other}: {'; '.join(clauses)}.")
    return sentences


def _answers(results: Sequence[BiasResult]) -> str:
    header = ["strength", "yes/no answers that change sides", "grades that change"]
    rows = [[f"{one.strength:g}", f"{one.flipped:.1%}", f"{one.regraded:.1%}"] for one in results]
    return markdown_table(header, rows, ["right"] * 3)


def _by_strength(results: Sequence[BiasResult], of: str, metric: str) -> str:
    header = ["reward", *(f"strength {one.strength:g}" for one in results)]
    rows = [
        [name, *(_cell(getattr(getattr(one, of)[name], metric)) for one in results)]
        for name in results[0].by_truth
    ]
    return markdown_table(header, rows, _columns(header))


def _best(results: Sequence[BiasResult], of: str) -> str:
    header = ["reward", *(f"strength {one.strength:g}" for one in results)]
    rows = [
        [name, *(_cell(getattr(one, of)[name].best_of[4]) for one in results)]
        for name in results[0].by_truth
    ]
    return markdown_table(header, rows, _columns(header))


def _differences(results: Sequence[BiasResult]) -> str:
    header = ["difference", "strength", "brightness", "share right"]
    rows = [
        [
            name,
            f"{one.strength:g}",
            _with_sign(one.brightness_of_best[name]),
            _with_sign(one.truth_of_best[name]),
        ]
        for name in results[0].brightness_of_best
        for one in results
    ]
    return markdown_table(header, rows, _columns(header))


def _cell(one: Estimate) -> str:
    return NOTHING if one.value is None else f"{number(one.value)} {interval(one)}"


def _with_sign(one: Estimate) -> str:
    if one.value is None:
        return NOTHING
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _columns(header: Sequence[str]) -> list[Align]:
    return ["left" if column == 0 else "right" for column in range(len(header))]
