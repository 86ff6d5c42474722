"""The engine of a Ray cluster: each worker is an actor with a GPU, or with a CPU, of its own.

The cluster exists already. Images lie in the run folder, which all nodes must see: each actor
proves it before it opens anything. An actor is never restarted by Ray: the driver starts another
one, which waits until the cluster has room for it. Knows no queue and no job.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.writing import writing
from alphabench.runs.engines import (
    Inbox,
    JobFailure,
    JobWorker,
    WorkerEnd,
    WorkerMessage,
    pack,
    unpack_message,
)
from alphabench.runs.ray_actor import driver_facts

_PROBE: Final = ".alphabench-ray-"
_LONGEST_REASON: Final = 300
_SECONDS_TO_LEAVE: Final = 10.0
_SECONDS_TO_CONNECT: Final = 5.0
_SECONDS_TO_LEARN: Final = 2.0
PATIENCE_SECONDS: Final = 20.0
"""How long no actor may have started before the user is informed."""
_SECONDS_WITHOUT_NODES: Final = 120.0
"""How long the cluster may have no node that could run a worker."""


class RayEngine:
    """Starts actors on a cluster that this process is connected to; see `connected_engine`."""

    def __init__(self, ray: ModuleType, environment: Mapping[str, str], resource: str) -> None:
        self._ray = ray
        self._environment = environment
        self._resource = resource
        self._actor = ray.remote(_actor_class())
        self._tokens: dict[str, str] = {}
        self._waiting_since: float | None = None
        self._lost_since: float | None = None
        self._informed = False

    def share(self, folder: Path) -> None:
        """Workers that start from now on must see this folder, which need not exist yet."""
        folder = folder.absolute()
        while not folder.is_dir():
            folder = folder.parent
        if any(Path(path).parent == folder for path in self._tokens):
            return
        path, token = folder / f"{_PROBE}{secrets.token_hex(8)}", secrets.token_hex(16)
        with writing(folder, elsewhere="name another folder with --out"):
            path.write_text(token)
        self._tokens[str(path)] = token

    def forget(self) -> None:
        """Remove what `share` wrote."""
        for path in self._tokens:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        self._tokens.clear()

    def start(self, opener: bytes, device: str, inbox: Inbox) -> JobWorker:
        one = {"num_gpus": 1, "num_cpus": 0} if self._resource == "GPU" else {"num_cpus": 1}
        options = self._actor.options(max_restarts=0, max_task_retries=0, **one)
        try:
            actor = options.remote()
        except self._ray.exceptions.RayError as error:
            raise AlphaBenchError(
                f"the connection to the Ray cluster is lost: {_in_one_line(str(error))}",
                hint="everything finished is stored; give the same command again",
            ) from error
        facts = pack(driver_facts(self._environment, self._tokens))
        return _RayWorker(self._ray, actor, device, (facts, opener), inbox)

    def look(self, workers: Iterable[JobWorker]) -> Iterator[str]:
        now = time.monotonic()
        if any(isinstance(worker, _RayWorker) and worker.started for worker in workers):
            self._waiting_since = self._lost_since = None
            return
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since < PATIENCE_SECONDS:
            return
        total = self._ray.cluster_resources().get(self._resource, 0)
        self._lost_since = None if total else self._lost_since or now
        if self._lost_since and now - self._lost_since > _SECONDS_WITHOUT_NODES:
            raise AlphaBenchError(
                f"the Ray cluster has lost all nodes with a {self._resource}",
                hint="everything finished is stored; the same command continues when they are back",
            )
        if not self._informed:
            self._informed = True
            free = self._ray.available_resources().get(self._resource, 0)
            yield (
                f"waiting for the Ray cluster: no worker has started yet, {free:g} of its "
                f"{total:g} {self._resource}s are free"
            )


class _RayWorker:
    """An actor, and the batch it has in hand; a thread of the driver communicates with it."""

    def __init__(
        self, ray: ModuleType, actor: Any, device: str, start: tuple[bytes, bytes], inbox: Inbox
    ) -> None:
        self.device = device
        self.place = "of the Ray cluster"
        self.batch: Sequence[Any] | None = None
        self.ready = False
        self.started = False
        self._stopped = False
        self._ray, self._actor, self._node = ray, actor, ""
        self._inbox = inbox
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._talker = threading.Thread(target=self._talk, args=start, daemon=True)
        self._talker.start()

    def give(self, batch: Sequence[Any]) -> None:
        self.batch = batch
        self._outbox.put(pack(batch))

    def stop(self, *, patience: float = 0.0) -> None:
        del patience  # Ray ends the child processes of an actor
        self._stopped = True
        self._outbox.put(None)
        self._ray.kill(self._actor)
        self._talker.join(timeout=_SECONDS_TO_LEAVE)

    def _talk(self, facts: bytes, opener: bytes) -> None:
        try:
            address, self._node, refusal = self._ray.get(self._actor.check.remote(facts))
            self.place, self.started = f"on {address}", True
            if refusal is not None:
                self._inbox.put((self, WorkerMessage("stop", _refusal(refusal, address))))
                return
            threads = self._threads()
            answer = self._actor.open.remote(opener, self.device, self.place, threads)
            self._inbox.put((self, unpack_message(self._ray.get(answer))))
            while (batch := self._outbox.get()) is not None:
                self._inbox.put((self, self._answer(batch)))
        except self._ray.exceptions.RayError as error:
            if not self._stopped:
                self._inbox.put((self, WorkerMessage("gone", self._end(error))))

    def _answer(self, batch: bytes) -> WorkerMessage:
        try:
            return unpack_message(self._ray.get(self._actor.respond.remote(batch)))
        except self._ray.exceptions.RayTaskError as error:  # the batch cannot be read there
            return WorkerMessage("failure", JobFailure.of(error))

    def _threads(self) -> int:
        """For each of the workers that its node has room for."""
        for node in self._ray.nodes():
            if node["NodeID"] == self._node and (n_gpus := int(node["Resources"].get("GPU", 0))):
                return max(1, int(node["Resources"].get("CPU", 1)) // n_gpus)
        return 1

    def _node_is_gone(self) -> bool:
        """The cluster may learn of it a little later than of its processes."""
        deadline = time.monotonic() + _SECONDS_TO_LEARN
        while True:
            try:
                nodes = self._ray.nodes()
            except self._ray.exceptions.RayError:
                return True
            if any(one["NodeID"] == self._node and not one["Alive"] for one in nodes):
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)

    def _end(self, error: Exception) -> WorkerEnd:
        if self._node_is_gone() or getattr(error, "preempted", False):
            return WorkerEnd("its node left the cluster", blameless=True)
        if not isinstance(error, self._ray.exceptions.RayActorError):
            return WorkerEnd(f"its result was lost: {type(error).__name__}", blameless=True)
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return WorkerEnd("its node does not answer", blameless=True)
        return WorkerEnd(_in_short(str(error)))


def _refusal(error: Exception, address: str) -> AlphaBenchError:
    if isinstance(error, AlphaBenchError):
        return error
    return AlphaBenchError(
        f"{address} has no AlphaBench, or another version: {_in_one_line(str(error))}",
        hint="install the same environment on all nodes, or put it on a file system that they "
        "share",
    )


def _in_short(reason: str) -> str:
    """The one line of Ray's account that says what happened."""
    if "connection error code 2" in reason:
        return "its process ended without a word, as one that is killed"
    for mark in ("Worker exit detail: ", "The actor is dead because "):
        if mark in reason:
            return reason.partition(mark)[2].partition(". ")[0].splitlines()[0]
    return (reason.strip().splitlines() or ["no reason was given"])[-1]


def _actor_class() -> type:
    """The class of an actor, which Ray sends as code: it must say so where AlphaBench is absent."""

    class AlphaBenchWorker:
        def check(self, facts: bytes) -> tuple[str, str, Exception | None]:
            import pickle

            import ray

            address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            node = ray.get_runtime_context().get_node_id()
            try:
                from alphabench.runs.ray_actor import prepare_node

                return address, node, prepare_node(pickle.loads(facts), address)  # noqa: S301
            except ImportError as error:
                return address, node, error

        def open(self, opener: bytes, device: str, place: str, threads: int) -> bytes:
            import os

            from alphabench.runs.engines import open_handler

            os.environ["OMP_NUM_THREADS"] = str(threads)
            handler, message = open_handler(opener, device, place)
            if handler is not None:
                self._handler = handler
            return message

        def respond(self, batch: bytes) -> bytes:
            import pickle

            from alphabench.runs.engines import respond

            return respond(self._handler, pickle.loads(batch))  # noqa: S301

    return AlphaBenchWorker


@contextlib.contextmanager
def connected_engine(
    address: str, *, devices: str | None, workers: int | None, environment: Mapping[str, str]
) -> Iterator[tuple[RayEngine, tuple[str, ...]]]:
    """Connect to a cluster; gives the engine, and the device of each worker inside it.

    A connection that exists already is used, and kept.

    Args:
        address: `auto`, or `host:port` of the head node.
        devices: `cpu`, or None for GPUs where the cluster has some.
        workers: None is one for each GPU, or each CPU, of the cluster.
        environment: of this process.

    Raises:
        AlphaBenchError: no Ray, no cluster, or one that is too small.
    """
    ray = _import_ray()
    with _connection(ray, address):
        resource, n_workers = _enough(ray.cluster_resources(), devices=devices, workers=workers)
        engine = RayEngine(ray, environment, resource)
        device = "cuda:0" if resource == "GPU" else "cpu"
        try:
            yield engine, (device,) * n_workers
        finally:
            engine.forget()


def _import_ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise AlphaBenchError(
            f"--engine ray needs the package ray: {error}", hint="pip install -e '.[ray]'"
        ) from error
    return ray


@contextlib.contextmanager
def _connection(ray: ModuleType, address: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    _check_address(_own_cluster(ray) if address == "auto" else address)
    # Ray's own messages would stand between ours, on standard output too; this switch is Ray's.
    logs = ray._private.worker
    main = threading.current_thread() is threading.main_thread()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    printed, logs._worker_logs_enabled = logs._worker_logs_enabled, False
    try:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise _no_cluster(address, str(error)) from error
        finally:
            if main:  # Ray replaces the handler, and ours ends the command properly
                signal.signal(signal.SIGTERM, on_sigterm)
        yield
    finally:
        ray.shutdown()
        logs._worker_logs_enabled = printed


def _own_cluster(ray: ModuleType) -> str:
    """The address of the cluster that this machine belongs to, as Ray notes it; may be outdated."""
    try:
        return str(ray._private.services.canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError) as error:
        raise _no_cluster("auto", str(error)) from error


def _check_address(address: str) -> None:
    """Ray itself tries for minutes to reach one where nobody listens."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise AlphaBenchError(
            f"--ray-address cannot be {address!r}",
            hint="give host:port of the head node, as `ray start --head` prints it, or auto; the "
            "command itself must run on a machine of the cluster",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from error


def _no_cluster(address: str, reason: str) -> AlphaBenchError:
    where = "no Ray cluster runs here" if address == "auto" else f"no Ray cluster at {address!r}"
    why = "" if address == "auto" and "find any running" in reason else f": {_in_one_line(reason)}"
    return AlphaBenchError(
        where + why,
        hint="start one with `ray start --head`, on further machines with `ray start "
        "--address=HOST:6379`, or name its head with --ray-address",
    )


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]


def _count(number: int, resource: str) -> str:
    return f"{number} {resource}{'s' * (number != 1)}"


def _enough(
    resources: Mapping[str, float], *, devices: str | None, workers: int | None
) -> tuple[str, int]:
    """The resource that each worker takes one of, and how many workers there are.

    Raises:
        AlphaBenchError: the cluster has fewer, or `devices` names GPUs.
    """
    if devices not in (None, "cpu"):
        raise AlphaBenchError(
            f"--devices {devices} names GPUs of this machine, and Ray chooses those of its workers",
            hint="leave it out and give the number of GPUs as --workers, or name cpu",
        )
    resource = "GPU" if devices is None and resources.get("GPU", 0) >= 1 else "CPU"
    n_free = int(resources.get(resource, 0))
    if n_free < (workers or 1):
        raise AlphaBenchError(
            f"the Ray cluster has {_count(n_free, resource)}, and {_count(workers or 1, resource)} "
            "are wanted: one for each worker",
            hint="give fewer --workers, or add nodes: ray start --address=HOST:6379",
        )
    return resource, workers or n_free
