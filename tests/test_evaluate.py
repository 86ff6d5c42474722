"""`alphabench.evaluate` from Python: what it takes, and what it says of what it does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alphabench import AlphaBenchError, evaluate
from alphabench.upstream import default_cache_dir


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_names_paths_and_judges_are_taken_as_text(here: Path) -> None:
    outcome = evaluate(
        "dvreward:mini", "scene:", judge="scripted:?answer=0.5", limit=1, out="runs/api"
    )
    assert outcome.folder.root == Path("runs/api")
    assert (here / "runs" / "api" / "report.md").is_file()
    assert outcome.report.headline.value is not None


def test_the_cache_folder_of_the_environment_is_the_one_of_python(here: Path) -> None:
    assert default_cache_dir() == here / "cache"


class Pipeline:
    """A loaded model of another library."""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"source": Pipeline()}, "the source is a Pipeline and no generator: it has no method"),
        ({"source": None}, "the source is a NoneType and no generator"),
        ({"source": Path("nothing")}, "there is no checkpoint 'nothing'"),
        ({"judge": Pipeline()}, "the judge is a Pipeline and no judge: it has no method ask"),
        ({"judge": ""}, "the judge's name is empty"),
        ({"benchmark": Pipeline()}, "a Pipeline is no benchmark"),
        ({"limit": 0}, "cannot be 0"),
    ],
)
def test_an_object_of_another_kind_is_named(wrong: dict[str, Any], words: str, here: Path) -> None:
    given: dict[str, Any] = {"benchmark": "dvreward:mini", "source": "scene:", "limit": 1, **wrong}
    with pytest.raises(AlphaBenchError, match=words):
        evaluate(given.pop("benchmark"), given.pop("source"), **given)
    assert not list(here.iterdir())
