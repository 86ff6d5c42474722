"""The ids of a host's last completions, which tell an answer that was given before. Sends nothing.

Hosts name each completion anew, so that the same id and body for another request mean an answer
that a server or a proxy sent twice, or kept for a similar question. A host that gives one id to
different answers (the time in seconds, say), or one to all, is let be.
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
        self._says_nothing = False

    def refuse_repeated(self, content: bytes, request: bytes) -> None:
        """Remember an answer's id.

        Raises:
            TransientError: another request was given this answer.
        """
        found = _ID.search(content)
        if found is None or self._says_nothing:
            return
        asked, given = (hashlib.sha256(text).digest()[:16] for text in (request, content))
        asked_before, given_before = self._known.setdefault(found[1], (asked, given))
        if given_before != given:
            self._says_nothing = True
        elif asked_before != asked and len(self._known) > 1:
            raise TransientError("the host sent the answer to another question again")
        if len(self._known) > _IDS_REMEMBERED:
            self._known.popitem(last=False)
