"""API keys of remote services: the only module that reads them, at the moment of a request.

A key goes into the request's header and is stored nowhere: no object, log, identity, pickle or
error holds it, so worker processes read their own environment. OPENAI_API_KEY is sent to OpenAI's
hosts only; ALPHABENCH_API_KEY to whatever host the user names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

_USER: Final = re.compile(r"(?<=://)([^/?#]*@|[^/?#@]*:(?!\d*([/?#]|$)).*@)")
"""A user name and password; the second form is a password with a slash, which is no port."""
_AZURE_DOMAIN: Final = ".azure.com"
"""Its hosts take a key in a header of their own, and in the usual one only at some addresses."""
OPENAI_HOSTS: Final = ("api.openai.com", "eu.api.openai.com", "us.api.openai.com")


def api_key(host: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The key for a host, or None when there is none.

    Args:
        host: name without port, in lower case.
        environment: the variables to read; None means this process's environment.
    """
    # Not read by the command line: a key passed as an argument would end up in a pickle.
    variables = os.environ if environment is None else environment
    key = variables.get("ALPHABENCH_API_KEY")
    if not key and host in OPENAI_HOSTS:
        key = variables.get("OPENAI_API_KEY")
    return key.strip() if key and key.strip() else None


def without_secrets(address: str) -> str:
    """An address that is safe to show: without user name, password and the values of its query."""
    public = _USER.sub("", address)
    return re.sub(r"([?&][^=&#]*)=[^&#]*", r"\1=...", public)


def headers(host: str, key: str | None) -> dict[str, str]:
    """The headers of a request that carry the key."""
    if key is None:
        return {}
    azure = {"api-key": key} if host.endswith(_AZURE_DOMAIN) else {}
    return {"Authorization": f"Bearer {key}", **azure}
