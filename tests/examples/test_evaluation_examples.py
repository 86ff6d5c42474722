"""The evaluation half of `examples/`: each file runs as its first lines say, from its folder."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.cli.conftest import Shell

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = (
    "checkpoint_object", "evaluator_object", "image_server", "judge_object", "judged_benchmark",
    "verdicts_in_pandas",
)  # fmt: skip
MINI = ("run", "geneval:mini", "--evaluator", "nano", "--limit", "6", "--json")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A copy of the folder as the current directory; no module of it stays loaded."""
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Shell(folder=folder, cache=tmp_path / "cache")
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_function_and_an_object_are_the_same_checkpoint(shell: Shell) -> None:
    by_function = shell(*MINI, "--ckpt", "python:checkpoint_object:generate", "--out", "one").json
    by_object = shell(*MINI, "--ckpt", "python:checkpoint_object:Collage", "--out", "two").json
    assert by_function["groups"] == by_object["groups"]
    assert by_function["groups"]["counting"]["value"] == 1.0
    assert by_function["groups"]["position"]["value"] < 1.0
    words = ("--ckpt", "python:checkpoint_object:Collage", "--set", "size=192", "--out", "two")
    assert "checkpoint.size: '128' -> '192'" in shell(*MINI, *words, code=2).err


@pytest.fixture
def served(shell: Shell) -> Iterator[str]:
    """The address of the example's server, running in a process of its own."""
    command = [sys.executable, "image_server.py", "checkpoint_object:generate", "--port", "0"]
    with subprocess.Popen(command, cwd=shell.folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().removeprefix("serving ").strip()
        server.terminate()


def test_a_function_behind_the_image_server_gives_the_same_images(
    shell: Shell, served: str
) -> None:
    address, _, model = served.partition("#")
    with urllib.request.urlopen(f"{address}/models") as listed:
        assert json.load(listed)["data"] == [{"id": model}]
    words = ("--set", "send_seed=true")
    report = shell(*MINI, "--ckpt", served, *words, "--out", "served").json
    direct = shell(*MINI, "--ckpt", "python:checkpoint_object:generate", "--out", "direct").json
    assert report["groups"] == direct["groups"]

    def status(body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{address}/images/generations", data=json.dumps(body).encode()
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as answer:
            return answer.code, json.load(answer)["error"]

    assert status({"seed": 1})[0] == 400
    assert status([])[0] == 400
    assert status({"prompt": "a car", "model": "other"})[0] == 404
    code, error = status({"prompt": "nothing that it knows"})
    assert (code, error["code"]) == (400, "content_policy_violation")


def test_what_the_example_judge_cannot_tell_is_unparsed_and_not_wrong(shell: Shell) -> None:
    words = ("run", "python:judged_benchmark:Fruit", "--ckpt", "scene:", "--json", "--judge")
    report = shell(*words, "python:judge_object:ColourJudge", "--out", "run", code=1).json
    assert report["statuses"] == {"scored": 4, "unparsed": 20}
    assert report["groups"]["colour"]["value"] == 1.0
    strict = "python:judge_object:ColourJudge?least=0.9"
    report = shell(*words, strict, "--out", "run", code=1).json
    assert report["groups"]["colour"]["value"] == 0.0


def test_the_example_suite_runs_with_a_judge_for_each_benchmark(shell: Shell) -> None:
    facts = shell("run", "suite.yaml", "--limit", "1", "--json").json
    assert [row["checkpoint"] for row in facts["plan"]] == ["scene:"] * 3 + [
        "scene-with-errors"
    ] * 3
    assert [one["run"]["complete"] for one in facts["results"]] == [True] * 6
    assert facts["results"][2]["headline"]["value"] == 1.0, "its judge always says yes"


def test_the_example_evaluator_measures_its_own_benchmark(shell: Shell) -> None:
    words = ("run", "python:evaluator_object:Colours", "--json", "--ckpt")
    ours = "python:checkpoint_object:Collage"
    report = shell(*words, ours, "--limit", "8", "--out", "run").json
    assert (report["headline"]["value"], report["statuses"]) == (1.0, {"scored": 16})
    most = ("--evaluator", "colour?least=0.5")
    report = shell(*words, ours, "--limit", "8", "--out", "run", *most).json
    assert report["headline"]["value"] == 0.0
    wrong = shell(*words, ours, "--out", "run", "--evaluator", "colour?leest=1", code=2)
    assert "did you mean 'least'" in wrong.err


def test_verdicts_are_read_with_pandas(
    shell: Shell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from verdicts_in_pandas import main  # type: ignore[import-not-found]

    monkeypatch.chdir(shell.folder)
    monkeypatch.setenv("ALPHABENCH_CACHE", str(shell.cache))
    main("runs/pandas")
    printed = capsys.readouterr().out
    assert "distinguishable, 24 pairs" in printed
    assert "scene:?error=0.1" in printed.splitlines()[-2]


def test_the_code_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, as an interpreter would: what a cell ends with is shown."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHABENCH_CACHE", str(tmp_path / "cache"))
    pyplot.switch_backend("agg")
    names: dict[str, Any] = {}
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this backend cannot show
        for cell in notebook_of(limit=1).cells:
            if cell.cell_type != "code":
                continue
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    assert len(pyplot.get_fignums()) == 2
    pyplot.close("all")
    assert "| **score** |" in " ".join(shown[0]._repr_markdown_().split())
    assert [len(one) for one in shown[1:3]] == [3, 1]
    assert "difference" in shown[-1]._repr_markdown_().lower()


def notebook_of(*, limit: int) -> Any:
    """With fewer prompts than it is shipped with: the numbers are not compared."""
    notebook: Any = nbformat.read(EXAMPLES / "first_run.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    shipped = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in shipped[1:]), "it is shipped with its outputs"
    for cell in notebook.cells:
        cell.source = cell.source.replace("limit=12", f"limit={limit}")
    return notebook


@pytest.mark.whole
def test_the_notebook_runs_from_the_first_cell_to_the_last(tmp_path: Path) -> None:
    notebook = notebook_of(limit=3)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notebook's libraries warn about one another
        patch.setenv("ALPHABENCH_CACHE", str(tmp_path / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        where = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    html = [output.get("data", {}).get("text/html", "") for output in shown]
    assert any('<progress value="12" max="12">' in text for text in html)
    markdown = [output.get("data", {}).get("text/markdown", "") for output in shown]
    assert any("| **score** |" in " ".join(text.split()) for text in markdown)
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2


def test_every_example_has_its_line_in_the_folders_page() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    files = [path.name for path in EXAMPLES.iterdir() if path.is_file()]
    assert [name for name in files if name != "README.md" and f"]({name})" not in page] == []
