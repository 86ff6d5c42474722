"""Options that several commands share, in the groups of their help pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alphabench.cli.completion import (
    complete_benchmark,
    complete_checkpoint,
    complete_evaluator,
    complete_judge,
)
from alphabench.cli.help_pages import CHECKPOINT, JUDGING, OUTPUT, RUNNING, WHAT
from alphabench.runs.factories import EngineName
from alphabench.types import ProtocolName

BenchmarkName = Annotated[
    str,
    typer.Argument(
        metavar="BENCHMARK",
        help="name, name:split or name@version (see `alphabench list benchmarks`), "
        "file:my_benchmark.yaml, or python:module:factory.",
        autocompletion=complete_benchmark,
        rich_help_panel=WHAT,
    ),
]
BenchmarkNames = Annotated[
    str,
    typer.Argument(
        metavar="BENCHMARK",
        help="name, name:split or name@version (see `alphabench list benchmarks`), "
        "file:my_benchmark.yaml, or python:module:factory; several, separated by commas; or a "
        "suite's file: suite.yaml.",
        autocompletion=complete_benchmark,
        rich_help_panel=WHAT,
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", rich_help_panel=WHAT)]
OwnBenchmark = Annotated[
    str | None,
    typer.Option(
        "--benchmark",
        metavar="BENCHMARK",
        help="Your own benchmark that the run is of, where no package registers it: "
        "file:my_benchmark.yaml or python:module:factory.",
        rich_help_panel=WHAT,
    ),
]
Ckpt = Annotated[
    str,
    typer.Option(
        "--ckpt",
        metavar="CKPT",
        help="nano, a folder or hub id (diffusers, BAGEL, Janus), http(s)://host/v1#model, "
        "images:DIR, python:module:factory, or scene: (see `alphabench list checkpoints`).",
        autocompletion=complete_checkpoint,
        rich_help_panel=CHECKPOINT,
    ),
]
Ckpts = Annotated[
    list[str] | None,
    typer.Option(
        "--ckpt",
        metavar="CKPT",
        help="nano, a folder or hub id (diffusers, BAGEL, Janus), http(s)://host/v1#model, "
        "images:DIR, python:module:factory, or scene: (see `alphabench list checkpoints`); "
        "repeatable, to compare several (required, unless a suite's file names them).",
        autocompletion=complete_checkpoint,
        rich_help_panel=CHECKPOINT,
    ),
]
Lora = Annotated[
    str | None,
    typer.Option(
        metavar="LORA",
        help="LoRA adapter: a file, folder or hub id.",
        rich_help_panel=CHECKPOINT,
    ),
]
Think = Annotated[
    bool,
    typer.Option(
        "--think",
        help="Generate with chain of thought: text before each image.",
        rich_help_panel=CHECKPOINT,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the checkpoint, such as steps=28; repeatable.",
        rich_help_panel=CHECKPOINT,
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        metavar="LAYOUT",
        help="Layout of `images:DIR`: geneval (default), flat, tiif, dpg, wise or gedit.",
        rich_help_panel=CHECKPOINT,
    ),
]
EvaluatorSpec = Annotated[
    str | None,
    typer.Option(
        "--evaluator",
        metavar="EVALUATOR",
        help="What scores the images: name[?key=value&...], see `alphabench list evaluators`.",
        autocompletion=complete_evaluator,
        rich_help_panel=JUDGING,
    ),
]
ProtocolOption = Annotated[
    ProtocolName,
    typer.Option(
        "--protocol",
        metavar="official|strict",
        help="official: scores as upstream's code computes them; strict: with its errors repaired.",
        rich_help_panel=JUDGING,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of samples, from all groups; the result is PARTIAL.",
        rich_help_panel=WHAT,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only part I of N of the samples, in a folder of its own beside the run's: "
        "DIR.shard-I-of-N. `alphabench merge` joins them.",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Seed of the run, which decides the seed of every image.",
        rich_help_panel=WHAT,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Run folder (default: a new one below ./runs).",
        rich_help_panel=OUTPUT,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="LABEL",
        help="What tables call this run instead of its checkpoint; also names its run folder: "
        "runs/BENCHMARK/LABEL.",
        rich_help_panel=OUTPUT,
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICES",
        help="cpu, or GPU numbers: 0,1 starts one process on each.",
        rich_help_panel=RUNNING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=256,
        metavar="N",
        help="Processes on one device; several devices get one each. With --engine ray: how many "
        "GPUs of the cluster are used (default: all).",
        rich_help_panel=RUNNING,
    ),
]
EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="local: processes on this machine; ray: one on each GPU of a Ray cluster.",
        rich_help_panel=RUNNING,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Head of the Ray cluster (default: the cluster that this machine belongs to).",
        rich_help_panel=RUNNING,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Your own prompts, for benchmarks that take a file (dvreward, metrics).",
        rich_help_panel=WHAT,
    ),
]
JudgeSpec = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="JUDGE",
        help="The judge for questions about images: http(s)://host/v1#model, nano, vllm:MODEL or "
        "transformers:MODEL (a folder or hub id), python:module:factory, or scripted:",
        autocompletion=complete_judge,
        rich_help_panel=JUDGING,
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="USD",
        help="Stop before the judge costs more than this many US dollars.",
        rich_help_panel=JUDGING,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Neither read nor write the cache of the judge's answers.",
        rich_help_panel=JUDGING,
    ),
]
Wording = Annotated[
    Literal["official", "own"] | None,
    typer.Option(
        metavar="official|own",
        help="Prompt templates of the judge: official (upstream's), or own (AlphaBench's).",
        rich_help_panel=JUDGING,
    ),
]
Refine = Annotated[
    str | None,
    typer.Option(
        "--refine",
        metavar="MODE[:ROUNDS]",
        help="Refine images: always; self = those that fail a check by the checkpoint or "
        "--refine-judge; resample = the same, but generated anew (best of N); oracle = those that "
        "fail the benchmark's evaluator (upper bound).",
        rich_help_panel=CHECKPOINT,
    ),
]
RefineJudge = Annotated[
    str | None,
    typer.Option(
        metavar="JUDGE",
        help="The judge for --refine self and resample (default: the checkpoint); with always its "
        "scores are noted.",
        autocompletion=complete_judge,
        rich_help_panel=CHECKPOINT,
    ),
]
RefineFrom = Annotated[
    str | None,
    typer.Option(
        metavar="RUN",
        help="Refine the images of this run folder, not the checkpoint's own; swapped:RUN gives "
        "each prompt the image of another, as a control.",
        rich_help_panel=CHECKPOINT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Show what would be done, and do nothing.", rich_help_panel=RUNNING
    ),
]
