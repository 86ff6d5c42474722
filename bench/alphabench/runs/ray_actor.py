"""What a Ray actor does on its node: checks that the node is as the driver is, then does batches.

Nothing of it is imported from `ray`: the actor's class is made by `ray_engine`, which sends this
module's functions what they need as plain data.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.plan import PACKAGES, package_versions

_SENT: Final = ("ALPHABENCH_", "HF_", "OPENAI_API_KEY")
"""Beginnings of the environment variables that a node gets from the driver, where it has none."""
_SECONDS_FOR_TOKEN: Final = 5.0
"""A network file system may show a new file late."""


def driver_facts(environment: Mapping[str, str], tokens: Mapping[str, str]) -> dict[str, Any]:
    """What a node is checked against, and what it takes over; plain data.

    Args:
        environment: of the driver.
        tokens: absolute path of a file that the driver wrote -> its content.
    """
    return {
        "code": code_digest(),
        "python": platform.python_version(),
        "packages": dict(package_versions(PACKAGES)),
        "folder": str(Path.cwd()),
        "python_path": environment.get("PYTHONPATH", ""),
        "environment": {k: v for k, v in environment.items() if k.startswith(_SENT)},
        "tokens": dict(tokens),
    }


def code_digest() -> str:
    """Of the Python sources of AlphaBench as they are installed here, in hexadecimal."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def prepare_node(facts: Mapping[str, Any], node: str) -> AlphaBenchError | None:
    """Check this process' node, and take over the driver's directory and environment.

    Args:
        facts: from `driver_facts`.
        node: for messages, `10.0.0.3`.

    Returns:
        What is wrong with the node; None if nothing is.
    """
    here = {"Python": platform.python_version(), **dict(package_versions(PACKAGES))}
    there = {"Python": facts["python"], **facts["packages"]}
    for name in sorted(here.keys() | there.keys(), key=lambda name: (name != "alphabench", name)):
        if here.get(name) != there.get(name):
            return _other(node, f"{name} {here.get(name, 'not installed')}", there.get(name))
    if code_digest() != facts["code"]:
        return _other(node, "other code of alphabench", None)
    for path, token in facts["tokens"].items():
        if not _is_readable(Path(path), token):
            return AlphaBenchError(
                f"{node} does not see the folder {str(Path(path).parent)!r} of this machine, where "
                "the run's images are stored",
                hint="name a folder that all nodes share (--out), or give each machine a share of "
                "the prompts and a folder of its own: --shard 1/2, then `alphabench merge`",
            )
    for name, value in facts["environment"].items():
        os.environ.setdefault(name, value)
    sys.path += [p for p in facts["python_path"].split(os.pathsep) if p and p not in sys.path]
    if Path(facts["folder"]).is_dir():
        os.chdir(facts["folder"])
    return None


def _other(node: str, has: str, driver_has: str | None) -> AlphaBenchError:
    return AlphaBenchError(
        f"{node} has {has}" + (f", and this machine has {driver_has}" if driver_has else ""),
        hint="install the same environment on all nodes, or put it on a file system that they "
        "share; another version may make other images",
    )


def _is_readable(path: Path, token: str) -> bool:
    deadline = time.monotonic() + _SECONDS_FOR_TOKEN
    while True:
        try:
            if path.read_text() == token:
                return True
        except OSError:
            pass
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.2)
