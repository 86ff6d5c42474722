"""What all tests share: where reference data lies, and the marks that are off by default."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.tiny_pipelines import save, small_sources

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
"""Without deadlines: how long an example takes says more about the machine than about the code."""

OFF_BY_DEFAULT = {
    "gpu": "needs an accelerator",
    "net": "needs the network",
    "mmdet": "needs an interpreter with mmdet",
    "vllm": "needs an environment with vLLM",
    "whole": "takes minutes",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    beside = Path(__file__).parents[2] / "shared"
    parser.addoption("--shared", type=Path, default=beside, help="folder with reference data")
    for mark, why in OFF_BY_DEFAULT.items():
        parser.addoption(f"--{mark}", action="store_true", help=f"also run what {why}")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collects no garbage while it imports, and never looks through what it has imported again.

    The libraries and thousands of tests stay until the end; each search for garbage among them
    takes a good part of a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


LAST = ("tests/test_architecture.py", "tests/test_language.py")
"""Hundreds of tests of milliseconds: at the end, processes that share the work finish together."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.nodeid.startswith(LAST))
    for item in items:
        for mark, why in OFF_BY_DEFAULT.items():
            if item.get_closest_marker(mark) and not config.getoption(f"--{mark}"):
                item.add_marker(pytest.mark.skip(reason=f"{why}: pytest --{mark}"))
    if any(item.get_closest_marker("device") for item in items):
        from tests.support.stand_in_device import install

        # Torch starts a thread of autograd for each device at the first backward of a process.
        install()


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Path:
    """The folder with golden values and official benchmark data; skips where it is absent."""
    folder: Path = pytestconfig.getoption("--shared")
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder.name!r}: pytest --shared DIR")
    return folder


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_disks() -> Iterator[None]:
    """What is written here need not outlive the machine; to wait for a disk takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """The variables that a test leaves behind, or a library in it, end with it.

    Every later process of the suite would have them, and could not be forked any more.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def no_network(
    request: pytest.FixtureRequest, own_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Only this machine can be reached, so that no test depends on anything else by accident."""
    if request.node.get_closest_marker("net"):
        yield
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or str(address[0]).startswith(
            ("127.", "::1", "localhost")
        ):
            connect(self, address)
            return
        raise OSError(f"tests may not reach {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Name of a tiny pipeline -> its folder, which a test must not change."""
    root = tmp_path_factory.mktemp("pipelines")

    def folder(name: str) -> Path:
        return root / name if (root / name).exists() else save(name, root / name)

    return folder


@pytest.fixture(name="small_sources", scope="module")
def _small_sources() -> Iterator[None]:
    """See `tests.support.tiny_pipelines`."""
    with small_sources():
        yield


@pytest.fixture
def stand_in() -> Iterator[Any]:
    """The `torch.device` of `tests.support.stand_in_device`."""
    from tests.support.stand_in_device import in_use

    with in_use() as device:
        yield device


@pytest.fixture
def offline_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client reads HF_HUB_OFFLINE when it is imported; this is what it would have set."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
