"""What holds across all modules: directions of imports, lightness, and the size of things."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "alphabench": ROOT / "bench" / "alphabench",
    "alphagrpo": ROOT / "alphagrpo",
    "alphatrainers": ROOT / "trainers" / "alphatrainers",
}
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "alphabench": (
        ("core",),
        (
            "device_transfer",
            "registry",
            "types",
            "detections",
            "images",
            "weights",
            "nano",
            "tracing",
        ),
        ("questions", "statistics", "scenes", "models", "remote"),
        ("interfaces", "upstream"),
        ("judges", "checkpoints", "python_arguments"),
        ("evaluators",),
        ("benchmarks",),
        ("runs",),
        ("reports", "parity"),
        ("results",),
        ("analysis", "evaluation", "training"),
        ("",),
        ("cli",),
        ("__main__",),
    ),
    "alphatrainers": (
        (
            "",
            "algorithms",
            "nucleus",
            "rank_activity",
            "rank_store",
            "reporting",
            "setting_checks",
            "shards",
            "stop_request",
            "strict_yaml",
        ),
        ("rank_watch",),
        ("distributed",),
        ("shard_saving", "trajectory", "weight_shards"),
        ("image_monitors", "prompt_stream", "protocols", "sampling"),
        ("training_display", "velocity_requests"),
        ("image_algorithms", "sharded_files"),
        ("settings",),
        ("judge_noise", "lora_adapters"),
        ("group_shares", "reward_scoring"),
        ("checkpoint", "guards", "rollout", "trainer_components", "weight_sets"),
        ("optimizer", "panels", "replay", "trackers", "validation_curve"),
        ("metrics", "objective"),
        ("validator",),
        ("resource_plan", "update"),
        ("checkpointing", "reward_metrics", "step_scores"),
        ("trainer",),
    ),
    "alphagrpo": (
        (
            "",
            "assembly_context",
            "holistic",
            "hub_prompts",
            "prompt_facts",
            "rank_engine",
            "recipe_names",
            "rectification",
            "training_state",
        ),
        ("dvreward", "tasks", "validation"),
        ("prompts", "refinement_task", "rewards"),
        ("prompt_checks", "recipe"),
        ("policies", "prompt_pins", "publishing"),
        ("refined_validation",),
        ("assemble", "cost_estimate", "export", "training_progress"),
        ("preflight", "recipe_listing", "training_report"),
        ("training_run",),
        ("train_commands",),
    ),
}
"""Units of each package, from the ground floor up; "" is the package's own `__init__`.

A unit is a sub-package or a module in the package's root. It may import units of lower floors
only: not of its own floor, not of a higher one. A new unit gets the lowest floor above all that it
imports.
"""
OTHER_PACKAGES = {
    "alphabench": (),
    "alphatrainers": ("alphabench.core",),
    "alphagrpo": ("alphabench", "alphatrainers"),
}
"""What a package may import of the others."""
HEAVY = ("torch", "transformers", "diffusers", "ray", "open_clip", "mmdet", "vllm", "scipy")
MODULES = [path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))]
LONGEST_FILE, LONGEST_FUNCTION = 500, 80
"""In lines; the docstring of a function does not count, so that it can explain all arguments."""


def name_of(path: Path) -> str:
    """`bench/alphabench/core/files.py` is `alphabench.core.files`."""
    package = next(name for name, folder in PACKAGES.items() if path.is_relative_to(folder))
    parts = path.relative_to(PACKAGES[package]).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


def imported(path: Path) -> set[str]:
    """The modules of ours that a module imports, inside functions and for type checkers too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            found.add(node.module or "")
    specific = {name for name in found if name in NAMES}
    return {one for one in specific if not any(other.startswith(f"{one}.") for other in specific)}


NAMES = {name_of(path): path for path in MODULES}


@cache
def import_graph() -> dict[str, set[str]]:
    """Every module of ours, and which others it imports."""
    return {name: imported(path) - {name} for name, path in NAMES.items()}


def unit_of(module: str) -> tuple[str, str]:
    """`alphabench.core.files` belongs to (`alphabench`, `core`)."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0]


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of one circle in order; empty where there is none."""
    finished: set[str] = set()

    def search(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in finished:
            return []
        circles = (search(other, [*trail, node]) for other in sorted(graph.get(node, ())))
        circle = next(filter(None, circles), [])
        finished.add(node)
        return circle

    return next(filter(None, (search(node, []) for node in sorted(graph))), [])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_unit_of_a_package_has_one_floor(package: str) -> None:
    listed = [unit for floor in FLOORS[package] for unit in floor]
    assert len(listed) == len(set(listed))
    existing = {unit for owner, unit in map(unit_of, NAMES) if owner == package}
    assert existing - set(listed) == set(), "give these units a floor in FLOORS"
    assert set(listed) - existing == set(), "these units are in FLOORS and do not exist"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_goes_up_or_stays_on_its_floor(package: str) -> None:
    floor_of = {unit: level for level, units in enumerate(FLOORS[package]) for unit in units}
    wrong = [
        f"{module} (floor {floor_of[unit]}) imports {other} (floor {floor_of[theirs]})"
        for module, imports in import_graph().items()
        for owner, unit in [unit_of(module)]
        if owner == package
        for other in sorted(imports)
        for their_package, theirs in [unit_of(other)]
        if their_package == package and theirs != unit and floor_of[theirs] >= floor_of[unit]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_between_the_packages_go_one_way(package: str) -> None:
    wrong = [
        f"{module} imports {other}"
        for module, imports in import_graph().items()
        for other in sorted(imports)
        if module.partition(".")[0] == package and other.partition(".")[0] != package
        if not f"{other}.".startswith(tuple(f"{name}." for name in OTHER_PACKAGES[package]))
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle_in(import_graph()) == []


def test_no_sub_packages_beside_each_other_form_a_circle() -> None:
    """`benchmarks/dpg` and `benchmarks/gedit`, at every depth."""
    folders = {".".join(name.split(".")[:depth]) for name in NAMES for depth in range(1, 6)}
    graph: dict[str, set[str]] = {}
    for module, imports in import_graph().items():
        for other in imports:
            mine, theirs = module.split("."), other.split(".")
            shared = next(
                (n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b),
                min(len(mine), len(theirs)),
            )
            pair = ".".join(mine[: shared + 1]), ".".join(theirs[: shared + 1])
            if pair[0] != pair[1] and shared < min(len(mine), len(theirs)):
                graph.setdefault(pair[0], set()).add(pair[1])
    assert set(graph) <= folders
    assert circle_in(graph) == []


def test_help_and_listing_import_no_model_library() -> None:
    commands = (["--help"], ["list", "benchmarks"], ["show", "geneval:mini"], ["run", "--help"])
    script = "\n".join(
        [
            "import sys",
            f"sys.modules.update(dict.fromkeys({HEAVY!r}))",
            "from alphabench.cli import main",
            f"for words in {commands!r}:",
            "    try:",
            "        main(words)",
            "    except SystemExit as ended:",
            "        assert not ended.code, words",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
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
            documented = len((ast.get_docstring(node) or "").splitlines())
            assert node.end_lineno - node.lineno - documented < LONGEST_FUNCTION, node.name


def test_one_module_opens_images() -> None:
    own_interpreter = "mplug_worker.py"  # imports nothing of ours, and names the formats itself
    for path in MODULES:
        if path.name in ("images.py", own_interpreter):
            continue
        text = path.read_text()
        if "PIL" not in text:
            continue
        tree = ast.parse(text)
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


def test_the_ground_floor_is_imported_alone() -> None:
    script = "import sys, alphabench.core.errors; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    ours = {name for name in done.stdout.split() if name.partition(".")[0] in PACKAGES}
    assert ours == {"alphabench", "alphabench.core", "alphabench.core.errors"}


def test_the_public_names_are_few_and_all_exist() -> None:
    import alphabench

    assert len(alphabench.__all__) <= 25
    assert all(hasattr(alphabench, name) for name in alphabench.__all__)
