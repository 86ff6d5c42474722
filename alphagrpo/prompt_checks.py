"""Whether prompts carry what rewards and tasks read of them, checked before anything is generated.

A fact that a reward looks up and does not find would end a training only after its first
validation. Asks no judge and opens no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alphabench.core.errors import AlphaBenchError
from alphagrpo.prompt_facts import SOURCE
from alphagrpo.rewards.reward_kinds import FactReadingReward, with_parts
from alphatrainers.protocols import RewardFunction
from alphatrainers.trajectory import TrainingPrompt


def refuse_unfit(name: str, reward: RewardFunction, prompts: Sequence[TrainingPrompt]) -> None:
    """Refuses a reward that cannot judge each of the prompts; parts of sums count.

    Raises:
        AlphaBenchError: naming the reward, a prompt and what it lacks.
    """
    for part, one in with_parts({name: reward}).items():
        if not isinstance(one, FactReadingReward):
            continue
        for prompt in prompts:
            missing = one.missing_facts(prompt)
            if missing is not None:
                raise AlphaBenchError(
                    f"the reward {part!r} cannot judge the prompt {prompt.text!r}: {missing}",
                    hint="take prompts with the facts of its benchmark (prompts.source=small: has "
                    "GenEval's, a benchmark's name its own), or a reward that reads no facts, such "
                    "as kind holistic",
                )


def refuse_sourceless(prompts: Sequence[TrainingPrompt]) -> None:
    """Refuses prompts that do not name the image to be edited, or one that is not there.

    Raises:
        AlphaBenchError: naming the first.
    """
    for prompt in prompts:
        source = prompt.facts.get(SOURCE)
        if not isinstance(source, str):
            raise AlphaBenchError(
                f"the prompt {prompt.text!r} names no image to edit",
                hint=f"give each row of the prompts its {SOURCE!r}, or train another task",
            )
        if not Path(source).is_file():
            raise AlphaBenchError(
                f"the image {source!r} of the prompt {prompt.text!r} does not exist",
                hint="paths are relative to the file of prompts",
            )
