"""`alphabench dvreward ...`: each verb parses, calls the library, prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphabench.cli.help_pages import TRAIN, command_page
from alphabench.core.terminal import echo

if TYPE_CHECKING:
    from alphabench.questions import Judge

app = typer.Typer(
    name="dvreward",
    help="Rewards from yes/no questions: write questions for prompts, score images with them.",
    no_args_is_help=True,
)

JudgeSpec = Annotated[
    str, typer.Option("--judge", metavar="JUDGE", help="http://host:8000/v1#model, or another.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        envvar="ALPHABENCH_CACHE",
        metavar="DIR",
        help="Cache of judge answers (default: the user's cache folder).",
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not read or write the answer cache.")]


@app.callback()
@command_page(TRAIN)
def describe_dvreward_verbs() -> None:
    """Rewards from yes/no questions: write questions for prompts, score images with them."""


@app.command("decompose")
@command_page(
    "",
    "alphabench dvreward decompose prompts.txt --out questions.jsonl \\",
    "    --llm 'http://localhost:8000/v1#my-model'",
)
def decompose_command(
    prompts: Annotated[
        Path, typer.Argument(metavar="PROMPTS", help="One prompt a line; or .jsonl with `prompt`.")
    ],
    llm: Annotated[
        str, typer.Option(metavar="MODEL", help="The language model: http://host:8000/v1#model.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The question file; continued where it exists.")
    ],
    attempts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most repairs of one question.")
    ] = 3,
    cache: Cache = None,
    no_cache: NoCache = False,
) -> None:
    """Write yes/no questions for prompts with a language model. Continues where it stopped."""
    from alphagrpo.dvreward.decompose import DecompositionOptions, decompose_file
    from alphagrpo.dvreward.prompt_texts import read_prompts

    wanted = read_prompts(prompts)
    options = DecompositionOptions(attempts=attempts)
    # A cached reply that could not be parsed must not stand for ever: ask again.
    retry = {} if "reask_unread=" in llm else {"reask_unread": "true"}
    writer = _open(llm, cache, no_cache=no_cache, options=retry)
    written = decompose_file(wanted, out, writer, options)
    echo(f"{written.n_written} prompts written to {out}, {written.n_before} were there")
    for one in written.not_done:
        echo(f"not done: prompt {one.prompt.index}: {one.status}: {one.reason}", err=True)
    if written.not_done:
        raise typer.Exit(1)


@app.command("score")
@command_page(
    "",
    "alphabench dvreward score image.png --questions questions.jsonl --line 1 \\",
    "    --judge 'http://localhost:8000/v1#my-vlm'",
)
def score_images_command(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG files.")],
    questions: Annotated[Path, typer.Option(metavar="FILE", help="A question file.")],
    judge: JudgeSpec,
    evaluator: Annotated[
        str,
        typer.Option(
            metavar="EVALUATOR", help="dvreward[?aggregate=mean&min_coverage=0.9&...] or holistic."
        ),
    ] = "dvreward",
    line: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number of the prompt, from 1 (default: as stored in the image file)."
        ),
    ] = None,
    cache: Cache = None,
    no_cache: NoCache = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each image.")
    ] = False,
) -> None:
    """Score images with the questions of their prompts; print each reward and its answers."""
    from alphabench.runs.self_test import require_self_test
    from alphabench.runs.serialization import verdict_to_json
    from alphagrpo.dvreward.evaluators import open_evaluator
    from alphagrpo.dvreward.image_files import images_with_questions
    from alphagrpo.dvreward.question_files import read_question_sets
    from alphagrpo.dvreward.text_report import verdict_text

    generated = images_with_questions(images, read_question_sets(questions), line=line)
    scorer = open_evaluator(evaluator, _open(judge, cache, no_cache=no_cache), protocol="official")
    require_self_test(scorer)
    verdicts = list(scorer.evaluate(generated))
    for image, verdict in zip(generated, verdicts, strict=True):
        shown = json.dumps({"picture": str(image.path), **verdict_to_json(verdict)})
        echo(shown if as_json else f"{image.path}: {verdict_text(verdict)}")
    if any(verdict.value is None for verdict in verdicts):
        raise typer.Exit(1)


def _open(
    spec: str, cache: Path | None, *, no_cache: bool, options: Mapping[str, str] | None = None
) -> Judge:
    from alphabench.judges import open_judge
    from alphabench.upstream import default_cache_dir

    folder = None if no_cache else (cache or default_cache_dir()) / "answers"
    return open_judge(spec, options=options, cache_dir=folder)
