"""A unified model on the command line, end to end, and what becomes of its thoughts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.models.bagel.sampling_config import FOLDER_FILE
from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.tiny_bagel import save_bagel

OWN = {
    "width": 64, "height": 64, "timesteps": 3, "latent_longest": 64, "latent_shortest": 64,
    "patch_longest": 56, "patch_shortest": 56, "max_think_tokens": 4, "batch_size": 4,
    "suggested_evaluator": "nano", "licence": "MIT",
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bagel(tmp_path_factory.mktemp("bagels") / "tiny")
    (folder / FOLDER_FILE).write_text(json.dumps(OWN))
    return folder


def test_geneval_runs_with_thoughts_from_a_folder_to_a_report(
    alphabench: Shell, tiny: Path
) -> None:
    command = ("run", "geneval:mini", "--ckpt", tiny, "--think", "--limit", "1", "--out", "run")
    report = alphabench(*command, "--json").json
    assert report["evaluator"] == "nano"
    assert report["headline"]["n_scored"] == 4
    folder = RunFolder.open(alphabench.folder / "run")
    assert folder.manifest.pixels["checkpoint.think"] == "on"
    thoughts = [record.notes["thought"] for record in folder.images().values()]
    assert len(thoughts) == 4
    assert all(isinstance(thought, str) for thought in thoughts)


def test_gedit_edits_images(alphabench: Shell, tiny: Path) -> None:
    alphabench("generate", "gedit:mini", "--ckpt", tiny, "--limit", "1", "--out", "run")
    (record,) = RunFolder.open(alphabench.folder / "run").images().values()
    assert record.notes == {}


def test_a_broken_folder_is_one_sentence(alphabench: Shell, tmp_path: Path) -> None:
    folder = save_bagel(tmp_path / "broken")
    whole = (folder / "ema.safetensors").read_bytes()
    (folder / "ema.safetensors").write_bytes(whole[: len(whole) // 2])
    said = alphabench("generate", "geneval:mini", "--ckpt", folder, "--limit", "1", code=2)
    assert "error: the weights file 'ema.safetensors' of" in said.err
