from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from alphabench.scenes.descriptions import geneval_prompt
from alphabench.scenes.render import render
from alphabench.scenes.scene_edits import edit, mistake
from alphabench.scenes.scene_questions import check_holds
from alphabench.scenes.small_world import SmallObject, SmallScene, small_to_scene
from alphabench.scenes.small_world_sampling import random_change, random_small_scene

SEEDS = st.integers(min_value=0, max_value=2**31)
DOG = SmallObject(category="dog", colour=None, place="upper left")


@given(SEEDS)
def test_a_change_leaves_what_it_does_not_name_as_it_was(seed: int) -> None:
    change = random_change(np.random.default_rng(seed))
    before, after = (
        np.asarray(
            render(small_to_scene(scene, np.random.default_rng(seed)), 64, 64).image, dtype=int
        )
        for scene in (change.before, change.after)
    )
    if change.kind == "background":
        assert change.before.objects == change.after.objects
        return
    assert change.before.tone == change.after.tone
    # More than the shades of the others may vary when a thing comes or goes.
    differs = np.abs(before - after).max(axis=2) > 60
    # A quarter of the picture holds one thing, whose rim may reach a pixel or two beyond; a swap
    # and exchanged colours touch two.
    corners = (differs.reshape(2, 32, 2, 32).mean(axis=(1, 3)) > 0.05).sum()
    if "middle" not in {thing.place for thing in (*change.before.objects, *change.after.objects)}:
        assert corners <= (2 if change.kind in ("swap", "colours") else 1)


@given(SEEDS)
def test_a_mistake_breaks_the_wish_and_its_change_mends_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = random_small_scene(rng)
    asked = geneval_prompt(wanted, rng)
    if asked is None:
        return
    try:
        change = mistake(wanted, rng)
    except LookupError:
        return
    assert change.after == wanted
    assert change.before != wanted
    assert check_holds(asked.facts, render(small_to_scene(change.after, rng), 64, 64).truth)


@given(SEEDS)
@example(455)  # its first scene has no change that can be named
def test_an_instruction_names_what_changes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    change = random_change(rng)
    gone = {thing.category for thing in change.before.objects} - {
        thing.category for thing in change.after.objects
    }
    new = {thing.category for thing in change.after.objects} - {
        thing.category for thing in change.before.objects
    }
    for category in gone | new:
        assert category in change.instruction
    assert change.complaint


def test_a_scene_in_which_nothing_can_be_named_has_no_mistake_of_colour() -> None:
    twins = (DOG, SmallObject(category="dog", colour=None, place="upper right"))
    small = SmallScene(objects=twins, tone="white")
    kinds = {mistake(small, np.random.default_rng(seed)).kind for seed in range(50)}
    assert kinds == {"add", "remove"}


def test_every_kind_of_edit_occurs() -> None:
    kinds = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        try:
            kinds.add(edit(random_small_scene(rng), rng).kind)
        except LookupError:
            continue
    assert kinds == {"colour", "replace", "remove", "add", "background"}
