from __future__ import annotations

import pytest

from alphabench.checkpoints import pick_checkpoint_kind
from alphagrpo.publishing.base_model import BaseModel
from alphagrpo.publishing.usage_examples import PublishedWeights, usage_section


@pytest.mark.parametrize(
    ("kind", "opened_as"),
    [("nano", "bagel"), ("bagel", "bagel"), ("janus", "janus"), ("diffusers", "diffusers")],
)
def test_complete_weights_on_the_hub_are_opened_as_what_they_are(kind: str, opened_as: str) -> None:
    weights = PublishedWeights(
        place="me/model",
        adapter=False,
        base=BaseModel(name="base", kind=kind),
        options={},
        benchmark="geneval",
    )
    command = usage_section(weights)[1].splitlines()[1]
    spec = command.removeprefix("alphabench run geneval --ckpt ")
    assert pick_checkpoint_kind(spec) == (opened_as, "me/model")
