"""Errors that a user can fix: what they say, and that they cross process boundaries."""

from __future__ import annotations

import copy
import errno
import os
import pickle

import pytest

from alphabench.core.errors import (
    AlphaBenchError,
    DamagedError,
    TrainingStoppedError,
    from_os_error,
)


@pytest.mark.parametrize("kind", [AlphaBenchError, DamagedError, TrainingStoppedError])
def test_an_error_keeps_its_class_message_and_hint_across_processes(
    kind: type[AlphaBenchError],
) -> None:
    for error in (pickle.loads(pickle.dumps(kind("m", hint="h"))), copy.copy(kind("m", hint="h"))):
        assert type(error) is kind
        assert (error.message, error.hint, str(error)) == ("m", "h", "m; h")


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_operating_system_error_becomes_a_sentence_and_a_hint(number: int) -> None:
    error = from_os_error(OSError(number, os.strerror(number), "/some/path"))
    assert (
        error.message
        == f"the operating system reports: {os.strerror(number).lower()} ('/some/path')"
    )
    assert error.hint
    assert from_os_error(OSError()).message == "the operating system reports: oserror"
