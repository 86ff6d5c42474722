"""A process that imports what commands need, once, and then only forks: one child for each job.

Started by `tests.support.forks`, which says what a job is. A child has its own process number,
session, arguments, environment, folder and streams, and ends as an interpreter ends; its parent is
the process that sent the job. The server itself runs nothing, so no job finds another's traces.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import random
import runpy
import signal
import socket
import sys
import threading
import types
from pathlib import Path
from typing import Any, NoReturn, cast

MODULES = (
    "accelerate",
    "diffusers",
    "peft",
    "pydantic.main",
    "scipy.optimize",
    "scipy.stats",
    "torch.distributed.run",
    "torch.utils.tensorboard",
    "transformers.models.qwen3_vl.modeling_qwen3_vl",
    "alphabench.benchmarks.dpg.benchmark",
    "alphabench.benchmarks.geneval.benchmark",
    "alphabench.checkpoints.bagel",
    "alphabench.checkpoints.lora",
    "alphabench.checkpoints.scene",
    "alphabench.cli.suite_runs",
    "alphabench.evaluators.detection.nano_detector",
    "alphabench.judges.nano_judge",
    "alphabench.judges.cached_judge",
    "alphabench.models.bagel.bagel_inference",
    "alphabench.models.bagel.loading",
    "alphabench.reports.run_report",
    "alphabench.runs.prepared_run",
    "alphagrpo.assemble",
    "alphagrpo.dvreward.dvreward_commands",
    "alphagrpo.train_commands",
    "alphagrpo.training_run",
    "tests.support.toy_training",
)
"""What starting takes longest; importing them must start no thread, for a fork has only one."""


def next_job(client: socket.socket) -> dict[str, Any]:
    """Forks a child for each job that arrives; returns in the children, and ends with its client.

    The child's child is the one that works: it is adopted by the client as soon as its parent ends.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(client, 1 << 20, 3)
        if not message:
            os._exit(0)
        read, write = os.pipe()
        if child := os.fork():
            os.close(write)
            for descriptor in descriptors:
                os.close(descriptor)
            os.waitpid(child, 0)
            client.send(os.read(read, 32))
            os.close(read)
            continue
        if grandchild := os.fork():
            os.write(write, str(grandchild).encode())
            os._exit(0)
        client.close()
        os.close(read)
        os.close(write)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        job: dict[str, Any] = json.loads(message)
        return job


def become(job: dict[str, Any], imported: dict[str, str]) -> None:
    """Makes this process what a new interpreter would be; `imported` are variables of imports."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if job["start_new_session"]:
        os.setsid()
    if job["cwd"] is not None:
        os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update({**imported, **job["env"]})
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(random.getrandbits(32))  # Python does so with its own at each fork
    cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=os.isatty(1))


def execute(kind: str, *words: str) -> None:
    """`python -m MODULE ...`, `python -c PROGRAM ...` or `python FILE ...`."""
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = list(words)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        sys.argv = [kind, *words[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), vars(main))
    else:
        sys.path[0] = str(Path(kind).parent)
        sys.argv = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


def exit_code(job: dict[str, Any]) -> int:
    """Executes the job; an error is printed as an interpreter prints it."""
    try:
        execute(*job["words"])
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException as error:  # noqa: BLE001
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def leave(code: int) -> NoReturn:
    """Ends as an interpreter ends, but does not take thousands of modules apart first."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or not listened to any more
            stream.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def main() -> NoReturn:
    """The server, and in its children the jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = socket.socket(fileno=int(sys.argv[1]))
    before = dict(os.environ)
    for module in MODULES:
        importlib.import_module(module)
    assert len(os.listdir("/proc/self/task")) == 1, "an import has started a thread"  # noqa: PTH208
    changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
    gc.collect()
    gc.freeze()
    client.send(b"ready")
    job = next_job(client)
    become(job, changed)
    leave(exit_code(job))


if __name__ == "__main__":
    main()
