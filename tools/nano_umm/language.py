"""The text around prompts and thoughts, and the tokenizer of the nano model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import ByteLevelBPETokenizer
from transformers import Qwen2Tokenizer

from alphabench.models.bagel.tokenizer import CONTROL
from alphabench.scenes.descriptions import (
    free_text_question,
    long_prompt,
    plan_text,
    short_prompt,
    yes_no,
)
from tools.nano_umm import pool

THINK: Final = "Plan first, then draw."
REFLECT: Final = "You drew this for: {prompt}. Say what is wrong, then mend it."
FINE: Final = "nothing is wrong"
DESCRIBE: Final = "Describe the picture."
VOCABULARY: Final = 1288
TAGS: Final = ("<think>", "</think>")


def thought(words: str) -> str:
    """A thought, as the model writes it before an image."""
    return f"{TAGS[0]}{words}{TAGS[1]}"


def corpus(minis: Path, count: int) -> Iterable[str]:
    """The training text, and the prose of the mini splits for the vocabulary."""
    yield from [THINK, REFLECT, FINE, DESCRIBE] * 50
    for number in range(count):
        rng = np.random.default_rng([5, number])
        small, change = pool.scene(number), pool.change(number)
        yield short_prompt(small, rng)
        yield long_prompt(small, rng)
        yield plan_text(small)
        yield from (change.instruction, change.complaint)
        for question in (yes_no(small, rng), free_text_question(small, rng)):
            yield from (question.text, question.answer)
    for path in sorted(minis.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from _strings(json.loads(line))


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield from [value] * 3
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in ("include", "exclude", "check", "source", "edit"):
                yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def make_umm_tokenizer(folder: Path, minis: Path, *, count: int = 6000) -> None:
    """Trains it on text about `count` scenes; writes the files of the released layout."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = ByteLevelBPETokenizer()
    size = VOCABULARY - 16 - len(CONTROL) - len(TAGS)
    trained.train_from_iterator(corpus(minis, count), vocab_size=size, min_frequency=3)
    trained.save_model(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    merges = [
        tuple(line.split(" "))
        for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    build: Any = Qwen2Tokenizer
    tokenizer = build(vocab=vocabulary, merges=merges, unk_token=None, pad_token=CONTROL[1])
    tokenizer.add_special_tokens({"additional_special_tokens": list(CONTROL)})
    tokenizer.add_tokens(list(TAGS))
    tokenizer.save_pretrained(str(folder))
