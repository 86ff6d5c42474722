"""Run folders of the version before the restructuring are shown, examined and continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.compatibility.conftest import Commands, copied
from tests.compatibility.recording import printed_report, record, report, table_rows, verdicts
from tests.compatibility.test_image_digests import recorded

SCORE = {
    "geneval": ("score", "runs/geneval"),
    "dpg": ("score", "runs/dpg", "--judge", "nano", "--no-cache"),
}
EACH = pytest.mark.parametrize("name", SCORE)


@pytest.fixture
def runs(alphabench: Commands) -> Path:
    """Copies of both recorded run folders."""
    return copied("run_folder", alphabench.folder / "runs")


def numbers(run: Path, digits: int) -> list[str]:
    """The headline and its interval as they are shown."""
    headline = report(run)["headline"]
    return [f"{headline[key]:.{digits}f}" for key in ("value", "low", "high")]


def contents(folder: Path, but: Iterable[str] = ()) -> dict[str, bytes]:
    """All files of a folder, without those of these names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }


@EACH
def test_an_old_run_is_listed_with_its_score(alphabench: Commands, runs: Path, name: str) -> None:
    said = alphabench("list", "runs").splitlines()
    (line,) = [line for line in said if f"runs/{name}:" in line]
    value, low, high = numbers(runs / name, 4)
    assert f"{name}@1:mini" in line
    assert f"{value} [{low}, {high}]" in line


@EACH
def test_the_report_of_an_old_run_is_shown(alphabench: Commands, runs: Path, name: str) -> None:
    shown = table_rows(alphabench("show", f"runs/{name}"))
    for group, estimate in report(runs / name)["groups"].items():
        (row,) = [row for row in shown if row[0] == group]
        interval = f"[{estimate['low']:.3f}, {estimate['high']:.3f}]"
        assert row[1:3] == [f"{estimate['value']:.3f}", interval]


@EACH
def test_the_figures_of_an_old_run_are_worked_out_alike(
    alphabench: Commands, runs: Path, name: str
) -> None:
    before, stored = report(runs / name), verdicts(runs / name)
    shutil.rmtree(runs / name / "reports")
    assert printed_report(alphabench("summarise", f"runs/{name}", "--json")) == before
    assert report(runs / name) == before
    assert verdicts(runs / name) == stored


def test_old_runs_stand_in_a_leaderboard(alphabench: Commands, runs: Path) -> None:
    page = alphabench("leaderboard", "runs")
    for name in SCORE:
        section = page.partition(f"\n# {name}\n")[2].partition("\n# ")[0]
        (row,) = [row for row in table_rows(section) if "nano" in row[1]]
        value, low, high = numbers(runs / name, 3)
        assert row[2:4] == [value, f"[{low}, {high}]"]
        groups = report(runs / name)["groups"].values()
        assert row[4 : 4 + len(groups)] == [f"{one['value']:.3f}" for one in groups]


@EACH
def test_what_was_examined_is_not_examined_again(
    alphabench: Commands, runs: Path, name: str
) -> None:
    before = contents(runs / name / "verdicts")
    said = alphabench(*SCORE[name], "--json")
    assert printed_report(said) == report(runs / name)
    assert contents(runs / name / "verdicts") == before


@EACH
def test_old_images_get_the_same_verdicts_to_the_last_digit(
    alphabench: Commands, runs: Path, name: str, same_arithmetic: None
) -> None:
    before, figures = verdicts(runs / name), report(runs / name)
    names = sorted(contents(runs / name / "verdicts"))
    (identity,) = [text for key, text in contents(runs / name).items() if "identity" in key]
    for part in ("verdicts", "reports"):
        shutil.rmtree(runs / name / part)
    assert printed_report(alphabench(*SCORE[name], "--json")) == figures
    assert verdicts(runs / name) == before
    assert sorted(contents(runs / name / "verdicts")) == names
    (now,) = [text for key, text in contents(runs / name).items() if "identity" in key]
    assert json.loads(now) == json.loads(identity)


def test_an_old_run_and_a_new_one_of_the_same_images_do_not_differ(
    alphabench: Commands, runs: Path, sampled: Callable[[str], Path]
) -> None:
    new = sampled("plain")
    assert record(new) == record(runs / "geneval")
    said = alphabench("compare", "runs/geneval", new)
    assert "+0.000" in said.partition("\n| ")[0]
    groups = report(new)["groups"]
    rows = {row[0]: row[1] for row in table_rows(said)}
    assert {group: rows[group] for group in groups} == dict.fromkeys(groups, "+0.000")


def test_a_larger_run_keeps_the_old_images_and_makes_the_others_as_before(
    alphabench: Commands, runs: Path, same_arithmetic: None
) -> None:
    run = runs / "geneval"
    old = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*.png")}
    lines = (run / "images.jsonl").read_text(encoding="utf-8").splitlines()
    words = ("run", "geneval:mini", "--ckpt", "nano", "--devices", "cpu", "--limit", "8")
    alphabench(*words, "--out", "runs/geneval")
    assert len(old) == 24
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in old} == old
    assert (run / "images.jsonl").read_text(encoding="utf-8").splitlines()[:24] == lines
    before = recorded("plain-resumed")
    assert record(run) == {key: before[key] for key in ("report", "sha256", "verdicts")}
