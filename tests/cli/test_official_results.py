"""GenEval with the detector that its authors used, as a user types it."""

from __future__ import annotations

from pathlib import Path

from alphabench.evaluators.detection.mask2former.official_weights import OFFICIAL
from alphabench.parity.environments import RECIPES
from tests.cli.conftest import Shell
from tests.support.mmdet_tiny import save_checkpoint
from tests.support.tiny_models import save_clip


def test_weights_that_find_nothing_right_make_no_report(alphabench: Shell, tmp_path: Path) -> None:
    weights, clip = save_checkpoint(tmp_path / "weights.pth", 2), save_clip(tmp_path / "clip")
    evaluator = f"mask2former:official?weights={weights}&clip={clip}"
    words = ("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1", "--evaluator", evaluator)
    said = alphabench(*words, code=2)
    assert "self-test failed" in said.err
    assert "must not score" in said.err
    assert not list(alphabench.folder.rglob("reports/*.json"))


def test_fetched_weights_are_looked_for_in_the_chosen_cache(alphabench: Shell) -> None:
    fetched = alphabench.cache / "detectors" / OFFICIAL.name
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"another file of that name")
    said = alphabench("doctor", "mask2former:official", code=1).out
    assert f"the content of {OFFICIAL.name!r} is not what its name says" in said


def test_help_names_every_environment_that_can_be_made(alphabench: Shell) -> None:
    said = " ".join(alphabench("doctor", "--help").out.replace("│", " ").split())
    assert f"instead: {' or '.join(RECIPES)}." in said
