"""Trainings of two processes as a user starts them: what they give is what one process gives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import load_file

from tests.cli.conftest import Shell
from tests.support.rank_processes import Ended, ranks

POLICY = (
    "policy.checkpoint='nano?max_think_tokens=8'",
    "policy.options={think: true, text_scale: 1.0, timesteps: 3}",
    "task.draw.points=3",
    "prompts.source='small:?count=8&tasks=two_object,colors,position,color_attr'",
    "training.prompts_per_step=2",
    "training.group_size=4",
    "training.rollout_batch=4",
    "training.replay_batch=4",
    "training.logging.tensorboard=false",
    "training.validate_views=[train]",
)
"""A batch is no larger than a group, so that rollouts have the same batches in both."""
ADAPTERS = (
    "train",
    "nano-awm",
    *POLICY,
    "validation=[{benchmark: 'geneval:mini', evaluator: nano, limit: 5}]",
    "panel=5",
    "training.steps=2",
    "training.validate_every=2",
    "training.save_every=2",
    "training.lora={rank: 1, alpha: 2}",
    "training.optimiser.lr=2e-3",
    "--device=cpu",
)
FIRST, LAST = (f"validation/step-{step:06d}-train/geneval-mini" for step in (0, 2))


@pytest.fixture(scope="module")
def alphabench(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("ranks")
    return Shell(folder=folder, cache=folder / "cache")


@pytest.fixture(scope="module")
def together(alphabench: Shell) -> Ended:
    """Adapters, trained by two processes in `two`."""
    words = [*ADAPTERS, "--out", "two"]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment = {**alphabench.environment, **threads}
    with ranks("alphabench", words, folder=alphabench.folder, environment=environment) as running:
        ended = running.end()
    assert ended.code == 0, ended.said
    return ended


@pytest.fixture(scope="module")
def one(alphabench: Shell) -> Path:
    alphabench(*ADAPTERS, "--out", "one")
    return alphabench.folder / "one"


@pytest.fixture
def two(alphabench: Shell, together: Ended) -> Path:
    return alphabench.folder / "two"


def rows(path: Path, *without: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in without} for row in found]


def test_the_same_weights_are_validated_to_the_last_digit(one: Path, two: Path) -> None:
    names = sorted(path.relative_to(one) for path in (one / FIRST).rglob("*.png"))
    assert len(names) == 20
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    images = [rows(folder / FIRST / "images.jsonl", "seconds") for folder in (one, two)]
    assert images[0] == images[1], "in the same order"
    for kind in ("verdicts", "reports"):
        for path in (one / FIRST / kind).iterdir():
            other = two / FIRST / kind / path.name
            assert path.read_bytes() == other.read_bytes()
    points = [rows(folder / "validation.jsonl", "seconds")[0] for folder in (one, two)]
    assert points[0] == points[1]
    start = "panels/step-000000.png"
    assert digest(one / start) == digest(two / start)
    assert (one / "panels/prompts.json").read_text() == (two / "panels/prompts.json").read_text()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_training_of_two_processes_is_that_of_one_up_to_the_order_of_sums(
    one: Path, two: Path
) -> None:
    # The gradients of two groups are added in another order, which changes the last bits of the
    # weights. Adam divides by a gradient's size, so small gradients pass the change on in full:
    # after the second update 1.5e-5 of weights up to 4.1 were measured.
    for found, expected in zip(
        rows(two / "metrics.jsonl"), rows(one / "metrics.jsonl"), strict=True
    ):
        for key, value in expected["values"].items():
            if not key.startswith("forward_passes/"):
                assert found["values"][key] == pytest.approx(value, abs=5e-4, rel=1e-3), key
    name = "checkpoints/step-000002/train/adapter_model.safetensors"
    expected_weights, found_weights = (load_file(folder / name) for folder in (one, two))
    for key, value in expected_weights.items():
        assert torch.allclose(found_weights[key], value, atol=1e-4), key


def test_the_last_validation_and_the_panel_differ_by_rounding_alone(one: Path, two: Path) -> None:
    points = [rows(folder / "validation.jsonl", "seconds")[-1] for folder in (one, two)]
    assert points[0] == points[1], "no verdict changes"
    for name in (f"{LAST}/images/00004/0.png", "panels/step-000002.png"):
        with Image.open(one / name) as image, Image.open(two / name) as other:
            assert largest_difference(image, other) <= 2


def largest_difference(image: Image.Image, other: Image.Image) -> int:
    """In grey levels, over all pixels and colours."""
    extrema = ImageChops.difference(image.convert("RGB"), other.convert("RGB")).getextrema()
    return max(int(high) for _, high in extrema)  # type: ignore[misc]  # pairs by band


def test_only_the_first_process_speaks(together: Ended) -> None:
    assert together.said.count("loading the model") == 1
    assert together.said.count("2 steps done") == 1
