"""The report of finished trainings: its figures are those of the harness."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from PIL import Image

from alphabench import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.reports.comparison import basis_of, compare_runs
from alphabench.runs.stored_run import StoredRun
from alphabench.types import ImageRequest
from alphabench.upstream import UpstreamData
from alphatrainers.reporting.history import read_steps
from tests.support.stored_runs import RunMaker
from tools.results.reading import Comparer, Finished, at_images, families, read_run, totals
from tools.results.report import INTRODUCTION, NOTES, write_report

ROOT = Path(__file__).parents[3]

RECIPE: dict[str, Any] = {
    "task": {"kind": "rt2i"},
    "rewards": {"dv": {"weight": 1.0, "judge": "nano"}, "tags": {"weight": 0.1, "judge": None}},
    "training": {
        "seed": 3,
        "optimiser": {"lr": 3e-4, "schedule": "linear"},
        "image": {"kind": "flow_grpo"},
    },
}
IDENTITY = {
    "policy": {"weights": "sha256:0123456789abcdef"},
    "rewards": {"dv": {"judge.model": "sha256:fedcba9876543210"}, "tags": {}},
}
MINI = open_benchmark("geneval:mini")
SAMPLES = MINI.samples()[::7]
"""Of all tasks; nine of sixty."""


def right_for(number: int) -> Callable[[ImageRequest], float]:
    """So many samples right, all images of each."""
    names = {sample.id for sample in SAMPLES[:number]}
    return lambda request: float(request.sample.id in names)


def train(
    root: Path, *, images: int, right: Sequence[int], measure: bool = True, seed: int = 3
) -> Path:
    """A training's folder: a validation before and after each step."""
    root.mkdir()
    recipe = {**RECIPE, "training": {**RECIPE["training"], "seed": seed}}
    make = RunMaker(root=root / "validation", samples=SAMPLES)
    make.root.mkdir()
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (root / "identity.json").write_text(json.dumps(IDENTITY))
    pixels = {"benchmark.data_digest": MINI.card.data_digest}
    points, steps = [], []
    for step, number in enumerate(right):
        made = make(f"step {step}", answer=right_for(number), pixels=pixels)
        headline = made.report.headline
        seconds = {"point": 1.0, "processor": 1800.0} if measure else {"point": 1.0}
        points.append({
            "step": step, "name": "geneval:mini", "view": "train", "seconds": seconds,
            "value": headline.value, "low": headline.low, "high": headline.high,
            "folder": str(made.folder.root.relative_to(root)),
        })  # fmt: skip
    for step in range(len(right) - 1):
        values = {"images": images * (step + 1), "reward/total": 0.5, "reward/unscored_share": 0.25}
        counted = {"reward/dv/questions": 5.0} if measure else {}
        seconds = {"step": 3600.0, **({"processor": 1800.0} if measure else {})}
        steps.append({"step": step, "values": {**values, **counted}, "seconds": seconds})
    for name, rows in (("validation.jsonl", points), ("metrics.jsonl", steps)):
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def compare(tmp_path: Path) -> Comparer:
    return Comparer(UpstreamData(cache_dir=tmp_path / "data"))


def row(page: str, heading: str, run: str) -> list[str]:
    """The cells of a run in the table below a heading."""
    (line,) = (
        line
        for line in page.partition(heading)[2].partition("\n## ")[0].splitlines()
        if line.startswith(f"| {run} ")
    )
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_report_says_whose_weights_best_holds_where_that_is_known(
    tmp_path: Path, compare: Comparer
) -> None:
    folder = train(tmp_path / "run", images=50, right=[2, 3])
    write_report(tmp_path / "old", [read_run(folder)], compare, title="One")
    assert "`best` holds" not in (tmp_path / "old" / "README.md").read_text()
    (folder / "best-000001").mkdir()
    (folder / "best.json").write_text('{"step": 1, "view": "train"}')
    write_report(tmp_path / "out", [read_run(folder)], compare, title="One")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "`best` holds the weights train of step 1." in page


def test_published_steps_keep_all_that_was_logged_but_the_counts_of_passes(
    tmp_path: Path, compare: Comparer
) -> None:
    folder = train(tmp_path / "run", images=50, right=[2, 3])
    logged = {
        "images": 50.0, "loss": -0.012345678, "grad_norm": 0.1, "learning_rate": 5e-5,
        "image/ratio/mean": 1.0, "image/clip_fraction": 0.25, "image/clip_fraction_high": 0.25,
        "text/entropy": 1.5, "image/zero_std_groups": 3.0, "reward/mean": 0.5,
        "forward_passes/train/velocities": 96.0,
    }  # fmt: skip
    line = {"step": 0, "version": 2, "values": logged, "seconds": {"step": 1.0}}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    write_report(tmp_path / "out", [read_run(folder)], compare, title="One")
    (step,) = read_steps(tmp_path / "out" / "run")
    rounded = {**logged, "loss": -0.01235}
    del rounded["forward_passes/train/velocities"]
    assert step.values == rounded


def test_a_report_shows_the_harness_own_paired_differences_at_the_end_and_at_equal_images(
    tmp_path: Path, compare: Comparer
) -> None:
    slow = train(tmp_path / "slow", images=50, right=[2, 3, 5])
    fast = train(tmp_path / "fast", images=100, right=[2, 6, 4])
    out = tmp_path / "out"
    size = write_report(out, [read_run(slow), read_run(fast)], compare, title="Two")
    page = (out / "README.md").read_text()

    def expected(one: Path, before: int, other: Path, after: int) -> str:
        first = StoredRun.open(one / "validation" / f"run-{before}")
        then = StoredRun.open(other / "validation" / f"run-{after}")
        found = compare_runs(first, then, basis_of(MINI)).headline
        return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"

    assert row(page, "## What was trained", "fast")[5] == "3.000 → 0"
    end = row(page, "## Held-out score", "fast")
    assert end[5] == expected(fast, 0, fast, 2)
    assert end[6].endswith("at 1")
    assert end[7] == expected(fast, 0, fast, 1)
    # Both have seen 100 images: slow after two steps, fast after one.
    assert "## At equal numbers of images (100 at most)" in page
    equal = row(page, "## At equal", "fast")
    assert equal[1:3] == ["100", "1"]
    assert equal[5:] == [expected(fast, 0, fast, 1), expected(slow, 2, fast, 1)]
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"comparison.svg", "fast/curves.svg", "slow/recipe.yaml", "fast/drawings.png"} <= files
    assert size == sum((out / name).stat().st_size for name in files)
    for name in ("comparison.svg", "fast/curves.svg"):
        ET.parse(out / name)
    with Image.open(out / "fast" / "drawings.png") as sheet:
        assert sheet.width > sheet.height
    lines = (out / "fast" / "validation.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]


def test_trainings_that_differ_in_their_seed_alone_are_taken_together(
    tmp_path: Path, compare: Comparer
) -> None:
    one = read_run(train(tmp_path / "one", images=10, right=[2, 3, 5], seed=0))
    two = read_run(train(tmp_path / "two", images=10, right=[2, 6], seed=1))
    other = read_run(train(tmp_path / "other", images=10, right=[2, 9]))
    assert families([one, two]) == [[one, two]]
    write_report(tmp_path / "out", [one, two], compare, title="Seeds")
    cells = row((tmp_path / "out" / "README.md").read_text(), "## Seeds together", "one")
    start, *ends = one.curve[0].value, one.curve[1].value, two.curve[1].value
    assert start is not None
    mean = math.fsum(value for value in ends if value is not None) / 2
    assert cells[1:3] == ["0, 1", "1"]
    assert cells[4] == f"{mean:.3f}"
    assert cells[6].startswith(f"{mean - start:+.3f} [")
    alone = compare(one.run_of(one.curve[0]), one.run_of(one.curve[1])).headline
    assert compare.together([(one.run_of(one.curve[0]), one.run_of(one.curve[1]))]) == alone
    rates = {**other.recipe["training"], "optimiser": {"lr": 1e-3}}
    assert families([one, replace(other, recipe={**other.recipe, "training": rates})]) == []


def test_work_is_added_up_and_what_was_not_measured_is_a_dash(
    tmp_path: Path, compare: Comparer
) -> None:
    known = read_run(train(tmp_path / "known", images=40, right=[1, 2, 3]))
    silent = read_run(train(tmp_path / "silent", images=40, right=[1, 2, 3], measure=False))
    assert totals(known) == (2.0, 2.5, 2 * 40 * 5.0, 0.25)
    write_report(tmp_path / "out", [known, silent], compare, title="Two")
    page = (tmp_path / "out" / "README.md").read_text()
    assert row(page, "## Rewards", "known")[4:] == ["2.00", "2.50", "400", "25.0%"]
    assert row(page, "## Rewards", "silent")[4:] == ["2.00", "—", "—", "25.0%"]


def test_a_gap_in_a_curve_is_not_taken_for_a_point(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", images=10, right=[1, 2])
    gap = {"step": 2, "name": "geneval:mini", "view": "train", "seconds": {}, "value": None}
    with (folder / "validation.jsonl").open("a") as file:
        file.write(json.dumps(gap) + "\n")
    run: Finished = read_run(folder)
    assert at_images(run, 10_000).step == 1


def test_trainings_that_began_otherwise_are_not_compared_with_each_other(
    tmp_path: Path, compare: Comparer
) -> None:
    runs = [
        read_run(train(tmp_path / "one", images=10, right=[1, 2])),
        read_run(train(tmp_path / "other", images=10, right=[3, 4])),
    ]
    write_report(tmp_path / "out", runs, compare, title="Two")
    page = (tmp_path / "out" / "README.md").read_text()
    equal = row(page, "## At equal", "other")
    assert equal[5].startswith("+")
    assert equal[6] == "—"


def test_all_trainings_are_shown_by_the_same_weights(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", images=10, right=[1, 2])
    lines = [json.loads(one) for one in (folder / "validation.jsonl").read_text().splitlines()]
    both = [line | {"view": view} for line in lines for view in ("train", "ema")]
    (folder / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in both))
    assert {point.view for point in read_run(folder).curve} == {"train"}
    assert {point.view for point in read_run(folder, view="ema").curve} == {"ema"}
    with pytest.raises(AlphaBenchError, match="not validated with the weights 'old'"):
        read_run(folder, view="old")


def test_what_is_no_training_and_what_has_the_same_name_is_refused(
    tmp_path: Path, compare: Comparer
) -> None:
    with pytest.raises(AlphaBenchError, match="no training"):
        read_run(tmp_path)
    run = read_run(train(tmp_path / "run", images=10, right=[1, 2]))
    with pytest.raises(AlphaBenchError, match="named 'run'"):
        write_report(tmp_path / "out", [run, run], compare, title="Two")


def test_published_reports_have_the_sentences_of_today() -> None:
    earlier = ROOT / "docs" / "results" / "earlier"
    for page in (earlier / name / "README.md" for name in ("nano", "nano-srr")):
        text = page.read_text(encoding="utf-8")
        assert INTRODUCTION.format(view="ema") in text
        notes = [name for name, note in NOTES.items() if note in text]
        assert notes == (list(NOTES) if "## Seeds together" in text else ["images", "best", "work"])
