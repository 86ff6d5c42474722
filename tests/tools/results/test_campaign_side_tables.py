"""Brightness of scored images, and what a guard did: kept, shown, and absent where not measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphatrainers.reporting.history import read_points
from tests.tools.results.campaign_tables import SAMPLES, campaign_of, keep_scores, keep_training
from tools.results.campaign.page import write_campaign_page
from tools.results.campaign.plan import Campaign, guard_record
from tools.results.campaign.side_tables import guard_tables
from tools.results.campaign.table import TableCell, evaluations_of, table_cells

ONE = TableCell(condition="one", seed=0)
GUARDED = {
    "base": {"recipe": "nano-awm", "trained": False},
    "one": {
        "recipe": "nano-awm",
        "overrides": ["training.guards.stop_when_hacked=true", "training.steps=8"],
        "weights": "best",
    },
}
FALL = {"value": -0.2, "low": -0.3, "high": -0.1, "pairs": 60}


def complete(folder: Path, **changes: object) -> Campaign:
    campaign = campaign_of(folder, **changes)
    levels = {"base": 0.3, "one": 0.5, "other": 0.4}
    for cell in table_cells(campaign.table):
        if cell.seed is not None:
            keep_training(campaign, cell, rewards=[0.5, 0.6])
        level = levels[cell.condition] + 0.01 * (cell.seed or 0)
        keep_scores(
            campaign, cell, [[1, 0]] * len(SAMPLES), measures={"brightness": [level] * len(SAMPLES)}
        )
    return campaign


def points(folder: Path, *rows: tuple[int, float, Any]) -> None:
    folder.mkdir(parents=True)
    lines = [
        {"step": step, "name": "geneval:mini", "view": "ema", "value": value, "below_best": fall}
        for step, value, fall in rows
    ]
    (folder / "validation.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "identity.json").write_text('{"policy": {}, "rewards": {}}')
    steps = [
        {"step": step, "version": 2, "values": {"reward/mean": 0.1}, "seconds": {"cpu": 8.0}}
        for step in range(rows[-1][0])
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in steps))


def training_folder(words: Sequence[str]) -> Path:
    return Path(words[words.index("--out") + 1])


def test_brightness_stands_beside_the_scores_with_differences_where_the_table_wants_it(
    tmp_path: Path,
) -> None:
    page = write_campaign_page(complete(tmp_path, shows=["brightness"])).read_text()
    below = page.partition("Brightness of the scored images")[2].partition("## Trainings")[0]
    cells = {
        line.split("|")[1].strip(): line.split("|")[2].strip()
        for line in below.splitlines()
        if line.startswith("| ")
    }
    assert cells["base"].startswith("0.300 [")
    assert cells["one"].startswith("0.505 [")
    assert cells["one − other"].startswith("+0.100 [")
    assert cells["one − base"].startswith("+0.205 [")
    assert "Brightness" not in write_campaign_page(campaign_of(tmp_path)).read_text()


def test_scores_kept_without_a_measure_that_the_table_shows_are_scored_again(
    tmp_path: Path,
) -> None:
    campaign = campaign_of(tmp_path, shows=["brightness"])
    keep_training(campaign, ONE, rewards=[0.5, 0.6])
    keep_scores(campaign, ONE, [[1]] * len(SAMPLES))
    assert campaign.evaluation_state(ONE, "test") == "other"
    assert campaign_of(tmp_path).evaluation_state(ONE, "test") == "kept"
    assert "Brightness" not in write_campaign_page(campaign).read_text()
    measures = {"brightness": [0.5, None, *[0.25] * (len(SAMPLES) - 2)]}
    keep_scores(campaign, ONE, [[1]] * len(SAMPLES), measures=measures)
    kept = campaign.evidence.evaluation(ONE, "test")
    assert kept is not None
    assert [one.n_scored for one in kept.measured("brightness")[:3]] == [1, 0, 1]


def test_a_training_that_its_guard_stopped_is_kept_with_the_step_and_scored_at_its_best(
    tmp_path: Path,
) -> None:
    campaign = campaign_of(tmp_path, conditions=GUARDED, comparisons=[["one", "base"]])
    training, evaluation = campaign.jobs()[1:3]
    folder = training_folder(training.words)
    points(folder, (0, 0.8, None), (2, 0.9, None), (4, 0.7, FALL))
    assert training.ended()
    training.keep(0.0)
    kept = campaign.evidence.training(ONE)
    assert kept is not None
    assert kept.about["guard"]["stopped_at"] == 4
    assert campaign.training_state(ONE) == "kept"
    assert evaluations_of(campaign.table, ONE)["test"].weights == "best"
    assert str(folder / "best") in evaluation.words
    assert evaluation.words_then is not None
    (folder / "best-000000").mkdir()
    assert "--lora" not in evaluation.words_then(), "such a LoRA changes nothing, and is refused"
    (folder / "best-000002").mkdir()
    assert str(folder / "best") in evaluation.words_then()
    page = write_campaign_page(campaign).read_text()
    (line,) = (one for one in page.splitlines() if "stopped after step 4" in one)
    cells = [one.strip() for one in line.strip("|").split("|")]
    assert cells == [
        "one", "0", "3", "0.900 (step 2)", "0.700 (step 4)", "step 4: -0.200 [-0.300, -0.100]",
        "stopped after step 4",
    ]  # fmt: skip


def test_another_error_is_no_end_by_the_guard(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path, conditions=GUARDED, comparisons=[["one", "base"]])
    training = campaign.jobs()[1]
    points(training_folder(training.words), (0, 0.8, None), (2, 0.9, None))
    assert not training.ended()
    with pytest.raises(AlphaBenchError, match="after 2 of 8 steps"):
        training.keep(0.0)


def test_an_alarm_without_a_stop_is_told_and_a_training_without_validations_has_no_guard(
    tmp_path: Path,
) -> None:
    campaign = complete(tmp_path)
    assert guard_record([], stops=True) is None
    kept = campaign.evidence.training(ONE)
    assert kept is not None
    assert guard_tables({"one": [kept]}) == []
    points(tmp_path / "run", (0, 0.8, None), (2, 0.6, FALL), (4, 0.7, None))
    record = guard_record(read_points(tmp_path / "run"), stops=False)
    assert record is not None
    assert record["stopped_at"] is None
    assert [one["step"] for one in record["alarms"]] == [2]
