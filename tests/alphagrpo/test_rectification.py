"""Rectified rewards of refinements: the golden example and the laws around it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphagrpo import rectification
from alphagrpo.rectification import (
    RECTIFICATIONS,
    Rectification,
    any_improved,
    improved,
    text_reward,
)

rectify = partial(rectification.rectify, total=lambda reward: reward)
REWARDS = st.one_of(st.none(), st.floats(0.0, 1.0))
TRIPLES = st.lists(st.tuples(REWARDS, REWARDS, st.sampled_from("pq")), min_size=1, max_size=12)


@pytest.mark.parametrize(("mode", "key"), [("init", "fpr_release"), ("group_min", "fpr_group_min")])
def test_both_readings_give_the_golden_rewards(shared: Path, mode: Rectification, key: str) -> None:
    golden = json.loads((shared / "golden" / "trainer" / "refine.json").read_text())
    given_rewards = golden["refined"], golden["init"], golden["prompts"]
    assert rectify(*given_rewards, mode=mode) == tuple(golden[key])
    assert any_improved(golden["refined"], golden["init"])
    assert golden["skip_when_no_sample_improves"] is False
    assert rectify(*given_rewards, mode="none") == tuple(golden["refined"])


def test_the_text_reward_is_the_golden_one(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "trainer" / "refine.json").read_text())["text_reward"]
    example = golden["example"]
    reward = text_reward(
        example["r"],
        thinks=bool(example["think_ok"]),
        reflects=bool(example["reflect_ok"]),
        weight=golden["w"],
    )
    assert reward == example["out"]


def test_a_large_step_back_is_punished_by_group_min_only() -> None:
    refined, initial, groups = (0.8, 0.6, 0.1), (0.6, 0.6, 0.6), "ppp"
    assert rectify(refined, initial, groups, mode="init") == (0.8, 0.6, 0.6)
    assert rectify(refined, initial, groups, mode="group_min") == (0.8, 0.1, 0.1)


def test_an_unscored_refinement_stays_unscored_and_sets_no_minimum() -> None:
    refined, initial = (None, 0.4, 0.9), (0.5, 0.5, 0.5)
    assert rectify(refined, initial, "ppp", mode="group_min") == (None, 0.4, 0.9)
    assert rectify(refined, initial, "ppp", mode="init") == (None, 0.5, 0.9)


def test_beside_an_unscored_initial_image_nothing_is_known_to_have_improved() -> None:
    assert rectify((0.9,), (None,), "p", mode="init") == (None,)
    assert rectify((0.9,), (None,), "p", mode="none") == (0.9,)
    assert improved(0.9, None) is None
    assert not any_improved((0.9,), (None,))
    assert not any_improved((0.5,), (0.5,))


@given(TRIPLES)
def test_what_did_not_improve_never_ranks_above_what_did(
    triples: list[tuple[float | None, float | None, str]],
) -> None:
    refined, initial, groups = zip(*triples, strict=True)
    for mode in ("init", "group_min"):
        rewards = rectify(refined, initial, groups, mode=mode)
        for reward, after, before in zip(rewards, refined, initial, strict=True):
            better = improved(after, before)
            assert (reward is None) == (better is None)
            if better:
                assert reward == after
            elif reward is not None and before is not None:
                assert reward <= before


@given(TRIPLES)
def test_order_changes_no_reward(triples: list[tuple[float | None, float | None, str]]) -> None:
    forward = rectify(*zip(*triples, strict=True), mode="group_min")
    backward = rectify(*zip(*triples[::-1], strict=True), mode="group_min")
    assert backward[::-1] == forward


def test_the_text_of_an_unscored_image_has_no_reward() -> None:
    assert text_reward(None, thinks=True, reflects=True) is None
    assert text_reward(0.5, thinks=True, reflects=True) == 0.75
    assert text_reward(0.5, thinks=False, reflects=False) == 0.25


def test_an_unknown_mode_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(AlphaBenchError, match=r"did you mean 'group_min'"):
        rectify((), (), (), mode="groupmin")  # type: ignore[arg-type]
    assert RECTIFICATIONS == ("init", "group_min", "none")


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        rectify((0.1, 0.2), (0.1,), "pp", mode="init")
