"""The generator that serves every unified model: what it hands over and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from alphabench.checkpoints.unified_checkpoint import UnifiedCheckpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import AdaptsToBenchmark, Generator, Licensed, SuggestsEvaluator
from alphabench.models.unified_model import (
    Abilities,
    AnswerTask,
    GenerationResult,
    GenerationTask,
    TextAnswer,
    UnifiedHandle,
)
from alphabench.types import NOTES, ImageRequest, NotGenerated
from tests.checkpoints.conftest import AskFor


@dataclass
class StubModel:
    """A loaded model that writes down what it was asked."""

    asked: list[tuple[GenerationTask, bool]] = field(default_factory=list)

    def generate(
        self, tasks: Sequence[GenerationTask], *, think: bool = False
    ) -> list[GenerationResult | NotGenerated]:
        self.asked += [(task, think) for task in tasks]
        return [self._one(task, think=think) for task in tasks]

    def _one(self, task: GenerationTask, *, think: bool) -> GenerationResult | NotGenerated:
        if task.prompt == "no":
            return NotGenerated(status="refused", reason="it would not")
        image = Image.new("RGB", (task.width or 8, task.height or 8))
        return GenerationResult(image=image, thought="hm" if think else None, thought_cut=think)

    def answer(self, tasks: Sequence[AnswerTask]) -> list[TextAnswer]:
        return [TextAnswer(text=task.text) for task in tasks]


@dataclass(frozen=True, kw_only=True)
class StubHandle:
    """The third unified model: nothing but the protocol."""

    model: StubModel
    think: bool = False
    edits: bool = True
    benchmark: str = ""
    name: str = "third"
    batch_size: int = 3
    suggested_evaluator: str | None = None

    @property
    def abilities(self) -> Abilities:
        return Abilities(edits=self.edits, thinks=True, answers=True)

    @property
    def identity(self) -> Mapping[str, str]:
        return {"kind": "third", "benchmark": self.benchmark}

    @property
    def licences(self) -> Mapping[str, str]:
        return {"third": "MIT"}

    def for_benchmark(self, benchmark: str) -> UnifiedHandle:
        return replace(self, benchmark=benchmark)

    def load(self, device: str) -> StubModel:
        assert device == "cpu"
        return self.model


def editing(request: ImageRequest, folder: Path) -> ImageRequest:
    path = folder / "source.png"
    Image.new("L", (5, 6), 200).save(path)
    return replace(request, sample=replace(request.sample, source_image=path))


def test_any_unified_model_is_a_generator_with_all_that_goes_with_it(ask: AskFor) -> None:
    checkpoint = UnifiedCheckpoint(handle=StubHandle(model=StubModel()), device="cpu")
    generator: Generator = checkpoint
    assert generator.batch_size == 3
    assert isinstance(checkpoint, Licensed)
    assert isinstance(checkpoint, AdaptsToBenchmark)
    assert isinstance(checkpoint, SuggestsEvaluator)
    assert checkpoint.suggested_evaluator == ""
    assert checkpoint.for_benchmark("geneval").identity["benchmark"] == "geneval"
    assert [getattr(one, "size", None) for one in generator.generate([ask()])] == [(8, 8)]


def test_a_request_becomes_a_task_with_its_prompt_seed_size_and_source(
    ask: AskFor, tmp_path: Path
) -> None:
    model = StubModel()
    checkpoint = UnifiedCheckpoint(handle=StubHandle(model=model), device="cpu")
    requests = [ask("a dog", seed=5, size=(16, 24)), editing(ask("redder", seed=6), tmp_path)]
    checkpoint.generate(requests)
    (plain, thinks), (edit, _) = model.asked
    assert not thinks
    assert (plain.prompt, plain.seed, plain.width, plain.height) == ("a dog", 5, 16, 24)
    assert plain.source is None
    assert edit.source is not None
    assert (edit.source.mode, edit.source.size) == ("RGB", (5, 6))


def test_thoughts_stay_with_their_images_and_refusals_in_their_order(ask: AskFor) -> None:
    opened = StubHandle(model=StubModel(), think=True)
    refused, made = UnifiedCheckpoint(handle=opened, device="cpu").generate([ask("no"), ask()])
    assert refused == NotGenerated(status="refused", reason="it would not")
    assert isinstance(made, Image.Image)
    assert made.info[NOTES] == {"thought": "hm", "thought_cut": True}


def test_an_edit_is_refused_where_the_model_cannot_edit(ask: AskFor, tmp_path: Path) -> None:
    checkpoint = UnifiedCheckpoint(handle=StubHandle(model=StubModel(), edits=False), device="cpu")
    with pytest.raises(AlphaBenchError, match="edits an image"):
        checkpoint.generate([editing(ask(), tmp_path)])
