"""Gradients of batches are the trainer's own, under two credits; the page follows from products."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alphabench.core.errors import AlphaBenchError
from alphagrpo.recipe import load_recipe
from alphagrpo.training_run import run_training
from alphatrainers.reporting.history import read_steps
from tools.results import gradient_noise
from tools.results.gradient_batches import FREE_OF_KL, PARTS, BatchMeter
from tools.results.gradient_noise import MeasuredState
from tools.results.gradient_noise_page import credit_findings, noise_page
from tools.results.gradient_products import (
    StateNumbers,
    products_of,
    state_to_json,
    states_from,
    total_counts,
)
from tools.results.gradient_statistics import part_noise

SMALL = (
    *FREE_OF_KL,
    *("validation=[]", "panel=0", "training.logging.tensorboard=false"),
    *("training.prompts_per_step=1", "training.group_size=4", "training.image.levels=1"),
    "prompts={source: 'small:?count=8'}",
    *("task.draw.points=3", "task.thought.max_tokens=20"),
    "rewards={bright: {kind: python, factory: 'tests.support.bright_reward:mean_brightness'}, "
    "tags: {kind: think_tags, weight: 0.1, credits: text}}",
)
"""A limit under which some thoughts lack their end, and with it their form."""


def test_a_batch_has_the_gradient_of_the_training_step_and_changes_no_weight(
    tmp_path: Path,
) -> None:
    recipe = load_recipe("nano-awm", [*SMALL, "training.steps=1"])
    run_training(recipe, tmp_path / "run", device="cpu", progress=False)
    (step,) = read_steps(tmp_path / "run")
    meter = BatchMeter(recipe, tmp_path)
    once, twice = meter.measure(0), meter.measure(0)
    norms = [float(np.linalg.norm(once.gradients["own", part])) for part in PARTS]
    assert math.hypot(*norms) == pytest.approx(step.values["grad_norm"], rel=1e-5)
    assert min(norms) > 0.0
    for key, value in once.gradients.items():
        np.testing.assert_array_equal(value, twice.gradients[key])
    differs = once.counts.form_flat < once.counts.groups
    assert once.counts.advantages_differ == {"text": differs, "image": differs}
    same = np.array_equal(once.gradients["own", "image"], once.gradients["release", "image"])
    assert same is not differs


def numbers(name: str = "made", *, n: int = 12, form: bool = True) -> StateNumbers:
    """Batches whose release gradient has twice the noise; or is own's, where no form varies."""
    rng = np.random.default_rng(n)
    own = 0.3 + rng.normal(size=(n, 50))
    release = own + rng.normal(size=own.shape) if form else own
    flat = {"text": 1, "image": 0}
    count = {
        "trajectories": 48,
        "without_form": 3 if form else 0,
        "groups": 4,
        "form_flat": 2 if form else 4,
        "flat": {"own": flat, "release": flat},
        "advantages_differ": {"text": form, "image": form},
    }
    products = products_of(own, release)
    return StateNumbers(
        name=name,
        temperature=1.0,
        shaken=0.0,
        group_size=12,
        sizes={"text": 50, "image": 50},
        identity={"policy": {"kind": "made"}},
        batches=n,
        counts=total_counts([count] * n),
        products={"text": products, "image": products},
    )


def test_kept_numbers_give_the_same_page_and_same_credits_are_kept_once() -> None:
    states = [numbers("varied"), numbers("flat", form=False)]
    kept = json.loads(json.dumps({"states": [state_to_json(one) for one in states]}))
    assert kept["states"][0]["counts"]["flat/own/text"] == 12
    assert kept["states"][0]["counts"]["without_form"] == 36
    assert "release" not in kept["states"][1]["products"]["text"]
    assert noise_page(states_from(kept)) == noise_page(states)


def test_rounding_of_products_hardly_moves_a_small_signal() -> None:
    rng = np.random.default_rng(5)
    own = 0.01 + rng.normal(size=(40, 400)) / 20.0
    raw = part_noise(products_of(own, own)).snr["own"].value
    exact_NN = own @ own.T
    off = exact_NN.sum() - np.trace(exact_NN)
    signal = off / (40 * 39)
    exact = signal / (np.trace(exact_NN) / 40 - signal)
    assert raw == pytest.approx(exact, rel=0.01)


def test_what_is_said_follows_the_intervals() -> None:
    states = [numbers("varied", n=40), numbers("flat", form=False)]
    noise = {one.name: {p: part_noise(of) for p, of in one.products.items()} for one in states}
    first, *others = credit_findings(states, noise)
    assert first.startswith("flat: every thought of every group has the same reward")
    assert [one.partition(":")[0] for one in others] == ["varied, text", "varied, image"]
    assert all("lower under release" in one for one in others)
    wide = replace(noise["varied"]["text"].difference, low=-1.0, high=1.0)
    noise["varied"]["text"] = replace(noise["varied"]["text"], difference=wide)
    assert "no difference" in credit_findings(states, noise)[1]


def test_the_page_is_written_from_kept_numbers_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {"states": [state_to_json(numbers())]}
    (tmp_path / "numbers.json").write_text(json.dumps(kept))
    gradient_noise.main([str(tmp_path / "none"), "--out", str(tmp_path), "--write-page"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "README.md")
    assert "| made " in (tmp_path / "README.md").read_text()


@pytest.mark.whole
def test_batches_are_kept_and_those_of_another_state_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = MeasuredState(name="small")
    monkeypatch.setattr(gradient_noise.MeasuredState, "overrides", property(lambda _: [*SMALL]))
    once = gradient_noise.measure_state(state, tmp_path, 3)
    monkeypatch.setattr(BatchMeter, "measure", None)  # everything is kept
    again = gradient_noise.measure_state(state, tmp_path, 3)
    assert state_to_json(once) == state_to_json(again)
    with pytest.raises(AlphaBenchError, match="other weights or settings"):
        gradient_noise.measure_state(replace(state, temperature=2.0), tmp_path, 3)
