"""Suites as files: what is read, what is refused, and what the command line replaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.plan import CheckpointFactory
from alphabench.runs.prepared_run import RunSettings
from alphabench.runs.suite import SuiteRow, plan_suite
from alphabench.runs.suite_file import is_suite_file, open_suite, read_suite_file
from tests.support.fakes import Dots

SUITE = """
judge: "scripted:?answer=yes"
limit: 3
benchmarks:
  - geneval:mini
  - {benchmark: "dpg:mini", judge: "scripted:?answer=no", protocol: strict, limit: 2}
  - {benchmark: "tiif:mini", evaluator: "judge", wording: own}
checkpoints:
  - "scene:"
  - {checkpoint: "scene:", options: {error: 0.5}, name: wrong}
"""
DOTS = SuiteRow(checkpoint=CheckpointFactory(name="dots", open=Dots))


def written(folder: Path, text: str = SUITE) -> Path:
    path = folder / "suite.yaml"
    path.write_text(text)
    return path


def test_each_benchmark_has_its_own_judge_protocol_and_limit(tmp_path: Path) -> None:
    given = RunSettings(out=tmp_path / "out")
    suite = open_suite(read_suite_file(written(tmp_path)), given)
    geneval, dpg, tiif = (column.settings for column in suite.columns)
    assert (geneval.judge, geneval.limit) == ("scripted:?answer=yes", 3)
    assert (dpg.judge, dpg.limit) == ("scripted:?answer=no", 2)
    assert (tiif.judge, tiif.evaluator, tiif.wording) == (geneval.judge, "judge", "own")
    protocols = [column.benchmark.card.protocol for column in suite.columns]
    assert protocols == ["official", "strict", "official"]
    assert [row.title for row in suite.rows] == ["scene:", "wrong"]
    plan = plan_suite(suite.columns, suite.rows, device="cpu")
    judges = [cell.run.judge for cell in plan.cells if cell.run is not None]
    assert len({id(one) for one in judges if one is not None}) == 2
    places = [cell.run.plan.root for cell in plan.cells if cell.run is not None]
    assert [place.name for place in places[3:]] == ["wrong"] * 3


def test_the_command_line_replaces_what_the_file_has(tmp_path: Path) -> None:
    definition = read_suite_file(written(tmp_path, f"{SUITE}\nseed: 5"))
    given = RunSettings(judge="scripted:", limit=1)
    suite = open_suite(definition, given, rows=[DOTS], protocol="official")
    assert {column.settings.judge for column in suite.columns} == {"scripted:"}
    assert {column.settings.limit for column in suite.columns} == {1}
    assert {column.settings.seed for column in suite.columns} == {5}
    assert {column.benchmark.card.protocol for column in suite.columns} == {"official"}
    assert list(suite.rows) == [DOTS]
    again = open_suite(definition, RunSettings(), seed=0)
    assert {column.settings.seed for column in again.columns} == {0}


def test_paths_start_at_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        judge: "transformers:./judge?dtype=float32"
        benchmarks: ["file:own.yaml", {benchmark: dvreward, prompts: questions.jsonl}]
        checkpoints: [{checkpoint: ../model, lora: ./lora}, "images:made", org/model, ~/model]
    """
    (tmp_path / "suites").mkdir()
    written(tmp_path / "suites", text)
    monkeypatch.chdir(tmp_path)
    suite = read_suite_file(Path("suites/suite.yaml"))
    assert suite.judge == "transformers:suites/judge?dtype=float32"
    assert [one.benchmark for one in suite.benchmarks] == ["file:suites/own.yaml", "dvreward"]
    assert suite.benchmarks[1].prompts == "suites/questions.jsonl"
    assert [one.checkpoint for one in suite.checkpoints] == [
        "suites/../model", "images:suites/made", "org/model", "~/model",
    ]  # fmt: skip
    assert suite.checkpoints[0].lora == "suites/lora"
    monkeypatch.chdir(tmp_path / "suites")
    beside = read_suite_file(Path("suite.yaml"))
    assert beside.checkpoints[0].checkpoint == "../model", "as a user would type it"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("benchmark: [geneval]", "no setting at the top level named 'benchmark'", "benchmarks"),
        ("benchmarks: []", "benchmarks is empty", "correct"),
        ("benchmarks: geneval", "benchmarks cannot be 'geneval'", "a list"),
        (
            "benchmarks: [{benchmark: wise, juge: nano}]",
            r"at benchmarks\[0\] named 'juge'",
            "judge",
        ),
        ("benchmarks: [{judge: nano}]", r"benchmarks\[0\] lacks 'benchmark'", "benchmark: ..."),
        ("benchmarks: [{benchmark: wise, protocol: offical}]", "named 'offical'", "official"),
        ("benchmarks: [wise]\nlimit: many", "limit cannot be 'many'", "a whole number"),
        ("benchmarks: [wise]\ncheckpoints: [{think: yes}]", "lacks 'checkpoint'", "checkpoint: "),
        ("benchmarks: [!!python/name:os.system x]", "is not YAML", "correct it"),
        ("benchmarks: [wise]\nbenchmarks: [dpg]", "written twice", "keep one"),
        ("name: mine\nprompts: own.jsonl", "is no suite", "file:"),
        ("- geneval", "holds no settings", "key: value"),
    ],
)
def test_what_a_suite_does_not_have_is_refused_in_one_sentence(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(AlphaBenchError, match=message) as refused:
        read_suite_file(written(tmp_path, text))
    assert hint in refused.value.hint
    assert "suite.yaml" in refused.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benchmarks: [{benchmark: 'geneval:mini', evaluator: nanoo}]", "named 'nanoo'"),
        ("benchmarks: ['genevall:mini']", "'genevall'"),
        ("benchmarks: ['geneval:mini']", "names a checkpoint"),
    ],
)
def test_names_in_a_suite_are_checked_before_anything_runs(
    tmp_path: Path, text: str, message: str
) -> None:
    rows = [] if "checkpoint" in message else [DOTS]
    with pytest.raises(AlphaBenchError, match=message):
        open_suite(read_suite_file(written(tmp_path, text)), RunSettings(), rows=rows)


def test_a_budget_is_for_one_judge(tmp_path: Path) -> None:
    priced = "http://127.0.0.1:1/v1#m?price_in=1&price_out=1"
    text = SUITE.replace("scripted:?answer=yes", priced)
    given = RunSettings(budget=1.0, out=tmp_path / "out")
    two = open_suite(read_suite_file(written(tmp_path, text)), given)
    with pytest.raises(AlphaBenchError, match="this suite has 2"):
        plan_suite(two.columns, two.rows, device="cpu")
    one = open_suite(
        read_suite_file(written(tmp_path, text.replace("scripted:?answer=no", priced))), given
    )
    plan_suite(one.columns, one.rows, device="cpu")


def test_a_suite_is_named_by_its_file_alone() -> None:
    assert is_suite_file("suites/a.yaml")
    assert is_suite_file("a.yml")
    assert not any(map(is_suite_file, ("file:own.yaml", "geneval", "geneval:mini")))
