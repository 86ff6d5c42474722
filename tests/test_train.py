"""`alphabench.train` from Python: a training, its result, and what it says of wrong arguments."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alphabench import AlphaBenchError, TrainingResult, registry, train

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current directory, with the example of a model that can be trained."""
    here = tmp_path_factory.mktemp("training")
    for name in ("trainable_model.py", "trainable_recipe.yaml", "training_prompts.txt"):
        shutil.copy(EXAMPLES / name, here)
    shutil.copy(EXAMPLES / "reward_function.py", here)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.syspath_prepend(here)
        patch.setenv("ALPHABENCH_CACHE", str(here / "cache"))
        yield here
    for name in ("trainable_model", "reward_function"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def trained(folder: Path) -> TrainingResult:
    validation = {"benchmark": "geneval:mini", "evaluator": "nano", "limit": 6}
    changed = {"training.steps": 2, "training.validate_every": 2, "validation": [validation]}
    return train("trainable_recipe.yaml", changed, out="run", device="cpu", progress=False)


def test_a_training_gives_its_logs_as_frames(trained: TrainingResult) -> None:
    metrics = trained.to_pandas("metrics")
    assert list(metrics["step"]) == [1, 2]
    assert metrics["reward/mean"].notna().all()
    validations = trained.to_pandas("validations")
    assert set(validations["step"]) == {0, 2}
    assert validations["best"].any()
    assert trained.best_step in (0, 2)
    assert trained.report.is_file()
    with pytest.raises(AlphaBenchError, match="no frame named 'metric'"):
        trained.to_pandas("metric")  # type: ignore[arg-type]


def test_a_training_is_short_when_it_is_printed(trained: TrainingResult) -> None:
    assert repr(trained).startswith("TrainingResult(2 steps, held out ")
    assert "folder 'run')" in repr(trained)
    assert "| step |" in " ".join(trained._repr_markdown_().split())


def test_a_training_is_continued_only_if_that_is_said(
    trained: TrainingResult, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AlphaBenchError, match="'run' holds a training"):
        train("trainable_recipe.yaml", "training.steps=3", out="run", device="cpu")
    more = train("run", {"training.steps": 3}, resume=True, device="cpu")
    assert more.steps == 3
    assert capsys.readouterr().out == ""


def test_auto_begins_a_training_and_continues_the_same_one_alone(
    trained: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("trainable_recipe.yaml", "training.steps=1")
    begun = train(*words, out="either", resume="auto", device="cpu")
    assert begun.steps == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a-job")
    monkeypatch.setattr("torch.distributed.is_torchelastic_launched", lambda: False)
    with pytest.raises(AlphaBenchError, match="'either' holds a training"):
        train(*words, out="either", resume=False, device="cpu")
    again = train(words[0], "training.steps=2", out="either", device="cpu")
    assert again.steps == 2, "the default under torchrun"
    with pytest.raises(AlphaBenchError, match=r"'either' holds another training.*seed: 0 -> 9"):
        train(*words, "training.seed=9", out="either", device="cpu")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"recipe": "nano-rt3i"}, "nano-rt2i"),
        ({"recipe": None}, "the recipe is None"),
        ({"recipe": 3}, "recipe cannot be 3"),
        ({"override": "steps"}, "'steps' is not an assignment"),
        ({"override": 3}, "an override cannot be a int"),
        ({"override": {"training.steps": object()}}, "cannot be written as text"),
        ({"override": {"training.step": 2}}, "did you mean 'steps'"),
        ({"resume": "yes"}, "resume cannot be 'yes'"),
        ({"resume": True}, "there is no training to continue in 'new'"),
        ({"progress": "no"}, "progress cannot be 'no'"),
        ({"device": "cuda:77"}, "no device 'cuda:77'"),
    ],
)
def test_a_wrong_argument_is_one_sentence(wrong: dict[str, Any], words: str, folder: Path) -> None:
    given: dict[str, Any] = {"out": "new", "device": "cpu", **wrong}
    recipe = given.pop("recipe", "trainable_recipe.yaml")
    overrides = [given.pop("override")] if "override" in given else []
    with pytest.raises(AlphaBenchError, match=words):
        train(recipe, *overrides, **given)
    assert not (folder / "new").exists()


def test_without_the_trainer_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "known", lambda kind: {})
    with pytest.raises(AlphaBenchError, match=r"not installed; pip install -e '\.\[train\]'"):
        train("nano-rt2i")
