"""Points of a validation curve: ordinary runs, gaps with a reason, and the same seeds for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import Generator
from alphabench.runs.store import RunFolder
from alphabench.types import ImageRequest
from alphagrpo.rank_engine import RankEngine
from alphagrpo.validation import BenchmarkValidation, open_validation
from alphatrainers.distributed import Processes
from alphatrainers.protocols import ValidationPoint
from tests.support.fakes import Brightness, Dots, Reds
from tests.support.thread_ranks import at_once

PARTS = ("alone", "shared")


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
        checkpoint=changes.get("checkpoint", "dots"),
        training=changes.get("training", "first"),
        folder=folder,
        limit=None,
        seed=changes.get("seed", 0),
        device="cpu",
        report=said.append,
        engine=RankEngine(changes["processes"], "cpu") if "processes" in changes else None,
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


def test_a_run_is_named_by_its_training_step_and_view_and_by_no_path(tmp_path: Path) -> None:
    names = ("first", "second", "a very long name " * 5 + "\n")
    titles: list[str] = []
    for name in names:
        folder = tmp_path / str(len(titles))
        made, _ = validation(folder, Live(), training=name, checkpoint="/models/of/a/user/dots")
        point = made.measure(step=20, view="ema")
        assert point is not None
        assert point.folder is not None
        manifest = RunFolder.open(point.folder).manifest
        titles.append(manifest.title)
        assert manifest.checkpoint == "dots, step 20, ema"
        assert "/models" not in (point.folder / "report.md").read_text()
    assert titles[:2] == ["first, step 20, ema", "second, step 20, ema"]
    assert titles[2].startswith("a very long name a very")
    assert titles[2].endswith(", step 20, ema")


def test_a_run_of_an_earlier_version_is_continued_under_its_old_name(tmp_path: Path) -> None:
    live = Live()
    made, _ = validation(tmp_path, live)
    before = made.measure(step=5, view="train")
    assert before is not None
    assert before.folder is not None
    manifest = before.folder / "manifest.json"
    stored = json.loads(manifest.read_text())
    del stored["circumstances"]["label"]
    manifest.write_text(json.dumps({**stored, "checkpoint": "/dots, step 5, train"}))
    drawn = len(live.made)
    again, _ = validation(tmp_path, live)
    assert again.measure(step=5, view="train") == before
    assert len(live.made) == drawn


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


def test_all_ranks_share_the_images_and_give_the_run_of_one(tmp_path: Path) -> None:
    alone, _ = validation(tmp_path / "alone", Live())
    expected = alone.measure(step=0, view="train")

    def work(processes: Processes) -> tuple[Live, ValidationPoint | None]:
        live = Live()
        made, _ = validation(tmp_path / "shared", live, processes=processes)
        if processes.first:
            return live, made.measure(step=0, view="train")
        made.assist()
        return live, None

    done = at_once(3, work)
    point = done[0][1]
    assert point is not None
    assert expected is not None
    assert point.items == expected.items
    assert all(live.made for live, _ in done)
    names = [name for live, _ in done for name in live.made]
    assert len(names) == len(set(names)) == 24
    for name in ("images.jsonl", *sorted(f"images/{one}.png" for one in names)):
        files = [tmp_path / part / "step-000000-train" / "reds" / name for part in PARTS]
        if name.endswith(".png"):
            assert files[0].read_bytes() == files[1].read_bytes()
        else:
            ids = [
                [json.loads(line)["image_id"] for line in f.read_text().splitlines()] for f in files
            ]
            assert ids[0] == ids[1], "in the same order"


def test_an_error_of_another_rank_is_that_of_the_first_and_nobody_waits(tmp_path: Path) -> None:
    class Full(Live):
        def generate(self, requests: Any) -> Any:
            raise AlphaBenchError("the disk of rank 1 is full", hint="free some")

    def work(processes: Processes) -> list[str]:
        live = Live() if processes.first else Full()
        made, said = validation(tmp_path, live, processes=processes)
        if processes.first:
            assert made.measure(step=10, view="train") is None
        else:
            made.assist()
        return said

    (sentence,), nothing = at_once(2, work)
    assert "the disk of rank 1 is full" in sentence
    assert nothing == []


def test_who_examines_is_loaded_once(tmp_path: Path) -> None:
    benchmark = open_benchmark("geneval:mini")
    evaluation = open_validation(benchmark, Live, evaluator="nano", judge=None, device="cpu")
    assert evaluation.open(device="cpu") is evaluation.open(device="cpu")
    assert evaluation.name == "nano"
