"""A benchmark that the user's own Python code makes: `python:package.module:factory`.

The factory takes no argument, or `protocol`, and returns any object with `card`, `samples`,
`questions`, `evaluator` and `summarise`. Runs the user's code with all rights of the user.
"""

from __future__ import annotations

from typing import Any

from alphabench.core.errors import AlphaBenchError
from alphabench.core.user_code import call_factory
from alphabench.interfaces import Benchmark
from alphabench.types import Card, ProtocolName

PREFIX = "python:"
_METHODS = ("samples", "questions", "evaluator", "summarise")


def open_python_benchmark(location: str, *, protocol: ProtocolName) -> Benchmark:
    """Import `module:factory` from the current directory or the installed packages, and call it.

    Args:
        location: what follows `python:`.
        protocol: handed to the factory when it is not `official`.

    Raises:
        AlphaBenchError: no such module or factory, a factory that knows no protocol, an exception
            inside it, or a result that is no benchmark.
    """
    options = {} if protocol == "official" else {"protocol": protocol}
    made = call_factory(location, options, device="cpu")
    return checked_benchmark(made, f"what '{PREFIX}{location}' returned")


def checked_benchmark(made: Any, where: str) -> Benchmark:
    """The object itself, if it can be run as a benchmark.

    Args:
        made: the object.
        where: names it in the error.

    Raises:
        AlphaBenchError: it lacks something, which is named.
    """
    wrong = None
    lacking = [name for name in _METHODS if not callable(getattr(made, name, None))]
    if lacking:
        wrong = f"it has no method {lacking[0]}"
    elif not isinstance(getattr(made, "card", None), Card):
        wrong = "its card is not an alphabench.types.Card"
    if wrong is not None:
        raise AlphaBenchError(
            f"{where} is a {type(made).__name__} and no benchmark: {wrong}",
            hint="see 'Your own benchmark' in docs/extending/benchmark.md",
        )
    benchmark: Benchmark = made
    return benchmark
