"""`run` with several benchmarks and checkpoints: one plan, one table, and kills on the way."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from alphabench.cli.suite_runs import split_benchmarks
from alphabench.core.errors import AlphaBenchError
from tests.cli.conftest import Said, Shell
from tests.support.judge_server import Call, JudgeServer, Say, serving
from tests.support.processes import PROC, left_of
from tools.faults.kills import leftovers, results_of_run

SUITE_FILE = """
judge: "scripted:?answer=yes"
benchmarks:
  - geneval:mini
  - {benchmark: "dpg:mini", judge: "scripted:?answer=no"}
  - {benchmark: "tiif:mini", wording: own}
checkpoints: ["scene:", {checkpoint: "scene:", options: {error: 0.5}, name: wrong}]
"""
PAIR = ("--ckpt", "scene:", "--ckpt", "scene:?error=0.4")


def answer(call: Call) -> Say:
    """By what is asked, so that a judge asked again says the same."""
    return Say(text="no" if len(call.text) % 3 else "yes", seconds=0.005)


def tables(said: Said) -> str:
    """What it printed after the plan, but for what this command alone cost."""
    _, _, after = said.out.partition("first image.\n")
    assert after
    return "\n".join(line for line in after.splitlines() if not line.startswith("judge:"))


def test_a_failed_cell_leaves_the_others_alone_and_the_exit_code_says_so(
    alphabench: Shell,
) -> None:
    (alphabench.folder / "empty").mkdir()
    said = alphabench(
        "run", "geneval:mini,wise:mini", "--ckpt", "scene:", "--ckpt", "images:empty",
        "--limit", "2", "--out", "suite", code=1,
    )  # fmt: skip
    plan, _, results = said.out.partition("first image.")
    assert "wise" in plan
    assert "wise asks a judge about every image, and none is named" in plan
    (row,) = [line for line in results.splitlines() if line.startswith("| scene:")]
    assert "1.000 [" in row
    assert "failed" in row
    assert results.count("failed:") >= 2
    assert len(list((alphabench.folder / "suite").glob("geneval/scene-*/report.md"))) == 1


def test_two_checkpoints_of_one_benchmark_end_with_their_comparison(alphabench: Shell) -> None:
    run = ("run", "geneval:mini", *PAIR, "--limit", "6", "--out", "suite")
    said = alphabench(*run)
    assert said.out.count("unknown |") == 3
    before, after = sorted((alphabench.folder / "suite" / "geneval").iterdir())
    compared = alphabench("compare", before, after).out
    assert compared.strip() in said.out
    facts = alphabench(*run, "--json").json
    assert [row["images_existing"] for row in facts["plan"]] == [24, 24]
    assert [one["run"]["complete"] for one in facts["results"]] == [True, True]
    assert len(facts["comparisons"]) == 1
    another = alphabench(*run, "--seed", "1", "--dry-run", code=None).out
    assert "unknown |" not in another
    assert another.count("s an image as in suite/geneval/scene-") == 2


def test_a_suite_that_cannot_run_at_all_is_refused(alphabench: Shell) -> None:
    assert (
        "twice"
        in alphabench("run", "geneval:mini", "--ckpt", "scene:", "--ckpt", "scene:", code=2).err
    )
    said = alphabench(
        "run", "wise:mini,dpg:mini", "--ckpt", "scene:", "--evaluator", "nano", code=2
    )
    assert "none of these benchmarks has an evaluator 'nano'" in said.err
    with pytest.raises(AlphaBenchError, match="empty name"):
        split_benchmarks("geneval,,dpg")


def test_the_command_runs_a_file_and_says_which_options_belong_into_it(
    alphabench: Shell,
) -> None:
    (alphabench.folder / "suite.yaml").write_text(SUITE_FILE)
    run = ("run", "suite.yaml", "--limit", "1", "--out", "suite")
    facts = alphabench(*run, "--json").json
    assert [row["checkpoint"] for row in facts["plan"]] == ["scene:"] * 3 + ["wrong"] * 3
    assert [one["run"]["complete"] for one in facts["results"]] == [True] * 6
    dpg, tiif = (facts["results"][number]["headline"]["value"] for number in (1, 2))
    assert dpg < tiif, "one judge says no, the other yes"
    assert all(row["images_existing"] for row in alphabench(*run, "--json").json["plan"])
    said = alphabench("run", "suite.yaml", "--set", "error=1", code=2)
    assert "--set does not say which part of 'suite.yaml' it is for" in said.err
    said = alphabench("run", "absent.yaml", code=2)
    assert "the suite 'absent.yaml' cannot be read" in said.err
    assert "no checkpoint is named" in alphabench("run", "geneval:mini", code=2).err


@dataclass(frozen=True)
class Judged:
    """A suite of three benchmarks and two checkpoints with a judge that counts."""

    shell: Shell
    server: JudgeServer
    benchmarks: str
    limit: int

    @property
    def words(self) -> Sequence[str]:
        # One question at a time: a kill can catch one on its way, and no more.
        judge = f"{self.server.spec}?handshake=off&concurrency=1"
        return (
            "run", self.benchmarks, *PAIR, "--judge", judge,
            "--devices", "cpu", "--limit", str(self.limit), "--out", "suite",
        )  # fmt: skip

    @property
    def out(self) -> Path:
        return self.shell.folder / "suite"

    def results(self) -> dict[str, dict[str, str]]:
        cells = sorted(path.parent for path in self.out.glob("*/*/manifest.json"))
        assert [left for cell in cells for left in leftovers(cell)] == []
        return {str(cell.relative_to(self.out)): results_of_run(cell) for cell in cells}

    def n_rows(self) -> int:
        """How far it has come."""
        files = [*self.out.glob("*/*/images.jsonl"), *self.out.glob("*/*/verdicts/*.jsonl")]
        return sum(path.read_bytes().count(b"\n") for path in files)

    def kill_at(self, moment: int) -> None:
        process = self.shell.start(*self.words)
        while process.poll() is None and self.n_rows() < moment:
            time.sleep(0.001)
        process.kill()
        process.communicate(timeout=120)
        assert left_of(f"ALPHABENCH_CACHE={self.shell.cache}") == {}


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    with serving(JudgeServer(answer)) as server:
        yield server


def test_a_suite_leaves_what_single_runs_leave_and_asks_as_much(
    alphabench: Shell, judge_server: JudgeServer
) -> None:
    """Byte for byte, though its judge is asked while the next run's images are generated."""
    suite = Judged(alphabench, judge_server, "dpg:mini,tiif:mini", 1)
    alphabench(*suite.words)
    asked = Counter(judge_server.answered)
    judge_server.answered.clear()
    other = replace(alphabench, cache=alphabench.folder / "other-cache")
    options = suite.words[suite.words.index("--judge") : suite.words.index("--out")]
    for cell, found in suite.results().items():
        name = cell.partition("/")[0]
        checkpoint = "scene:?error=0.4" if "error" in cell else "scene:"
        other("run", f"{name}:mini", "--ckpt", checkpoint, *options, "--out", f"alone/{cell}")
        assert found == results_of_run(alphabench.folder / "alone" / cell)
    assert judge_server.answered == asked


@pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc")
@pytest.mark.parametrize(
    ("benchmarks", "limit", "times"),
    [
        ("dpg:mini,tiif:mini", 1, 1),  # judged alone: loads no model
        pytest.param(
            "geneval:mini,dpg:mini,tiif:mini",
            4,
            10,
            marks=[pytest.mark.whole, pytest.mark.timeout(1800)],
        ),
    ],
)
def test_killed_at_random_moments_a_suite_ends_as_one_that_was_left_alone_and_asks_nothing_twice(
    tmp_path: Path, judge_server: JudgeServer, benchmarks: str, limit: int, times: int
) -> None:
    usual, killed = (
        Judged(
            Shell(folder=tmp_path / name, cache=tmp_path / name / "cache"),
            judge_server,
            benchmarks,
            limit,
        )
        for name in ("usual", "killed")
    )
    for one in (usual, killed):
        one.shell.folder.mkdir()
    undisturbed = usual.shell(*usual.words)
    asked, n_rows = Counter(judge_server.answered), usual.n_rows()
    assert set(asked.values()) == {1}
    judge_server.answered.clear()
    for moment in sorted(random.Random(times).sample(range(1, n_rows), times)):
        killed.kill_at(moment)
    resumed = killed.shell(*killed.words)
    assert killed.results() == usual.results()
    assert len(usual.results()) == 2 * len(benchmarks.split(","))
    assert tables(resumed) == tables(undisturbed)
    assert set(judge_server.answered) == set(asked)
    twice = judge_server.answered - asked
    assert twice.total() <= times  # those whose answers were on their way
    judge_server.answered.clear()
    killed.shell(*killed.words)
    assert not judge_server.answered
