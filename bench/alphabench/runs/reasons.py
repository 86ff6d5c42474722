"""Counts the reasons why images or verdicts are missing. Knows no status and no report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from alphabench.core.errors import short_line

_VARYING: Final = re.compile(r"[0-9a-f]*\d[0-9a-f-]*")
"""Counts, times and request ids, which make messages with one cause differ."""


def frequent_reasons(reasons: Iterable[str], most: int) -> list[tuple[str, int]]:
    """The reasons that occur most, each as it was first given, and how often.

    Reasons that differ in numbers and ids only count as one.
    """
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for reason in reasons:
        kind = _VARYING.sub("#", reason)
        counts[kind] += 1
        first.setdefault(kind, reason)
    return [(short_line(first[kind]), count) for kind, count in counts.most_common(most)]
