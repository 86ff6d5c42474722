"""Imports and calls Python code that the user names as `package.module:object`.

The code runs in this process with all rights of the user. Whatever it raises while it is imported
becomes one sentence that names its innermost line.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_args

from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill

_PLAIN: Final = (int, float, str, bool, Path)


_SET_OPTION: Final = "add --set {option}=VALUE"
_LISTED: Final = 12
"""Names that a hint repeats."""


def import_user_module(name: str) -> ModuleType:
    """Imports a module from the current directory or from the installed packages.

    Raises:
        AlphaBenchError: there is no such module, or importing it raises.
    """
    # Permanently, not for this call only: the user's code may import its neighbours later.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            hint = "check the spelling, or change to the directory that holds it"
            if "/" in name or name.endswith(".py"):
                module = Path(name).name.removesuffix(".py")
                hint = f"name a module, not a file: change to its directory and write {module!r}"
            raise AlphaBenchError(
                f"there is no module {name!r} in {here!r} or among the installed packages",
                hint=hint,
            ) from error
        raise user_code_error(name, error) from error
    except (Exception, SystemExit) as error:  # a boundary: this is the user's code
        raise user_code_error(name, error) from error


def user_code_error(owner: str, error: BaseException) -> AlphaBenchError:
    """One sentence for an exception of the user's code: type, first line, innermost location."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({Path(error.filename).name}, line {error.lineno})"
    first = (str(error).strip().splitlines() or [""])[0]
    return AlphaBenchError(
        f"{owner!r} raised {type(error).__name__}: {first}{where}",
        hint="correct that code; `python -c` with the same call shows the whole traceback",
    )


def call_factory(
    location: str, options: Mapping[str, str], *, device: str, hint: str = _SET_OPTION
) -> Any:
    """The object that `module:factory` returns for the options.

    Options are converted as the annotations of the factory's parameters say. A parameter `device`
    receives the device. `hint` says how to give a missing `{option}`.

    Raises:
        AlphaBenchError: no such module or factory, options that do not fit its signature, or an
            exception inside it.
    """
    factory = find_factory(location)
    owner = f"python:{location}"
    arguments = factory_arguments(factory, options, device=device, owner=owner, hint=hint)
    try:
        return factory(**arguments)
    except AlphaBenchError:
        raise
    except (Exception, SystemExit) as error:  # a boundary: this is the user's code
        raise user_code_error(f"python:{location}", error) from error


def find_factory(location: str) -> Callable[..., Any]:
    """The function or class that `module:factory` names, imported; not called.

    Raises:
        AlphaBenchError: no such module or name, or an exception while it is imported.
    """
    module_name, colon, attribute = location.partition(":")
    if not colon or not module_name or not attribute:
        raise AlphaBenchError(
            f"'python:{location}' names no factory", hint="write python:package.module:factory"
        )
    module = import_user_module(module_name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        public = [
            name
            for name, value in vars(module).items()
            if callable(value) and not name.startswith("_")
        ]
        own = [n for n in public if getattr(vars(module)[n], "__module__", "") == module.__name__]
        listed = sorted(own or public)
        raise AlphaBenchError(
            f"the module {module_name!r} has no factory {attribute!r}",
            hint=f"it has: {', '.join(listed[:_LISTED]) or 'nothing that can be called'}",
        )
    found: Callable[..., Any] = factory
    return found


def factory_arguments(
    factory: Callable[..., Any],
    options: Mapping[str, str],
    *,
    device: str,
    owner: str,
    hint: str = _SET_OPTION,
) -> dict[str, Any]:
    """The options as the factory's parameters, converted; its own defaults stay unspoken.

    `hint` says how to give a missing `{option}`.

    Raises:
        AlphaBenchError: an unknown option, a value of another type, or a required one is missing.
    """
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
    fields = [(n, _option_type(p), None) for n, p in own.items() if n != "device"]
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
            f"{owner} needs the option {lacking[0]!r}", hint=hint.format(option=lacking[0])
        )
    return arguments


def _option_type(parameter: inspect.Parameter) -> Any:
    """The type that an option is converted to: annotated, else that of the default, else text."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        annotation = type(parameter.default)
    arms = [arm for arm in get_args(annotation) if arm is not type(None)]
    fits = annotation in _PLAIN or (len(arms) == 1 and arms[0] in _PLAIN)
    return annotation if fits else str
