from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alphabench.reports.comparison import is_distinguishable
from alphabench.statistics import Bootstrap, Cluster, mean_of_groups, paired_difference
from tools.results.detectable_difference import (
    ImageModel,
    detectable,
    main,
    measured_table,
    model_table,
)

PAGE = Path(__file__).parents[3] / "docs" / "reading_results.md"


def beta(mean: float, share: float, size: int, rng: np.random.Generator) -> np.ndarray:
    strength = 1.0 / share - 1.0
    return rng.beta(mean * strength, (1.0 - mean) * strength, size)


def run_of(chances: np.ndarray, n_images: int, rng: np.random.Generator) -> list[Cluster]:
    right = rng.binomial(n_images, np.clip(chances, 0.0, 1.0))
    return [
        Cluster(
            sample_id=str(i),
            group="all",
            total=float(n),
            n_scored=n_images,
            n_expected=n_images,
        )
        for i, n in enumerate(right)
    ]


@pytest.mark.parametrize("n_images", [1, 4])
def test_a_detectable_difference_is_found_in_about_four_of_five_comparisons(n_images: int) -> None:
    model, n_prompts, n_trials = ImageModel(accuracy=0.5), 150, 200
    rng = np.random.default_rng(0)
    shift = detectable(model.variance(n_images), n_prompts)
    n_found = 0
    for _ in range(n_trials):
        base = beta(model.accuracy, model.difficulty, n_prompts, rng)
        same = rng.random(n_prompts) < model.agreement
        other = np.where(same, base, beta(model.accuracy, model.difficulty, n_prompts, rng))
        # A shift that keeps every chance between 0 and 1: a share of the failures succeeds.
        better = other + (1.0 - other) * shift / (1.0 - model.accuracy)
        difference = paired_difference(
            run_of(better, n_images, rng),
            run_of(base, n_images, rng),
            mean_of_groups,
            Bootstrap(replicates=300),
        )
        n_found += is_distinguishable(difference)
    assert 0.72 <= n_found / n_trials <= 0.88


def test_more_prompts_and_more_images_show_smaller_differences() -> None:
    model = ImageModel()
    assert detectable(model.variance(4), 553) < detectable(model.variance(4), 60)
    assert detectable(model.variance(16), 553) < detectable(model.variance(1), 553)


def test_images_cannot_replace_prompts_where_checkpoints_disagree_about_which_are_hard() -> None:
    model = ImageModel(agreement=0.0)
    assert detectable(model.variance(10**6), 60) > detectable(model.variance(4), 120)


def test_the_documented_table_is_the_one_that_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([])
    printed = capsys.readouterr().out.strip()
    assert printed == model_table(ImageModel())
    assert printed in PAGE.read_text(encoding="utf-8")


def test_measured_differences_need_no_model() -> None:
    text = measured_table([0.25, -0.25] * 20)
    assert text.startswith("40 prompts in both runs")
    assert "standard deviation of 0.253" in text
    assert f"| {40:7d} | {detectable(0.0625 * 40 / 39, 40):21.3f} |" in text


def test_one_run_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["one"])
    assert "name two run folders, or none" in capsys.readouterr().err


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="difficulty"):
        ImageModel(difficulty=1.5)
