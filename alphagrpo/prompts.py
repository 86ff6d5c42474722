"""Where a training's prompts come from: a file, the hub, a benchmark, or the synthetic world.

    FILE.jsonl   one object a line, `prompt` and whatever is known of it: AlphaGRPO's released
                 files, those of `alphabench dvreward decompose`, GenEval's metadata
    FILE.txt     one prompt a line
    FILE.parquet a table with a column `prompt`, and further columns as the keys of a line
    hub:NAME     the same from a data set of the Hugging Face hub at one commit (`hub_prompts`)
    small:       prompts of the synthetic world with GenEval's facts, any number; `small:?seed=1`
    NAME         the prompts of a benchmark, `geneval:long`, with its facts and source images

Prompts of a validation are left out: those of the same text and, where facts are known, those that
demand the same objects in other words. `small:` leaves out those of `geneval:mini-test`, too, which
no training validates on. Knows no reward.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from alphabench.benchmarks.mini_split import TEST_SPLIT
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import read_text
from alphabench.core.options import fill, split_spec
from alphabench.detections.geneval_rules import Rules
from alphabench.interfaces import Benchmark
from alphabench.scenes.descriptions import facts_key, geneval_prompt
from alphabench.scenes.small_world_sampling import TASKS, task_small
from alphabench.types import Sample
from alphagrpo.dvreward.prompt_sources import questions_from_facts
from alphagrpo.dvreward.prompt_texts import PROMPT, read_parquet, read_prompts, refuse_textless
from alphagrpo.dvreward.question_files import OURS, facts_of, from_row
from alphagrpo.hub_prompts import HUB, hub_rows, newest_commit, read_hub_source
from alphagrpo.prompt_facts import GROUP, SOURCE
from alphatrainers.guards import normalised
from alphatrainers.trajectory import TrainingPrompt

SMALL: Final = "small:"
_QUESTIONS: Final = ("semantic_questions", "quality_questions")
_MOST_PROMPTS: Final = 1_000_000
_MOST_TRIES: Final = 200
"""Attempts without a new demand after which the small world counts as exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallOptions:
    """Options of `small:`."""

    count: int = 2000
    """Number of different demands; the world may have fewer for these tasks."""
    seed: int = 0
    tasks: str = ",".join(TASKS)
    """Which of GenEval's, in equal parts, with commas between."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.tasks.split(",")) - set(TASKS)):
            raise ValueError(f"there is no task {unknown[0]!r}; tasks are {', '.join(TASKS)}")
        if not 1 <= self.count <= _MOST_PROMPTS:
            raise ValueError(f"count={self.count} is not within 1 to {_MOST_PROMPTS}")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is negative")


def load_prompts(
    source: str,
    open_benchmark: Callable[[str], Benchmark],
    *,
    held_out: Sequence[Sample],
    column: str | None = None,
    revision: str | None = None,
    test_left_out: bool = True,
) -> list[TrainingPrompt]:
    """The prompts of a source, without what `held_out` demands where the source can spare it.

    `small:` and benchmarks leave it out; a file or a data set is the user's own and is not thinned
    silently: the caller refuses it (`leaks`).

    Args:
        source: see the module.
        open_benchmark: by its name.
        held_out: samples of the validations.
        column: of a table, or key of a line, that holds the prompt; None is `prompt`.
        revision: commit of a data set of the hub; None is the newest.
        test_left_out: without the test split's prompts, too, where `small:` has them; False only to
            continue a training of a version that had no test split.

    Raises:
        AlphaBenchError: nothing there, or it cannot be read.
    """
    if source.startswith(HUB):
        return _from_hub(source, column or PROMPT, revision)
    name, options = split_spec(source)
    if column is not None and not name.endswith((".jsonl", ".parquet")):
        raise AlphaBenchError(
            f"prompts.column={column} does not suit the source {source!r}, which has no columns",
            hint="leave it out; .jsonl and .parquet files and data sets of the hub have columns",
        )
    if name == SMALL:
        test = open_benchmark(TEST_SPLIT).samples() if test_left_out else ()
        unseen = [*held_out, *test]
        return list(small_prompts(fill(SmallOptions, options, owner=SMALL), held_out=unseen))
    path = Path(source).expanduser()
    if path.suffix in (".jsonl", ".parquet", ".txt") or "/" in source or path.exists():
        return _from_file(path, column or PROMPT)
    samples = open_benchmark(source).samples()
    every = [_from_sample(sample) for sample in samples]
    leaked = {prompt.id for prompt in leaks(every, held_out)}
    found = [prompt for prompt in every if prompt.id not in leaked]
    if not found:
        raise AlphaBenchError(
            f"every prompt of {source!r} is also one of the validation's",
            hint="train on another source, or validate on another benchmark",
        )
    return found


def small_prompts(options: SmallOptions, *, held_out: Sequence[Sample]) -> Iterator[TrainingPrompt]:
    """Different demands of GenEval's tasks in turn, none of them among `held_out`."""
    known = {key for sample in held_out if (key := _demand(sample.facts)) is not None}
    texts = {normalised(sample.prompt) for sample in held_out}
    tasks, made = options.tasks.split(","), 0
    open_tasks = dict.fromkeys(tasks, 0)
    for number in range(options.count * _MOST_TRIES):
        if made == options.count or not open_tasks:
            return
        task = tasks[number % len(tasks)]
        if task not in open_tasks:
            continue
        rng = np.random.default_rng([options.seed, number])
        generated = geneval_prompt(task_small(rng, task), rng)
        key = None if generated is None or generated.tag != task else facts_key(generated.facts)
        if generated is None or key is None or key in known or normalised(generated.text) in texts:
            open_tasks[task] += 1
            if open_tasks[task] > _MOST_TRIES:
                del open_tasks[task]
            continue
        known.add(key)
        open_tasks[task] = 0
        made += 1
        facts = {**generated.facts, "tag": task, GROUP: task}
        yield TrainingPrompt(
            id=f"small-{options.seed}-{number:06d}", text=generated.text, facts=facts
        )


def leaks(prompts: Sequence[TrainingPrompt], held_out: Sequence[Sample]) -> list[TrainingPrompt]:
    """The prompts that ask for what `held_out` asks for, in the same words or by their facts."""
    texts = {normalised(sample.prompt) for sample in held_out}
    demands = {key for sample in held_out if (key := _demand(sample.facts)) is not None}
    return [
        prompt
        for prompt in prompts
        if normalised(prompt.text) in texts or _demand(prompt.facts) in demands
    ]


def with_questions(
    prompts: Sequence[TrainingPrompt], written: Mapping[str, Mapping[str, Any]]
) -> list[TrainingPrompt]:
    """Every prompt with the questions that DVReward asks: its own, written ones, or by its facts.

    Args:
        prompts: their own questions win.
        written: rows of a question file, by prompt.

    Raises:
        AlphaBenchError: a prompt without any, or with questions that cannot be put.
    """
    found = []
    for index, prompt in enumerate(prompts):
        if any(prompt.facts.get(key) for key in _QUESTIONS):
            row = {**prompt.facts, "prompt": prompt.text}
            from_row(row, where=f"the row of the prompt {prompt.text!r}")
            found.append(prompt)
            continue
        questions = _questions(index, prompt, written)
        if not questions:
            raise AlphaBenchError(
                f"the prompt {prompt.text!r} has no questions for DVReward",
                hint="write them with `alphabench dvreward decompose FILE --llm ... --out "
                "QUESTIONS.jsonl` and set prompts.questions=QUESTIONS.jsonl",
            )
        known = {key: v for key, v in prompt.facts.items() if key not in (*_QUESTIONS, OURS)}
        found.append(TrainingPrompt(id=prompt.id, text=prompt.text, facts={**questions, **known}))
    return found


def _questions(
    index: int, prompt: TrainingPrompt, written: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, object]:
    if prompt.text in written:
        row = {**written[prompt.text], "prompt": prompt.text}
        return facts_of(from_row(row, where=f"the questions of {prompt.text!r}"))
    if "include" not in prompt.facts:
        return {}
    group = str(prompt.facts.get(GROUP, "all"))
    facts = {key: value for key, value in prompt.facts.items() if key not in (SOURCE, GROUP)}
    sample = Sample(id=str(index), prompt=prompt.text, group=group, facts=facts)
    return facts_of(questions_from_facts(index, sample))


def _from_hub(source: str, column: str, revision: str | None) -> list[TrainingPrompt]:
    wanted = read_hub_source(source)
    rows = list(hub_rows(wanted, revision or newest_commit(wanted), column=column))
    refuse_textless(rows, column, where=repr(source))
    # A path in a row would name a file of the data set, which is not fetched.
    elsewhere = ("image", SOURCE)
    return [
        _from_row(
            {
                key: value
                for key, value in row.items()
                if key not in elsewhere and value is not None
            },
            Path(f"{wanted.name}.rows"),
            number,
            column,
        )
        for number, row in enumerate(rows)
    ]


def _from_file(path: Path, column: str) -> list[TrainingPrompt]:
    if not path.exists():
        raise AlphaBenchError(
            f"the file of prompts {str(path)!r} does not exist",
            hint="set prompts.source to a .jsonl, .parquet or .txt file of yours (alphagrpo20k "
            "comes with AlphaGRPO's released code, by Git LFS), to small: or to a benchmark",
        )
    if path.suffix == ".parquet":
        rows = read_parquet(path, column=column)
        return [_from_row(row, path, number, column) for number, row in enumerate(rows)]
    if path.suffix not in (".jsonl", ".txt"):
        raise AlphaBenchError(
            f"{str(path)!r} is no file of prompts by its name",
            hint="name a .jsonl, .parquet or .txt file as prompts.source",
        )
    prompts = read_prompts(path, column=column)  # says which line is wrong
    if path.suffix == ".txt":
        return [TrainingPrompt(id=f"{path.stem}-{one.index:06d}", text=one.text) for one in prompts]
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    return [_from_row(json.loads(line), path, n, column) for n, line in enumerate(lines)]


def _from_row(row: Mapping[str, Any], path: Path, number: int, column: str) -> TrainingPrompt:
    text, facts = row[column], {k: v for k, v in row.items() if k not in (PROMPT, column)}
    for key in ("image", SOURCE):
        if isinstance(named := facts.pop(key, None), str):
            facts[SOURCE] = str((path.parent / named).resolve())
    if isinstance(tag := facts.get("tag"), str):
        facts.setdefault(GROUP, tag)
    if "include" in facts:
        try:
            Rules.from_facts(facts)
        except ValueError as error:
            raise AlphaBenchError(
                f"the facts of {text!r} in {path.name!r} cannot be used: {error}",
                hint='a clause is {"class": "dog", "count": 1}, as in GenEval\'s metadata',
            ) from error
    # As it stands: a digest of its questions is over these very letters.
    return TrainingPrompt(id=f"{path.stem}-{number:06d}", text=text, facts=facts)


def _from_sample(sample: Sample) -> TrainingPrompt:
    facts: dict[str, object] = {**sample.facts, GROUP: sample.group}
    if sample.source_image is not None:
        facts[SOURCE] = str(sample.source_image)
    return TrainingPrompt(id=sample.id, text=sample.prompt, facts=facts)


def _demand(facts: Mapping[str, Any]) -> object:
    """What GenEval's facts demand, however worded; None where there are none, or of an edit."""
    include = facts.get("include")
    return facts_key(facts) if include and "source" not in facts else None
