"""Recognises options that carry a secret, by their names. Knows no service and reads no key."""

from __future__ import annotations

import re
from typing import Final

from alphabench.core.errors import AlphaBenchError

_SECRET: Final = re.compile(
    r"(api|access|secret|private|subscription|auth|bearer)[-_ ]?(key|token)"
    r"|authorization|password|passwd|secret|credential|^(key|token|auth|bearer)$",
    re.IGNORECASE,
)
_FIELD: Final = re.compile(r'"([^"]{1,80})"\s*:')
"""A key of a JSON object."""


def refuse_secret(option: str, value: str) -> None:
    """Refuse an option that would carry a secret: options are recorded, shown and published.

    Args:
        option: its name, such as `body.api_key`.
        value: is not repeated in the error.

    Raises:
        AlphaBenchError: the option, or a field inside its JSON, is named like a secret.
    """
    field = next((match[1] for match in _FIELD.finditer(value) if _SECRET.search(match[1])), None)
    if _SECRET.search(option.rpartition(".")[2]):
        field = option
    if field is not None:
        raise AlphaBenchError(
            f"{field!r} looks like a secret, and options are recorded in the run and its report",
            hint="put the key into ALPHABENCH_API_KEY; code of your own can read the environment",
        )
