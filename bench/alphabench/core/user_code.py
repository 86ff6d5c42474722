"""Imports Python code that the user names as `package.module:object`; knows no kind of object.

The code runs in this process with all rights of the user. Whatever it raises while it is imported
becomes one sentence that names its innermost line.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from alphabench.core.errors import AlphaBenchError


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
            raise AlphaBenchError(
                f"there is no module {name!r} in {here!r} or among the installed packages",
                hint="check the spelling, or change to the directory that holds it",
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
