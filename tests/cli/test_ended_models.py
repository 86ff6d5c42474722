"""Runs by judges and checkpoints that end: refused before any image, and old ones still open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cli.conftest import Shell
from tests.support.image_server import serve
from tests.support.judge_server import JudgeServer, Say, serving

TODAY = datetime.now(UTC).date()
RUN = ("run", "tiif:mini", "--ckpt", "scene:", "--limit", "2", "--out", "run", "--no-cache")


def listed(in_days: int) -> list[dict[str, Any]]:
    return [{"id": "test-vlm", "shutdown_date": (TODAY + timedelta(days=in_days)).isoformat()}]


@pytest.fixture
def here(alphabench: Shell) -> Shell:
    return alphabench


def test_an_ended_judge_stops_a_run_before_the_first_image(here: Shell) -> None:
    with serving(JudgeServer(lambda _: Say(), models=listed(0))) as server:
        said = here(*RUN, "--judge", f"{server.spec}?handshake=protocol", code=2)
    assert "switched off" in said.err
    assert not list((here.folder / "run").glob("images/**/*.png"))


def test_a_run_that_was_recorded_before_opens_again_when_its_judge_has_ended(here: Shell) -> None:
    server = JudgeServer(lambda _: Say(), models=listed(40))
    with serving(server):
        judge = ("--judge", f"{server.spec}?handshake=protocol")
        before = here(*RUN, *judge, code=None)
        assert "in 40 days" in before.err
        server.models = listed(0)
        after = here(*RUN, *judge, code=before.code)
        assert "switched off" not in after.err
        more = here("run", "tiif:mini", "--ckpt", "scene:", "--out", "run2", *judge, code=2)
        assert "switched off" in more.err
    assert "tiif" in here("show", "run").out


def test_an_ended_checkpoint_stops_a_run_before_its_judge_is_asked(here: Shell) -> None:
    with serve() as images, serving(JudgeServer(lambda _: Say())) as judge:
        images.models = [{"id": "m", "shutdown_date": TODAY.isoformat()}]
        words = ("--ckpt", f"{images.url}#m", "--judge", f"{judge.spec}?handshake=protocol")
        said = here("run", "tiif:mini", *words, "--limit", "2", "--out", "run", code=2)
    assert "the checkpoint 'm' was switched off" in said.err.replace("\n", " ")
    assert (images.bodies, judge.n_calls) == ([], 0)


def test_images_that_an_ended_checkpoint_made_before_are_still_scored(here: Shell) -> None:
    with serve() as images:
        words = ("--ckpt", f"{images.url}#m", "--limit", "2", "--out", "run", "--set", "size=64x64")
        here("generate", "tiif:mini", *words)
        images.models = [{"id": "m", "shutdown_date": TODAY.isoformat()}]
        n_made = len(images.bodies)
        said = here("run", "tiif:mini", *words, "--judge", "scripted:", code=None)
    assert "switched off" not in said.err
    assert (said.code, len(images.bodies)) == (0, n_made)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--ckpt", "scene:", "--judge", "https://api.openai.com/v1#gpt-4o-2024-05-13"), "judge"),
        (("--ckpt", "https://api.openai.com/v1#gpt-image-1", "--judge", "nano"), "checkpoint"),
    ],
)
def test_a_preview_says_that_a_model_has_ended(
    here: Shell, words: tuple[str, ...], what: str
) -> None:
    said = here("run", "tiif:mini", *words, "--limit", "2", "--dry-run", "--out", "run", code=2)
    printed = " ".join(f"{said.out} {said.err}".split())
    assert f"the {what} 'gpt-" in printed
    assert "2026-10-23" in printed
