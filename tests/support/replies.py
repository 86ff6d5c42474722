"""Replies that no judge's parser may choke on: seeded, many, and nearly right."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_NOISE = (
    "", " ", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\u202e", "\ufffd", "：", "*", "**", "`", '"',
    "'", "{", "}", "[", "]", "<b>", "</think>", "<think>", "||V^=^V||", "\\", "/", "-", ".", ",",
    "NaN", "Infinity", "null", "true", "1e999", "-1", "10", "0.5", "٣", "２", "9" * 400,
    "I'm sorry, but", "or", "yes", "no", "score", "reasoning", ":", "=", "(0-2)", "漢字", "\ud83d",
)  # fmt: skip


def fuzzed(seeds: Sequence[str], n: int, *, seed: int = 0) -> Iterator[str]:
    """`n` replies: pieces of real ones cut, doubled, shuffled, and strewn with noise."""
    rng = random.Random(seed)
    for _ in range(n):
        text = rng.choice(seeds)
        for _ in range(rng.randrange(1, 6)):
            cut = rng.randrange(len(text) + 1)
            match rng.randrange(5):
                case 0:
                    text = text[:cut] + rng.choice(_NOISE) + text[cut:]
                case 1:
                    text = text[:cut] + text[cut + rng.randrange(1, 9) :]
                case 2:
                    text = text[cut:] + rng.choice(_NOISE) + text[:cut]
                case 3:
                    text += rng.choice(seeds)
                case _:
                    text = text[:cut]
        yield text
