"""The scores of one step, shared by all processes, and the advantages that follow from them.

A group lies in one process, but statistics over the batch need all of them. Rows are sorted by
prompt, so that the number of processes changes no sum. Knows no policy and no loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from alphatrainers.algorithms.advantages import Advantages
from alphatrainers.distributed import Processes
from alphatrainers.objective import TrajectoryAdvantage
from alphatrainers.protocols import ScoredTrajectory
from alphatrainers.reward_scoring import (
    RewardUse,
    TrajectoryScores,
    advantages_of,
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
    rows: Sequence[TrajectoryScores], rewards: Mapping[str, RewardUse], settings: TrainingSettings
) -> StepAdvantages:
    """Advantages of the image part and of the text part, each by the rewards that apply to it."""

    def of(part: Literal["image", "text"]) -> Advantages:
        return advantages_of(rows, rewards_of_part(rewards, part), settings.advantage)

    return StepAdvantages(
        image=of("image") if settings.image.algorithm is not None else None,
        text=of("text") if settings.text.trained else None,
    )


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
