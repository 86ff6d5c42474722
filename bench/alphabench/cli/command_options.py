"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from alphabench.types import ProtocolName

BenchmarkName = Annotated[
    str,
    typer.Argument(
        metavar="BENCHMARK",
        help="name, name:split or name@version (see `alphabench list`), or python:module:factory.",
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
OwnBenchmark = Annotated[
    str | None,
    typer.Option(
        "--benchmark",
        metavar="python:MODULE:FACTORY",
        help="Your own benchmark that the run is of, where no package registers it.",
    ),
]
Ckpt = Annotated[
    str,
    typer.Option(
        "--ckpt",
        help="nano, a folder or hub id (diffusers, BAGEL, Janus), http(s)://host/v1#model, "
        "images:DIR, python:module:factory, or scene:",
    ),
]
Lora = Annotated[str | None, typer.Option(help="LoRA adapter: a file, folder or hub id.")]
Think = Annotated[
    bool, typer.Option("--think", help="Generate with chain of thought: text before each image.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the checkpoint; repeatable."),
]
Layout = Annotated[
    str | None,
    typer.Option(help="Layout of `images:DIR`: geneval (default), flat, tiif, dpg, wise or gedit."),
]
EvaluatorSpec = Annotated[
    str | None, typer.Option("--evaluator", help="name[?key=value&...]; see `alphabench list`.")
]
ProtocolOption = Annotated[
    ProtocolName,
    typer.Option(
        "--protocol",
        help="official: scores as upstream's code computes them; strict: with its errors repaired.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(help="Number of samples, from all groups; the result is PARTIAL.")
]
Seed = Annotated[int, typer.Option(help="Seed of the run, which decides the seed of every image.")]
Out = Annotated[Path | None, typer.Option(help="Run folder (default: a new one below ./runs).")]
Devices = Annotated[
    str | None, typer.Option(help="cpu, or GPU numbers: 0,1 starts one process on each.")
]
Workers = Annotated[
    int, typer.Option(min=1, max=256, help="Processes on one device; several devices get one each.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Prompts = Annotated[
    Path | None, typer.Option(help="Your own prompts, for benchmarks that take a file (dvreward).")
]
JudgeSpec = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="The judge for questions about images: http(s)://host/v1#model, nano, vllm:MODEL or "
        "transformers:MODEL (a folder or hub id), python:module:factory, or scripted:",
    ),
]
Budget = Annotated[
    float | None, typer.Option(help="Stop before the judge costs more than this many US dollars.")
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Neither read nor write the cache of the judge's answers."),
]
Wording = Annotated[
    Literal["official", "own"] | None,
    typer.Option(
        help="Prompt templates of the judge: official (upstream's), or own (AlphaBench's)."
    ),
]
Refine = Annotated[
    str | None,
    typer.Option(
        "--refine",
        metavar="MODE[:ROUNDS]",
        help="Refine images: always; self = those that fail a check by the checkpoint or "
        "--refine-judge; oracle = those that fail the benchmark's evaluator (upper bound).",
    ),
]
RefineJudge = Annotated[
    str | None,
    typer.Option(help="The judge for --refine self (default: the checkpoint)."),
]
