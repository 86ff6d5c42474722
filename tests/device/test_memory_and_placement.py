"""What a run does with its device: the current one, and memory between generator and evaluator."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from alphabench.interfaces import Evaluator
from alphabench.judges.answer_cache import AnswerCache
from alphabench.judges.cached_judge import CachedJudge
from alphabench.judges.nano_judge import open_nano_judge
from alphabench.questions import Judge, judge_on_device
from alphabench.runs.plan import CheckpointFactory, open_evaluation, plan_run
from alphabench.runs.run import Outcome, Work, execute_plan
from alphabench.types import GeneratedImage, ImageRequest, NotGenerated, Verdict
from tests.support.fakes import Brightness, Dots, Reds

pytestmark = pytest.mark.device


class Weights:
    """Holds itself in a circle, as modules with hooks do."""

    def __init__(self) -> None:
        self.circle = self


@dataclass
class Diary:
    """What is in memory whenever a model works."""

    alive: dict[str, weakref.ref[Weights]] = field(default_factory=dict)
    lines: list[tuple[str, bool]] = field(default_factory=list)
    """Who works, and whether the other's weights are in memory meanwhile."""

    def load(self, name: str) -> Weights:
        weights = Weights()
        self.alive[name] = weakref.ref(weights)
        return weights

    def note(self, name: str, other: str) -> None:
        there = self.alive.get(other, lambda: None)() is not None
        if (name, there) not in self.lines:
            self.lines.append((name, there))


@dataclass
class HeavyDots(Dots):
    diary: Diary = field(default_factory=Diary)
    weights: Weights | None = None

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image.Image | NotGenerated]:
        self.weights = self.weights or self.diary.load("generator")
        self.diary.note("generator", "evaluator")
        return super().generate(requests)


@dataclass
class HeavyBrightness(Brightness):
    diary: Diary = field(default_factory=Diary)
    weights: Weights | None = None

    def self_test(self) -> None:
        self.weights = self.weights or self.diary.load("evaluator")
        self.diary.note("self-test", "generator")

    def evaluate(self, images: Sequence[GeneratedImage]) -> Iterator[Verdict]:
        self.diary.note("evaluator", "generator")
        return super().evaluate(images)


@dataclass
class HeavyReds(Reds):
    diary: Diary = field(default_factory=Diary)

    def evaluator(
        self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
    ) -> Evaluator:
        return HeavyBrightness(diary=self.diary)


def run(folder: Path, diary: Diary, device: str) -> Outcome:
    benchmark = HeavyReds(groups=1, size=2, diary=diary)
    checkpoint = CheckpointFactory(name="dots", open=lambda device: HeavyDots(diary=diary))
    plan = plan_run(benchmark, checkpoint, out=folder, device=device)
    evaluation = open_evaluation(benchmark, "brightness", device=device)
    return execute_plan(plan, evaluation, Work(devices=(device,)))


def test_generator_and_evaluator_are_never_on_the_device_together(
    tmp_path: Path, stand_in: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied, current = [], []
    module: Any = torch.get_device_module(stand_in)
    monkeypatch.setattr(module, "empty_cache", lambda: emptied.append(True))
    monkeypatch.setattr(module, "set_device", lambda device: current.append(str(device)))
    diary = Diary()
    gc.disable()
    try:
        run(tmp_path / "run", diary, str(stand_in))
    finally:
        gc.enable()
    assert diary.lines == [
        ("self-test", False), ("generator", False), ("evaluator", False)
    ]  # fmt: skip
    assert len(emptied) == 2
    assert set(current) == {"standin:0"}


def test_on_the_cpu_the_evaluator_stays_loaded(tmp_path: Path) -> None:
    diary = Diary()
    run(tmp_path / "run", diary, "cpu")
    assert diary.lines[:2] == [("self-test", False), ("generator", True)]
    assert [name for name, _ in diary.lines].count("self-test") == 1


def test_a_named_judge_loads_on_the_device_of_its_worker_and_goes_with_its_evaluator(
    tmp_path: Path, stand_in: torch.device
) -> None:
    judge = CachedJudge(
        judge=open_nano_judge("", options={}, device="cuda:0"), cache=AnswerCache(tmp_path)
    )
    there: Any = judge_on_device(judge, str(stand_in))
    assert there.judge.device == str(stand_in)
    assert there.identity == judge.identity
    assert there.judge._loaded.network.device == stand_in
    assert "_loaded" not in vars(judge.judge), "the copy alone holds the weights"
    again: Any = judge_on_device(there, str(stand_in))
    assert again.judge._loaded is there.judge._loaded, "what is loaded there is shared"


def test_a_judge_goes_where_its_worker_is_only_if_it_was_named(stand_in: torch.device) -> None:
    judges = []

    @dataclass
    class Judged(Reds):
        def evaluator(
            self, spec: str | None = None, *, judge: Judge | None = None, device: str = "cpu"
        ) -> Evaluator:
            judges.append(judge)
            return self.examiner

    own = open_nano_judge("", options={}, device="cpu")
    opened = partial(open_evaluation, Judged(), "brightness", judge=own)
    opened(moves_judge=True).open(device=str(stand_in))
    opened().open(device=str(stand_in))
    assert [getattr(judge, "device", "") for judge in judges] == ["cpu", "standin:0", "cpu", "cpu"]
