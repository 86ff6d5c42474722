"""A judge from the user's Python code: `python:package.module:factory`.

The factory is called with the options, converted as its annotations say, and returns any object
with `identity`, `capabilities` and `ask`. Runs the user's code with all rights of the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphabench.core.errors import AlphaBenchError
from alphabench.core.user_code import call_factory
from alphabench.questions import Capabilities, Judge


def open_python_judge(location: str, *, options: Mapping[str, str], device: str) -> Judge:
    """Import `module:factory` from the current directory or the installed packages, and call it.

    Raises:
        AlphaBenchError: no such module or factory, options that do not fit its signature, an
            exception inside it, or a result that is no judge.
    """
    made = call_factory(location, options, device=device)
    return checked_judge(made, f"what 'python:{location}' returned")


def checked_judge(made: Any, where: str) -> Judge:
    """The object itself, if it is a judge.

    Raises:
        AlphaBenchError: an attribute is missing or of another type.
    """
    identity = getattr(made, "identity", None)
    wrong = None
    if not callable(getattr(made, "ask", None)):
        wrong = "it has no method ask(questions)"
    elif not isinstance(identity, Mapping) or not identity:
        wrong = "its identity is not a mapping with at least one entry"
    elif not all(isinstance(part, str) for pair in identity.items() for part in pair):
        wrong = "its identity maps other things than text to text"
    elif not isinstance(getattr(made, "capabilities", None), Capabilities):
        wrong = "its capabilities are not an alphabench.questions.Capabilities"
    if wrong is not None:
        raise AlphaBenchError(
            f"{where} is a {type(made).__name__} and no judge: {wrong}",
            hint="make it an object with identity, capabilities and ask",
        )
    judge: Judge = made
    return judge
