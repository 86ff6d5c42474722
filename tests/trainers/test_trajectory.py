"""Segments and batches: what fits together, and what cannot be constructed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alphatrainers.protocols import StepInfo
from alphatrainers.rollout import RolloutCollector, batches
from alphatrainers.trajectory import GenerateText, InputText, Program, SampledText, Trajectory
from tests.support.toy_policy import IMAGE, PLAIN_IMAGE, PROMPTS, TEXT, ToyPolicy, program_of

STEP_INFO = StepInfo(step=0, seed=0, group_size=3)


def programs(*counts: int) -> list[Program]:
    return [
        program_of(prompt, member, STEP_INFO, (TEXT, IMAGE))
        for prompt, count in zip(PROMPTS, counts, strict=False)
        for member in range(count)
    ]


def sizes(items: list[Program], most: int) -> list[int]:
    found = batches(items, program=lambda program: program, most=most, group_size=3)
    return [len(batch) for batch in found]


def test_batches_stay_within_groups_where_a_group_fills_them() -> None:
    assert sizes(programs(3, 3), most=2) == [2, 1, 2, 1]
    assert sizes(programs(3, 3), most=3) == [3, 3]
    assert sizes(programs(3, 3), most=4) == [4, 2]
    assert sizes([], most=4) == []


def test_a_batch_has_one_shape_whatever_the_texts_that_are_read() -> None:
    texts, images = program_of(PROMPTS[0], 0, STEP_INFO, (TEXT,)), programs(1)[0]
    assert sizes([texts, texts, images], most=8) == [2, 1]
    assert programs(1)[0].shape == program_of(PROMPTS[2], 5, STEP_INFO, (TEXT, IMAGE)).shape
    assert images.shape != program_of(PROMPTS[0], 0, STEP_INFO, (TEXT, PLAIN_IMAGE)).shape


def test_a_text_has_a_log_probability_for_every_id() -> None:
    with pytest.raises(ValueError, match="2 ids and log-probabilities"):
        SampledText(spec=TEXT, ids=(1, 2), logp_T=torch.zeros(3), finished=True, text="")


def test_an_image_has_as_many_stored_steps_as_its_window() -> None:
    (made,) = ToyPolicy().rollout(programs(1))
    with pytest.raises(ValueError, match="a window of 3 steps"):
        replace(made.images[0], logp_S=torch.zeros(2))


def test_a_trajectory_has_a_segment_for_every_step() -> None:
    program = programs(1)[0]
    with pytest.raises(ValueError, match="1 segments of 3 steps"):
        Trajectory(program=program, segments=(InputText(text="a"),))


def test_truncated_texts_get_no_invented_end() -> None:
    made = ToyPolicy().rollout(programs(3, 3, 3))
    texts = [trajectory.texts[0] for trajectory in made]
    assert {text.finished for text in texts} == {True, False}
    for text in texts:
        assert text.finished == (text.ids[-1] == 0)
        assert 0 not in text.ids[:-1]


def test_settings_of_a_text_that_cannot_be_sampled_are_refused() -> None:
    for bad in ({"max_tokens": 0}, {"max_tokens": 1, "temperature": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            GenerateText(**bad)


class Shuffling(ToyPolicy):
    """Returns its trajectories in another order."""

    def rollout(self, programs: object) -> list[Trajectory]:
        return super().rollout(programs)[::-1]  # type: ignore[arg-type]


def test_trajectories_in_another_order_than_their_programs_are_refused() -> None:
    class NoScorer:
        def submit(self, trajectories: object) -> None:
            raise AssertionError("nothing may be scored")

    collector = RolloutCollector(Shuffling(), NoScorer(), batch=3, group_size=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not those of the programs"):
        collector.collect(programs(3))
