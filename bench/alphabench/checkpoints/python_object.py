"""A checkpoint built by the user's Python code: `python:package.module:factory`.

The factory is called with the options, converted by its annotations, and returns any object with
`identity`, `batch_size` and `generate`. Runs the user's code in this process, with the user's
rights. With several workers the object must be picklable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alphabench.checkpoints import refuse_lora
from alphabench.core.errors import AlphaBenchError
from alphabench.core.user_code import call_factory
from alphabench.interfaces import Generator


def open_python_checkpoint(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> Generator:
    """Import `module:factory` from the current directory or the installed packages, and call it.

    A parameter `device` of the factory receives the device; the others are options.

    Raises:
        AlphaBenchError: no such module or factory, options that do not fit its signature, an
            exception inside it, or a result that is no generator.
    """
    refuse_lora(lora, "python:")
    candidate = call_factory(location, options, device=device)
    return checked_generator(candidate, f"what 'python:{location}' returned")


def checked_generator(candidate: Any, where: str) -> Generator:
    """The object, if it is a generator.

    Raises:
        AlphaBenchError: a part is missing, which is named.
    """
    identity = getattr(candidate, "identity", None)
    batch_size = getattr(candidate, "batch_size", None)
    wrong = None
    if not callable(getattr(candidate, "generate", None)):
        wrong = "it has no method generate(requests)"
    elif not isinstance(identity, Mapping) or not identity:
        wrong = "its identity is not a non-empty mapping"
    elif not all(isinstance(part, str) for pair in identity.items() for part in pair):
        wrong = "its identity does not map text to text"
    elif not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        wrong = f"its batch_size is {batch_size!r}, not an integer of 1 or more"
    if wrong is not None:
        raise AlphaBenchError(
            f"{where} is a {type(candidate).__name__} and no generator: {wrong}",
            hint="make it an object with identity, batch_size and generate, or name a folder",
        )
    generator: Generator = candidate
    return generator
