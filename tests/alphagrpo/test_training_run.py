"""What `--resume` means, with and without a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphagrpo.training_run import check_resumed, resume_option
from tests.cli.conftest import Shell


def test_under_torchrun_the_same_command_begins_and_resumes() -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0"}
    assert resume_option(None, torchrun) == "auto"
    assert resume_option(None, {}) == "no"
    assert resume_option("no", torchrun) == "no"
    assert resume_option("auto", {}) == "auto"


def test_auto_takes_a_folder_with_a_training_and_one_without(tmp_path: Path) -> None:
    check_resumed(tmp_path, resume="auto")
    with pytest.raises(AlphaBenchError, match="no training to continue"):
        check_resumed(tmp_path, resume="yes")
    (tmp_path / "identity.json").write_text("{}")
    check_resumed(tmp_path, resume="auto")
    check_resumed(tmp_path, resume="yes")
    with pytest.raises(AlphaBenchError, match="holds a training"):
        check_resumed(tmp_path, resume="no")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--resume",), "no training to continue in 'runs/train/nano-rt2i'"),
        # What follows the option alone is no value of it.
        (("--resume", "training.steps=3"), "no training to continue in 'runs/train/nano-rt2i'"),
        (("training.steps=3", "--resume", "--device", "cpu"), "no training to continue"),
        (("--resume=yes",), "no training to continue in 'runs/train/nano-rt2i'"),
        (("--resume", "auto"), "'auto' is not an assignment"),
        (("--resume=autos",), "no value of --resume named 'autos'"),
    ],
)
def test_resume_may_stand_without_a_value(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    said = Shell(folder=tmp_path, cache=tmp_path)("train", "nano-rt2i", *words, code=2)
    assert message in said.err
