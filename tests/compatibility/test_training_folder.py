"""Trainings of the version before the restructuring are read, exported and continued, and new ones
calculate as they did.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alphatrainers.reporting.old_metric_names import values_of_version_1
from tests.compatibility.conftest import HERE, ROOT, Commands, copied
from tests.compatibility.recording import (
    digests,
    printed_report,
    report,
    results,
    rows,
    table_rows,
    training,
)

SMALL = (
    "policy.options={think: true, text_scale: 1.0, timesteps: 3}",
    "task.draw.points=3",
    "prompts.source='small:?count=8&tasks=two_object,colors,position,color_attr'",
    "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 4}]",
    "panel=1",
    "training.steps=2",
    "training.prompts_per_step=2",
    "training.group_size=4",
    "training.rollout_batch=8",
    "training.replay_batch=8",
    "training.lora={rank: 1, alpha: 2}",
    "training.optimiser.lr=2e-3",
    "training.logging.tensorboard=false",
    "training.validate_every=2",
    "training.validate_views=[train]",
    "training.save_every=2",
    "training.keep=1",
)
"""The changes of nano-awm that `training_folder` was made with."""
BEST = "validation/step-000002-train/geneval-mini"


@pytest.fixture
def trained(alphabench: Commands) -> Path:
    """A copy of the recorded training's folder; a source distribution holds no links."""
    folder = copied("training_folder", alphabench.folder / "training_folder")
    if not (folder / "best").is_symlink():
        (folder / "best").rename(folder / "best-000002")
        (folder / "best").symlink_to("best-000002")
    return folder


def recorded(file: str, name: str) -> Any:
    return json.loads((HERE / file).read_text(encoding="utf-8"))[name]


def same_numbers(found: dict[str, Any], old: dict[str, Any]) -> None:
    """Metrics were renamed and there are more of them; each old one has its old value."""
    lines = [line["values"] for line in found.pop("metrics")]
    expected = [translated(line["values"]) for line in old.pop("metrics")]
    assert [
        {name: value for name, value in translated(line).items() if name in before}
        for line, before in zip(lines, expected, strict=True)
    ] == expected
    assert found == old


def translated(values: dict[str, float]) -> dict[str, float]:
    """Under today's names; lines that have them already stay as they are."""
    return values if "grad_norm" in values else values_of_version_1(values)


def test_an_old_training_goes_on_with_the_same_numbers_to_the_last_digit(
    alphabench: Commands, trained: Path, same_arithmetic: None
) -> None:
    words = ("train", "training_folder", "--resume", "training.steps=3", "--device", "cpu")
    alphabench(*words)
    same_numbers(training(trained), recorded("training_folder.json", "resumed"))


def test_a_new_training_calculates_as_an_old_one_to_the_last_digit(
    alphabench: Commands, trained: Path, same_arithmetic: None
) -> None:
    old = training(trained)
    trained.rename(trained.with_name("old"))
    alphabench("train", "nano-awm", *SMALL, "--device", "cpu", "--out", trained.name)
    same_numbers(training(trained), old)


@pytest.mark.whole
@pytest.mark.timeout(1500)
def test_eight_steps_of_nano_awm_give_the_same_numbers_to_the_last_digit(
    alphabench: Commands, same_arithmetic: None
) -> None:
    changes = ("training.steps=8", "training.validate_every=4", "training.validate_views=[train]")
    words = ("train", "nano-awm", *changes, "--device", "cpu", "--out", "eight")
    alphabench(*words, timeout=1400)
    found = training(alphabench.folder / "eight")
    same_numbers(found, recorded("nano_awm_metrics.json", "eight"))


def test_the_adapter_of_an_old_training_is_exported_as_it_is(
    alphabench: Commands, trained: Path
) -> None:
    alphabench("export", "training_folder", "--out", "adapter")
    assert digests(alphabench.folder / "adapter").items() >= digests(trained / "best").items()


def test_an_old_training_is_merged_into_the_same_tensors(
    alphabench: Commands, trained: Path, same_arithmetic: None
) -> None:
    alphabench("export", "training_folder", "--out", "merged", "--merge")
    merged = digests(alphabench.folder / "merged")
    assert merged.items() >= recorded("training_folder.json", "merged").items()


def test_the_adapter_of_an_old_training_generates_what_was_validated(
    alphabench: Commands, trained: Path, same_arithmetic: None
) -> None:
    options = ("--set=think=true", "--set=text_scale=1.0", "--set=timesteps=3", "--devices", "cpu")
    lora = ("--lora", "training_folder/best", "--limit", "4", "--out", "run")
    alphabench("run", "geneval:mini", "--ckpt", "nano", *options, *lora)
    generated, expected = alphabench.folder / "run", trained / BEST
    assert report(generated) == report(expected)
    for new, old in zip(
        *(rows(run / "images.jsonl") for run in (generated, expected)), strict=True
    ):
        assert (new["image_id"], new["notes"]) == (old["image_id"], old["notes"])
        with (
            Image.open(generated / new["path"]) as image,
            Image.open(expected / old["path"]) as before,
        ):
            assert np.array_equal(np.asarray(image), np.asarray(before))


def test_the_validations_of_an_old_training_are_ordinary_runs(
    alphabench: Commands, trained: Path
) -> None:
    said = alphabench("summarise", f"training_folder/{BEST}", "--json")
    assert printed_report(said) == report(HERE / "training_folder" / BEST)
    start = f"training_folder/{BEST.replace('000002', '000000')}"
    page = alphabench("compare", start, f"training_folder/{BEST}")
    assert "+0.125" in page.partition("\n| ")[0]
    differences = {row[0]: row[1] for row in table_rows(page)}
    assert differences["position"] == "+0.500"
    assert differences["colors"] == "+0.000"


def test_an_old_training_stands_in_a_page_of_results(alphabench: Commands, trained: Path) -> None:
    out = alphabench.folder / "results"
    alphabench.python("-m", "tools.results", out, trained, place=ROOT)
    assert results(out / "README.md") == recorded("training_folder.json", "results")
    name = Path("training_folder", "metrics.jsonl")
    assert len(rows(out / name)) == len(rows(trained.parent / name)) == 2
