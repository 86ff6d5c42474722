"""DPG-Bench with upstream's own model, as a user types it."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Shell
from tests.parity.test_dpg import PIPELINE, SAMPLES
from tests.support.tiny_mplug import save_mplug


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mplug(tmp_path_factory.mktemp("mplug") / "model")


def test_weights_that_cannot_see_make_no_report(alphabench: Shell, weights: Path) -> None:
    words = ("run", "dpg:mini", "--ckpt", "scene:", "--limit", "1", "--evaluator")
    said = alphabench(*words, f"mplug?weights={weights}", code=2)
    assert "mPLUG is wrong on" in said.err
    assert "must not score" in said.err
    assert not list(alphabench.folder.rglob("reports/*.json"))
    said = alphabench(*words, f"mplug?weights={weights}&self_test=off", "--json")
    (outcome,) = said.json if isinstance(said.json, list) else [said.json]
    assert outcome["coverage"] == 1.0


def test_doctor_tells_weights_that_cannot_see_from_absent_ones(
    alphabench: Shell, weights: Path
) -> None:
    said = alphabench("doctor", f"mplug?weights={weights}", code=1)
    assert said.out.startswith("FAILED  evaluator mplug?weights=")
    assert "alphabench fetch mplug" in alphabench("doctor", "mplug", code=1).out


def test_parity_puts_both_sides_questions_about_the_same_grids(
    alphabench: Shell, weights: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site" / "modelscope"
    (site / "utils").mkdir(parents=True)
    for path in (site, site / "utils"):
        (path / "__init__.py").write_text("")
    (site / "pipelines.py").write_text(PIPELINE)
    (site.parent / "torchvision.py").write_text("")
    constant = "class Tasks:\n    visual_question_answering = 'vqa'\n"
    (site / "utils" / "constant.py").write_text(constant)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={site.parent} exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    grids = tmp_path / "grids"
    grids.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, size=(32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(grids / f"{SAMPLES[0].id}.png")
    said = alphabench(
        "parity", "dpg", "--images", grids, "--python", python, "--weights", weights,
        "--benchmark", "dpg:mini", code=1,
    )  # fmt: skip
    assert f"{SAMPLES[0].id}" in said.out
    assert "answers equal on" in said.out
    assert "DIFFERS" in said.out
