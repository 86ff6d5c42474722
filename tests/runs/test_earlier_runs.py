"""What earlier runs say about the time of images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from alphabench.runs.earlier_runs import EarlierRuns, pace_of
from alphabench.runs.records import ImageRecord, Manifest
from alphabench.runs.store import RunFolder

DOTS = Manifest(
    benchmark="reds@1",
    checkpoint="dots",
    pixels={
        "benchmark": "reds@1",
        "benchmark.data_digest": "0" * 64,
        "benchmark.images_per_sample": "1",
        "seed": "0",
        "checkpoint.name": "dots",
    },
    limit=None,
    circumstances={},
)
OTHER_SEED = replace(DOTS, pixels={**DOTS.pixels, "seed": "1"})
OTHER_BENCHMARK = replace(DOTS, benchmark="blues@1", pixels={**DOTS.pixels, "seed": "2"})
OTHER_SETTINGS = replace(DOTS, pixels={**DOTS.pixels, "checkpoint.steps": "4"})


def record(number: int, seconds: float) -> ImageRecord:
    return ImageRecord(
        image_id=f"{number}/0",
        seed=number,
        prompt="red",
        path=f"images/{number}/0.png",
        sha256="0" * 64,
        seconds=seconds,
    )


def made(root: Path, manifest: Manifest, *seconds: float) -> Path:
    folder = RunFolder.create(root, manifest)
    with folder.locked():
        folder.replace_images([record(number, one) for number, one in enumerate(seconds)])
    return root


def test_a_run_of_the_same_benchmark_tells_the_pace_and_then_one_of_another(
    tmp_path: Path,
) -> None:
    other = made(tmp_path / "suite" / "blues" / "dots", OTHER_BENCHMARK, 9.0, 9.0, 9.0)
    assert EarlierRuns([tmp_path]).pace(DOTS) == (9.0, other)
    made(tmp_path / "reds" / "few", OTHER_SEED, 7.0)
    more = made(tmp_path / "more", DOTS, 1.0, 3.0)
    assert EarlierRuns([tmp_path, tmp_path]).pace(DOTS) == (2.0, more)


def test_other_settings_and_folders_without_images_tell_nothing(tmp_path: Path) -> None:
    made(tmp_path / "one", OTHER_SETTINGS, 1.0)
    made(tmp_path / "two", OTHER_SEED)
    made(tmp_path / "three", OTHER_BENCHMARK, 0.0)
    made(tmp_path / "a" / "b" / "c" / "deep", OTHER_SEED, 1.0)
    assert EarlierRuns([tmp_path]).pace(DOTS) is None
    assert EarlierRuns([tmp_path / "absent"]).pace(DOTS) is None


@pytest.mark.parametrize("file", ["manifest.json", "images.jsonl"])
def test_a_damaged_folder_is_passed_over(tmp_path: Path, file: str) -> None:
    damaged = made(tmp_path / "damaged", OTHER_SEED, 5.0)
    (damaged / file).write_text(json.dumps({"format": "none"}) + "\n")
    whole = made(tmp_path / "whole", OTHER_SEED, 2.0)
    assert EarlierRuns([tmp_path]).pace(DOTS) == (2.0, whole)


def test_images_without_a_time_have_no_pace() -> None:
    assert pace_of([], Path()) is None
    assert pace_of([record(1, 0.0)], Path()) is None
