"""What `evaluate` and `load_run` return: numbers, frames, images, and how they are displayed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from alphabench import AlphaBenchError, RunResult, evaluate, load_run
from alphabench.results.run_result import COLUMNS

HOSTILE = "a <b>red</b> | apple"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with errors in half of its images."""
    out = tmp_path_factory.mktemp("results") / "run"
    evaluate("geneval:mini", "scene:?error=0.5", limit=12, out=out, progress=False)
    return out


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was scored under both protocols."""
    out = tmp_path_factory.mktemp("results") / "run"
    for protocol in ("official", "strict"):
        assert protocol in ("official", "strict")
        evaluate("geneval:mini", "scene:", limit=6, out=out, protocol=protocol)
    return out


@pytest.fixture
def result(folder: Path) -> RunResult:
    return load_run(folder)


def test_a_result_is_short_when_it_is_printed(result: RunResult, folder: Path) -> None:
    shown = repr(result)
    low, high = result.interval or (0.0, 0.0)
    assert f"official protocol, nano: score {result.score:.3f} [{low:.3f}, {high:.3f}]" in shown
    assert "coverage 100% (48 of 48), PARTIAL" in shown
    assert str(folder) in shown
    assert shown.count("\n") == 1


def test_a_notebook_displays_a_table_without_markup_from_data(tmp_path: Path) -> None:
    ran = evaluate("geneval:mini", "scene:", limit=6, out=tmp_path / "<b>bold</b>")
    shown = ran._repr_markdown_()
    assert "| single_object | 1.000 |" in " ".join(shown.split())
    assert "**score**" in shown
    assert "**PARTIAL**" in shown
    assert "<b>" not in shown


def test_verdicts_are_a_frame_with_a_row_for_each_question(result: RunResult) -> None:
    frame = result.to_pandas()
    assert tuple(frame.columns) == COLUMNS["verdicts"]
    assert len(frame) == 48
    assert frame["value"].mean() == pytest.approx(0.5, abs=0.1)
    assert set(frame["status"]) == {"scored"}
    assert frame.groupby("group")["value"].mean()["counting"] == pytest.approx(
        result.report.groups["counting"].value
    )
    assert frame["prompt"].str.len().min() > 5


def test_what_is_missing_has_a_row_with_its_reason(tmp_path: Path) -> None:
    ran = evaluate("geneval:mini", "scene:", limit=6, out=tmp_path / "run")
    gone = next(iter(ran.images))
    ran.images.path(gone).unlink()
    again = load_run(tmp_path / "run")
    assert gone not in again.images
    frame = again.to_pandas("verdicts").set_index("image_id")
    assert frame.loc[gone, "status"] == "failed"
    assert frame["value"].isna().sum() == 1
    assert "deleted" in str(frame.loc[gone, "reason"])
    images = again.to_pandas("images").set_index("image_id")
    assert images.loc[gone, "state"] == "unscored"
    assert set(images["state"]) == {"right", "unscored"}


def test_groups_and_images_are_frames(result: RunResult, folder: Path) -> None:
    groups = result.to_pandas("groups")
    assert tuple(groups.columns) == COLUMNS["groups"]
    assert list(groups["group"]) == list(result.report.groups)
    images = result.to_pandas("images")
    assert tuple(images.columns) == COLUMNS["images"]
    assert set(images["state"]) == {"right", "wrong"}
    assert Path(images["path"][0]).is_relative_to(folder)
    with pytest.raises(AlphaBenchError, match="no frame named 'verdict'; did you mean 'verdicts'"):
        result.to_pandas("verdict")  # type: ignore[arg-type]


def test_an_image_is_opened_by_its_id_with_its_prompt(result: RunResult) -> None:
    image_id = next(iter(result.images))
    image = result.images[image_id]
    assert image.mode == "RGB"
    assert image.info["prompt"] == result.images.prompt(image_id)
    assert image.info["image_id"] == image_id
    assert len(result.images) == 48
    with pytest.raises(AlphaBenchError, match=r"no image '7'; .*such as '"):
        result.images["7"]
    assert result.images.get("7") is None


def test_a_result_is_json_and_markdown(result: RunResult, folder: Path) -> None:
    content = result.to_dict()
    assert content["headline"]["value"] == result.score
    assert (content["run"]["folder"], content["run"]["seed"]) == (str(folder), 0)
    assert content["run"]["benchmark"]["version"] == "1"
    assert result.to_markdown() == (folder / "report.md").read_text(encoding="utf-8")
    assert result.gallery.is_file()


def test_several_evaluations_of_a_run_are_told_apart(twice: Path) -> None:
    both = load_run(twice)
    assert len(both.evaluations) == 2
    with pytest.raises(AlphaBenchError, match=r"was scored by 2 evaluators; choose one: \.select"):
        _ = both.score
    assert set(both.to_pandas()["evaluation"]) == set(both.evaluations)
    assert repr(both).count("coverage") == 2
    strict = both.select(both.evaluations[1])
    assert strict.report.protocol == "strict"
    assert len(strict.to_pandas()) == 24
    assert load_run(twice, evaluation=strict.evaluation).score == strict.score
    with pytest.raises(AlphaBenchError, match="no evaluation of this run named 'x'"):
        both.select("x")


def test_a_run_without_scores_says_how_to_get_them(tmp_path: Path) -> None:
    from tests.cli.conftest import Shell

    shell = Shell(folder=tmp_path, cache=tmp_path)
    shell("generate", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--out", "run")
    unscored = load_run(tmp_path / "run")
    assert "not scored yet" in repr(unscored)
    assert len(unscored.to_pandas("images")) == 4
    with pytest.raises(AlphaBenchError, match="alphabench score"):
        _ = unscored.report


def test_without_pandas_the_error_names_the_extra(
    result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(AlphaBenchError, match=r"needs the package pandas: .*\[notebook\]"):
        result.to_pandas()
    assert result.score is not None


def test_a_run_of_a_benchmark_of_ones_own_needs_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2] / "examples")
    fruit = "python:judged_benchmark:Fruit"
    ran = evaluate(fruit, "scene:", judge="nano", limit=1, out=tmp_path / "run")
    assert len(ran.to_pandas()) == 4
    unnamed = load_run(tmp_path / "run")
    assert unnamed.score == ran.score
    with pytest.raises(AlphaBenchError, match="no installed package registers"):
        unnamed.to_pandas()
    assert len(load_run(tmp_path / "run", benchmark=fruit).to_pandas()) == 4
