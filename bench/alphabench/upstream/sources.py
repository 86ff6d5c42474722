"""Where the bytes of a pinned file come from: the upstream repository, a mirror, or a folder.

Hands on bytes that nobody has verified yet; knows no cache. httpx loads at the first download.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.remote.compression import ACCEPT_ENCODING, BoundedBody, UnusableBodyError
from alphabench.remote.credentials import without_secrets
from alphabench.upstream.pinned import Pin, PinnedFile

if TYPE_CHECKING:
    import httpx

GITHUB: Final = "https://raw.githubusercontent.com"
_MOST_BYTES: Final = 256 * 2**20
"""Read at most from an answer to a request for a file whose size is not pinned."""
_ELSEWHERE: Final = (
    "try again, or pass --from a folder or mirror that holds <owner>/<repository>/<path>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a download is tried."""

    tries: int = 4
    wait_seconds: float = 1.0
    """Before the second try; doubled before each further one."""
    timeout_seconds: float = 30.0
    """Of silence on the line, and before an answer may be too slow."""
    least_bytes_per_second: float = 1024.0
    """On the whole; a server that sends less is given up."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


DEFAULT_PATIENCE: Final = Patience()


def read_from_folder(folder: Path, pin: Pin, file: PinnedFile) -> bytes:
    """The file as it lies under `folder/<owner>/<repository>/<path>`.

    Raises:
        AlphaBenchError: it is not there or cannot be read.
    """
    path = folder / pin.repository / file.path
    try:
        # A little more than is pinned, so that a file of another size is refused by its digest.
        return read_bytes(path, max_bytes=_most_bytes(file) + 2**20)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"{str(path)!r} cannot be read ({error})",
            hint="--from takes a folder that holds <owner>/<repository>/<path>",
        ) from error


def address_of(pin: Pin, file: PinnedFile, *, mirror: str | None = None) -> str:
    """Where the file can be downloaded; a mirror has the layout `<owner>/<repository>/<path>`."""
    if mirror is None:
        return f"{GITHUB}/{pin.repository}/{pin.commit}/{file.path}"
    return f"{mirror.rstrip('/')}/{pin.repository}/{file.path}"


def download(
    address: str, file: PinnedFile, *, client: httpx.Client, patience: Patience = DEFAULT_PATIENCE
) -> bytes:
    """The answer's bytes, at most one more than the pinned size.

    Busy servers and broken connections are tried again; other answers are final.

    Raises:
        AlphaBenchError: no try brought the file.
    """
    import httpx

    reason = ""
    for attempt in range(patience.tries):
        if attempt:
            patience.sleep(patience.wait_seconds * 2 ** (attempt - 1))
        try:
            with client.stream("GET", address) as answer:
                if answer.is_success:
                    return _read(answer, _most_bytes(file), patience)
                reason = f"the server answers {answer.status_code}"
                if answer.status_code != 429 and answer.status_code < 500:
                    break
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            break
        except httpx.InvalidURL:  # its text may hold part of a password
            reason = "it is no address"
            break
        except UnusableBodyError as error:
            reason = str(error)
            break
    shown = without_secrets(address)
    raise AlphaBenchError(f"{shown!r} could not be downloaded: {reason}", hint=_ELSEWHERE)


def open_client(patience: Patience = DEFAULT_PATIENCE) -> httpx.Client:
    """An HTTP client for `download`; the caller closes it."""
    import httpx

    return httpx.Client(
        timeout=patience.timeout_seconds,
        follow_redirects=True,
        headers={"Accept-Encoding": ACCEPT_ENCODING},
    )


def _most_bytes(file: PinnedFile) -> int:
    return _MOST_BYTES if file.size_bytes is None else file.size_bytes + 1


def _read(answer: httpx.Response, most: int, patience: Patience) -> bytes:
    body = BoundedBody(answer.headers.get("Content-Encoding"), most_bytes=most)
    began, n_received = patience.clock(), 0
    for chunk in answer.iter_raw():
        n_received += len(chunk)
        seconds = patience.clock() - began
        if (
            seconds > patience.timeout_seconds
            and n_received < seconds * patience.least_bytes_per_second
        ):
            raise UnusableBodyError(
                f"the server sent {n_received} bytes in {seconds:.0f} seconds and is given up"
            )
        body.feed(chunk)
    return body.finish()
