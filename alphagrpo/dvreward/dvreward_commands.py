"""`alphabench dvreward ...`: each verb parses, calls the library, prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphabench.core.terminal import echo

if TYPE_CHECKING:
    from alphabench.questions import Judge

app = typer.Typer(
    name="dvreward",
    help="Rewards from yes/no questions: write them for prompts, put them about pictures.",
    no_args_is_help=True,
)

JudgeSpec = Annotated[str, typer.Option("--judge", help="http://host:8000/v1#model, or another.")]
Cache = Annotated[
    Path | None,
    typer.Option(envvar="ALPHABENCH_CACHE", help="Where answers are kept (default: the user's)."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep and reuse no answer.")]


@app.command()
def decompose(
    prompts: Annotated[Path, typer.Argument(help="One prompt a line; or .jsonl with `prompt`.")],
    llm: Annotated[str, typer.Option(help="The language model: http://host:8000/v1#model.")],
    out: Annotated[Path, typer.Option(help="The question file; continued where it exists.")],
    attempts: Annotated[int, typer.Option(min=1, help="Times that one question is mended.")] = 3,
    cache: Cache = None,
    no_cache: NoCache = False,
) -> None:
    """Write the questions of prompts with a language model. Continues where it stopped."""
    from alphagrpo.dvreward.decompose import DecompositionOptions, decompose_file
    from alphagrpo.dvreward.prompt_texts import read_prompts

    wanted = read_prompts(prompts)
    options = DecompositionOptions(attempts=attempts)
    # An answer that could not be read is no reason to give a prompt up for ever.
    again = {} if "reask_unread=" in llm else {"reask_unread": "true"}
    writer = _open(llm, cache, no_cache=no_cache, options=again)
    written = decompose_file(wanted, out, writer, options)
    echo(f"{written.n_written} prompts written to {out}, {written.n_before} were there")
    for one in written.not_done:
        echo(f"not done: prompt {one.prompt.index}: {one.status}: {one.reason}", err=True)
    if written.not_done:
        raise typer.Exit(1)


@app.command()
def score(
    pictures: Annotated[list[Path], typer.Argument(help="PNG or JPEG files.")],
    questions: Annotated[Path, typer.Option(help="A question file.")],
    judge: JudgeSpec,
    evaluator: Annotated[
        str, typer.Option(help="dvreward[?aggregate=mean&min_coverage=0.9&...] or holistic.")
    ] = "dvreward",
    line: Annotated[
        int | None, typer.Option(help="Number of the prompt (default: as written in the picture).")
    ] = None,
    cache: Cache = None,
    no_cache: NoCache = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a picture.")] = False,
) -> None:
    """Put a prompt's questions about pictures, and print each reward with its questions."""
    from alphabench.runs.self_test import require_self_test
    from alphabench.runs.serialization import verdict_to_json
    from alphagrpo.dvreward.evaluators import open_evaluator
    from alphagrpo.dvreward.image_files import images_with_questions
    from alphagrpo.dvreward.question_files import read_question_sets
    from alphagrpo.dvreward.text_report import verdict_text

    images = images_with_questions(pictures, read_question_sets(questions), line=line)
    examiner = open_evaluator(
        evaluator, _open(judge, cache, no_cache=no_cache), protocol="official"
    )
    require_self_test(examiner)
    verdicts = list(examiner.evaluate(images))
    for image, verdict in zip(images, verdicts, strict=True):
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
