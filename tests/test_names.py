"""Every public name means one thing in the whole project, and files that people confuse differ.

Public names are the module-level classes and functions without an underscore. A name that a reader
meets in a traceback or in a search must lead to one definition.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "alphagrpo", "trainers")
FAMILIES = ("bench/alphabench/benchmarks", "bench/alphabench/models", "tools")
"""Folders whose sub-folders hold files of the same names by design: `benchmarks/*/scoring.py`.

Files of one name in one family do the same for each benchmark, model or tool, so they may define
the same names.
"""
ENTRY_POINTS = ("main",)
"""What `python -m` and the installed command call; each script has its own."""
OWN_INTERPRETERS = ("mmdet_worker.py", "mplug_worker.py")
"""Run by an interpreter that has none of our packages, so they hold copies of what they need."""

NAMED_ALIKE = ("questions.py",)
"""The vocabulary of questions in the package's root, and the questions of each benchmark."""


def sources(*tops: str) -> list[Path]:
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]


def family_of(path: Path) -> str:
    """`bench/alphabench/models/*/vision.py`; a file of no family is its own."""
    relative = path.relative_to(ROOT).as_posix()
    for family in FAMILIES:
        if path.is_relative_to(ROOT / family) and path.parent.parent == ROOT / family:
            return f"{family}/*/{path.name}"
    return relative


def repeated(owners: dict[str, set[str]]) -> dict[str, list[str]]:
    return {name: sorted(where) for name, where in sorted(owners.items()) if len(where) > 1}


def test_every_public_name_is_defined_once() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for path in sources(*PACKAGES, "tools"):
        if path.name in OWN_INTERPRETERS:
            continue
        for node in ast.parse(path.read_text()).body:
            if (
                isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not node.name.startswith("_")
                and node.name not in ENTRY_POINTS
            ):
                owners[node.name].add(family_of(path))
    assert repeated(owners) == {}, "give one of them a more specific name"


def test_source_files_that_people_confuse_have_different_names() -> None:
    for tops in (PACKAGES, ("tools",)):
        owners: dict[str, set[str]] = defaultdict(set)
        for path in sources(*tops):
            if path.name not in ("__init__.py", "__main__.py", *NAMED_ALIKE):
                owners[path.name].add(family_of(path))
        assert repeated(owners) == {}, "rename one of the files"


def test_no_two_test_files_have_the_same_name() -> None:
    owners: dict[str, set[str]] = defaultdict(set)
    for path in sources("tests"):
        if path.name not in ("__init__.py", "conftest.py"):
            owners[path.name].add(path.relative_to(ROOT).as_posix())
    assert repeated(owners) == {}, "rename one of the files"
