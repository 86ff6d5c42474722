"""Checks a command of the documentation without running it: its options and every name in it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import re
from typing import Any, Final

import typer

from alphabench import registry
from alphabench.checkpoints import (
    bagel_options,
    diffusers_options,
    http_options,
    janus,
    pick_checkpoint_kind,
    scene,
)
from alphabench.cli import build_app
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import split_spec
from alphabench.evaluators.metrics.metric_table import METRICS
from alphabench.runs.factories import evaluator_specs
from alphabench.upstream.layouts import FolderOptions
from alphagrpo.recipe import load_recipe
from alphagrpo.recipe_names import recipe_names
from tests.support.page_commands import ROOT, PageCommand

OPTIONS: Final[dict[str, type]] = {
    "bagel": bagel_options.BagelOptions,
    "diffusers": diffusers_options.DiffusersOptions,
    "http": http_options.HttpOptions,
    "images": FolderOptions,
    "janus": janus.JanusOptions,
    "nano": bagel_options.BagelOptions,
    "scene": scene.SceneOptions,
}
"""Kind of checkpoint -> the options that it takes."""
_EVALUATORS: Final = ("judge", "mplug", "ocr", "dvreward", "holistic", "colour")
"""Evaluators that a benchmark makes itself, one of `examples/` among them."""
_BENCHMARK_FIRST: Final = ("run", "generate")


def faults(command: PageCommand) -> list[str]:
    """What is wrong with a command, one sentence each; empty where nothing was found."""
    if command.words[0] == "make":
        return _faults_of_make(command)
    words = command.alphabench_words
    if words is None:
        return _faults_of_python(command)
    try:
        verb, given = _parsed([*words])
    except Exception as error:  # noqa: BLE001 - whatever the parser says is the fault
        return [error.format_message() if hasattr(error, "format_message") else str(error)]
    found = [] if verb not in _BENCHMARK_FIRST else _faults_of_benchmark(given)
    found += _faults_of_recipe(command, given) if verb == "train" else []
    found += _faults_of_checkpoint(given)
    known = [*registry.known("evaluator"), *_EVALUATORS, *METRICS]
    for spec in evaluator_specs(given.get("evaluator"), known):
        evaluator, _ = split_spec(spec or "")
        if evaluator and evaluator not in known:
            found.append(f"there is no evaluator {evaluator!r}")
    judge = (given.get("judge") or "").partition(":")[0].partition("?")[0]
    if judge and judge not in {*registry.known("judge"), "http", "https"}:
        found.append(f"there is no kind of judge {judge!r}")
    return found


@functools.cache
def _command_line() -> Any:
    return typer.main.get_command(build_app())


def _parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command's name, `judge cache` for one of a group, and its parameters."""
    command, names = _command_line(), []
    if set(words) & {"--help", "-h", "--version", "--install-completion", "--show-completion"}:
        return "", {}
    while hasattr(command, "commands"):
        context = command.make_context("alphabench", words[:1])
        name, chosen, _ = command.resolve_command(context, words)
        if chosen is None:
            raise ValueError(f"there is no command {words[0]!r}")
        command, words = chosen, words[1:]
        names.append(name)
    context = command.make_context(names[-1], [*words])
    return " ".join(names), context.params


def _faults_of_make(command: PageCommand) -> list[str]:
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [word for word in command.words[1:] if "=" not in word and not word.startswith("-")]
    return [f"the Makefile has no target {name!r}" for name in named if name not in targets]


def _faults_of_python(command: PageCommand) -> list[str]:
    if command.words[1] != "-m":
        script = command.words[1]
        mine = script.startswith(("examples/", "tools/"))
        return [f"there is no {script}"] if mine and not (ROOT / script).is_file() else []
    module = command.words[2]
    spec = importlib.util.find_spec(module)
    if spec is None:
        return [f"there is no module {module!r}"]
    if spec.submodule_search_locations and not importlib.util.find_spec(f"{module}.__main__"):
        return [f"the package {module!r} cannot be run"]
    return []


def _faults_of_benchmark(given: dict[str, Any]) -> list[str]:
    names = given.get("benchmark") or given.get("benchmarks") or ""
    found = []
    for spec in names.split(",") if isinstance(names, str) else names:
        name = re.split("[:@]", spec)[0]
        if name in ("file", "python") or name.endswith((".yaml", ".yml", ".jsonl")):
            continue
        if name not in registry.benchmark_names():
            found.append(f"there is no benchmark {name!r}")
            continue
        listed = registry.benchmark_entry(name).listed
        splits = {one.partition(":")[2] for one in listed}
        split = spec.partition(":")[2].partition("@")[0]
        if split and split not in splits:
            found.append(f"{name} has no split {split!r}")
    return found


def _faults_of_recipe(command: PageCommand, given: dict[str, Any]) -> list[str]:
    """A file that the repository does not have is a reader's own, but not inside `examples`."""
    name = str(given["recipe"])
    here = ROOT / command.folder if (ROOT / command.folder).is_dir() else ROOT
    known = name in recipe_names()
    if not known and name.startswith(("runs/", "$")):
        return []
    is_path = "/" in name or name.endswith((".yaml", ".yml"))
    if is_path and not (here / name).exists() and here == ROOT / ".":
        return []
    overrides = next((value for value in given.values() if isinstance(value, (list, tuple))), ())
    try:
        with contextlib.chdir(here):
            load_recipe(name, overrides)
    except AlphaBenchError as error:
        return [error.message]
    return []


def _faults_of_checkpoint(given: dict[str, Any]) -> list[str]:
    spec = given.get("ckpt")
    if isinstance(spec, (list, tuple)):
        return [
            fault for one in spec for fault in _faults_of_checkpoint({**given, "ckpt": str(one)})
        ]
    if not isinstance(spec, str):
        return []
    name, options = split_spec(spec)
    local = re.match(r"[.~/]|runs/|[A-Z_]+$", name)
    try:
        kind = "" if local else pick_checkpoint_kind(name)[0]
    except AlphaBenchError as error:
        return [error.message]
    settings = next((given[key] for key in ("settings", "set", "set_") if given.get(key)), ())
    keys = [*options, *(one.partition("=")[0] for one in settings)]
    kinds = [kind] if kind else ["diffusers", "bagel", "janus"]
    if kind == "python":
        return []
    allowed = {field.name for one in kinds for field in dataclasses.fields(OPTIONS[one])}
    return [
        f"a checkpoint of kind {' or '.join(kinds)} has no option {key!r}"
        for key in keys
        if key not in allowed and not (kind == "http" and key.startswith("body."))
    ]
