"""Refinements of one image, made by several processes: the same as by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphagrpo.refinement_task import RefinementTask
from alphagrpo.tasks import MixedTask
from alphatrainers.distributed import Processes
from alphatrainers.group_shares import exchange_of, share_of_step, splits_groups
from alphatrainers.protocols import ScoredTrajectory
from alphatrainers.settings import TrainingSettings
from alphatrainers.trajectory import InputImage, Program
from tests.alphagrpo.test_tasks import PROMPTS, STEP_INFO, refine
from tests.support.made_recipes import FakeCollector
from tests.support.thread_ranks import at_once

SETTINGS = TrainingSettings(prompts_per_step=2, group_size=4, steps=1)


def seeded(program: Program) -> Mapping[str, float | None]:
    """A score of its own for each; one initial image has none."""
    unscored = program.id.endswith("dog/initial/1")
    return {"r": None if unscored else program.seed % 997 / 997}


def shares(task: RefinementTask, collector: type[FakeCollector], size: int) -> list[Any]:
    """What each process makes of the step: its trajectories, and all that it had to generate."""

    def of_rank(processes: Processes) -> tuple[list[ScoredTrajectory], list[Program]]:
        share = share_of_step(PROMPTS, SETTINGS, processes)
        info = replace(STEP_INFO, members=share.members, exchange=exchange_of(processes))
        own = collector(seeded)
        return task.collect(share.prompts, own, info), own.programs

    return at_once(size, of_rank)


def described(one: ScoredTrajectory) -> Any:
    program = one.trajectory.program
    (source,) = [step.image for step in program.steps if isinstance(step, InputImage)]
    return program.id, program.seed, source.tobytes(), dict(one.scores)


@pytest.mark.parametrize("choose", ["worst", "sampled"])
@pytest.mark.parametrize("size", [3, 5, 8])
def test_processes_share_the_initial_images_and_refine_the_same_one(size: int, choose: str) -> None:
    task = refine(choose=choose)
    whole = FakeCollector(seeded)
    expected = {
        described(one)[0]: described(one) for one in task.collect(PROMPTS, whole, STEP_INFO)
    }
    made = shares(task, FakeCollector, size)
    found = [described(one) for scored, _ in made for one in scored]
    assert {one[0]: one for one in found} == expected
    assert len(found) == len(expected) == 8
    generated = [program.id for _, programs in made for program in programs]
    assert sorted(generated) == sorted(program.id for program in whole.programs)
    assert max(len(programs) for _, programs in made) < len(whole.programs)


class Failing(FakeCollector):
    """Cannot generate the first image of the dog."""

    def collect(self, programs: Any, *, scored: bool = True) -> list[ScoredTrajectory]:
        if any(program.id.endswith("dog/initial/0") for program in programs):
            raise AlphaBenchError("no image", hint="try again")
        return super().collect(programs, scored=scored)


def test_where_one_process_fails_none_waits_for_its_scores() -> None:
    with pytest.raises(AlphaBenchError, match="no image"):
        shares(refine(), Failing, 5)


def test_a_group_whose_members_need_one_another_stays_whole() -> None:
    assert splits_groups(refine())
    assert not splits_groups(refine(rectify="group_min"))
    assert not splits_groups(refine(train_initial=True))
    mixed = {"srr": refine()}
    assert splits_groups(MixedTask(tasks=mixed, weights={"srr": 1.0}))
    assert not splits_groups(MixedTask(tasks=mixed, weights={"srr": 1.0}, by="group"))
