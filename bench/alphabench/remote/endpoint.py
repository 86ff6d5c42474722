"""Parses the address of a remote model, `https://host/v1#model`. Sends no request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from alphabench.core.errors import AlphaBenchError

_WITHOUT_SCHEME: Final = re.compile(
    r"(localhost|[\w-]+(\.[\w-]+)+)(:\d+(/|#|$)|/.*#)|[\w-]+:\d+(/|#|$)"
)
"""A host, then a port, or a path and a model."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""Names of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A remote model's base address, host and name."""

    base: str
    """Such as `https://host/v1`, without credentials, query or trailing slash."""
    host: str
    model: str

    @property
    def is_private(self) -> bool:
        """Whether traffic is encrypted, or stays on this machine."""
        return self.base.startswith("https://") or self.host in LOOPBACK


def parse_endpoint(location: str) -> Endpoint:
    """Parses `https://host/v1#model`.

    Raises:
        AlphaBenchError: no host or model, or a user name or password in the address.
    """
    try:
        parts = urlsplit(location)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise AlphaBenchError(
            f"the address is not valid: {error}", hint="write https://host/v1#model"
        ) from error
    if parts.username is not None or parts.password is not None:
        raise AlphaBenchError(
            f"the address of {host!r} holds a user name or password, which would be recorded",
            hint="put the key into ALPHABENCH_API_KEY",
        )
    if not host or not parts.fragment:
        what = "host" if not host else "model"
        raise AlphaBenchError(f"{location!r} names no {what}", hint="write https://host/v1#model")
    name = f"[{host}]" if ":" in host else host
    address = name if port is None else f"{name}:{port}"
    path = parts.path.rstrip("/")
    for suffix in ("/images/generations", "/images/edits"):
        path = path.removesuffix(suffix)
    return Endpoint(base=f"{parts.scheme}://{address}{path}", host=host, model=parts.fragment)


def refuse_older_azure(location: str, options: Mapping[str, str]) -> None:
    """Refuses Azure's older addresses, with deployments and an api-version; the newer are standard.

    Raises:
        AlphaBenchError: it is an older address.
    """
    base, _, path = location.partition("#")[0].partition("/openai/deployments/")
    if not path and "api-version" not in options:
        return
    deployment = path.partition("/")[0] or "DEPLOYMENT"
    base = base if path else "https://RESOURCE.openai.azure.com"
    raise AlphaBenchError(
        "an address with deployments or an api-version is Azure's older form, which is not "
        "supported",
        hint=f"write {base}/openai/v1#{deployment}, with the key in ALPHABENCH_API_KEY",
    )


def refuse_bare_host(name: str) -> None:
    """Explain what is missing in `localhost:8000/v1#model`, which looks like a kind and a location.

    Raises:
        AlphaBenchError: the name is an address without its scheme.
    """
    if _WITHOUT_SCHEME.match(name):
        raise AlphaBenchError(f"the address {name!r} has no scheme", hint=f"write http://{name}")
