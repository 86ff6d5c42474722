"""Trainings of several processes, as torchrun starts them; Linux only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import left_of, marked

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """How all processes of a training ended."""

    code: int
    said: str
    """Standard output and standard error of all of them, without torchrun's."""
    seconds: float
    """From the last event that the test caused."""


class Ranks:
    """A running group; `--standalone` torchrun with its processes."""

    def __init__(self, process: subprocess.Popen[str], mark: str) -> None:
        self.process, self._mark = process, mark
        self._since = time.monotonic()

    def pid_of(self, rank: int) -> int:
        """The process number of a rank; waits until it has been started."""
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            for pid in marked(self._mark):
                with suppress(OSError):  # it ended meanwhile
                    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                    if f"RANK={rank}".encode() in environment:
                        return pid
            time.sleep(0.05)
        raise AssertionError(f"rank {rank} does not run")

    def wait_for(self, path: Path, *, lines: int = 1, seconds: float = 200.0) -> None:
        """Until the file has so many lines."""
        deadline = time.monotonic() + seconds
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            assert self.process.poll() is None, self.process.communicate()[0][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def send(self, rank: int, signal: int) -> None:
        """A signal to one rank."""
        os.kill(self.pid_of(rank), signal)
        self._since = time.monotonic()

    def send_launcher(self, signal: int) -> None:
        """A signal to torchrun itself."""
        self.process.send_signal(signal)
        self._since = time.monotonic()

    def end(self, *, seconds: float = 200.0) -> Ended:
        """Waits until every process has ended."""
        said, _ = self.process.communicate(timeout=seconds)
        assert not left_of(self._mark, seconds=30.0)
        return Ended(self.process.returncode, said, time.monotonic() - self._since)


def torchrun_variables(size: int) -> list[dict[str, str]]:
    """What torchrun puts into the environment of each of so many processes of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "none"}
    sizes = {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    return [{**group, **sizes, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


@contextmanager
def ranks(
    module: str,
    words: Sequence[str | Path],
    *,
    folder: Path = ROOT,
    size: int = 2,
    environment: Mapping[str, str] | None = None,
    restarts: int = 0,
) -> Iterator[Ranks]:
    """Starts `python -m module` in so many processes; none is left at the end."""
    mark = f"RANKS_OF_TEST={os.getpid()}-{time.monotonic_ns()}"
    name, _, value = mark.partition("=")
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {}), name: value}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node", str(size), "--max-restarts", str(restarts)]
    command = [*launcher, "-m", module, *map(str, words)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Ranks(process, mark)
    finally:
        process.kill()
        process.wait()
        for pid in marked(mark):
            os.kill(pid, 9)
