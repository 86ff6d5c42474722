"""A checkpoint that the user's own Python code makes: `python:package.module:factory`.

The factory is called with the options, converted as its annotations say, and returns any object
with `identity`, `batch_size` and `generate`. Runs the user's code in this process, with all rights
of the user; knows nothing of what it does. With several workers the object must be picklable.
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
    made = call_factory(location, options, device=device)
    return checked_generator(made, f"what 'python:{location}' returned")


def checked_generator(made: Any, where: str) -> Generator:
    """The object itself, if it can generate.

    Raises:
        AlphaBenchError: it lacks something, which is named.
    """
    identity = getattr(made, "identity", None)
    batch_size = getattr(made, "batch_size", None)
    wrong = None
    if not callable(getattr(made, "generate", None)):
        wrong = "it has no method generate(requests)"
    elif not isinstance(identity, Mapping) or not identity:
        wrong = "its identity is not a mapping that tells it from others"
    elif not all(isinstance(part, str) for pair in identity.items() for part in pair):
        wrong = "its identity maps other things than text to text"
    elif not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        wrong = f"its batch_size is {batch_size!r}, not a whole number of 1 or more"
    if wrong is not None:
        raise AlphaBenchError(
            f"{where} is a {type(made).__name__} and no generator: {wrong}",
            hint="make it an object with identity, batch_size and generate, or name a folder",
        )
    generator: Generator = made
    return generator
