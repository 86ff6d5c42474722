"""The other end of `mmdet_worker`: starts it, asks it, notices when it dies, ends it.

Promises that a call returns or raises within its time limit and that no process outlives ours.
POSIX only. Knows frames and time limits; knows nothing of images or labels.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.detection.mmdet.mmdet_worker import HEADER

WORKER: Final = Path(__file__).with_name("mmdet_worker.py")
_LONGEST_FRAME: Final = 2**30
_LAST_WORDS: Final = 2000
"""Characters of the worker's standard error that an error message may draw on."""


class WorkerGoneError(RuntimeError):
    """The process ended, fell silent or talked nonsense; a new one may do better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How the worker is started."""

    python: Path
    """The interpreter that has mmdet."""
    options: Mapping[str, Any]
    """For the backend, as JSON."""
    backend: str = ""
    """`module:function`; empty for mmdet itself."""
    folder: Path | None = None
    """Working directory, from which a backend of one's own is imported."""
    start_seconds: float = 300.0
    """Until the worker must have loaded its weights."""
    answer_seconds: float = 300.0
    """For one image."""


class MmdetProcess:
    """A running worker.

    Raises:
        AlphaBenchError: the interpreter cannot be started, or the worker does not get ready.
    """

    def __init__(self, command: Command) -> None:
        self._command = command
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as we)
        self._channel, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(command, theirs, self._log)
        except AlphaBenchError:
            self._channel.close()
            self._log.close()
            raise
        self._end = weakref.finalize(
            self, _end, self._process, self._channel, self._log, owner=os.getpid()
        )
        self.names, self.versions = self._greeting()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The worker's reply.

        Raises:
            WorkerGoneError: it ended, did not answer in time, or answered nonsense; it is gone now.
        """
        return self._exchange(request, seconds=self._command.answer_seconds)

    def stop(self) -> None:
        """Ends the worker; safe to call twice."""
        self._end()

    def _greeting(self) -> tuple[tuple[str, ...], dict[str, str]]:
        hint = "see that mmdet works in that interpreter, or name another with python="
        try:
            greeting = self._exchange(None, seconds=self._command.start_seconds)
        except WorkerGoneError as error:
            raise AlphaBenchError(
                f"the mmdet process did not get ready: {error}", hint=hint
            ) from error
        if not greeting.get("ready"):
            self.stop()
            reason = greeting.get("error", "it sent no greeting")
            raise AlphaBenchError(f"the mmdet process did not get ready: {reason}", hint=hint)
        return tuple(greeting["names"]), dict(greeting["versions"])

    def _exchange(self, request: Mapping[str, Any] | None, *, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        try:
            if request is not None:
                body = json.dumps(request).encode()
                self._channel.settimeout(seconds)
                self._channel.sendall(HEADER.pack(len(body)) + body)
            (length,) = HEADER.unpack(self._receive(HEADER.size, deadline))
            if length > _LONGEST_FRAME:
                raise WorkerGoneError(f"it announced a reply of {length} bytes")
            reply = json.loads(self._receive(length, deadline))
            if not isinstance(reply, dict):
                raise WorkerGoneError("its reply is no JSON object")
        except (OSError, ValueError, WorkerGoneError) as error:
            late = isinstance(error, TimeoutError)
            reason = f"no answer in {seconds:g} s" if late else str(error)
            self._process.kill()
            reason += self._last_words()
            self.stop()
            raise WorkerGoneError(reason) from error
        return reply

    def _receive(self, count: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            part = self._channel.recv(min(count - len(parts), 2**20))
            if not part:
                raise WorkerGoneError(f"it ended with code {self._exit_code()}")
            parts += part
        return bytes(parts)

    def _exit_code(self) -> int | None:
        try:
            return self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return None

    def _last_words(self) -> str:
        self._process.wait()
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LAST_WORDS))
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip()})" if lines else ""


def installed_versions(python: Path) -> dict[str, str]:
    """Versions of the libraries in an interpreter, without loading them.

    Raises:
        AlphaBenchError: it is no interpreter, or has no mmdet.
    """
    hint = "name the interpreter of an environment with mmdet: python=/path/to/venv/bin/python"
    try:
        done = subprocess.run(  # noqa: S603  (the user's own interpreter)
            [str(python), str(WORKER), "--versions"],
            capture_output=True,
            check=True,
            timeout=60.0,
        )
        found: dict[str, str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise AlphaBenchError(
            f"{str(python)!r} is no usable Python interpreter", hint=hint
        ) from error
    if not {"mmdet", "onedl-mmdetection"} & set(found):
        raise AlphaBenchError(f"{str(python)!r} has no mmdet", hint=hint)
    return found


def _start(command: Command, theirs: socket.socket, log: IO[bytes]) -> subprocess.Popen[bytes]:
    if os.name != "posix":
        raise AlphaBenchError(
            "the evaluator 'mmdet' runs on Linux and macOS only", hint="use mask2former instead"
        )
    words = [str(command.python), str(WORKER), "--fd", str(theirs.fileno())]
    words += ["--backend", command.backend, "--options", json.dumps(dict(command.options))]
    try:
        return subprocess.Popen(  # noqa: S603  (the user's own interpreter)
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[theirs.fileno()],
            cwd=command.folder,
        )
    except OSError as error:
        raise AlphaBenchError(
            f"the interpreter {str(command.python)!r} cannot be started ({error.strerror})",
            hint="name the interpreter of an environment with mmdet: python=/path/to/bin/python",
        ) from error


def _end(
    process: subprocess.Popen[bytes], channel: socket.socket, log: IO[bytes], *, owner: int
) -> None:
    """Also runs at exit; a forked copy of us leaves the worker alone."""
    if os.getpid() != owner:
        return
    channel.close()
    try:
        process.wait(timeout=0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
