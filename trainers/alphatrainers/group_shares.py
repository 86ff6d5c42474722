"""Which trajectories of a training step each process makes: whole groups, or parts of them.

With no more processes than prompts, a group stays in one process, and batches are those of any
other number of processes. With more, each update's trajectories are divided evenly, so that a
process may have parts of one or several groups; its batches are smaller then. Knows no task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from alphatrainers.distributed import Processes
from alphatrainers.protocols import Exchange, SplitsGroups, Task
from alphatrainers.settings import TrainingSettings
from alphatrainers.trajectory import TrainingPrompt

T = TypeVar("T")


class GroupShare(NamedTuple):
    """One process's part of a step."""

    prompts: list[TrainingPrompt]
    members: Mapping[str, range]
    """By prompt id, for `StepInfo.members`; empty where each of the prompts has its whole group."""


def share_of_step(
    prompts: Sequence[TrainingPrompt], settings: TrainingSettings, processes: Processes
) -> GroupShare:
    """This process's part of a step's prompts, and of their groups.

    Args:
        prompts: of the whole step, in order.
        settings: with the size of a group and the updates of a step.
        processes: all that train together.
    """
    if processes.size <= len(prompts):
        return GroupShare(processes.share(prompts), {})
    size, own = settings.group_size, GroupShare([], members := {})
    step = len(prompts) // settings.updates_per_step
    for start in range(0, len(prompts), step):
        part = prompts[start : start + step]
        low, high = (
            rank * len(part) * size // processes.size
            for rank in (processes.rank, processes.rank + 1)
        )
        for number, prompt in enumerate(part):
            made = range(max(low - number * size, 0), min(high - number * size, size))
            if made:
                own.prompts.append(prompt)
                members[prompt.id] = made
    return own


def exchange_of(processes: Processes) -> Exchange:
    """The exchange of a step whose groups are split over these processes."""

    def exchange(work: Callable[[], T]) -> list[T]:
        # First whether all have done it: none may wait for the result of one that failed.
        return processes.gather(processes.agree(work))

    return exchange


def splits_groups(task: Task) -> bool:
    """Whether the task makes parts of groups."""
    return isinstance(task, SplitsGroups) and task.splits_groups
