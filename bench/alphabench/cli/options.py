"""The options that several verbs share, described once."""

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
    bool, typer.Option("--think", help="Have the checkpoint write a thought before each image.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="An option of the checkpoint; repeatable."),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="How `images:DIR` is laid out: geneval (default), flat, tiif, dpg, wise or gedit."
    ),
]
EvaluatorSpec = Annotated[
    str | None, typer.Option("--evaluator", help="name[?key=value&...]; see `alphabench list`.")
]
ProtocolOption = Annotated[
    ProtocolName, typer.Option("--protocol", help="official: as upstream's code; strict: repaired.")
]
Limit = Annotated[
    int | None, typer.Option(help="Only so many samples, from all groups; the result is PARTIAL.")
]
Seed = Annotated[int, typer.Option(help="Of the run; every image's seed follows from it.")]
Out = Annotated[Path | None, typer.Option(help="The run folder (default: below ./runs).")]
Devices = Annotated[
    str | None, typer.Option(help="cpu, or GPU numbers: 0,1 is one process on each.")
]
Workers = Annotated[
    int, typer.Option(min=1, max=256, help="Processes on one device; of several, each has one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Prompts = Annotated[
    Path | None, typer.Option(help="Your own prompts, for benchmarks that take a file (dvreward).")
]
JudgeSpec = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Who answers questions about images: http(s)://host/v1#model, nano, vllm:MODEL or "
        "transformers:MODEL (a folder or hub id), python:module:factory, or scripted:",
    ),
]
Budget = Annotated[
    float | None, typer.Option(help="Stop before the judge has cost more US dollars.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Ask the judge anew, and keep none of its answers.")
]
Wording = Annotated[
    Literal["official", "own"] | None,
    typer.Option(help="Whose questions the judge is asked: upstream's, or this project's."),
]
Refine = Annotated[
    str | None,
    typer.Option(
        "--refine",
        metavar="MODE[:ROUNDS]",
        help="Have the checkpoint mend its pictures: always; self, where it or --refine-judge "
        "finds them wanting; oracle, where the benchmark's evaluator does (an upper bound).",
    ),
]
RefineJudge = Annotated[
    str | None,
    typer.Option(help="Who finds pictures wanting with --refine self (default: the checkpoint)."),
]
