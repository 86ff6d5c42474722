"""A bias on kept answers: none at strength 0, and the more of it, the more a reward prefers it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alphabench.statistics import Bootstrap
from tests.tools.results.test_reward_fidelity import answers
from tools.results import judge_bias
from tools.results.judge_bias import REWARDS, measure_bias
from tools.results.judge_bias_page import bias_findings, bias_page
from tools.results.judge_strengths import measure_strengths
from tools.results.reward_fidelity import answers_file

QUICK = Bootstrap(replicates=100)
KEPT = answers(8)
BRIGHT = [float(one) for one in np.random.default_rng(7).random(len(KEPT))]
"""Has nothing to do with the truth."""


def test_without_a_bias_rewards_know_what_they_knew() -> None:
    found = measure_bias(KEPT, BRIGHT, 0.0, QUICK)
    (clean,) = measure_strengths(KEPT, (0.0,), QUICK)
    assert (found.flipped, found.regraded) == (0.0, 0.0)
    for name in REWARDS:
        assert found.by_truth[name] == clean.rewards[name]["all"]


def test_a_stronger_bias_is_preferred_more_and_truth_is_known_less() -> None:
    weak, strong, absurd = (measure_bias(KEPT, BRIGHT, s, QUICK) for s in (2.0, 10.0, 400.0))
    for name in REWARDS:
        preferred = [one.by_brightness[name].rank_correlation.value for one in (weak, strong)]
        assert preferred[0] is not None
        assert preferred[1] is not None
        assert preferred[0] < preferred[1]
        known = [one.by_truth[name].pair_accuracy.value for one in (weak, strong, absurd)]
        assert known == sorted(known, key=lambda value: -(value or 0.0))
        best = absurd.by_brightness[name]
        assert (best.best_of[4].value or 0.0) > (best.mean_truth.value or 0.0) + 0.1
    assert 0.0 < strong.flipped < absurd.flipped
    assert weak.regraded < strong.regraded


def test_what_is_said_follows_the_intervals() -> None:
    results = [measure_bias(KEPT, BRIGHT, strength, QUICK) for strength in (0.0, 4.0)]
    said = bias_findings(results)
    assert len(said) == 4
    (found,) = (
        one for one in said if one.startswith("Best of four by holistic") and "bright" in one
    )
    low = results[1].brightness_of_best["holistic - DVReward"].low
    high = results[1].brightness_of_best["holistic - DVReward"].high
    assert low is not None
    assert high is not None
    if low > 0.0:
        assert "holistic's is brighter at strength" in found
    elif high < 0.0:
        assert "DVReward's is brighter at strength" in found
    else:
        assert "no difference that these prompts can show at strength 0, 4" in found
    assert "| holistic - DVReward" in bias_page(results, 0.5)


def test_the_page_is_written_from_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers_file(tmp_path).write_text("".join(json.dumps(one.to_json()) + "\n" for one in KEPT))
    (tmp_path / judge_bias.BRIGHTNESS).write_text(json.dumps(BRIGHT))
    judge_bias.main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "README.md")
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [one["strength"] for one in content["strengths"]] == [
        0.0, 5.0, 10.0, 20.0, 30.0,
    ]  # fmt: skip
    assert content["mean_brightness"] == pytest.approx(np.mean(BRIGHT), abs=1e-3)
