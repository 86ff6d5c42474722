"""A Ray cluster on this machine, in a process of its own; nodes come and go at a test's word.

`python tests/support/ray_cluster.py` is that process: it prints the port of the head,
then obeys the lines `add CPUS GPUS`, which prints the number of the node, and `remove NUMBER`. The
GPUs of its nodes are pretended: Ray counts them, and no program can use them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLES = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
}
_STORE = 80 * 1024 * 1024


@dataclass(frozen=True)
class RayCluster:
    """A cluster that runs."""

    address: str
    folder: Path
    process: subprocess.Popen[str]

    def add(self, *, cpus: int = 0, gpus: int = 0) -> str:
        """The number of the new node."""
        return self._ask(f"add {cpus} {gpus}")

    def remove(self, node: str) -> None:
        """All its processes are killed."""
        self._ask(f"remove {node}")

    def actors(self) -> list[int]:
        """The processes of our actors, whichever node they belong to."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    folder.name.isdigit()
                    and b"ray::AlphaBench" in (folder / "cmdline").read_bytes()
                ):
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    if str(self.folder).encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                        found.append(int(folder.name))
        return found

    def left_actors(self, *, seconds: float = 10.0) -> list[int]:
        """Those that are still alive so much later; waits no longer than it must."""
        deadline = time.monotonic() + seconds
        while (found := self.actors()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def visible_gpu(device: str) -> Callable[[Sequence[int]], list[tuple[int, str, str]]]:
    """Opens a handler: each job takes a while and returns what its worker may use."""

    def handle(jobs: Sequence[int]) -> list[tuple[int, str, str]]:
        time.sleep(0.3)
        return [(job, device, os.environ.get("CUDA_VISIBLE_DEVICES", "")) for job in jobs]

    return handle


@contextlib.contextmanager
def running_cluster() -> Iterator[RayCluster]:
    """A head that runs no workers; nothing is left of it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: sockets lie in it
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | VARIABLES | {"RAY_TMPDIR": str(folder)},
            text=True,
            start_new_session=True,
        )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port, (folder / "errors").read_text()[-2000:]
            yield RayCluster(f"localhost:{port}", folder, process)
        finally:
            process.stdin.close()
            process.wait(timeout=60)
            shutil.rmtree(folder, ignore_errors=True)


def _serve() -> None:
    from ray.cluster_utils import Cluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Ray prints is no answer
    small: dict[str, Any] = {
        "object_store_memory": _STORE,
        "include_dashboard": False,
    }
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **small,
            "num_cpus": 0,
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 1000,
                "health_check_failure_threshold": 3,
            },
        },
    )
    print(cluster.address.rpartition(":")[2], file=answers, flush=True)
    nodes = []
    for line in sys.stdin:
        match line.split():
            case ["add", cpus, gpus]:
                node = cluster.add_node(num_cpus=int(cpus), num_gpus=int(gpus), **small)
                nodes.append(node)
                print(len(nodes) - 1, file=answers, flush=True)
            case ["remove", number]:
                cluster.remove_node(nodes[int(number)], allow_graceful=False)
                print(number, file=answers, flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    _serve()
