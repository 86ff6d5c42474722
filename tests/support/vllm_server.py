"""Starts a real `vllm serve` on this machine for a test, and ends it. Knows no judge."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

SETTINGS: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
"""Environment of vLLM in tests: no network, and a small share of this machine's processor."""
FLAGS = (
    "--max-model-len=2048", "--max-num-seqs=8", "--enforce-eager", "--generation-config=vllm",
    '--limit-mm-per-prompt={"image":8,"video":0}',
)  # fmt: skip
PATIENCE_SECONDS = 300.0


@contextmanager
def serving(
    python: Path, model: Path, *, name: str, log: Path, patience_seconds: float = PATIENCE_SECONDS
) -> Iterator[str]:
    """The base address of a server that answers.

    Args:
        python: the interpreter of an environment with vLLM.
        model: the folder to serve.
        name: under which it is served.
        log: gets what the server prints.
        patience_seconds: until it must answer.
    """
    port = _free_port()
    command = [
        str(python.parent / "vllm"), "serve", str(model), "--host=127.0.0.1", f"--port={port}",
        f"--served-model-name={name}", *FLAGS,
    ]  # fmt: skip
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, env={**os.environ, **SETTINGS}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server, log, patience_seconds)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(timeout=60)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(address, timeout=2, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise RuntimeError(f"vLLM did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
