"""Validation curves: they survive a restart, and one view is not compared with another."""

from __future__ import annotations

import json
import math
from pathlib import Path

from alphatrainers.checkpoint import TrainingFolder
from alphatrainers.settings import GuardSettings
from alphatrainers.validation_curve import ValidationCurves
from tests.support.toy_policy import Scripted, point

POINTS = [point(0.1, 0.3), point(0.5, 0.9), point(0.2, 0.3)]


def curves(folder: Path, messages: list[str], script: Scripted) -> ValidationCurves:
    return ValidationCurves(
        [script], GuardSettings(), folder=TrainingFolder(folder), report=messages.append
    )


def test_a_restored_curve_goes_on_as_the_uninterrupted_one(tmp_path: Path) -> None:
    messages: list[str] = []
    first = curves(tmp_path, messages, Scripted(POINTS[:2]))
    first.measure(step=0, view="train", reward=math.nan)
    first.measure(step=1, view="train", reward=1.0)
    state = json.loads(json.dumps(first.state()))
    second = curves(tmp_path, messages, Scripted(POINTS[2:]))
    second.restore(state)
    assert second.state() == state
    (measured,) = second.measure(step=2, view="train", reward=2.0)
    assert not measured.best
    assert "since the start +0.050" in messages[-2] or "since the start +0.050" in messages[-1]


def test_ema_and_trained_weights_have_curves_of_their_own(tmp_path: Path) -> None:
    both = curves(tmp_path, [], Scripted(POINTS))
    (train,) = both.measure(step=0, view="train", reward=math.nan)
    (ema,) = both.measure(step=0, view="ema", reward=math.nan)
    assert train.best
    assert ema.best
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [line["view"] for line in lines] == ["train", "ema"]
    assert lines[0]["samples"] == 2


def test_a_run_folder_is_named_from_the_trainings_own_where_it_lies_inside(tmp_path: Path) -> None:
    inside = POINTS[0].__class__(
        value=0.5, low=0.4, high=0.6, items={"a": 0.5}, folder=tmp_path / "validation" / "run"
    )
    curves(tmp_path, [], Scripted([inside])).measure(step=0, view="train", reward=0.0)
    (line,) = (tmp_path / "validation.jsonl").read_text().splitlines()
    assert json.loads(line)["folder"] == "validation/run"
