"""Distances between texts, in letters."""

from __future__ import annotations

from itertools import takewhile


def levenshtein(one: str, other: str) -> int:
    """Fewest letters to insert, delete or replace that make one text the other."""
    for _ in range(2):  # what both begin with, then what both end with, costs nothing
        pairs = zip(one, other, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        one, other = one[shared:][::-1], other[shared:][::-1]
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
