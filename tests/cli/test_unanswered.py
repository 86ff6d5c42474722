"""What the console says while a judge or an image endpoint does not answer."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Shell

SOON = 30.0
"""Seconds for a command to start on a busy machine, and to speak within ten of its own."""


@pytest.fixture
def dead_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(64)
        yield mute.getsockname()[1]


def said_until(shell: Shell, wanted: str, *words: str) -> str:
    """Standard error up to the line that matches; the command is then interrupted."""
    process = shell.start(*words)
    assert process.stderr is not None
    said, deadline = "", time.monotonic() + SOON
    try:
        for line in process.stderr:
            said += line
            if re.search(wanted, line) or time.monotonic() > deadline:
                break
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert re.search(wanted, said), said
    return said


def test_a_judge_that_is_down_is_named_with_its_address_reason_and_patience(
    alphabench: Shell, dead_port: int
) -> None:
    url = f"http://127.0.0.1:{dead_port}/v1"
    words = ("run", "wise:mini", "--ckpt", "scene:", "--limit", "1", "--judge", f"{url}#m")
    said = said_until(alphabench, "does not answer", *words)
    assert f"the judge at {url} does not answer (no connection" in said
    assert "trying again for up to 180 s" in said
    assert "Ctrl-C" in said


def test_a_judge_that_takes_questions_and_is_silent_is_mentioned(
    alphabench: Shell, mute_port: int
) -> None:
    spec = f"http://127.0.0.1:{mute_port}/v1#m"
    words = ("run", "wise:mini", "--ckpt", "scene:", "--limit", "1", "--judge", spec)
    said = said_until(alphabench, "no answer yet", *words)
    assert f"checking the judge {spec} (" in said


def test_an_image_endpoint_that_is_down_is_named_with_its_address_and_reason(
    alphabench: Shell, dead_port: int
) -> None:
    spec = f"http://127.0.0.1:{dead_port}/v1#m"
    words = ("run", "geneval:mini", "--evaluator", "nano", "--ckpt", spec)
    said = said_until(alphabench, "does not answer", *words)
    assert f"{spec} does not answer (ConnectError: " in said
    assert "each image is tried 6 times" in said
