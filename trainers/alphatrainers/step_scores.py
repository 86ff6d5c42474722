"""The scores of one step, shared by all processes, and the advantages that follow from them.

A group may lie in several processes, and statistics over the batch need all of them. Rows are
sorted by prompt, so that the number of processes changes no sum. Knows no policy and no loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from alphabench.core.errors import TrainingStoppedError
from alphatrainers.algorithms.advantages import Advantages
from alphatrainers.distributed import Processes
from alphatrainers.judge_noise import JudgeNoise
from alphatrainers.objective import TrajectoryAdvantage
from alphatrainers.protocols import Score, ScoredTrajectory
from alphatrainers.reward_scoring import (
    RewardUse,
    Scorer,
    TrajectoryScores,
    advantages_of,
    largest_floor,
    rewards_of_part,
    row_of,
)
from alphatrainers.settings import TrainingSettings
from alphatrainers.trajectory import TrainingPrompt
from alphatrainers.update import TrainingItem


class StepScores(NamedTuple):
    """What one step's trajectories scored."""

    rows: list[TrajectoryScores]
    """Of all processes, by the position of the prompt, then by the program's id."""
    row_of: Mapping[str, int]
    """Program id -> its row."""
    position: Mapping[str, int]
    """Prompt id -> the position of the prompt in the step."""


class StepAdvantages(NamedTuple):
    """Advantages of all rows; None for a part that is not trained."""

    image: Advantages | None
    text: Advantages | None
    image_floor: float | None = None
    """Spread up to which a group counts as flat; None: only one without any spread does."""
    text_floor: float | None = None

    def at(self, row: int) -> TrajectoryAdvantage:
        """The advantages of one trajectory; 0 and not trained for a part that is None."""
        image, text = self.image, self.text
        return TrajectoryAdvantage(
            image=0.0 if image is None else float(image.value_B[row]),
            text=0.0 if text is None else float(text.value_B[row]),
            image_trained=image is not None and bool(image.trained_B[row]),
            text_trained=text is not None and bool(text.trained_B[row]),
        )


def share_scores(
    scored: Sequence[ScoredTrajectory], prompts: Sequence[TrainingPrompt], processes: Processes
) -> StepScores:
    """Exchanges the scores of this process's trajectories with those of all others.

    Args:
        scored: of this process.
        prompts: of the whole step, in order.
        processes: all must call this.

    Raises:
        ValueError: if two trajectories have the same program id.
    """
    position = {prompt.id: number for number, prompt in enumerate(prompts)}
    own = [
        (position[one.trajectory.program.prompt.id], one.trajectory.program.id, row_of(one))
        for one in scored
    ]
    entries = [entry for part in processes.gather(own) for entry in part]
    entries.sort(key=lambda entry: entry[:2])
    index = {name: number for number, (_, name, _) in enumerate(entries)}
    if len(index) != len(entries):
        raise ValueError("two trajectories of one step have the same program id")
    return StepScores([row for _, _, row in entries], index, position)


def step_advantages(
    rows: Sequence[TrajectoryScores],
    rewards: Mapping[str, RewardUse],
    settings: TrainingSettings,
    noise: JudgeNoise | None = None,
) -> StepAdvantages:
    """Advantages of the image part and of the text part, each by the rewards that apply to it."""

    def of(part: Literal["image", "text"]) -> tuple[Advantages, float | None]:
        uses, how = rewards_of_part(rewards, part), settings.advantage
        return advantages_of(rows, uses, how, noise), largest_floor(uses, how, noise)

    nothing = (None, None)
    image, image_floor = of("image") if settings.image.trained else nothing
    text, text_floor = of("text") if settings.text.trained else nothing
    return StepAdvantages(image, text, image_floor, text_floor)


def measure_noise(
    scored: Sequence[ScoredTrajectory],
    scores: StepScores,
    scorer: Scorer,
    processes: Processes,
    *,
    images: int,
) -> tuple[JudgeNoise, list[Score]]:
    """Has trajectories of a step scored twice more, the second time in the opposite order.

    Which ones follows from the step, not from the processes: one of each group, then another of
    each. Those that miss a score are left out.

    Args:
        scored: of this process.
        scores: of the step.
        scorer: scores them.
        processes: all must call this.
        images: how many trajectories.

    Returns:
        The noise, the same in every process, and the further scores of this one.

    Raises:
        TrainingStoppedError: fewer than two could be scored twice.
    """
    chosen = _over_groups(scores, images)
    own = [one.trajectory for one in scored if one.trajectory.program.id in chosen]

    def repeats() -> tuple[list[ScoredTrajectory], list[ScoredTrajectory]]:
        if not own:
            return [], []
        with processes.stop.abandonable():
            first = scorer.submit(own, repeat=1).result()
            return first, scorer.submit(own[::-1], repeat=2).result()[::-1]

    first, second = processes.agree(repeats)
    found = {
        one.trajectory.program.id: difference
        for one, other in zip(first, second, strict=True)
        if (difference := _difference(one, other)) is not None
    }
    everywhere = {key: one for part in processes.gather(found) for key, one in part.items()}
    if len(everywhere) < 2:
        raise TrainingStoppedError(
            f"{len(everywhere)} of {len(chosen)} images could be scored twice more, too few to "
            "measure the noise of the rewards",
            hint="repair the judge, or set training.advantage.noise_images=0",
        )
    noise = JudgeNoise(differences=tuple(everywhere[name] for name in sorted(everywhere)))
    return noise, [score for one in (*first, *second) for score in one.scores.values()]


def _over_groups(scores: StepScores, count: int) -> set[str]:
    """Program ids: the first of each group, then the second of each, until there are enough."""
    members: dict[str, int] = {}
    turns: list[tuple[int, int, str]] = []
    for name, row in sorted(scores.row_of.items(), key=lambda pair: pair[1]):
        group = scores.rows[row].group
        members[group] = members.get(group, 0) + 1
        turns.append((members[group], row, name))
    return {name for _, _, name in sorted(turns)[:count]}


def _difference(one: ScoredTrajectory, other: ScoredTrajectory) -> dict[str, float] | None:
    pairs = {name: (score.value, other.scores[name].value) for name, score in one.scores.items()}
    found = {name: b - a for name, (a, b) in pairs.items() if a is not None and b is not None}
    return found if len(found) == len(pairs) else None


def training_items(
    scored: Sequence[ScoredTrajectory], scores: StepScores, advantages: StepAdvantages
) -> list[TrainingItem]:
    """This process's trajectories with their advantages, for the updates."""
    return [
        TrainingItem(
            trajectory=one.trajectory,
            advantage=advantages.at(scores.row_of[one.trajectory.program.id]),
            position=scores.position[one.trajectory.program.prompt.id],
        )
        for one in scored
    ]
