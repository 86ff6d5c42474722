"""Points of a validation curve: ordinary runs, gaps with a reason, and the same seeds for ever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.types import ImageRequest
from alphagrpo.validation import BenchmarkValidation, open_validation
from tests.support.fakes import Brightness, Dots, Reds


class Live(Dots):
    """Dots whose identity follows weights that a test changes."""

    weights = "a"

    @property
    def identity(self) -> Mapping[str, str]:
        return {"name": "dots", "trained": self.weights}


def validation(
    folder: Path, live: Generator, reds: Reds | None = None, **changes: Any
) -> tuple[BenchmarkValidation, list[str]]:
    said: list[str] = []
    reds = reds or Reds()
    made = BenchmarkValidation(
        name="reds",
        benchmark=reds,
        evaluation=open_validation(reds, lambda: live, evaluator=None, judge=None, device="cpu"),
        generator=lambda: live,
        checkpoint="dots",
        folder=folder,
        limit=None,
        seed=changes.get("seed", 0),
        device="cpu",
        report=said.append,
    )
    return made, said


def test_a_point_has_the_headline_its_interval_and_a_value_for_each_sample(tmp_path: Path) -> None:
    made, _ = validation(tmp_path, Live())
    point = made.measure(step=0, view="train")
    assert point is not None
    assert point.folder == tmp_path / "step-000000-train" / "reds"
    assert len(point.items) == 12
    assert point.low <= point.value <= point.high
    assert point.value == pytest.approx(sum(point.items.values()) / 12)
    assert len(made.prompts) == 12


def test_the_same_weights_give_the_same_point_at_every_step(tmp_path: Path) -> None:
    made, _ = validation(tmp_path, Live())
    first, later = (made.measure(step=step, view="train") for step in (0, 10))
    assert first is not None
    assert later is not None
    assert first.items == later.items
    other, _ = validation(tmp_path / "other", Live(), seed=1)
    changed = other.measure(step=0, view="train")
    assert changed is not None
    assert changed.items != first.items


def test_a_resumed_training_measures_nothing_twice(tmp_path: Path) -> None:
    live = Live()
    made, _ = validation(tmp_path, live)
    before = made.measure(step=5, view="train")
    drawn = len(live.made)
    assert made.measure(step=5, view="train") == before
    assert len(live.made) == drawn


def test_other_weights_at_the_same_step_do_not_destroy_the_earlier_run(tmp_path: Path) -> None:
    live = Live()
    made, _ = validation(tmp_path, live)
    made.measure(step=5, view="train")
    live.weights = "b"
    assert made.measure(step=5, view="train") is not None
    folders = sorted(path.name for path in (tmp_path / "step-000005-train").iterdir())
    assert folders == ["reds", "reds-before-1"]


def test_a_point_with_too_few_verdicts_is_a_gap_with_its_reason(tmp_path: Path) -> None:

    unread = frozenset(f"{g}-{n}/{i}" for g in range(3) for n in range(2) for i in range(2))

    made, said = validation(tmp_path, Live(), Reds(examiner=Brightness(unparsed=unread)))
    assert made.measure(step=0, view="train") is None
    assert "50% of the verdicts" in said[0]


def test_what_cannot_be_measured_stops_the_first_point_and_leaves_a_gap_later(
    tmp_path: Path,
) -> None:
    class Fickle(Live):
        def generate(self, requests: Any) -> Any:
            raise AlphaBenchError("no memory left", hint="free some")

        def refusals(self, requests: list[ImageRequest]) -> Mapping[str, str]:
            raise AlphaBenchError("no memory left", hint="free some")

    made, said = validation(tmp_path, Fickle())
    with pytest.raises(AlphaBenchError, match="no memory left"):
        made.measure(step=0, view="train")
    assert made.measure(step=10, view="ema") is None
    assert "step 10: reds (ema): no memory left" in said[0]


def test_who_examines_is_loaded_once(tmp_path: Path) -> None:
    benchmark = open_benchmark("geneval:mini")
    evaluation = open_validation(benchmark, Live, evaluator="nano", judge=None, device="cpu")
    assert evaluation.open(device="cpu") is evaluation.open(device="cpu")
    assert evaluation.name == "nano"
