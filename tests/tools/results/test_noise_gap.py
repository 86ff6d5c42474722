"""The noise gap of a recipe: four ways to draw, each scored, and what was not scored is counted."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest

from alphagrpo.recipe import load_recipe
from alphatrainers.protocols import Score, ScoredTrajectory
from tests.support.made_recipes import wrote
from tools.results import noise_gap

QUICK = (
    "task.thought.max_tokens=8",
    "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 2}]",
)


def test_the_held_out_prompts_are_drawn_in_four_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["noise_gap", "nano-rt2i", *QUICK, "--count", "2"])
    noise_gap.main()
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "| noise | thoughts at | held out | dvreward |"
    ways = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in rows]
    assert ways == [("as trained", "1"), ("as trained", "0.02"), ("none", "1"), ("none", "0.02")]
    assert all(re.search(r"\| [01]\.\d{3} \[[01]\.\d{3}, [01]\.\d{3}\] \|$", row) for row in rows)


def test_without_noise_nothing_is_stochastic() -> None:
    task = load_recipe("nano-rt2i").task
    assert noise_gap.task_with(task, noise=True, temperature=0.5).draw == task.draw
    plain = noise_gap.task_with(task, noise=False, temperature=0.5)
    assert plain.draw.window.at(0, n_steps=6, seed=0) == range(0)
    assert plain.thought == replace(task.thought, temperature=0.5)


def test_what_was_not_scored_is_counted_and_no_number() -> None:
    scores = [Score(value=1.0), Score(value=0.5), Score(value=None, reason="refused")]
    scored = [
        ScoredTrajectory(trajectory=wrote(text), scores={"held out": score})
        for text, score in zip("abc", scores, strict=True)
    ]
    cell = noise_gap.mean_with_interval(scored, "held out")
    assert cell.startswith("0.750 [")
    assert cell.endswith("], 1 not scored")
    assert noise_gap.mean_with_interval(scored[2:], "held out") == "none of 1 scored"
