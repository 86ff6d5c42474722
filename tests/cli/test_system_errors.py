"""What the operating system refuses in the middle of a command is one sentence and exit code 2."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alphabench.core.errors import from_os_error
from tests.alphagrpo.dvreward.test_dvreward_commands import WRITER
from tests.alphagrpo.test_train_command_line import QUICK
from tests.cli.conftest import Said, Shell

COMMANDS = {
    "run": ("run", "geneval:mini", "--ckpt", "scene:", "--limit", "1"),
    "calibrate": ("calibrate", "--judge", "scripted:?answer=0.5", "--scenes", "1"),
    "decompose": ("dvreward", "decompose", "prompts.txt", "--llm", "scripted:answers.json"),
    "export": ("export", "adapter"),
    "train": ("train", "nano-rt2i", *QUICK, "--device", "cpu"),
}
FIXED_BY = ("name ", "free ", "raise ", "check ", "close ", "fix ")


@pytest.fixture
def shell(alphabench: Shell) -> Shell:
    """With what the commands read."""
    (alphabench.folder / "prompts.txt").write_text("a red kite\n")
    (alphabench.folder / "answers.json").write_text(json.dumps(WRITER))
    adapter = alphabench.folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}" + " " * 5000)
    save_file({"layer.lora_B.weight": torch.ones(2000)}, adapter / "adapter_model.safetensors")
    return alphabench


@contextlib.contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def is_a_sentence(said: Said, *reasons: str) -> None:
    assert said.code == 2, said
    error, hint = said.err.strip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert any(reason in error.lower() for reason in reasons), error
    assert hint.removeprefix("hint: ").startswith(FIXED_BY), hint
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_too_long(command: str, shell: Shell) -> None:
    is_a_sentence(shell(*COMMANDS[command], "--out", "x" * 300, code=None), "name too long")


@pytest.mark.parametrize("size_bytes", [0, 3000])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_limit_of_file_sizes(command: str, size_bytes: int, shell: Shell) -> None:
    words = (*COMMANDS[command], "--out", "out")
    if command == "decompose" and size_bytes:
        (shell.folder / "prompts.txt").write_text("".join(f"{n} red kites\n" for n in range(20)))
    with limited(resource.RLIMIT_FSIZE, size_bytes):
        said = shell(*words, code=None)
    is_a_sentence(said, "file too large")


@pytest.mark.parametrize("spare", [0, 2, 3])
@pytest.mark.parametrize("command", ["run", "calibrate", "decompose", "export"])
def test_a_limit_of_open_files(command: str, spare: int, shell: Shell) -> None:
    # What is imported at first use is imported by the command without the limit.
    shell(*COMMANDS[command], "--out", "before", code=0)
    free = os.open("/", os.O_RDONLY)
    os.close(free)
    with limited(resource.RLIMIT_NOFILE, free + spare):
        said = shell(*COMMANDS[command], "--out", "out", code=None)
    if said.code or spare < 2:
        is_a_sentence(said, "too many open files")


def test_a_file_system_that_cannot_be_written(shell: Shell) -> None:
    (shell.folder / "read-only").mkdir()
    command = shlex.join(shell.command(*COMMANDS["run"], "--out", "read-only/run"))
    script = f"mount -t tmpfs -o ro none read-only && exec {command}"
    if shutil.which("unshare") is None or not _can_mount(shell.folder):
        pytest.skip("this user may not mount a read-only file system")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=shell.folder,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    is_a_sentence(Said(done.returncode, done.stdout, done.stderr), "read-only")


def _can_mount(folder: Path) -> bool:
    trial = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "read-only"]
    return subprocess.run(trial, cwd=folder, capture_output=True, check=False).returncode == 0


def test_the_last_resort_has_a_hint_for_an_unknown_error() -> None:
    assert from_os_error(OSError(9999, "Odd")).hint.startswith(FIXED_BY)
