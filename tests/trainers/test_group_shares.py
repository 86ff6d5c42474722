"""The trajectories of a step are divided among any number of processes, each made exactly once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphatrainers.distributed import Processes
from alphatrainers.group_shares import GroupShare, share_of_step, splits_groups
from alphatrainers.guards import refuse_idle
from alphatrainers.settings import TrainingSettings
from alphatrainers.trajectory import TrainingPrompt
from tests.support.toy_policy import ToyTask
from tests.support.toy_training import settings_of

PROMPTS = [TrainingPrompt(id=f"p{number}", text=str(number)) for number in range(32)]


def settings(*, prompts: int, group: int, updates: int = 1) -> TrainingSettings:
    return settings_of(
        f"training.prompts_per_step={prompts}",
        f"training.group_size={group}",
        f"training.updates_per_step={updates}",
    ).training


def shares(size: int, of: TrainingSettings) -> list[GroupShare]:
    prompts = PROMPTS[: of.prompts_per_step]
    return [share_of_step(prompts, of, Processes(rank=rank, size=size)) for rank in range(size)]


def made(share: GroupShare, of: TrainingSettings) -> list[tuple[str, int]]:
    """Prompt and member of each trajectory, in order."""
    whole = range(of.group_size)
    return [(one.id, n) for one in share.prompts for n in share.members.get(one.id, whole)]


@pytest.mark.parametrize(("prompts", "group", "updates"), [(32, 14, 1), (32, 14, 2), (3, 4, 3)])
def test_every_trajectory_is_made_once_by_any_number_of_processes(
    prompts: int, group: int, updates: int
) -> None:
    of = settings(prompts=prompts, group=group, updates=updates)
    for size in (1, 2, 3, 5, 32, 33, 56, 64, prompts // updates * group):
        if size > prompts // updates * group:
            continue
        counts = Counter(one for share in shares(size, of) for one in made(share, of))
        assert set(counts.values()) == {1}, size
        assert len(counts) == prompts * group, size


def test_the_56_devices_of_the_released_recipe_make_8_of_448_each() -> None:
    of = settings(prompts=32, group=14)
    every = shares(56, of)
    assert {len(made(share, of)) for share in every} == {8}
    assert max(len(share.prompts) for share in every) == 2
    of = settings(prompts=32, group=14, updates=2)
    for share in shares(56, of):
        first = [name for name, _ in made(share, of) if int(name[1:]) < 16]
        assert len(first) == 4, "as many of each update"


def test_up_to_as_many_processes_as_prompts_a_group_stays_in_one() -> None:
    of = settings(prompts=32, group=14)
    assert all(share.members == {} for share in shares(32, of))
    assert [one.id for one in shares(20, of)[3].prompts] == ["p3", "p23"]


@pytest.mark.parametrize(
    ("size", "task", "message"),
    [
        (56, ToyTask(splits_groups=False), "32 prompts, too few for 56 processes: 24 would"),
        (449, ToyTask(), "448 trajectories, too few for 449 processes: 1 would"),
        (56, object(), "32 prompts, too few for 56 processes: 24 would"),
    ],
)
def test_more_processes_than_work_are_refused(size: int, task: Any, message: str) -> None:
    of = settings(prompts=32, group=14)
    with pytest.raises(AlphaBenchError, match=message):
        refuse_idle(of, processes=size, splits=splits_groups(task))
    refuse_idle(of, processes=56, splits=splits_groups(ToyTask()))
    refuse_idle(of, processes=32, splits=splits_groups(task))
