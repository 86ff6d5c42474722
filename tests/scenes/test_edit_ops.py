"""Edits of drawn scenes: what they change, what they leave alone, and how they go wrong."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.scenes.edit_ops import (
    EDIT_ERROR_KINDS,
    OPERATIONS,
    EditErrorKind,
    SceneEdit,
    apply_edit,
    edit_holds,
    edited_scene,
    rest_is_unchanged,
    source_scene,
    why_uneditable,
)
from alphabench.scenes.render import render
from alphabench.scenes.spec import Scene


def _rows() -> list[dict[str, Any]]:
    folder = resources.files("alphabench.scenes") / "mini"
    names = ("gedit", "imgedit", "rise")
    return [
        json.loads(line) for n in names for line in (folder / f"{n}.jsonl").read_text().splitlines()
    ]


ROWS = [row for row in _rows() if row.get("instruction_language") in ("en", None)]
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["key"]))


def _holds(row: dict[str, Any], scene: Scene) -> bool:
    truth = render(scene, 96, 96).truth
    return all(edit_holds(check, scene, truth) for check in row["check"])


@rows
def test_the_source_does_not_yet_show_what_the_edit_asks_for(row: dict[str, Any]) -> None:
    source = source_scene(row)
    assert not _holds(row, source)
    assert edit_holds(row["source"], source, render(source, 96, 96).truth)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(ROWS), st.integers(0, 2**31))
def test_an_edit_shows_what_was_asked_and_touches_nothing_else(
    row: dict[str, Any], seed: int
) -> None:
    edited = edited_scene(row, np.random.default_rng(seed))
    assert _holds(row, edited)
    assert rest_is_unchanged(source_scene(row), edited, SceneEdit.from_facts(row))


@rows
@pytest.mark.parametrize("kind", EDIT_ERROR_KINDS)
def test_a_planted_error_is_one_of_its_kind(row: dict[str, Any], kind: EditErrorKind) -> None:
    source, edit = source_scene(row), SceneEdit.from_facts(row)
    for seed in range(3):
        edited = edited_scene(row, np.random.default_rng(seed), error=kind)
        assert _holds(row, edited) == (kind == "overedited")
        assert (edited == source) or kind != "unedited"
        assert not (kind == "overedited" and rest_is_unchanged(source, edited, edit))


def test_what_an_edit_leaves_alone_keeps_its_very_pixels() -> None:
    row = next(row for row in ROWS if row["edit"] == {"op": "remove", "class": "donut"})
    source = source_scene(row)
    before, after = (
        render(s, 96, 96) for s in (source, edited_scene(row, np.random.default_rng(0)))
    )
    (gone,) = [found for found in before.truth.objects if found.category == "donut"]
    assert gone.mask is not None
    pixels = [np.asarray(picture.image, dtype=int) for picture in (before, after)]
    far = np.ones_like(gone.mask)
    left, top, right, bottom = (int(edge) for edge in gone.box)
    far[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
    assert (pixels[0] == pixels[1])[far].all()
    assert not (pixels[0] == pixels[1])[gone.mask].all()


def test_every_operation_is_in_the_mini_split() -> None:
    assert {row["edit"]["op"] for row in ROWS} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (None, "an edit has an 'op'"),
        ({"op": "paint"}, "an edit has an 'op'"),
        ({"op": "remove"}, "needs 'category'"),
        ({"op": "remove", "class": "unicorn"}, "no 'unicorn'"),
        ({"op": "recolour", "class": "dog", "color": "mauve"}, "no colour 'mauve'"),
        ({"op": "move", "class": "dog", "position": ["near", "car"]}, "'near' is no relation"),
        ({"op": "ground", "ground": {}}, "names a tone or a texture"),
        ({"op": "ground", "ground": {"tone": "loud"}}, "no ground 'loud'"),
        ({"op": "ground", "ground": {"texture": "wool"}}, "no ground in 'wool'"),
        ({"op": "move", "class": "dog", "position": 3}, "cannot be rendered"),
    ],
)
def test_an_edit_that_the_world_cannot_draw_is_told_beforehand(edit: Any, words: str) -> None:
    facts = {"source": {"include": [{"class": "dog", "count": 1}], "exclude": []}, "edit": edit}
    reason = why_uneditable(facts)
    assert reason is not None
    assert words in reason
    with pytest.raises(ValueError, match=re.escape(reason)):
        source_scene(facts)


def test_a_source_without_a_scene_is_told_beforehand() -> None:
    assert why_uneditable({"edit": {"op": "style", "color": "red"}}) is not None


def test_an_edit_of_what_is_not_there_is_an_error() -> None:
    scene = source_scene(ROWS[0])
    with pytest.raises(ValueError, match="instead of one"):
        apply_edit(scene, SceneEdit(op="remove", category="zebra"), np.random.default_rng(0))
