"""An image algorithm from outside the package, in a recipe and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from alphabench.core.errors import AlphaBenchError
from alphagrpo.recipe import load_recipe
from tests.alphagrpo.test_train_command_line import QUICK
from tests.cli.conftest import Shell

OWN = "training.image.kind=tests.support.own_image_algorithm:REINFORCE"
GAUSSIAN = "task.draw.kernel=flow_sde"


def test_the_command_line_trains_the_embedded_model_with_an_algorithm_from_outside(
    tmp_path: Path,
) -> None:
    alphabench = Shell(folder=tmp_path, cache=tmp_path / "cache")
    changes = [one for one in QUICK if not one.startswith("validation=")]
    changes += ["validation=[]", OWN, GAUSSIAN]
    alphabench("train", "nano-rt2i", *changes, "--device", "cpu", "--out", "run")
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    values = json.loads(line)["values"]
    assert values["gap/image"] == 0.0
    assert values["gradient_norm"] > 0.0
    assert "image/log_prob" in values
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["training"]["image"]["kind"] == OWN.partition("=")[2]


def test_a_recipe_refuses_what_the_row_does_not_accept() -> None:
    with pytest.raises(AlphaBenchError, match=r"kernel=cps .*: use flow_sde or dance"):
        load_recipe("nano-rt2i", [OWN])
    with pytest.raises(
        AlphaBenchError, match=r"stores no steps.* a window, or train with awm, nft or none"
    ):
        load_recipe("nano-rt2i", [OWN, GAUSSIAN, "task.draw.window={kind: none}"])
