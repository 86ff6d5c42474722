"""Keys of remote services: the one place that reads them, at the moment they are needed.

A key is handed to the request's header and kept nowhere: no object, log, identity, pickle or error
carries it, so worker processes read their own environment. OPENAI_API_KEY goes to OpenAI's hosts
alone; ALPHABENCH_API_KEY goes to whatever host the user names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_OPENAI_HOSTS: Final = ("api.openai.com", "eu.api.openai.com", "us.api.openai.com")


def api_key(host: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The key for a host, or None when there is none.

    Args:
        host: name without port, in lower case.
        environment: where to look; None is this process's environment.
    """
    # Not in cli/opening.py: a key that travelled as an argument would end up in a pickle.
    variables = os.environ if environment is None else environment
    key = variables.get("ALPHABENCH_API_KEY")
    if not key and host in _OPENAI_HOSTS:
        key = variables.get("OPENAI_API_KEY")
    return key.strip() if key and key.strip() else None
