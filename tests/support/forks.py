"""Commands of Python as real processes that need not import anything again.

A process of its own takes seconds to import torch and what stands on it. `Forked` is a
`subprocess.Popen` whose child is forked by a server that has imported all that; it can be stopped,
killed and waited for like any other. Where that is not possible, or the environment has what the
libraries read while they are imported, it is an ordinary process.

A test needs an ordinary one where the start is the subject: imports, the installed command,
warnings of libraries.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from subprocess import PIPE
from typing import Any

ROOT = Path(__file__).parents[2]
FIXED = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
"""What the server's environment has beside this process's."""
EARLY = (
    "CUDA_", "DIFFUSERS_", "HF_", "HOME", "HUGGINGFACE_", "KMP_", "LD_", "MKL_", "OMP_",
    "OPENBLAS_", "PATH", "PYTHON", "PYTORCH_", "TORCH_", "TRANSFORMERS_", "USE_", "XDG_",
)  # fmt: skip
"""Variables that begin so are read while libraries are imported: those of a job may not differ.

All others may: torch alone sets several in this process at its first training.
"""
START = {**os.environ, **FIXED}
"""The server's environment, taken while tests are collected: a test may change this process's."""
PR_SET_CHILD_SUBREAPER = 36


class _Server:
    """The server's process, and its orders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            cwd=ROOT,
            env=START,
            stdin=PIPE,  # streams that cannot be rewound, as those of most jobs
            stdout=PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self._end)
        if not self._socket.recv(16):
            raise RuntimeError(f"the fork server ended: {self._process.communicate()[0].decode()}")

    def fork(self, job: Mapping[str, Any], streams: Sequence[int]) -> int:
        """The number of the new process, which is a child of this one."""
        with self._lock, _adopting():
            socket.send_fds(self._socket, [json.dumps(job).encode()], streams)
            return int(self._socket.recv(32))

    def _end(self) -> None:
        self._socket.close()
        self._process.communicate()


class _adopting:  # noqa: N801  a context manager, used like a function
    """Orphans below this process become its children meanwhile."""

    def __enter__(self) -> None:
        self._set(1)

    def __exit__(self, *_: object) -> None:
        self._set(0)

    def _set(self, on: int) -> None:
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) == 0


def early(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that imports may read."""
    return {name: value for name, value in environment.items() if name.startswith(EARLY)}


@cache
def _server() -> _Server:
    return _Server()


def _forkable(environment: Mapping[str, str]) -> bool:
    return sys.platform == "linux" and early(environment) == early(START)


def _interruptible() -> None:
    """Where the suite is a shell's background job, its children would ignore interrupts, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Forked(subprocess.Popen[str]):
    """`python *words`, ready as soon as it is forked.

    Args:
        words: `-m MODULE ...`, `-c PROGRAM ...` or `FILE ...`.
        variables: what its environment has beside this process's.
    """

    def __init__(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        start_new_session: bool = False,
    ) -> None:
        self._environment = {**os.environ, **FIXED, **(variables or {})}
        self._job = {
            "words": [str(word) for word in words],
            "cwd": None if cwd is None else str(cwd),
            "env": self._environment,
            "start_new_session": start_new_session,
        }
        super().__init__(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            env=self._environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=start_new_session,
            preexec_fn=_interruptible,
        )

    def _execute_child(self, *settings: Any) -> None:
        # The one step of a Popen that starts something; all others need only a child's number.
        if not _forkable(self._environment):
            super()._execute_child(*settings)  # type: ignore[misc]
            return
        pipes = settings[10:16]
        streams = [
            pipe if pipe != -1 else own for own, pipe in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        self.pid = _server().fork(self._job, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run(
    *words: str | Path,
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float = 240.0,
) -> subprocess.CompletedProcess[str]:
    """`Forked` to its end, with what it printed."""
    with Forked(*words, cwd=cwd, variables=variables, stdout=PIPE, stderr=PIPE) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
