"""Obtains the bytes of a pinned file from the upstream repository, a mirror, or a folder.

Returns bytes that are not verified yet; knows no cache. Imports httpx at the first download.
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
"""Limit on a response for a file whose size is not pinned."""
_ELSEWHERE: Final = (
    "try again, or pass --from a folder or mirror that holds <owner>/<repository>/<path>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRetries:
    """How often and how long a download is tried."""

    tries: int = 4
    wait_seconds: float = 1.0
    """Before the second try; doubled before each further one."""
    timeout_seconds: float = 30.0
    """Without any data; also the time before a slow server may be given up."""
    least_bytes_per_second: float = 1024.0
    """On average; a server that sends less is given up."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


DEFAULT_RETRIES: Final = DownloadRetries()


def read_from_folder(folder: Path, pin: Pin, file: PinnedFile) -> bytes:
    """The content of the file `folder/<owner>/<repository>/<path>`.

    Raises:
        AlphaBenchError: it is missing or cannot be read.
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
    """The address of the file; a mirror has the layout `<owner>/<repository>/<path>`."""
    if mirror is None:
        return f"{GITHUB}/{pin.repository}/{pin.commit}/{file.path}"
    return f"{mirror.rstrip('/')}/{pin.repository}/{file.path}"


def download(
    address: str,
    file: PinnedFile,
    *,
    client: httpx.Client,
    retries: DownloadRetries = DEFAULT_RETRIES,
) -> bytes:
    """The response's bytes, at most one more than the pinned size.

    Busy servers and broken connections are tried again; other responses are final.

    Raises:
        AlphaBenchError: no attempt succeeded.
    """
    import httpx

    reason = ""
    for attempt in range(retries.tries):
        if attempt:
            retries.sleep(retries.wait_seconds * 2 ** (attempt - 1))
        try:
            with client.stream("GET", address) as answer:
                if answer.is_success:
                    return _read(answer, _most_bytes(file), retries)
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


def open_client(retries: DownloadRetries = DEFAULT_RETRIES) -> httpx.Client:
    """An HTTP client for `download`; the caller closes it."""
    import httpx

    return httpx.Client(
        timeout=retries.timeout_seconds,
        follow_redirects=True,
        headers={"Accept-Encoding": ACCEPT_ENCODING},
    )


def _most_bytes(file: PinnedFile) -> int:
    return _MOST_BYTES if file.size_bytes is None else file.size_bytes + 1


def _read(answer: httpx.Response, most: int, retries: DownloadRetries) -> bytes:
    body = BoundedBody(answer.headers.get("Content-Encoding"), most_bytes=most)
    began, n_received = retries.clock(), 0
    for chunk in answer.iter_raw():
        n_received += len(chunk)
        seconds = retries.clock() - began
        if (
            seconds > retries.timeout_seconds
            and n_received < seconds * retries.least_bytes_per_second
        ):
            raise UnusableBodyError(
                f"the server sent {n_received} bytes in {seconds:.0f} seconds and is given up"
            )
        body.feed(chunk)
    return body.finish()
