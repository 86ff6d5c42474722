"""What holds across all modules: directions of imports, lightness, and the size of things."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "alphabench": ROOT / "bench" / "alphabench",
    "alphagrpo": ROOT / "alphagrpo",
    "alphatrainers": ROOT / "trainers" / "alphatrainers",
}
MAY_IMPORT = {
    "alphabench": {"alphabench"},
    "alphagrpo": {"alphagrpo", "alphabench", "alphatrainers"},
    "alphatrainers": {"alphatrainers", "alphabench.core"},
}
HEAVY = ("torch", "transformers", "diffusers", "ray", "open_clip", "mmdet", "vllm", "scipy")
MODULES = [path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))]
LONGEST_FILE, LONGEST_FUNCTION = 500, 80


def imported_modules(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_the_packages_go_one_way(package: str) -> None:
    for path in sorted(PACKAGES[package].rglob("*.py")):
        ours = {name for name in imported_modules(path) if name.partition(".")[0] in PACKAGES}
        for name in ours:
            allowed = any(f"{name}.".startswith(f"{one}.") for one in MAY_IMPORT[package])
            assert allowed, f"{path} imports {name}"


def test_the_ground_floor_imports_nothing_of_ours() -> None:
    for path in sorted((PACKAGES["alphabench"] / "core").rglob("*.py")):
        for name in imported_modules(path):
            ours = name.partition(".")[0] in PACKAGES
            assert not ours or f"{name}.".startswith("alphabench.core."), f"{path} imports {name}"


def test_help_and_listing_import_no_model_library() -> None:
    script = "\n".join(
        [
            "import sys",
            f"sys.modules.update(dict.fromkeys({HEAVY!r}))",
            "from alphabench.cli import main",
            "main()",
        ]
    )
    for words in (["--help"], ["list", "benchmarks"], ["show", "geneval:mini"], ["run", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with what it promises"
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_one_module_opens_images() -> None:
    own_interpreter = "mplug_worker.py"  # imports nothing of ours, and names the formats itself
    for path in MODULES:
        if path.name in ("images.py", own_interpreter):
            continue
        tree = ast.parse(path.read_text())
        pillow = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if alias.name in ("Image", "PIL.Image") or getattr(node, "module", "") == "PIL.Image"
        }
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        opened = [
            ast.unparse(call)
            for call in calls
            if (isinstance(call, ast.Attribute) and call.attr == "open")
            and ast.unparse(call.value) in pillow
        ]
        assert not opened, f"{path} calls {opened}: images.open_rgb does"


def test_the_public_names_are_few_and_all_exist() -> None:
    import alphabench

    assert len(alphabench.__all__) <= 25
    assert all(hasattr(alphabench, name) for name in alphabench.__all__)
