"""`compare`, `leaderboard` and `load_run` from Python: the same results as the commands print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alphabench import AlphaBenchError, compare, evaluate, leaderboard, load_run
from alphabench.analysis import merge_runs
from tests.cli.conftest import Shell


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one benchmark, one with errors."""
    root = tmp_path_factory.mktemp("runs")
    for error in ("0", "0.5"):
        evaluate("geneval:mini", f"scene:?error={error}", limit=12, out=root / error)
    return root


@pytest.fixture
def shell(runs: Path) -> Shell:
    return Shell(folder=runs, cache=runs)


def test_two_runs_are_compared_as_by_the_command(runs: Path, shell: Shell) -> None:
    found = compare(runs / "0", load_run(runs / "0.5"))
    assert found.headline.value == pytest.approx(-0.5, abs=0.1)
    assert found.distinguishable
    assert "distinguishable, 12 pairs" in repr(found)
    assert found.to_markdown().strip() == shell("compare", "0", "0.5").out.strip()
    assert found._repr_markdown_() == found.to_markdown()
    groups = found.to_pandas()
    assert list(groups["group"]) == list(found.groups)
    assert (groups["difference"] <= 0).all()
    samples = found.to_pandas("samples")
    assert (samples["before"] > samples["after"]).all()
    with pytest.raises(AlphaBenchError, match="no frame named 'sample'"):
        found.to_pandas("sample")  # type: ignore[arg-type]


def test_runs_are_ranked_as_by_the_command(runs: Path, shell: Shell, tmp_path: Path) -> None:
    ranked = leaderboard([runs / "0.5", load_run(runs / "0")])
    assert repr(ranked) == "Leaderboard(2 results in 1 tables: geneval@1:mini)"
    frame = ranked.to_pandas()
    assert list(frame["checkpoint"]) == ["scene:?error=0", "scene:?error=0.5"]
    assert frame["score"].is_monotonic_decreasing
    assert "group: counting" in frame.columns
    assert leaderboard(runs).to_markdown().strip() == shell("leaderboard", ".").out.strip()
    index = ranked.write(tmp_path / "board")
    assert index.read_text().startswith("# Leaderboards")
    assert ranked._repr_markdown_() == ranked.to_markdown()


def test_a_damaged_run_is_skipped_and_named(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    ranked = leaderboard([runs, tmp_path.parent])
    assert any(str(tmp_path) in sentence for sentence in ranked.skipped)


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_what_is_no_run_is_named(wrong: Any, runs: Path) -> None:
    with pytest.raises(AlphaBenchError, match="is no run; give a run folder"):
        leaderboard(wrong)
    with pytest.raises(AlphaBenchError, match="is no run; give a run folder"):
        compare(wrong, runs / "0")
    with pytest.raises(AlphaBenchError, match="is no run; give a run folder"):
        load_run(wrong)
    with pytest.raises(AlphaBenchError, match="is not a run folder"):
        load_run(runs)


def test_shards_are_merged_into_the_run_that_one_call_makes(runs: Path, tmp_path: Path) -> None:
    def part(shard: str) -> Path:
        how: Any = {"limit": 12, "shard": shard, "out": tmp_path / "a"}
        return evaluate("geneval:mini", "scene:?error=0.5", **how).folder

    first = part("1/2")
    assert merge_runs(first).coverage == 0.5
    whole = merge_runs([str(first), part("2/2")])
    assert (whole.folder, whole.coverage) == (tmp_path / "a", 1.0)
    assert whole.report == load_run(runs / "0.5").report
    assert merge_runs(tmp_path / "a", out=tmp_path / "b").report == whole.report
    with pytest.raises(AlphaBenchError, match="a int is no run"):
        merge_runs(3)  # type: ignore[arg-type]
    with pytest.raises(AlphaBenchError, match="shard"):
        evaluate("geneval:mini", "scene:", shard=3)  # type: ignore[arg-type]
