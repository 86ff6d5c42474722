"""`alphabench fetch`: says licence and size before each download, and what came of it."""

from __future__ import annotations

from typing import Final

from alphabench import registry
from alphabench.core.errors import AlphaBenchError
from alphabench.core.terminal import echo
from alphabench.runs import factories
from alphabench.upstream import UpstreamData
from alphabench.upstream.fetch import fetch_all, fetchable

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
    errors, needs_download = [], False
    for piece in fetch_all(name, data, source=source):
        needs_download = True
        if piece.error is not None:
            errors.append(piece.error)
        elif piece.words is None:
            echo(f"{piece.subject}, licence: {piece.licence}; {piece.size}")
        else:
            echo(f"  {piece.words}")
    if not needs_download:
        base, _, split = name.partition(":")
        entry = registry.BENCHMARKS.get(base.partition("@")[0])
        by_hand = entry.by_hand if entry is not None and not split else ""
        echo(f"{name}: {by_hand}" if by_hand else f"{name} needs no download")
    return errors
