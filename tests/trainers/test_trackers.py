"""Experiment trackers: what each is given, one id for a resumed training, and no secrets."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphatrainers.guards import Difference
from alphatrainers.metrics import MetricsLog
from alphatrainers.protocols import ValidationPoint
from alphatrainers.settings import LoggingSettings
from alphatrainers.trackers import (
    HIDDEN,
    MetricsSink,
    open_sinks,
    refuse_missing_trackers,
    shown_config,
    tracking_id,
)
from alphatrainers.validation_curve import MeasuredPoint

CONFIG: Any = {"task": {"kind": "rt2i"}, "training": {"optimiser": {"lr": 1e-3}}}
MODULE = """
calls = []
Image = repr
class Run:
    def log(self, values, step): calls.append(("log", step, values))
    def finish(self): calls.append(("finish",))
def init(**settings):
    calls.append(("init", settings))
    return Run()
"""
"""Stands for both packages, which need an account; it remembers what it was called with."""
PACKAGES = ("wandb", "swanlab")


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a training, while both packages are the module above."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in PACKAGES:
        (modules / f"{name}.py").write_text(MODULE)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(modules)
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    for name in PACKAGES:
        sys.modules.pop(name, None)


def wanted(package: str) -> LoggingSettings:
    return LoggingSettings(
        tensorboard=False,
        wandb="project" if package == "wandb" else None,
        swanlab="project" if package == "swanlab" else None,
    )


def opened(folder: Path, package: str, config: Any = CONFIG) -> MetricsSink:
    (sink,) = open_sinks(wanted(package), folder, run="my-training", config=config)
    return sink


def calls_of(package: str) -> list[Any]:
    calls: list[Any] = sys.modules[package].calls
    return calls


def log_one_step(sink: MetricsSink) -> None:
    log = MetricsLog(None, [sink])
    values = {"learning_rate": 1e-3, "text/entropy": 1.5, "reward/mean": 0.5}
    log.write(0, values, seconds={"step": 2.0}, memory={"gpu_peak_gib": 3.0})
    point = ValidationPoint(value=0.5, low=0.4, high=0.6, items={})
    measured = MeasuredPoint("g", "ema", point, best=True, rise=Difference(0.1, 0.0, 0.2, 9))
    log.write_validation(1, [measured], Image.new("RGB", (4, 4)))
    log.close()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_tracker_gets_the_recipe_numbers_validations_and_panels(
    fakes: Path, package: str
) -> None:
    log_one_step(opened(fakes, package))
    (_, started), first, second, panel, last = calls_of(package)
    assert started["project"] == "project"
    assert started["config"] == CONFIG
    assert "my-training" in started.values()
    assert started["resume"] == "allow"
    assert first[1] == second[1] == panel[1] == 1, "by steps done"
    assert first[2] == {
        "learning_rate": 1e-3, "text/entropy": 1.5, "reward/mean": 0.5, "seconds/step": 2.0,
        "memory/gpu_peak_gib": 3.0,
    }  # fmt: skip
    assert second[2] == {
        "validation/g/ema/score": 0.5, "validation/g/ema/low": 0.4, "validation/g/ema/high": 0.6,
        "validation/g/ema/difference": 0.1,
    }  # fmt: skip
    assert list(panel[2]) == ["panel"]
    assert last == ("finish",)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_resumed_training_goes_on_in_the_run_that_it_began(
    fakes: Path, package: str, tmp_path: Path
) -> None:
    opened(fakes, package)
    opened(fakes, package)
    other = tmp_path / "other"
    other.mkdir()
    opened(other, package)
    first, again, another = (settings["id"] for _, settings in calls_of(package))
    assert first == again != another
    assert len(first) == 21
    assert first.isalnum()
    assert first == first.lower()
    assert json.loads((fakes / "tracking.json").read_text()) == {"id": first}


def test_a_damaged_id_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text("{")
    with pytest.raises(AlphaBenchError, match="is damaged") as caught:
        tracking_id(tmp_path)
    assert "delete it" in str(caught.value.hint)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_tracker_that_is_not_installed_is_one_sentence(package: str) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(AlphaBenchError, match=f"{package} is not installed") as caught:
        refuse_missing_trackers(wanted(package))
    assert caught.value.hint == f"pip install {package}, or training.logging.{package}=null"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_tracker_that_does_not_start_is_one_sentence(
    fakes: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{MODULE}\ndef init(**settings): raise PermissionError('log in first')"
    (fakes.parent / "modules" / f"{package}.py").write_text(text)
    with pytest.raises(AlphaBenchError, match=f"{package} does not start.*log in first"):
        opened(fakes, package)


def test_no_secret_is_shown() -> None:
    config = {
        "rewards": {"dv": {"judge": "openai:m?api_key=sk-1&timeout=3", "weight": 1.0}},
        "policy": {"options": {"hf_token": "hf_2", "think": True}},
        "prompts": {"source": "https://me:pass3@example.org/prompts.jsonl"},
        "list": [{"client_secret": "four"}],
        "thought": {"max_tokens": 96, "keep": 2},
    }
    shown = shown_config(config)
    text = json.dumps(shown)
    assert not any(secret in text for secret in ("sk-1", "hf_2", "pass3", "four"))
    assert shown["rewards"]["dv"]["judge"] == f"openai:m?api_key={HIDDEN}&timeout=3"
    assert shown["policy"]["options"] == {"hf_token": HIDDEN, "think": True}
    assert shown["thought"] == config["thought"], "numbers are no secrets"


def test_tensorboard_gets_numbers_validations_panels_and_the_recipe(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (sink,) = open_sinks(LoggingSettings(), tmp_path, run="r", config=CONFIG)
    log_one_step(sink)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    scalars = {name: events.Scalars(name)[0] for name in tags["scalars"]}
    expected = {"learning_rate": 1e-3, "text/entropy": 1.5, "validation/g/ema/score": 0.5}
    for name, value in expected.items():
        assert scalars[name].value == pytest.approx(value)
        assert scalars[name].step == 1
    assert tags["images"] == ["panel"]
    assert tags["tensors"] == ["recipe/text_summary"]
