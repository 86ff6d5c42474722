"""Published tables that upstream's scripts pickle: read without executing anything in them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes


class _PlainUnpickler(pickle.Unpickler):
    """Loads dicts, lists, texts and numbers, and nothing that has a class of its own."""

    def find_class(self, module: str, name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module}.{name}, and a table of texts names none")


def read_plain_pickle(file: Path, *, hint: str) -> dict[Any, Any]:
    """The dict in a pickle.

    Raises:
        AlphaBenchError: it cannot be read, names a class, or holds something else; with the hint.
    """
    try:
        found = _PlainUnpickler(io.BytesIO(read_bytes(file))).load()
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=hint) from error
    except Exception as error:  # of damaged pickles, which raise nearly anything
        raise AlphaBenchError(f"{str(file)!r} is no plain pickle: {error}", hint=hint) from error
    if not isinstance(found, dict):
        raise AlphaBenchError(f"{str(file)!r} is no table of judgements", hint=hint)
    return found
