"""Detects repeated answers by the ids of a host's last completions. Sends nothing.

Hosts give each completion a new id, so the same id and body for another request mean an answer
that a server or a proxy sent twice or cached for a similar question. A host that gives one id to
different answers (the time in seconds, say), or the same to all, is not checked.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from typing import Final

from alphabench.remote.responses import TransientError

_ID: Final = re.compile(rb'"id"\s*:\s*"([^"\\]{8,200})"')
_IDS_REMEMBERED: Final = 4096


class CompletionIds:
    """Of one host."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        self._is_meaningless = False

    def refuse_repeated(self, content: bytes, request: bytes) -> None:
        """Remember a completion's id.

        Raises:
            TransientError: another request got this answer.
        """
        match = _ID.search(content)
        if match is None or self._is_meaningless:
            return
        request_digest, content_digest = (
            hashlib.sha256(text).digest()[:16] for text in (request, content)
        )
        earlier_request, earlier_content = self._known.setdefault(
            match[1], (request_digest, content_digest)
        )
        if earlier_content != content_digest:
            self._is_meaningless = True
        elif earlier_request != request_digest and len(self._known) > 1:
            raise TransientError("the host repeated the answer to another question")
        if len(self._known) > _IDS_REMEMBERED:
            self._known.popitem(last=False)
