"""Decompresses HTTP bodies within a limit on the decompressed size.

Knows gzip and deflate, which zlib decompresses piece by piece; sends nothing.
"""

from __future__ import annotations

import zlib
from typing import Final

ACCEPT_ENCODING: Final = "gzip, deflate"
"""What a request may accept: `BoundedBody` refuses anything else."""
_PLAIN: Final = ("", "identity")
_GZIP: Final = ("gzip", "x-gzip")


class UnusableBodyError(Exception):
    """The body is too large, damaged, or compressed in a way that was not requested."""


class BoundedBody:
    """Collects a body chunk by chunk; never holds more than `most_bytes` of it decompressed.

    Raises:
        UnusableBodyError: from any method.
    """

    def __init__(self, encoding: str | None, *, most_bytes: int) -> None:
        """Begin.

        Args:
            encoding: the header `Content-Encoding`, None where there is none.
            most_bytes: of the decompressed body.
        """
        self._encoding = (encoding or "").strip().casefold()
        if self._encoding not in (*_PLAIN, *_GZIP, "deflate"):
            raise UnusableBodyError(
                f"the answer is compressed as {self._encoding[:40]!r}, which was not requested"
            )
        self._most_bytes = most_bytes
        self._received = bytearray()
        self._unpacker = zlib.decompressobj(31) if self._encoding in _GZIP else None

    def feed(self, chunk: bytes) -> None:
        """Add the next chunk as it was received."""
        if self._encoding in _PLAIN:
            self._collect(chunk)
            return
        if self._unpacker is None and chunk:
            # Deflate means zlib's format, and some servers send it without the header (RFC 9110).
            has_header = chunk[0] & 0x0F == 8
            self._unpacker = zlib.decompressobj(15 if has_header else -15)
        while chunk and self._unpacker is not None:
            capacity = self._most_bytes - len(self._received) + 1
            try:
                self._collect(self._unpacker.decompress(chunk, capacity))
            except zlib.error as error:
                raise UnusableBodyError(f"the answer's compression is damaged: {error}") from error
            chunk = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                chunk = self._next_member(self._unpacker.unused_data)

    def _next_member(self, rest: bytes) -> bytes:
        """A gzip body may have several members; what follows a deflate body is ignored."""
        if not rest or self._encoding not in _GZIP or not rest.strip(b"\0"):
            return b""
        self._unpacker = zlib.decompressobj(31)
        return rest

    def _collect(self, unpacked: bytes) -> None:
        self._received += unpacked
        if len(self._received) > self._most_bytes:
            most = self._most_bytes
            size = f"{most // 2**20} MiB" if most >= 2**20 else f"{most} bytes"
            raise UnusableBodyError(f"the answer is larger than {size}")

    def finish(self) -> bytes:
        """The complete body."""
        if self._unpacker is not None and not self._unpacker.eof:
            raise UnusableBodyError("the answer's compression ends too early")
        return bytes(self._received)
