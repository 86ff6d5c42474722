"""Metrics of version 1 are read under today's names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphatrainers.reporting.history import read_points, read_steps
from alphatrainers.reporting.metric_names import metric_of
from alphatrainers.reporting.old_metric_names import values_of_version_1

ROOT = Path(__file__).parents[3]
PUBLISHED = sorted(path.parent for path in ROOT.glob("docs/results/earlier/*/*/metrics.jsonl"))

NAMES = {
    "reward/total": "reward/mean",
    "reward/dv": "reward/dv/mean",
    "reward/dv_spread": "reward/dv/std",
    "reward/dv/semantic": "reward/dv/semantic/mean",
    "reward/unscored_share": "reward/unscored_share",
    "image/kl_reference": "image/kl",
    "image/kl_old": "image/kl_old",
    "text/clipped_above": "text/clip_fraction_high",
    "text/clipped_below": "text/clip_fraction_low",
    "image/ratio": "image/ratio/mean",
    "image/flat_groups": "image/zero_std_groups",
    "image/small_groups": "image/small_groups",
    "image/trained": "image/trained_trajectories",
    "text/largest_advantage": "text/advantage/abs_max",
    "text/tokens": "text/completion_length",
    "image/positive": "image/nft_positive",
    "gap/text": "text/logprob_diff",
    "gap/image": "image/logprob_diff",
    "gap/image_over_clip": "image/logprob_diff_over_clip",
    "gradient_norm": "grad_norm",
    "forwards/train/walks": "forward_passes/train/trajectories",
    "forwards/train/texts": "forward_passes/train/texts",
    "pictures/diversity": "image/diversity",
    "images": "images",
    "loss": "loss",
    "image/own_monitor": "image/own_monitor",
}


def test_each_name_has_a_successor_with_the_same_value() -> None:
    old = {name: float(number) for number, name in enumerate(NAMES)}
    found = values_of_version_1(old)
    assert found.pop("text/clip_fraction") == old["text/clipped_above"] + old["text/clipped_below"]
    assert found == {NAMES[name]: value for name, value in old.items()}


def test_a_log_probability_becomes_an_entropy() -> None:
    assert values_of_version_1({"text/log_prob": -0.25}) == {"text/entropy": 0.25}


def test_a_reward_whose_name_ends_like_a_spread_is_still_a_reward() -> None:
    found = values_of_version_1({"reward/colour_spread": 1.0, "reward/colour_spread_spread": 0.5})
    assert found == {"reward/colour_spread/mean": 1.0, "reward/colour_spread/std": 0.5}


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_published_results_are_read_under_names_of_the_table(folder: Path) -> None:
    steps, points = read_steps(folder), read_points(folder)
    assert {name for step in steps for name in step.values if metric_of(name) is None} == set()
    assert {"reward/mean", "grad_norm", "images"} <= steps[0].values.keys()
    assert {"cpu", "reward_wait"} <= steps[0].seconds.keys()
    assert points[0].low is not None
    assert points[-1].from_start is not None


def test_lines_of_both_versions_stand_in_one_file(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "values": {"gradient_norm": 1.0}, "seconds": {"processor": 2.0}},
        {"step": 1, "version": 2, "values": {"grad_norm": 3.0}, "seconds": {"cpu": 4.0}},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [step.values for step in read_steps(tmp_path)] == [
        {"grad_norm": 1.0},
        {"grad_norm": 3.0},
    ]
    assert [step.seconds for step in read_steps(tmp_path)] == [{"cpu": 2.0}, {"cpu": 4.0}]
