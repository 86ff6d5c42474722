"""A remote checkpoint whose model ends, or whose images come from another model."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from alphabench.checkpoints import open_checkpoint
from alphabench.core.errors import AlphaBenchError
from alphabench.types import NotGenerated
from tests.checkpoints.conftest import NOW, AskFor, Clock, connect
from tests.support.image_server import ImageServer

TODAY = datetime.fromtimestamp(NOW, UTC).date()


def ends_in(server: ImageServer, days: int) -> None:
    day = (TODAY + timedelta(days=days)).isoformat()
    server.models = [{"id": "tiny-model", "shutdown_date": day}]


def test_a_checkpoint_that_its_host_has_ended_is_refused_before_an_image_is_paid(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    ends_in(server, 0)
    with pytest.raises(AlphaBenchError, match="the checkpoint 'tiny-model' was switched off"):
        connect(server, clock).generate([ask()])
    assert server.bodies == []


def test_one_that_ends_soon_generates_with_one_warning(
    server: ImageServer, clock: Clock, ask: AskFor, caplog: pytest.LogCaptureFixture
) -> None:
    ends_in(server, 30)
    checkpoint = connect(server, clock)
    with caplog.at_level(logging.WARNING):
        for index in range(3):
            checkpoint.generate([ask(index=index)])
    assert (server.listings, len(server.bodies)) == (1, 3)
    (note,) = [record.message for record in caplog.records]
    assert "in 30 days" in note


def test_with_consent_it_is_asked_after_its_end_and_the_identity_says_so(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    ends_in(server, -1)
    checkpoint = connect(server, clock, after_shutdown="allow")
    (image,) = checkpoint.generate([ask()])
    assert not isinstance(image, NotGenerated)
    assert checkpoint.identity["after_shutdown"] == "allow"
    assert "after_shutdown" not in connect(server, clock).identity


def test_an_image_of_another_model_stops_the_run(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.model = "cheap-model"
    with pytest.raises(AlphaBenchError, match=r"'tiny-model' was requested, but 'cheap-model'"):
        connect(server, clock).generate([ask()])
    named = connect(server, clock, served_as="cheap-model")
    (image,) = named.generate([ask()])
    assert not isinstance(image, NotGenerated)
    assert named.identity["served_as"] == "cheap-model"


def test_images_before_another_model_answers_are_kept(
    server: ImageServer, clock: Clock, ask: AskFor
) -> None:
    server.model = "tiny-model"
    checkpoint = connect(server, clock)
    (first,) = checkpoint.generate([ask()])
    server.model = "cheap-model"
    with pytest.raises(AlphaBenchError, match="'cheap-model' answered"):
        checkpoint.generate([ask(index=1)])
    assert not isinstance(first, NotGenerated)


def test_an_ended_checkpoint_can_be_opened_as_old_runs_need_it() -> None:
    generator = open_checkpoint("https://api.openai.com/v1#gpt-image-1")
    assert generator.identity["model"] == "gpt-image-1"
