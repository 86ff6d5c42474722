"""The stream of prompts: decided by the step's number alone."""

from __future__ import annotations

from collections import Counter

import pytest

from alphabench.core.errors import AlphaBenchError
from alphatrainers.prompt_stream import PromptStream
from alphatrainers.trajectory import TrainingPrompt

PROMPTS = [TrainingPrompt(id=str(number), text=f"prompt {number}") for number in range(10)]


def test_every_epoch_has_complete_steps_in_a_new_order() -> None:
    stream = PromptStream(PROMPTS, per_step=3, seed=1)
    epochs = [[p.id for step in range(3) for p in stream.at(3 * e + step)] for e in range(4)]
    assert all(max(Counter(epoch).values()) == 1 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_step_has_the_same_prompts_whatever_ran_before() -> None:
    stream = PromptStream(PROMPTS, per_step=3, seed=1)
    first = [stream.at(step) for step in range(8)]
    assert PromptStream(PROMPTS, per_step=3, seed=1).at(7) == first[7]
    assert PromptStream(PROMPTS, per_step=3, seed=2).at(7) != first[7]


def test_too_few_prompts_and_ids_that_occur_twice_are_refused() -> None:
    with pytest.raises(AlphaBenchError, match="fewer than the 11"):
        PromptStream(PROMPTS, per_step=11, seed=1)
    with pytest.raises(AlphaBenchError, match="'3' occurs twice"):
        PromptStream([*PROMPTS, PROMPTS[3]], per_step=3, seed=1)


def test_the_digest_of_prompts_is_also_of_what_is_known_of_them() -> None:
    def digest(**facts: object) -> str:
        prompt = TrainingPrompt(id="a", text="a dog", facts=facts)
        return PromptStream([prompt], per_step=1, seed=1).digest

    assert digest(count=1, tag="x") == digest(tag="x", count=1)
    assert digest(count=1) != digest(count=2)
