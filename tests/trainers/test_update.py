"""An update replays under other weights only what its losses need of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatrainers.reporting.history import read_steps
from tests.support.toy_training import train

IMAGE_KL, TEXT_KL = "image.kl_weights", "text.kl_weights"


def passes(folder: Path, *settings: str) -> dict[str, float]:
    """Forward passes of the second step, in which all weights differ, by view and kind."""
    train(folder, "training.steps=2", *(f"training.{one}" for one in settings))
    start = "forward_passes/"
    values = read_steps(folder)[1].values
    return {n.removeprefix(start): v for n, v in values.items() if n.startswith(start)}


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ((f"{TEXT_KL}={{}}",), {"velocities"}),
        ((f"{IMAGE_KL}={{}}",), {"texts"}),
    ],
    ids=["images", "texts"],
)
def test_the_reference_answers_for_the_parts_with_a_kl_alone(
    tmp_path: Path, settings: tuple[str, ...], kinds: set[str]
) -> None:
    found = passes(tmp_path / "run", *settings)
    reference = {name.rpartition("/")[2] for name in found if name.startswith("reference/")}
    assert reference == {*kinds, "trajectories"}
    assert found["train/texts"] > 0
    assert found["train/velocities"] > 0


@pytest.mark.parametrize(("old", "kinds"), [("sampled", set()), ("replayed", {"texts"})])
def test_old_weights_score_text_only_where_the_samplers_numbers_do_not_stand_for_them(
    tmp_path: Path, old: str, kinds: set[str]
) -> None:
    settings = ("image.kind=awm", f"{IMAGE_KL}={{}}", "updates_per_step=2", f"old_log_probs={old}")
    found = passes(tmp_path / "run", *settings)
    before = {name.rpartition("/")[2] for name in found if name.startswith("before/")}
    assert before == {*kinds, "velocities", "trajectories"}
