"""`alphabench fetch`: says licence and size before each download, and what came of it."""

from __future__ import annotations

from typing import Final

from alphabench import registry
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.runs import factories
from alphabench.upstream import UpstreamData
from alphabench.upstream.fetch import fetch_all, fetchable, fetched_in_part

ALL: Final = "all"


def fetch_named(name: str, data: UpstreamData, *, source: str | None) -> None:
    """Fetch one benchmark's data or one evaluator's weights; or, with `all`, every benchmark's.

    Args:
        name: see above.
        data: where it is stored.
        source: a folder or mirror; None is the origin.

    Raises:
        AlphaBenchError: no such name, or something could not be obtained; the rest is fetched.
    """
    names = [name]
    if name == ALL:
        names = [one.name for one in fetchable(data) if not one.weights]
    elif name.partition(":")[0].partition("@")[0] in registry.BENCHMARKS:
        factories.open_named_benchmark(name, "official")  # refuses an unknown version or split
    errors: list[AlphaBenchError] = []
    for each in names:
        errors += _fetch_one(each, data, source)
    if name == ALL:
        for one in (one for one in fetchable(data) if one.weights):
            size = " + ".join(one.sizes)
            echo(f"not fetched: weights of {one.name} ({size}): `alphabench fetch {one.name}`")
    for error in errors[1:]:
        echo(f"error: {error}", err=True)
    if errors:
        raise errors[0]


def _fetch_one(name: str, data: UpstreamData, source: str | None) -> list[AlphaBenchError]:
    outcomes = []
    for piece in fetch_all(name, data, source=source):
        if piece.words is None and piece.error is None:
            echo(f"{piece.subject}, licence: {piece.licence}; {piece.size}")
            continue
        outcomes.append(piece)
        if piece.words is not None:
            echo(f"  {piece.words}")
    if not outcomes:
        base, _, split = name.partition(":")
        entry = registry.BENCHMARKS.get(base.partition("@")[0])
        by_hand = entry.by_hand if entry is not None and not split else ""
        echo(f"{name}: {by_hand}" if by_hand else f"{name} needs no download")
    errors = [piece.error for piece in outcomes if piece.error is not None]
    if (in_part := fetched_in_part(name, outcomes)) is None:
        return errors
    for error in errors:
        echo(f"not fetched: {error}", err=True)
    return [in_part]
