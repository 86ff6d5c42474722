"""Reads a benchmark that is written as a YAML file, its prompts inline or in a file beside it.

Strict: an unknown key, a missing field, an id that occurs twice or a path that leads out of the
file's folder is an error that names the file and the line or the prompt. Executes nothing. Knows no
judge: `file_benchmark` asks the questions.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from alphabench import registry
from alphabench.core.errors import AlphaBenchError, from_os_error
from alphabench.core.files import UnreadableFileError, confined, parse_json, read_text
from alphabench.core.strict_filling import JSON, fill_dataclass
from alphabench.core.yaml_parsing import parse_yaml

AnswerKind = Literal["yes_no", "score_0_10", "score_1_5"]
"""What a judge answers: yes or no, or a number on a scale."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,19}")
_COLUMN: Final = re.compile(r"id|prompt|group|question(_\d+)?")
_MOST_IMAGES: Final = 64
_HINT: Final = "see 'Your own prompts and benchmark' in docs/prompts.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEntry:
    """One prompt, as a line of the prompts' file or an item of the list has it."""

    prompt: str
    id: str = ""
    """Letters, digits, `.`, `_` and `-`; empty takes the number of the prompt, from 0001."""
    group: str = "all"
    """The part of the report that counts this prompt."""
    questions: tuple[str, ...] = ()
    """About this prompt's images, before those that are about all. `{prompt}` stands for it."""
    scene: Mapping[str, object] = field(default_factory=dict)
    """For the checkpoint `scene:` alone: `include` and `exclude`, as in GenEval's prompts."""

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError("prompt is empty")
        if self.id and not _ID.fullmatch(self.id):
            raise ValueError(
                f"id {self.id!r} has other characters than letters, digits, '.', '_' and '-', or "
                "more than 80"
            )
        if not self.group.strip() or not self.group.isprintable() or len(self.group) > 80:
            raise ValueError("group is empty, longer than 80 characters or not printable")
        if any(not text.strip() for text in self.questions):
            raise ValueError("questions has an empty one")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkDefinition:
    """A benchmark as data: everything that decides its prompts, its questions and its report."""

    name: str
    description: str
    """One sentence, for reports and lists."""
    prompts: tuple[PromptEntry, ...]
    version: str = "1"
    licence: str = "not stated"
    """Of the prompts."""
    images_per_prompt: int = 1
    answer: AnswerKind = "yes_no"
    template: str | None = None
    """The text around a question, with `{question}`; None takes AlphaBench's."""
    questions: tuple[str, ...] = ()
    """About the images of every prompt. `{prompt}` stands for it."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name {self.name!r} must be lower-case letters, digits, '_' and '-', at most 40"
            )
        if self.name in registry.benchmark_names():
            raise ValueError(f"name {self.name!r} is that of another benchmark: choose another")
        if not _VERSION.fullmatch(self.version):
            raise ValueError(f"version {self.version!r} must be letters, digits, '.', '_' and '-'")
        if not 1 <= self.images_per_prompt <= _MOST_IMAGES:
            raise ValueError(f"images_per_prompt is not between 1 and {_MOST_IMAGES}")
        if self.template is not None and "{question}" not in self.template:
            raise ValueError("template has no '{question}' to put the question in")
        if any(not text.strip() for text in self.questions):
            raise ValueError("questions has an empty one")
        if not self.prompts:
            raise ValueError("prompts is empty")

    def questions_of(self, entry: PromptEntry) -> list[str]:
        """What is asked about each image of a prompt, in order."""
        return [
            text.replace("{prompt}", entry.prompt) for text in (*entry.questions, *self.questions)
        ]

    @property
    def digest(self) -> str:
        """sha256 over what decides prompts, questions and answers; not over name and notes."""
        decisive = {
            "images_per_prompt": self.images_per_prompt,
            "answer": self.answer,
            "template": self.template,
            "prompts": [
                [entry.id, entry.prompt, entry.group, self.questions_of(entry), dict(entry.scene)]
                for entry in self.prompts
            ],
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The whole definition as JSON, which `definition_from_json` reads."""
        return json.dumps(
            {
                "name": self.name,
                "version": self.version,
                "description": self.description,
                "licence": self.licence,
                "images_per_prompt": self.images_per_prompt,
                "answer": self.answer,
                "template": self.template,
                "questions": list(self.questions),
                "prompts": [
                    {
                        "id": entry.id,
                        "prompt": entry.prompt,
                        "group": entry.group,
                        "questions": list(entry.questions),
                        "scene": dict(entry.scene),
                    }
                    for entry in self.prompts
                ],
            },
            ensure_ascii=False,
            indent=1,
        )


def read_definition(path: Path) -> BenchmarkDefinition:
    """The benchmark in a YAML file.

    Raises:
        AlphaBenchError: it cannot be read, or something in it is wrong, which is named.
    """
    try:
        tree = parse_yaml(read_text(path), source=repr(str(path)))
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the benchmark {str(path)!r} cannot be read: {error}", hint=_HINT
        ) from error
    except OSError as error:
        raise from_os_error(error) from error
    listed = tree.get("prompts")
    if isinstance(listed, str):
        rows = list(_rows_of_file(path.parent, listed))
    elif isinstance(listed, list):
        rows = [(f"prompts[{index}] of {path.name}", row) for index, row in enumerate(listed)]
    else:
        hint = "add `prompts: my_prompts.jsonl`, or a list of `- prompt: ...`"
        near = get_close_matches("prompts", map(str, tree), n=1)
        if near and near[0] != "prompts":
            hint = f"{near[0]!r} may be meant as 'prompts'"
        raise AlphaBenchError(f"{path.name} lacks 'prompts'", hint=hint)
    if not rows and isinstance(listed, str):
        raise AlphaBenchError(f"{listed!r} holds no prompts", hint="write one prompt on each line")
    if isinstance(tree.get("version"), int | float):
        tree = {**tree, "version": str(tree["version"])}
    return _definition(tree, rows, source=path.name)


def definition_from_json(text: str, *, source: str) -> BenchmarkDefinition:
    """What `BenchmarkDefinition.to_json` wrote.

    Args:
        text: the JSON.
        source: names it in errors.

    Raises:
        AlphaBenchError: it is damaged.
    """
    try:
        tree = parse_json(text)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{source} cannot be read: {error}", hint=_HINT) from error
    if not isinstance(tree, dict) or not isinstance(tree.get("prompts"), list):
        raise AlphaBenchError(f"{source} holds no benchmark", hint=_HINT)
    rows = [(f"prompts[{index}] of {source}", row) for index, row in enumerate(tree["prompts"])]
    return _definition(tree, rows, source=source)


def _definition(
    tree: Mapping[str, Any], rows: Sequence[tuple[str, Any]], *, source: str
) -> BenchmarkDefinition:
    entries = prompt_entries(rows)
    # The entries are filled above, where errors can name their lines.
    common = {key: value for key, value in tree.items() if key != "prompts"}
    filled = fill_dataclass(_Common, common, JSON, path=source)
    try:
        definition = BenchmarkDefinition(
            prompts=tuple(entries),
            **{name: getattr(filled, name) for name in _Common.__dataclass_fields__},
        )
    except ValueError as error:
        raise AlphaBenchError(f"{source}: {error}", hint=_HINT) from error
    for (place, _), entry in zip(rows, entries, strict=True):
        if not definition.questions_of(entry):
            raise AlphaBenchError(
                f"nothing is asked about {entry.id!r}: neither {place} nor {source} has questions",
                hint="add questions to the prompt, or `questions:` for all prompts",
            )
    return definition


def prompt_entries(rows: Sequence[tuple[str, Any]]) -> list[PromptEntry]:
    """Prompts with unique ids, from rows with the places that errors name.

    Raises:
        AlphaBenchError: a row is no prompt, or its id is that of another.
    """
    entries: list[PromptEntry] = []
    places: dict[str, str] = {}
    for number, (place, row) in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise AlphaBenchError(
                f"{place} is no object with a 'prompt'", hint='write {"prompt": "..."}'
            )
        entry = fill_dataclass(PromptEntry, row, JSON, path=place)
        entry = replace(entry, id=entry.id or f"{number:04d}")
        # Case is ignored, as some file systems do: an id names a folder.
        if (twin := places.setdefault(entry.id.casefold(), place)) != place:
            raise AlphaBenchError(
                f"the id {entry.id!r} of {place} is also that of {twin}", hint="rename one of them"
            )
        entries.append(entry)
    return entries


def read_prompt_list(path: Path) -> list[PromptEntry]:
    """The prompts of a JSONL or CSV file, or one on each line of a `.txt` file.

    Raises:
        AlphaBenchError: it cannot be read, holds no prompt, or something in it is wrong.
    """
    if path.suffix == ".txt":
        try:
            lines = read_text(path).split("\n")
        except UnreadableFileError as error:
            raise AlphaBenchError(
                f"the prompts {str(path)!r} cannot be read: {error}", hint="save it as UTF-8 text"
            ) from error
        except OSError as error:
            raise from_os_error(error) from error
        rows: list[tuple[str, Any]] = [
            (f"{path.name} line {number}", {"prompt": line.strip()})
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    elif path.suffix in (".jsonl", ".csv"):
        rows = list(_rows_of_file(path.parent, path.name))
    else:
        raise AlphaBenchError(
            f"the prompts {str(path)!r} are neither .txt nor .jsonl nor .csv",
            hint="rename or convert the file",
        )
    if not rows:
        raise AlphaBenchError(f"{str(path)!r} holds no prompts", hint="write one on each line")
    return prompt_entries(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """The keys of a file beside its prompts; see `BenchmarkDefinition`."""

    name: str
    description: str
    version: str = "1"
    licence: str = "not stated"
    images_per_prompt: int = 1
    answer: AnswerKind = "yes_no"
    template: str | None = None
    questions: tuple[str, ...] = ()


def _rows_of_file(folder: Path, name: str) -> Iterator[tuple[str, Any]]:
    """Each prompt of a JSONL or CSV file, with the place that errors name."""
    try:
        text = read_text(confined(folder, name))
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the prompts {name!r} cannot be read: {error}",
            hint="name a JSONL or CSV file in the folder of the YAML file, or below it",
        ) from error
    except OSError as error:
        raise from_os_error(error) from error
    if name.endswith(".jsonl"):
        yield from _jsonl_rows(name, text)
    elif name.endswith(".csv"):
        yield from _csv_rows(name, text)
    else:
        raise AlphaBenchError(
            f"the prompts {name!r} are neither .jsonl nor .csv", hint="rename or convert the file"
        )


def _jsonl_rows(name: str, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name} line {number}"
        try:
            yield place, parse_json(line)
        except UnreadableFileError as error:
            raise AlphaBenchError(f"{place} cannot be read: {error}", hint=_HINT) from error


def _csv_rows(name: str, text: str) -> Iterator[tuple[str, Any]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(rows, [])]
        unknown = [column for column in header if not _COLUMN.fullmatch(column)]
        if "prompt" not in header or unknown or len(set(header)) < len(header):
            raise AlphaBenchError(
                f"{name} line 1 must name the columns `prompt` and, where wanted, `id`, `group`, "
                f"`question`, `question_2` ..., each once, and has {', '.join(header)!r}",
                hint="correct the header",
            )
        for cells in rows:
            place = f"{name} line {rows.line_num}"
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise AlphaBenchError(
                    f"{place} has {len(cells)} cells, and the header {len(header)}",
                    hint="put texts with commas in double quotes",
                )
            named = {key: cell for key, cell in zip(header, cells, strict=True) if cell.strip()}
            asked = [
                named.pop(key) for key in header if key.startswith("question") and key in named
            ]
            yield place, {**named, "questions": asked}
    except csv.Error as error:
        raise AlphaBenchError(
            f"{name} line {rows.line_num} is no CSV: {error}", hint="correct the quotes"
        ) from error
