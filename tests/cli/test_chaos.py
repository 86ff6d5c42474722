"""A judged run whose judge fails in every way, through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.judge_faults import WAYS, Chaos
from tests.support.judge_server import JudgeServer, serving

Verdicts = dict[tuple[str, str], tuple[str, float | None]]
OPTIONS = "handshake=protocol&timeout_seconds=5&attempts=2&patience_seconds=4"


def verdicts_in(run: Path) -> Verdicts:
    folder = RunFolder.open(run)
    (evaluation,) = folder.evaluations()
    stored = [one.verdict for one in folder.verdicts(evaluation)]
    return {(v.image_id, v.question_id): (v.status, v.value) for v in stored}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, Verdicts]:
    """A generated run, and its verdicts by a judge that never fails."""
    folder = tmp_path_factory.mktemp("chaos")
    shell = Shell(folder=folder, cache=folder / "cache")
    words = ("--ckpt", "scene:?error=0.3", "--out", "clean", "--no-cache")
    with serving(JudgeServer(Chaos(ways=[], share=0.0))) as server:
        shell("run", "tiif:mini", *words, "--judge", f"{server.spec}?{OPTIONS}")
    return shell, verdicts_in(folder / "clean")


@pytest.mark.parametrize("always", [False, True], ids=["once", "for ever"])
def test_whatever_a_host_does_the_rest_is_scored_the_same_and_nothing_is_paid_twice(
    undisturbed: tuple[Shell, Verdicts], always: bool
) -> None:
    assert len(WAYS) >= 40
    made, clean = undisturbed
    shell = Shell(folder=made.folder, cache=made.folder / f"cache-{always}")
    run = shell.folder / f"always-{always}"
    shutil.copytree(shell.folder / "clean", run)
    for left in (*run.glob("verdicts*"), *run.glob("reports*"), *run.glob("evaluations*")):
        shutil.rmtree(left)
    chaos = Chaos(ways=list(WAYS), always=always)
    with serving(JudgeServer(chaos)) as server:
        words = ("score", run, "--judge", f"{server.spec}?{OPTIONS}")
        told = shell(*words, code=1)
    found = verdicts_in(run)
    assert len(chaos.met) >= len(WAYS)
    assert found.keys() == clean.keys()
    lost = [status for key, (status, value) in found.items() if (status, value) != clean[key]]
    expected = chaos.fates
    del expected["scored"]
    assert {name: lost.count(name) for name in {*lost, *expected}} == dict(expected)
    assert max(server.answered.values()) == 1
    assert "coverage" in told.out
    assert (run / "report.md").exists()
