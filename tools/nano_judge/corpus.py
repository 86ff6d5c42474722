"""Texts that the tokenizer's words come from, and words without meaning to fill riddles with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from alphabench.scenes import descriptions
from alphabench.scenes.scene_questions import a_noun, noun
from alphabench.scenes.spec import CATEGORIES
from tools.nano_judge import claims
from tools.nano_judge.edits import edit_facts
from tools.nano_judge.instructions import chinese, english
from tools.nano_judge.questions import questions
from tools.nano_judge.scene_images import Shown, random_things
from tools.nano_judge.view import View, one_choice

_DOCUMENTS: Final = ("README.md", "docs/*.md")


def texts(shown: list[Shown]) -> Iterator[str]:
    """Questions, prompts and instructions of all kinds, some thousand of each."""
    for index, one in enumerate(shown):
        rng = np.random.default_rng([41, index])
        view = View(one)
        yield from (asked.text for asked in questions(view, 8, rng))
        if (made := claims.text(view, rng)) is not None:
            yield made.words
        small = random_things(rng)
        yield descriptions.short_prompt(small, rng)
        yield descriptions.long_prompt(small, rng)
        edit = edit_facts(rng)["edit"]
        yield from english(edit)
        yield from chinese(edit)
        yield from ("The image should show", "This refers to", "yes", "no", "10", "[10, 10]")
    for name in CATEGORIES:
        for _ in range(20):
            yield f"Is there {a_noun(name)}? Are there {noun(name, 2)}?"


def prose(root: Path) -> list[str]:
    """Words of this project's documents, in the order they stand."""
    found: list[str] = []
    for pattern in _DOCUMENTS:
        for path in sorted(root.glob(pattern)):
            found += re.findall(r"[A-Za-z][a-z']*", path.read_text(encoding="utf-8"))
    return found


def riddle(words: list[str], rng: np.random.Generator) -> str:
    """Some words of a document, as a line."""
    at, count = int(rng.integers(len(words) - 12)), int(rng.integers(3, 12))
    said = [
        word if rng.random() < 0.8 else one_choice(words, rng) for word in words[at : at + count]
    ]
    return " ".join(said)
