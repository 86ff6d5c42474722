"""Judges' replies on disk, found by question and judge: no reply is paid for twice.

Stores the reply, not the values parsed from it, so that a better parser reads it again. The files
grow by whole lines of JSON: a crash tears the last line at most, and a damaged line costs the reply
in it and no other. Several processes may use one folder, on one machine or on several that share a
file system with working locks; that is tried before the first question. In memory there is a number
for each reply, no text. Knows no judge.

Why not sqlite: `python -m tools.perf.answer_cache` compares both at 100,000 answers; docs/judges.md
holds its metrics. Neither is faster by much. But sqlite's write-ahead log must not be shared by
several machines, a damaged first page hides every answer, and the files of earlier versions would
need this reader all the same.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.core.locking import has_no_locks
from alphabench.core.writing import appending
from alphabench.questions import NamedToken, Question, Reply

N_SHARDS: Final = 4
_LINE_START: Final = b'{"key": "'
_KEY_END: Final = len(_LINE_START) + 64
_ADDED_FIELDS: Final = ("named_tokens",)
"""Fields that only replies with them store, so that earlier versions can read all others."""
_REPLY_FIELDS: Final = tuple(
    field.name for field in fields(Reply) if field.name not in _ADDED_FIELDS
)

Replies = Sequence[tuple[Question, Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache holds."""

    replies: int
    size_bytes: int
    by_model: Mapping[str, int]
    """Replies by the model that gave them."""


class AnswerCache:
    """A folder of replies. Can be pickled; each process reads the folder for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards = [_Shard(folder / f"replies-{n}.jsonl") for n in range(N_SHARDS)]

    def __reduce__(self) -> tuple[object, ...]:
        return AnswerCache, (self.folder,)

    def check(self) -> None:
        """Try all that storing needs, before anything is paid for.

        Raises:
            AlphaBenchError: replies could not be stored.
        """
        if self.folder.parts[:1] == ("~",):
            raise AlphaBenchError(
                "no home folder is known, so the judge's answers cannot be stored",
                hint="set HOME or ALPHABENCH_CACHE, or use --no-cache, which stores no answers",
            )
        with _errors_explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            trial = _Shard(self.folder / f"replies-trial-{os.getpid()}")
            trial.append(b"trial\n")
            trial.path.unlink()
            for shard in self._shards:
                if shard.path.exists():
                    shard.append(b"")

    def get(self, key: str) -> Reply | None:
        """The newest reply under `key` (see `key_of`), including one just written elsewhere.

        Raises:
            AlphaBenchError: the folder cannot be read.
        """
        with _errors_explained(self.folder):
            return self._shard_of(key).get(key)

    def put(self, judge: Mapping[str, str], replies: Replies) -> None:
        """Store replies; they are durable when it returns.

        Args:
            judge: the identity of the judge that gave them.
            replies: each with its question.

        Raises:
            AlphaBenchError: the folder cannot be written.
        """
        lines: dict[_Shard, list[bytes]] = {}
        for question, reply in replies:
            key = key_of(judge, question)
            lines.setdefault(self._shard_of(key), []).append(_line_of(key, question, reply))
        with _errors_explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for shard, shard_lines in lines.items():
                shard.append(b"".join(shard_lines))

    def stats(self) -> CacheStats:
        """What is stored.

        Raises:
            AlphaBenchError: the folder cannot be read.
        """
        models: Counter[str] = Counter()
        with _errors_explained(self.folder):
            for shard in self._shards:
                models.update(reply.model for reply in shard.replies())
            size = sum(s.path.stat().st_size for s in self._shards if s.path.exists())
        return CacheStats(replies=models.total(), size_bytes=size, by_model=dict(models))

    def clear(self) -> int:
        """Delete all replies; returns how many there were.

        Raises:
            AlphaBenchError: the folder cannot be written.
        """
        n_replies = self.stats().replies
        with _errors_explained(self.folder):
            for shard in self._shards:
                shard.path.unlink(missing_ok=True)
        return n_replies

    def _shard_of(self, key: str) -> _Shard:
        return self._shards[int(key[0], 16) % N_SHARDS]


def key_of(judge: Mapping[str, str], question: Question) -> str:
    """A reply's key: sha256 of the judge's identity and all that the judge is sent."""
    content = json.dumps([dict(sorted(judge.items())), question.content_digest])
    return hashlib.sha256(content.encode()).hexdigest()


class _StoredReply(NamedTuple):
    key: str
    reply: Reply


class _Shard:
    """One file, and where in it each reply begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: dict[int, int] = {}
        self._scanned = 0
        self._inode = 0
        self._is_damaged = False
        """Index only lines that were read in full: one of those indexed turned out damaged."""

    def get(self, key: str) -> Reply | None:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            self._index_new_lines(file)
            number = _number(key)
            if (offset := self._offsets.get(number)) is None:
                return None
            stored = _line_at(file, offset)
            if stored is None and not self._is_damaged:
                return self._without_damaged_lines(key)
        # Numbers are shorter than keys, so two keys may share one.
        return stored.reply if stored is not None and stored.key == key else None

    def _without_damaged_lines(self, key: str) -> Reply | None:
        """Index the file anew, so that an older reply stands in for a damaged newer one."""
        self._is_damaged = True
        self._offsets, self._scanned = {}, 0
        return self.get(key)

    def append(self, lines: bytes) -> None:
        """Durable once it returns; a line that a crash tore is cut off first."""
        with appending(self.path, locking="wait") as append:
            append(lines)

    def replies(self) -> Iterator[Reply]:
        """All that can be read, older ones first."""
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from (stored.reply for line in file if (stored := _read_line(line)))

    def _index_new_lines(self, file: IO[bytes]) -> None:
        """Index what was appended since the last time."""
        status = os.fstat(file.fileno())
        if status.st_ino != self._inode or status.st_size < self._scanned:
            self._offsets, self._scanned, self._inode = {}, 0, status.st_ino
        if status.st_size == self._scanned:
            return
        file.seek(self._scanned)
        for line in file:
            if not line.endswith(b"\n"):
                return
            number = _strictly_indexed(line) if self._is_damaged else _indexed(line)
            if number is not None:
                self._offsets[number] = self._scanned
            self._scanned += len(line)


def _line_of(key: str, question: Question, reply: Reply) -> bytes:
    added = {name: value for name in _ADDED_FIELDS if (value := getattr(reply, name))}
    row = {
        "key": key,
        "image_id": question.image_id,
        "question_id": question.id,
        "reply": {**{name: getattr(reply, name) for name in _REPLY_FIELDS}, **added},
    }
    return json.dumps(row, ensure_ascii=True).encode() + b"\n"


def _line_at(file: IO[bytes], offset: int) -> _StoredReply | None:
    file.seek(offset)
    return _read_line(file.readline())


def _read_line(line: bytes) -> _StoredReply | None:
    """None for a line that is torn or damaged: requesting again costs less than stopping."""
    if not line.endswith(b"\n"):
        return None
    try:
        row: dict[str, Any] = json.loads(line)
        content = dict(row["reply"])
        first_token = tuple((token, logprob) for token, logprob in content["first_token"])
        named_tokens = tuple(NamedToken(*one) for one in content.get("named_tokens", ()))
        reply = Reply(**{**content, "first_token": first_token, "named_tokens": named_tokens})
        return _StoredReply(row["key"], reply) if isinstance(row["key"], str) else None
    except (ValueError, TypeError, KeyError):
        return None


def _indexed(line: bytes) -> int | None:
    """The number of a line's key, by position: twenty times as fast as reading the line."""
    if line.startswith(_LINE_START) and line[_KEY_END : _KEY_END + 2] == b'",':
        with contextlib.suppress(ValueError):
            return int(line[len(_LINE_START) : len(_LINE_START) + 16], 16)
    return _strictly_indexed(line)


def _strictly_indexed(line: bytes) -> int | None:
    """The number of the key of a line that can be read."""
    with contextlib.suppress(ValueError):
        return None if (stored := _read_line(line)) is None else _number(stored.key)
    return None


def _number(key: str) -> int:
    return int(key[:16], 16)


@contextlib.contextmanager
def _errors_explained(folder: Path) -> Iterator[None]:
    """Turn whatever the operating system refuses into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AlphaBenchError(
                f"there is no space left for the judge's answers in {str(folder)!r}",
                hint="free some space and give the same command again; finished work is saved",
            ) from error
        reason = error.strerror or str(error)
        if has_no_locks(error):
            reason = f"its file system has no working locks: {reason}"
        raise AlphaBenchError(
            f"the judge's answers cannot be stored in {str(folder)!r} ({reason})",
            hint="name another folder in ALPHABENCH_CACHE, or use --no-cache, which stores none",
        ) from error
