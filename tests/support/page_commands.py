"""The commands of this project and the code blocks of the documentation's pages.

A comment on the line before a block is its mark, as in `<!-- not run: needs a cluster -->`.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.docs.markdown_links import FENCE

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "examples/README.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
)
SHELL: Final = ("bash", "sh", "shell", "console")
_MARK: Final = re.compile(r"<!--\s*(?P<words>.*?)\s*-->")
_LAUNCHERS: Final = ("torchrun", "srun", "ray", "uv", "docker", "nohup", "accelerate")
_OURS: Final = ("alphabench", "make", "python", "python3")
_JOINTS: Final = frozenset({"&&", "||", "|", ";", "&"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeBlock:
    """One fenced block."""

    page: str
    """Path of the page in the repository."""
    line: int
    """Of the first line inside the fence; the first line of a page is 1."""
    language: str
    mark: str
    """What a comment on the line before says; empty without one."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCommand:
    """One command of this project, as a page states it."""

    block: CodeBlock
    line: int
    text: str
    """As a reader would type it, on one line."""
    words: tuple[str, ...]
    """From the project's own command on: without launchers, redirections and variables."""
    launcher: str
    """What starts it, such as torchrun; empty where the shell does."""
    folder: str
    """Where the page's `cd` commands lead, from the folder in which it begins."""

    @property
    def where(self) -> str:
        return f"{self.block.page}:{self.line}"

    @property
    def alphabench_words(self) -> tuple[str, ...] | None:
        """The arguments of `alphabench`; None for another command."""
        if self.words[0] == "alphabench":
            return self.words[1:]
        if self.words[0].startswith("python") and self.words[1:3] == ("-m", "alphabench"):
            return self.words[3:]
        return None

    def option(self, *names: str) -> str | None:
        """The value of an option, by any of its names; the last one given."""
        found = None
        for word, after in zip(self.words, [*self.words[1:], ""], strict=True):
            name, equals, value = word.partition("=")
            if name in names:
                found = value if equals else after
        return found


def name_of(page: Path) -> str:
    """The path in the repository; a page elsewhere has its file's name."""
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


def code_blocks(page: Path) -> Iterator[CodeBlock]:
    """The fenced blocks of a page, in order."""
    name, mark, fence, language, start = name_of(page), "", "", "", 0
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        match = FENCE.match(line)
        if fence:
            if match and not match["language"].strip() and match["marks"].startswith(fence):
                text = "\n".join(inside)
                yield CodeBlock(page=name, line=start, language=language, mark=mark, text=text)
                fence, mark = "", ""
            else:
                inside.append(line)
        elif match:
            fence, inside, start = match["marks"], [], number + 1
            language = match["language"].strip().partition(" ")[0]
        elif line.strip():
            comment = _MARK.fullmatch(line.strip())
            mark = comment["words"] if comment else ""


def page_commands(page: Path) -> list[PageCommand]:
    """The commands of this project in a page's shell blocks, in order."""
    found: list[PageCommand] = []
    folder = "."
    for block in code_blocks(page):
        for line, text in _logical_lines(block) if block.language in SHELL else ():
            found += _commands_in(block, line, text, folder)
            if change := re.match(r"cd (?P<folder>[\w./-]+)", text):
                folder = posixpath.normpath(posixpath.join(folder, change["folder"]))
    return found


def unquoted_patterns(text: str) -> list[str]:
    """Words with `?`, `*` or `[` outside quotes, which zsh takes for patterns of file names."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text.partition(" #")[0])
    return [word for word in bare.split() if re.search(r"[?*\[]", word)]


def _logical_lines(block: CodeBlock) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, those that end with a backslash joined with the next."""
    text, start = "", 0
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        start = start if text else number
        text += line.removeprefix("$ ")
        if text.endswith("\\"):
            text = f"{text[:-1].rstrip()} "
            continue
        yield start, text
        text = ""


def _commands_in(block: CodeBlock, line: int, text: str, folder: str) -> Iterator[PageCommand]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    simple: list[list[str]] = [[]]
    for word in lexer:
        if word in _JOINTS:
            simple.append([])
        else:
            simple[-1].append(word)
    for words in simple:
        launcher, own = _own_words(_without_redirections(words))
        if own:
            yield PageCommand(
                block=block,
                line=line,
                text=" ".join(text.partition(" #")[0].split()),
                words=tuple(own),
                launcher=launcher,
                folder=folder,
            )


def _without_redirections(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if re.fullmatch(r"&?[<>]+&?", word):
            skip = True
            if kept and kept[-1] in ("1", "2"):
                kept.pop()
        elif skip:
            skip = False
        else:
            kept.append(word)
    while kept and re.fullmatch(r"\w+=.*|do|then|else|time|exec", kept[0]):
        kept.pop(0)
    return kept


def _own_words(words: list[str]) -> tuple[str, list[str]]:
    """The launcher, and the words from our command on; nothing for a command of others."""
    if not words:
        return "", []
    first = words[0].rpartition("/")[2]
    if first in _OURS:
        if first.startswith("python") and words[1:2] != ["-m"]:
            script = words[1:2] and words[1].endswith(".py")
            return "", words if script else []
        theirs = first.startswith("python") and words[2].partition(".")[0] not in (
            "alphabench", "alphagrpo", "alphatrainers", "tools",
        )  # fmt: skip
        return "", [] if theirs else [first, *words[1:]]
    if first not in _LAUNCHERS:
        return "", []
    for position, word in enumerate(words[1:], start=1):
        if word.rpartition("/")[2] == "alphabench" and words[position - 1] not in ("install", "-t"):
            return first, ["alphabench", *words[position + 1 :]]
    return "", []
