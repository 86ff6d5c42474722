"""`alphabench calibrate --reward` from the command line."""

from __future__ import annotations

import json

from tests.cli.conftest import Shell

JUDGE = "scripted:?answer=0.75"


def test_rewards_are_compared_on_a_run_without_a_truth(alphabench: Shell) -> None:
    alphabench("generate", "geneval:mini", "--ckpt", "scene:", "--limit", "2", "--out", "run")
    words = ("calibrate", "--judge", JUDGE, "--reward", "dvreward", "--run", "run")
    page = alphabench(*words, "--repeats", "2", "--out", "found").out
    assert "# Calibration of rewards" in page
    assert "8 images of 2 prompts of geneval@1:mini; each reward asked for twice" in page
    assert "`dvreward` gives all images of a prompt the same: it teaches nothing." in page
    assert (alphabench.folder / "found" / "rewards.md").read_text().split() == page.split()
    printed = json.loads(alphabench(*words, "--json", "--out", "found").out)
    assert printed == json.loads((alphabench.folder / "found" / "rewards.json").read_text())
    assert printed["truth"] is None
    assert printed["rewards"][0]["reliability"] is None


def test_the_same_reward_twice_and_one_that_needs_a_run_s_truth_are_refused(
    alphabench: Shell,
) -> None:
    alphabench("generate", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", "run")
    words = ("calibrate", "--judge", JUDGE, "--reward", "dvreward", "--run", "run")
    assert "names 'dvreward' twice" in alphabench(*words, "--reward", "dvreward", code=2).err
    assert "'nano'" in alphabench(*words, "--truth", "nano", code=2).err
