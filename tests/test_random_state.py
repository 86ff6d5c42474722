"""The random state of the process is put aside without a wait for any device."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("bench", "trainers", "alphagrpo", "examples", "tools")


def careless(source: str) -> list[int]:
    """Lines that call `fork_rng` without naming its devices: it would copy those of every GPU."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "fork_rng"
        and all(keyword.arg != "devices" for keyword in node.keywords)
    ]


def test_every_fork_of_the_random_state_names_its_devices() -> None:
    files = [path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 300
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        if "fork_rng" in (source := path.read_text(encoding="utf-8"))
        for line in careless(source)
    ]
    assert not found


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        ("torch.random.fork_rng()", [1]),
        ("fork_rng(enabled=True)", [1]),
        ("torch.random.fork_rng(devices=[])", []),
    ],
)
def test_a_fork_without_devices_is_found(call: str, lines: list[int]) -> None:
    assert careless(f"with {call}: pass") == lines
