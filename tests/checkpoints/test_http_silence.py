"""When the user is told that an image endpoint does not answer, and when not."""

from __future__ import annotations

import pickle

import pytest

from alphabench.checkpoints.http_silence import SilenceNotes


def notes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_second_fault_of_a_host_that_never_answered_is_told_with_address_and_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    silence = SilenceNotes(address="http://h:1/v1#m", attempts=6)
    silence.failed("Connection refused", 0.0)
    assert notes(caplog) == []
    silence.failed("Connection refused", 0.1)
    (note,) = notes(caplog)
    assert note.startswith("http://h:1/v1#m does not answer (Connection refused)")
    assert "each image is tried 6 times" in note
    assert "Ctrl-C" in note


def test_it_is_repeated_once_a_minute_and_its_end_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    silence = SilenceNotes(address="http://h", attempts=6)
    for second in range(0, 125, 5):
        silence.failed("HTTP 503", float(second))
    assert len(notes(caplog)) == 2
    silence.answered(130.0)
    assert notes(caplog)[-1] == "http://h answers again (130 s)"


def test_a_rate_limit_between_answers_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    silence = SilenceNotes(address="http://h", attempts=6)
    silence.answered(0.0)
    for second in range(30):
        silence.failed("HTTP 429", float(second))
        silence.answered(second + 0.5)
    silence.failed("HTTP 429", 31.0)
    silence.failed("HTTP 429", 40.0)
    assert notes(caplog) == []
    silence.failed("HTTP 429", 41.5)
    assert len(notes(caplog)) == 1


def test_it_travels_to_worker_processes() -> None:
    silence = SilenceNotes(address="http://h", attempts=6)
    assert pickle.loads(pickle.dumps(silence)) == silence
