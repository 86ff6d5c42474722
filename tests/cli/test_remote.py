"""Image hosts that fail, for all images or some, through the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from alphabench.runs.store import RunFolder
from tests.cli.conftest import Shell
from tests.support.image_server import ImageServer, Step, serve

ONE_TRY = ("--set", "attempts=1", "--set", "concurrency=4")


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serve() as running:
        yield running


def geneval(server: ImageServer, *more: str) -> tuple[str, ...]:
    ckpt = f"{server.url}#tiny"
    return ("run", "geneval:mini", "--ckpt", ckpt, *ONE_TRY, "--out", "run", *more)


def test_a_host_that_fails_for_every_image_stops_the_run_with_its_reason(
    server: ImageServer, alphabench: Shell
) -> None:
    server.answer = lambda body: Step(status=503, error={"message": "no GPU is free"})
    words = geneval(server, "--limit", "8")
    said = alphabench(*words, code=2)
    assert "the first 16 images all failed, all of them with: HTTP 503: no GPU is free" in said.err
    assert len(server.bodies) == 16
    server.answer = lambda body: Step()
    assert alphabench(*words, "--json").json["coverage"] == 1.0


def test_images_that_fail_for_themselves_are_counted_and_the_rest_is_done(
    server: ImageServer, alphabench: Shell
) -> None:
    faults: dict[str, Step] = {}
    kinds = [
        Step(),
        Step(status=400, error={"message": "your prompt was flagged", "param": None}),
        Step(status=400, error={"message": "cannot do that", "param": "image"}),
        Step(),
    ]

    def answer(body: dict[str, Any]) -> Step:
        prompt = str(body["prompt"])
        return faults.setdefault(prompt, kinds[len(faults) % len(kinds)])

    server.answer = answer
    words = geneval(server, "--limit", "8", "--json")
    said = alphabench(*words, code=1)
    assert said.json["statuses"] == {"scored": 16, "refused": 8, "failed": 8}
    assert "unscored: 8 failed: HTTP 400: cannot do that" in said.err
    made = RunFolder.open(alphabench.folder / "run").images()
    asked = Counter(body["prompt"] for body in server.bodies)
    assert alphabench(*words, code=1).report == said.report
    again = Counter(body["prompt"] for body in server.bodies) - asked
    assert not {record.prompt for record in made.values()} & again.keys(), "paid for twice"


def test_a_secret_among_the_options_reaches_no_file(server: ImageServer, alphabench: Shell) -> None:
    said = alphabench(*geneval(server, "--set", "body.api_key=sk-1"), code=2)
    assert "looks like a secret" in said.err
    assert "sk-1" not in said.err
    assert not (alphabench.folder / "run").exists()
