"""What is kept of a campaign, and the page that is made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.statistics import DEFAULT, mean_of_groups
from tests.support.stored_runs import Answer, RunMaker
from tests.tools.results.campaign_tables import (
    SAMPLES,
    campaign_of,
    keep_scores,
    keep_training,
    table_file,
)
from tools.results.campaign.__main__ import main
from tools.results.campaign.again import compared_rows
from tools.results.campaign.evidence import Score, recipe_changes
from tools.results.campaign.intervals import difference_over_seeds
from tools.results.campaign.page import write_campaign_page
from tools.results.campaign.plan import Campaign
from tools.results.campaign.status import status_text
from tools.results.campaign.table import TableCell, load_table, table_cells

ONE, OTHER, BASE = (TableCell(condition=n, seed=0) for n in ("one", "other", "base"))
BASE = replace(BASE, seed=None)


def complete(folder: Path) -> Campaign:
    """All trainings and evaluations are kept."""
    campaign = campaign_of(folder)
    right = {"base": 2, "one": 5, "other": 3}
    for cell in table_cells(campaign.table):
        seed = cell.seed or 0
        if cell.seed is not None:
            keep_training(campaign, cell, rewards=[0.5, 0.6 + 0.1 * seed])
        number = right[cell.condition] + seed
        keep_scores(campaign, cell, [[1, i < number, 0.5, 1] for i in range(len(SAMPLES))])
    return campaign


def row(page: str, heading: str, first: str) -> list[str]:
    """The cells of a table's row below a heading."""
    (line,) = (
        line
        for line in page.partition(heading)[2]
        .partition("\n\n")[2]
        .partition("\n\n")[0]
        .splitlines()
        if line.startswith(f"| {first} ")
    )
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_has_means_over_seeds_and_differences_paired_by_both(tmp_path: Path) -> None:
    campaign = complete(tmp_path)
    page = write_campaign_page(campaign).read_text()
    cells = row(page, "## test: geneval:mini", "one")
    assert cells[1] == "0, 1"
    assert cells[3] == "0.833, 0.875"
    assert cells[4] == "48 of 48"
    kept = {
        (cell.condition, cell.seed): campaign.evidence.evaluation(cell, "test")
        for cell in table_cells(campaign.table)
    }
    ours, theirs = (
        [one.clusters() for (name, _), one in kept.items() if name == wanted and one]
        for wanted in ("one", "other")
    )
    expected = difference_over_seeds(ours, theirs, mean_of_groups, DEFAULT)
    text = f"{expected.value:+.3f} [{expected.low:+.3f}, {expected.high:+.3f}]"
    assert row(page, "Differences, paired", "one − other")[1:4] == ["2", "6", text]
    assert row(page, "Differences, paired", "one − base")[1] == "2"
    metrics = row(page, "## Trainings\n\nMeans", "one")
    assert metrics[1:5] == ["2", "2", "192", "0.575"]
    assert metrics[5] == "—"
    assert metrics[-1] == "1.5"
    assert "What is missing" not in page
    ET.parse(campaign.evidence.root / "curves.svg")


def test_a_metric_of_many_steps_has_its_first_and_its_last_ones(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path)
    keep_training(campaign, ONE, rewards=[0.1, 0.2, 0.3, 0.9])
    metrics = row(write_campaign_page(campaign).read_text(), "## Trainings\n\nMeans", "one")
    assert metrics[4] == "0.2 → 0.467"


def test_states_are_counted_and_what_is_missing_is_named_and_is_no_zero(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path)
    keep_training(campaign, ONE, rewards=[0.5, 0.6])
    partly: list[Score] = [1, 1, 1, "missing"]
    scores: list[list[Score]] = [*[partly] * 5, ["refused"] * 4]
    keep_scores(campaign, ONE, scores)
    page = write_campaign_page(campaign).read_text()
    assert row(page, "## test: geneval:mini", "one")[4] == "15 of 24, 5 missing, 4 refused"
    assert row(page, "By task", "one")[-1].startswith("—")
    assert "Differences" not in page
    assert "- one, seed 1: training\n" in page
    assert "- base: test\n" in page
    assert "- one, seed 0" not in page


def test_numbers_of_another_recipe_or_evaluation_are_not_shown_as_the_table_s(
    tmp_path: Path,
) -> None:
    campaign = complete(tmp_path)
    changed = campaign_of(
        tmp_path,
        conditions={
            "base": {"recipe": "nano-awm", "trained": False},
            "one": {"recipe": "nano-awm", "overrides": ["training.optimiser.lr=3e-4"]},
            "other": {
                "recipe": "nano-awm",
                "overrides": ["training.steps=3", "rewards.dvreward.kind=holistic"],
            },
        },
    )
    assert campaign.training_state(ONE) == "kept"
    assert changed.training_state(ONE) == changed.evaluation_state(ONE, "test") == "other"
    assert changed.evaluation_state(OTHER, "test") == "kept"
    assert [job.name for job in changed.jobs()] == [
        "one, seed 0", "one, seed 0: test", "one, seed 1", "one, seed 1: test",
    ]  # fmt: skip
    assert "kept of another recipe or plan" in write_campaign_page(changed).read_text()
    refined = {"test": {"benchmark": "geneval:mini", "options": ["--refine", "always"]}}
    other = campaign_of(tmp_path, evaluations=refined)
    assert other.evaluation_state(BASE, "test") == "other"
    assert other.training_state(ONE) == "kept"


def test_what_another_table_has_already_is_run_and_kept_once(tmp_path: Path) -> None:
    campaign = complete(tmp_path)
    (tmp_path / "more").mkdir()
    conditions = {
        "same": {"recipe": "nano-awm", "kept_with": "toys/one"},
        "new": {"recipe": "nano-awm", "overrides": ["training.optimiser.lr=3e-4"]},
    }
    path = table_file(tmp_path / "more", conditions=conditions, comparisons=[["new", "same"]])
    table = load_table(path.rename(path.with_name("more.yaml")))
    evidence = replace(campaign.evidence, table=table)
    other = replace(campaign, table=table, evidence=evidence)
    assert [job.name for job in other.jobs() if job.name.startswith("same")] == []
    assert row(write_campaign_page(other).read_text(), "## test", "same")[1] == "0, 1"
    assert evidence.root.name == "more"
    same = TableCell(condition="same", seed=0)
    assert other.training_job(same).folder == campaign.training_job(ONE).folder


def test_a_key_that_recipes_got_later_makes_no_kept_training_another(tmp_path: Path) -> None:
    del tmp_path
    kept = {"training": {"steps": 3, "seed": 0}, "about": {"costs": "a lot"}}
    now = {"training": {"steps": 3, "seed": 1, "new": 7}, "about": {"costs": "little"}}
    assert recipe_changes(kept, now) == []
    assert recipe_changes(kept, {"training": {"steps": 4}}) == ["training.steps"]


def test_what_is_kept_is_read_as_it_was_written_and_is_small(tmp_path: Path) -> None:
    campaign = complete(tmp_path)
    kept = campaign.evidence.evaluation(ONE, "test")
    assert kept is not None
    assert kept.scores[0] == [1, True, 0.5, 1]
    assert kept.samples == [(sample.id, sample.group) for sample in SAMPLES]
    training = campaign.evidence.training(ONE)
    assert training is not None
    assert training.steps[1] == {"step": 2.0, "images": 192.0, "reward/mean": 0.6}
    folder = campaign.evidence.folder(ONE)
    assert (folder / "steps.csv").read_text().splitlines() == [
        "step,images,reward/mean", "1,96,0.5", "2,192,0.6",
    ]  # fmt: skip
    assert json.loads((folder / "test.json").read_text())["scores"][0] == [1, 1, 0.5, 1]


def test_a_finished_training_and_its_run_become_kept_numbers(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path)
    training, evaluation = campaign.jobs()[1:3]
    assert training.words[3:5] == ["train", "nano-awm"]
    assert "training.seed=0" in training.words
    folder = Path(training.words[training.words.index("--out") + 1])
    folder.mkdir(parents=True)
    (folder / "identity.json").write_text('{"policy": {}, "rewards": {}}')
    lines = [
        {"step": step, "version": 2, "values": {"loss": 0.123456789, "forward_passes/x": 1},
         "seconds": {"cpu": 8.0}} for step in range(2)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    training.keep(0.0)
    kept = campaign.evidence.training(ONE)
    assert kept is not None
    assert kept.steps[0] == {"step": 1, "loss": 0.12346, "seconds/cpu": 8}
    assert kept.processor_seconds == 16.0
    assert campaign.training_state(ONE) == "kept"
    assert str(folder / "checkpoints" / "step-000002" / "ema") in evaluation.words
    assert evaluation.needs == (training.name,)
    out = Path(evaluation.words[-1])
    out.parent.mkdir(parents=True, exist_ok=True)
    answers: dict[int, Answer] = {0: 1.0, 1: ("refused", "no")}
    made = RunMaker(root=tmp_path / "runs", samples=SAMPLES)
    made.root.mkdir()
    run = made(
        answer=lambda request: answers[request.index],
        pixels={"benchmark.data_digest": "any"},
    )
    manifest = json.loads((run.folder.root / "manifest.json").read_text())
    manifest["circumstances"]["python"] = "3"
    (run.folder.root / "manifest.json").write_text(json.dumps(manifest))
    run.folder.root.rename(out)
    evaluation.keep(12.0)
    scored = campaign.evidence.evaluation(ONE, "test")
    assert scored is not None
    rows = dict(zip([name for name, _ in scored.samples], scored.scores, strict=True))
    assert rows[SAMPLES[0].id] == [1, "refused", "missing", "missing"]
    assert scored.states()["refused"] == 6
    assert all(0.0 <= (one or 0.0) <= 1.0 for one in scored.measures["brightness"])
    assert len(scored.measures["brightness"]) == len(scored.samples)
    assert campaign.evaluation_state(ONE, "test") == "kept"


def test_a_training_that_ended_early_is_not_kept(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path)
    training = campaign.jobs()[1]
    folder = Path(training.words[training.words.index("--out") + 1])
    folder.mkdir(parents=True)
    line = {"step": 0, "version": 2, "values": {"loss": 0.1}, "seconds": {"cpu": 8.0}}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(AlphaBenchError, match="after 1 of 2 steps"):
        training.keep(0.0)
    assert campaign.training_state(ONE) == "absent"


def test_a_repeated_row_is_compared_prompt_by_prompt_and_step_by_step(tmp_path: Path) -> None:
    campaign = complete(tmp_path)
    (tmp_path / "other").mkdir()
    again = complete(tmp_path / "other")
    assert compared_rows(campaign, again.evidence, ONE) == [
        "one, seed 0: the same metrics in 2 steps",
        "one, seed 0: test: the same scores, 6 prompts",
    ]
    keep_training(again, ONE, rewards=[0.5, 0.7])
    keep_scores(again, ONE, [[1, 1, 1, 1]] * len(SAMPLES))
    assert compared_rows(campaign, again.evidence, ONE) == [
        "one, seed 0: OTHER metrics: reward/mean",
        "one, seed 0: test: OTHER SCORES for 6 of 6 prompts",
    ]
    nothing_there = replace(campaign.evidence, folder_of_tables=tmp_path / "nothing")
    nothing = compared_rows(campaign, nothing_there, BASE)
    assert nothing == ["base: test: not there again"]


def test_the_command_line_makes_the_page_of_kept_numbers_and_tells_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = complete(tmp_path)
    folders = ["--evidence", str(tmp_path / "evidence"), "--work", str(tmp_path / "work")]
    table = str(tmp_path / "toys.yaml")
    page = write_campaign_page(campaign)
    before = page.read_text()
    page.unlink()
    for words, code in (
        (["--write-page"], 0),
        (["--status"], 0),
        ([], 0),
        (["--only", "none"], 2),
        (["--only", "one", "--seeds", "9"], 2),
    ):
        with pytest.raises(SystemExit) as ended:
            main([table, *words, *folders])
        assert ended.value.code == code
        assert page.read_text() == before
    said = capsys.readouterr()
    assert "minutes of processor spent\n" in said.out
    assert "error: the table has no condition 'none'\nhint: one of base, one, other" in said.err


def test_the_status_tells_what_is_kept_failed_and_left(tmp_path: Path) -> None:
    campaign = campaign_of(tmp_path)
    keep_training(campaign, ONE, rewards=[0.5, 0.6])
    keep_scores(campaign, ONE, [[1, 1, 1, 1]] * len(SAMPLES))
    failing = campaign.training_job(OTHER)
    failing.folder.mkdir(parents=True)
    failing.note_failure("no such judge")
    lines = status_text(campaign).splitlines()
    assert lines[1].split()[-1] == "kept"
    assert f"failed: no such judge (log: {failing.log})" in lines[3]
    assert lines[-1] == "2 minutes of processor spent; 7 to do, about 6 minutes"
