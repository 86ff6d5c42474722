"""A campaign with real trainings: killed in the middle, continued, made a page of, repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tools.results.campaign_tables import table_file

ROOT = Path(__file__).parents[3]


def campaign(folder: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "tools.results.campaign", str(folder / "toys.yaml"), *words),
        *("--work", str(folder / "work"), "--evidence", str(folder / "evidence"), "--jobs", "1"),
    ]


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_a_campaign_goes_on_after_a_kill_and_a_row_from_scratch_has_the_same_scores(
    tmp_path: Path,
) -> None:
    small = [
        "validation=[]", "panel=0", "training.steps=3", "training.save_every=1",
        "training.prompts_per_step=2", "training.group_size=2", "task.draw.points=3",
        "policy.options.timesteps=3", "training.logging.tensorboard=false",
    ]  # fmt: skip
    broken = ["task.draw.width=13", "task.draw.height=13"]
    table_file(
        tmp_path,
        seeds=[0],
        overrides=small,
        conditions={
            "broken": {"recipe": "nano-awm", "overrides": broken},
            "one": {"recipe": "nano-awm"},
        },
        evaluations={"test": {"benchmark": "geneval:mini", "options": ["--limit", "12"]}},
        comparisons=[["one", "broken"]],
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(campaign(tmp_path), cwd=ROOT, env=environment, start_new_session=True)
    end = time.monotonic() + 300
    while not list(tmp_path.glob("work/toys/one/*/run/checkpoints/step-000001")):
        assert first.poll() is None, "it ended before"
        assert time.monotonic() < end, "no checkpoint was saved"
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            campaign(tmp_path, *words), cwd=ROOT, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    done = run()
    assert done.returncode == 1
    assert "done: one, seed 0: test" in done.stdout
    assert "failed: broken, seed 0: 13x13 is no size" in done.stderr
    page = tmp_path / "evidence" / "toys" / "README.md"
    before = page.read_text()
    assert "48 of 48" in before
    page.unlink()
    assert run("--write-page").returncode == 0
    assert page.read_text() == before
    again = run("--only", "one", "--seeds", "0")
    assert again.returncode == 0
    assert "one, seed 0: the same metrics in 3 steps" in again.stdout
    assert "one, seed 0: test: the same scores, 12 prompts" in again.stdout


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_a_training_that_its_guard_stops_is_kept_and_scored_at_its_best_weights(
    tmp_path: Path,
) -> None:
    small = [
        "panel=0", "training.steps=6", "training.save_every=2", "training.validate_every=1",
        "training.prompts_per_step=2", "training.group_size=2", "task.draw.points=3",
        "policy.options.timesteps=3", "training.logging.tensorboard=false",
        "training.validate_views=[train]", "training.guards.stop_when_hacked=true",
        "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 12}]",
        "training.optimiser={lr: 1.0}",
        "rewards={rising: {kind: python, factory: 'tests.support.bright_reward:RisingReward'}}",
    ]  # fmt: skip
    table_file(
        tmp_path,
        seeds=[0],
        overrides=small,
        conditions={"guarded": {"recipe": "nano-awm", "weights": "best"}},
        evaluations={"test": {"benchmark": "geneval:mini", "options": ["--limit", "6"]}},
        comparisons=[],
        shows=["brightness"],
    )
    done = subprocess.run(
        campaign(tmp_path), cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "evidence" / "toys" / "README.md").read_text()
    (line,) = (one for one in page.splitlines() if "stopped after step" in one)
    assert line.startswith("| guarded")
    assert "Brightness of the scored images" in page
    assert "What is missing" not in page
