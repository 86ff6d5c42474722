"""What `--json` prints: a report, what it rests on, and what it cost."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.judge_server import JudgeServer, Say, serving

KEYS = {
    "alphabench", "benchmark", "checkpoint", "checkpoint_identity", "complete", "cost",
    "evaluation", "evaluator_identity", "folder", "gallery", "images", "judge", "limit",
    "protocol", "report", "seed", "stamps", "unscored",
}  # fmt: skip
REPORT_KEYS = {
    "benchmark", "bounds", "coverage", "evaluator", "extras", "groups", "headline", "notes",
    "partial", "protocol", "split", "statuses", "withheld",
}  # fmt: skip


def test_one_object_holds_the_report_and_all_that_it_rests_on(alphabench: Shell) -> None:
    words = ("run", "geneval:mini", "--ckpt", "scene:?error=0.5", "--limit", "6", "--seed", "3")
    said = alphabench(*words, "--out", "here", "--json").json
    run = said["run"]
    assert set(said) == {*REPORT_KEYS, "run"}
    assert set(run) >= KEYS
    folder = RunFolder.open(alphabench.folder / "here")
    assert run["folder"] == "here"
    assert (alphabench.folder / run["report"]).is_file()
    assert (alphabench.folder / run["gallery"]).is_file()
    assert (run["checkpoint"], run["seed"], run["limit"]) == ("scene:?error=0.5", 3, 6)
    assert run["checkpoint_identity"]["error"] == "0.5"
    assert run["images"] == 24
    benchmark = run["benchmark"]
    assert benchmark["id"] == folder.manifest.benchmark
    assert (benchmark["name"], benchmark["split"]) == ("geneval", "mini")
    assert benchmark["data_digest"] == folder.manifest.pixels["benchmark.data_digest"]
    assert [run["evaluation"]] == folder.evaluations()
    assert run["evaluator_identity"] == folder.evaluation_identity(run["evaluation"])
    assert run["alphabench"] == {"now": version("alphabench"), "images": version("alphabench")}
    assert [one["stamp"] for one in run["stamps"]] == ["PARTIAL", "NOT COMPARABLE"]
    assert (run["judge"], run["cost"], run["unscored"], run["complete"]) == (None, None, [], True)
    for command in ("score", "summarise"):
        assert alphabench(command, "here", "--json").json == said


def test_what_could_not_be_scored_is_in_the_object_with_its_reasons(
    alphabench: Shell, fetched: Path
) -> None:
    shell = Shell(folder=alphabench.folder, cache=fetched)
    words = ("run", "geneval", "--ckpt", "scene:?size=64", "--limit", "60", "--json")
    run = shell(*words, code=1).json["run"]
    assert run["complete"] is False
    assert run["unscored"][0]["count"] > 0
    assert run["unscored"][0]["reason"].startswith("refused: ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_remote_judge_is_named_with_what_this_command_asked_of_it(
    alphabench: Shell, workers: str
) -> None:
    words = ("run", "tiif:mini", "--ckpt", "scene:", "--limit", "8", "--out", "run", "--json")
    with serving(JudgeServer(lambda _: Say(text="yes"))) as server:
        spec = f"{server.url}#test-vlm?handshake=off&price_in=2&price_out=8"
        command = (*words, "--judge", spec, "--workers", workers)
        run = alphabench(*command).json["run"]
        n_asked = sum(server.answered.values())
        again = alphabench(*command).json["run"]
    assert run["judge"] == {"kind": "openai", "model": "test-vlm"}
    assert run["cost"] == {
        "usd": pytest.approx((200 * n_asked + 8 * n_asked) / 1e6),
        "replies": n_asked,
        "tokens_in": 100 * n_asked,
        "tokens_out": n_asked,
    }
    assert again["cost"] == {"usd": 0.0, "replies": 0, "tokens_in": 0, "tokens_out": 0}


def test_a_judge_whose_prices_are_not_known_costs_an_unknown_sum_and_the_summary_says_its_tokens(
    alphabench: Shell,
) -> None:
    words = ("run", "tiif:mini", "--ckpt", "scene:", "--limit", "4", "--no-cache")
    with serving(JudgeServer(lambda _: Say(text="yes"))) as server:
        spec = f"{server.url}#test-vlm?handshake=off"
        run = alphabench(*words, "--judge", spec, "--out", "a", "--json").json["run"]
        said = alphabench(*words, "--judge", spec, "--out", "b")
    assert run["cost"]["usd"] is None
    n_tokens = run["cost"]["tokens_in"] + run["cost"]["tokens_out"]
    assert f"judge:   {n_tokens:,} tokens in this command" in said.out
    assert "scoring: 4/4" in said.err
    assert f"{n_tokens:,} tokens" in said.err


def test_several_evaluations_are_one_object_a_line(alphabench: Shell) -> None:
    alphabench("run", "geneval:mini", "--ckpt", "scene:", "--limit", "6", "--out", "run")
    said = alphabench("score", "run", "--protocol", "strict")
    (page,) = (alphabench.folder / "run").glob("report-nano-strict-*.md")
    assert f"report:  run/{page.name}" in said.out
    assert "report.md and gallery.html show nano-strict-" in said.out
    lines = alphabench("summarise", "run", "--json").out.splitlines()
    runs = [json.loads(line)["run"] for line in lines]
    assert [run["protocol"] for run in runs] == ["official", "strict"]
    assert [run["report"] for run in runs] == [f"run/report-{run['evaluation']}.md" for run in runs]
