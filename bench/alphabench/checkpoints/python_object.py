"""A checkpoint from the user's Python code: an object, a function, or `python:module:factory`.

A factory is called with the options, converted by its annotations, and returns any object with
`identity`, `batch_size` and `generate`, a loaded diffusers pipeline, or a function of a prompt. A
function whose first parameter is `prompt` is no factory: it makes the images itself. Runs the
user's code in this process, with the user's rights. With several workers the object must be
picklable.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from alphabench.checkpoints import refuse_lora
from alphabench.checkpoints.function_checkpoint import REQUESTED, FunctionCheckpoint
from alphabench.checkpoints.loaded_pipeline import is_pipeline, open_loaded_pipeline
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import option_text
from alphabench.core.user_code import call_factory, factory_arguments, find_factory
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
    factory = find_factory(location)
    if not isinstance(factory, type) and _first_parameter(factory) == "prompt":
        return _function(factory, location, options, device=device)
    candidate = call_factory(location, options, device=device)
    return generator_of(candidate, f"what 'python:{location}' returned")


def generator_of(
    candidate: Any, where: str, *, options: Mapping[str, Any] | None = None
) -> Generator:
    """An object of the user's as a generator.

    Args:
        candidate: a generator, a loaded diffusers pipeline, or a function of a prompt.
        where: what it is, for errors.
        options: sampling options of a pipeline, further arguments of a function.

    Raises:
        AlphaBenchError: it is none of these, or takes no such options.
    """
    options = options or {}
    if is_pipeline(candidate):
        texts = {name: option_text(value) for name, value in options.items()}
        return open_loaded_pipeline(candidate, texts)
    parts = ("identity", "batch_size", "generate")
    if callable(candidate) and not any(hasattr(candidate, part) for part in parts):
        if isinstance(candidate, type):
            raise AlphaBenchError(
                f"{where} is the class {candidate.__name__}, and no object of it",
                hint=f"give an object: {candidate.__name__}(...)",
            )
        return FunctionCheckpoint(function=candidate, arguments=options)
    generator = checked_generator(candidate, where)
    if options:
        raise AlphaBenchError(
            f"{where} is an object of yours and takes no options, but {min(options)!r} is given",
            hint="set it on the object",
        )
    return generator


def _function(
    function: Any, location: str, options: Mapping[str, str], *, device: str
) -> FunctionCheckpoint:
    for name in REQUESTED:
        if name in options:
            raise AlphaBenchError(
                f"the option {name!r} of 'python:{location}' is what each image brings",
                hint="leave it out",
            )
    present = [name for name in REQUESTED if name in inspect.signature(function).parameters]
    bound = functools.partial(function, **dict.fromkeys(present))
    arguments = factory_arguments(bound, options, device=device, owner=f"python:{location}")
    return FunctionCheckpoint(function=function, arguments=arguments)


def _first_parameter(factory: Any) -> str:
    try:
        return next(iter(inspect.signature(factory).parameters), "")
    except (TypeError, ValueError):  # some built-in functions have no signature
        return ""


def checked_generator(candidate: Any, where: str) -> Generator:
    """The object, if it is a generator.

    Raises:
        AlphaBenchError: a part is missing, which is named.
    """
    identity = getattr(candidate, "identity", None)
    batch_size = getattr(candidate, "batch_size", None)
    wrong = None
    if isinstance(candidate, type):
        wrong = "it is a class, and no object of it"
    elif not callable(getattr(candidate, "generate", None)):
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
            hint="give a name, a folder, a loaded diffusers pipeline, a function of a prompt, or "
            "an object with identity, batch_size and generate",
        )
    generator: Generator = candidate
    return generator
