"""A checkpoint that the user's own Python code makes: `python:package.module:factory`.

The factory is called with the options, converted as its annotations say, and returns any object
with `identity`, `batch_size` and `generate`. Runs the user's code in this process, with all rights
of the user; knows nothing of what it does. With several workers the object must be picklable.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from alphabench.checkpoints import refuse_lora
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill
from alphabench.core.user_code import import_user_module, user_code_error
from alphabench.interfaces import Generator

_PLAIN: Final = (int, float, str, bool, Path)
_LISTED: Final = 12
"""Names that a hint repeats."""


def open_python(
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


def call_factory(location: str, options: Mapping[str, str], *, device: str) -> Any:
    """What `module:factory` makes of the options; see `open_python`, for any kind of object.

    Raises:
        AlphaBenchError: as `open_python`, but for the result.
    """
    factory = _find_factory(location)
    arguments = _arguments(factory, options, device=device, owner=f"python:{location}")
    try:
        return factory(**arguments)
    except AlphaBenchError:
        raise
    except (Exception, SystemExit) as error:  # a boundary: this is the user's code
        raise user_code_error(f"python:{location}", error) from error


def _find_factory(location: str) -> Callable[..., Any]:
    module_name, colon, attribute = location.partition(":")
    if not colon or not module_name or not attribute:
        raise AlphaBenchError(
            f"'python:{location}' names no factory", hint="write python:package.module:factory"
        )
    module = import_user_module(module_name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise AlphaBenchError(
            f"the module {module_name!r} has no factory {attribute!r}",
            hint=f"it has: {', '.join(sorted(public)[:_LISTED]) or 'nothing that can be called'}",
        )
    found: Callable[..., Any] = factory
    return found


def _arguments(
    factory: Callable[..., Any], options: Mapping[str, str], *, device: str, owner: str
) -> dict[str, Any]:
    """The options as the factory's parameters, converted; its own defaults stay unspoken."""
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters
    except (ValueError, NameError, TypeError):
        return dict(options)
    own = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    free = {key: text for key, text in options.items() if open_ended and key not in own}
    fields = [(n, _hint(p.annotation), None) for n, p in own.items() if n != "device"]
    form: Any = dataclasses.make_dataclass("FactoryOptions", fields)
    given = {key: text for key, text in options.items() if key not in free}
    filled = fill(form, given, owner=owner)
    arguments = {key: getattr(filled, key) for key in given} | free
    if "device" in own:
        arguments["device"] = device
    required = {n for n, p in own.items() if p.default is p.empty}
    lacking = sorted(required - arguments.keys())
    if lacking:
        raise AlphaBenchError(
            f"{owner} needs the option {lacking[0]!r}", hint=f"add --set {lacking[0]}=VALUE"
        )
    return arguments


def _hint(annotation: Any) -> Any:
    """An annotation that options can be converted to; others receive the text as it is."""
    arms = [arm for arm in get_args(annotation) if arm is not type(None)]
    fits = annotation in _PLAIN or (len(arms) == 1 and arms[0] in _PLAIN)
    return annotation if fits else str


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
