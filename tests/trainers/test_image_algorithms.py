"""The table of image algorithms, and a row from outside the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphatrainers.image_algorithms import IMAGE_ALGORITHMS, ImageLossSettings, image_algorithm
from alphatrainers.objective import Objective
from alphatrainers.resource_plan import ModelSizes, plan_resources
from alphatrainers.settings import TextLossSettings, TrainingSettings
from tests.support.toy_training import train

OWN = "tests.support.own_image_algorithm:REINFORCE"


def test_an_algorithm_from_outside_trains_a_policy_by_the_name_of_its_module(
    tmp_path: Path,
) -> None:
    settings = [f"training.image.kind={OWN}", "training.steps=2", "training.updates_per_step=2"]
    train(tmp_path / "run", *settings)
    rows = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["values"]["grad_norm"] > 0.0 for row in rows] == [True, True]
    assert rows[0]["values"]["image/logprob_diff"] == 0.0
    assert "image/log_prob" in rows[0]["values"]
    assert "image/ratio/mean" not in rows[0]["values"]


def test_a_training_with_an_algorithm_from_outside_resumes_with_the_same_one_alone(
    tmp_path: Path,
) -> None:
    settings = [f"training.image.kind={OWN}", "training.save_every=1"]
    train(tmp_path / "run", *settings, "training.steps=1")
    assert train(tmp_path / "run", *settings, "training.steps=2").step == 2
    with pytest.raises(AlphaBenchError, match="another training"):
        train(tmp_path / "run", "training.image.kind=flow_grpo", "training.steps=3")


def test_the_settings_refuse_a_distance_that_the_algorithm_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"kl='gaussian' is not defined for .*:REINFORCE.* v_mse"):
        ImageLossSettings(kind=OWN, kl="gaussian")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("flow_gpro", "did you mean 'flow_grpo'"),
        ("tests.support.own_image_algorithm:MISSING", "names no ImageAlgorithm"),
        ("tests.support.own_image_algorithm:NO_ROW", "names no ImageAlgorithm"),
        ("tests.support.no_such_module:ROW", "there is no module"),
    ],
)
def test_a_name_without_a_row_is_refused_in_a_sentence(kind: str, message: str) -> None:
    with pytest.raises(AlphaBenchError, match=message):
        image_algorithm(kind)


@pytest.mark.parametrize("kind", [*IMAGE_ALGORITHMS, OWN])
def test_every_row_says_which_weights_and_how_many_forward_passes_it_needs(kind: str) -> None:
    image = ImageLossSettings(kind=kind, levels=5)
    row = image_algorithm(kind)
    assert set(Objective(image, TextLossSettings(kind="none")).views) == set(row.views)
    sizes = ModelSizes(
        parameters=1e12,
        active_parameters=0.5e12,
        trained_parameters=1e6,
        latent_tokens=1,
        branches=(1, 2, 3, 1),
        window=range(1, 3),
        read_tokens=0,
    )
    work = plan_resources(TrainingSettings(steps=1, image=image), sizes).work
    forwards = 2 + 3 if row.trains_on.needs_window else 5
    assert work.trained_images == pytest.approx(3.0 * forwards)
