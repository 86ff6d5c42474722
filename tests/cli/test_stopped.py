"""A run that is stopped leaves no process and no traceback, and says how to continue."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from alphabench.cli.continuation import Continuation
from tests.cli.conftest import Shell
from tests.support.processes import PROC, left_of, marked
from tools.faults.kills import leftovers, results_of_run

RUN = ("run", "geneval:mini", "--ckpt", "scene:", "--limit", "6", "--out", "run")
pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc")


def begun(alphabench: Shell, *words: str) -> subprocess.Popen[str]:
    """The command, in a group of its own, once it has made an image."""
    process = alphabench.start(*words, start_new_session=True)
    while not (alphabench.folder / "run" / "images.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def mark(alphabench: Shell) -> str:
    return f"ALPHABENCH_CACHE={alphabench.cache}"


def test_a_terminated_run_leaves_nobody_behind_and_the_command_it_says_continues(
    alphabench: Shell,
) -> None:
    process = begun(alphabench, *RUN, "--workers", "2")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    assert left_of(mark(alphabench)) == {}
    program, *words = shlex.split(err.partition("terminated; to continue: ")[2])
    assert (program, tuple(words)) == ("alphabench", (*RUN, "--workers", "2"))
    assert "coverage" in alphabench(*words[:-2]).out


def test_an_interrupt_of_the_whole_group_is_one_sentence(alphabench: Shell) -> None:
    process = begun(alphabench, *RUN, "--workers", "2")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.count("interrupted; to continue: alphabench run geneval:mini") == 1
    assert left_of(mark(alphabench)) == {}


def test_the_workers_of_a_killed_run_end_even_if_they_are_stopped(alphabench: Shell) -> None:
    process = begun(alphabench, *RUN, "--workers", "2")
    workers = [pid for pid, words in marked(mark(alphabench)).items() if "spawn_main" in words]
    os.kill(workers[0], signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=60)
    assert left_of(mark(alphabench)) == {}


@pytest.mark.parametrize(
    ("rank", "everywhere", "said"),
    [
        ("0", "2", "to continue: torchrun --nproc-per-node 2 -m alphabench train run --resume"),
        ("0", "4", "to continue: torchrun ... -m alphabench train run --resume"),
        ("1", "2", ""),
    ],
)
def test_under_torchrun_the_first_process_names_torchrun(
    rank: str,
    everywhere: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", everywhere)
    Continuation(["train", "run", "--resume"]).print(signal.SIGINT)
    assert capsys.readouterr().err.strip() == (f"interrupted; {said}" if said else "")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed")
    Shell(folder=folder, cache=folder / "cache")(*RUN)
    return results_of_run(folder / "run")


def n_rows(run: Path) -> int:
    """How far it has come: images that were made, and those that were scored."""
    files = [run / "images.jsonl", *run.glob("verdicts/*.jsonl")]
    return sum(path.read_bytes().count(b"\n") for path in files if path.exists())


@pytest.mark.parametrize(("how", "times"), [((), 2), (("--workers", "2"), 1)])
def test_killed_at_random_moments_a_run_ends_as_one_that_was_left_alone(
    alphabench: Shell, undisturbed: dict[str, str], how: tuple[str, ...], times: int
) -> None:
    # `python -m tools.faults.kills` does the same a hundred times, also to judged runs and
    # trainings.
    run, moments = alphabench.folder / "run", random.Random(len(how))
    for moment in sorted(moments.sample(range(48), times)):
        process = alphabench.start(*RUN, *how)
        while process.poll() is None and n_rows(run) < moment:
            time.sleep(0.001)
        process.kill()
        process.communicate(timeout=60)
        assert left_of(mark(alphabench)) == {}
    alphabench(*RUN)
    assert results_of_run(run) == undisturbed
    assert leftovers(run) == []
