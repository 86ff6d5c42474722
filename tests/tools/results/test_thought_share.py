"""The thought's share of what becomes of an image, on numbers whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tools.results.thought_share import (
    best_thought,
    main,
    repaired_share,
    thought_share,
    with_interval,
)


def test_thoughts_that_decide_everything_have_the_whole_variance_and_noise_none_of_it() -> None:
    rng = np.random.default_rng(1)
    thoughts_IT = rng.integers(0, 2, size=(400, 4)).astype(float)
    decided = np.stack([thoughts_IT, thoughts_IT], axis=-1)
    assert thought_share(decided) == pytest.approx(1.0)
    noise = rng.integers(0, 2, size=(400, 4, 2)).astype(float)
    share = with_interval(noise, thought_share)
    assert share.low < 0.0 < share.high
    assert best_thought(noise) == pytest.approx(repaired_share(noise), abs=0.04)
    assert best_thought(decided) > 0.9


def test_a_known_share_is_found() -> None:
    """Right with 0.2 by a bad thought and 0.8 by a good one: 0.09 of 0.25 is the thought's."""
    rng = np.random.default_rng(2)
    chance_IT1 = rng.choice([0.2, 0.8], size=(3000, 4, 1))
    right = (rng.random((3000, 4, 2)) < chance_IT1).astype(float)
    assert thought_share(right) == pytest.approx(0.09 / 0.25, abs=0.03)


def test_what_differs_between_images_alone_is_no_thought_s_share() -> None:
    rng = np.random.default_rng(3)
    chance_I11 = rng.choice([0.1, 0.9], size=(3000, 1, 1))
    right = (rng.random((3000, 4, 2)) < chance_I11).astype(float)
    assert thought_share(right) == pytest.approx(0.0, abs=0.03)


def test_without_variance_there_is_no_share_and_not_zero() -> None:
    nothing = with_interval(np.zeros((5, 4, 2)), thought_share)
    assert math.isnan(nothing.value)
    assert str(nothing) == "—"
    assert str(with_interval(np.zeros((5, 4, 2)), repaired_share)) == "0.000 [0.000, 0.000]"


@pytest.mark.whole
def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--limit", "6", "--images", "1", "--thoughts", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert int(next(line for line in lines if "bad images" in line).split("|")[2]) > 0
    assert any("best of 2 thoughts" in line for line in lines)
