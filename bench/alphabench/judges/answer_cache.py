"""Replies on disk, by what was asked of which judge: no reply is paid for twice.

Keeps the reply, not what was read from it, so that a better parser reads it again. Failed calls are
no replies and never kept, nor are empty replies of earlier versions trusted. Files are only
appended to, one whole line at a time; several processes may use one folder, which needs a file
system with locks: that is tried before the first question. In memory there is a number for each
reply, no text.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, runtime_checkable

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.chat_api import says_nothing
from alphabench.judges.parsing import read_reply, unscored
from alphabench.questions import Answer, Capabilities, Judge, Question, Reply
from alphabench.types import Licensed

N_SHARDS: Final = 4
_BLOCK: Final = 2**16
_HITS_AHEAD: Final = 256
"""Known replies that are looked up before the judge's next question, at most."""
_LOCKLESS: Final = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ESTALE, 524)
"""What `flock` fails with on network file systems; 524 is the kernel's own ENOTSUPP."""

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
                "no home folder is known, so there is no place for the judge's answers",
                hint="set HOME or ALPHABENCH_CACHE, or use --no-cache, which stores no answers",
            )
        with _storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            trial = _Shard(self.folder / f"replies-trial-{os.getpid()}")
            trial.append(b"trial\n")
            trial.path.unlink()
            for shard in self._shards:
                if shard.path.exists():
                    shard.append(b"")

    def get(self, key: str) -> Reply | None:
        """The newest reply under `key` (see `key_of`), also one that another process just wrote.

        Raises:
            AlphaBenchError: the folder cannot be read.
        """
        with _storing(self.folder):
            return self._shard_of(key).get(key)

    def put(self, judge: Mapping[str, str], replies: Replies) -> None:
        """Store replies; they are durable when it returns.

        Raises:
            AlphaBenchError: the folder cannot be written.
        """
        lines: dict[_Shard, list[bytes]] = {}
        for question, reply in replies:
            key = key_of(judge, question)
            row = {
                "key": key,
                "image_id": question.image_id,
                "question_id": question.id,
                "reply": asdict(reply),
            }
            line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
            lines.setdefault(self._shard_of(key), []).append(line)
        with _storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for shard, of in lines.items():
                shard.append(b"".join(of))

    def stats(self) -> CacheStats:
        """What is stored.

        Raises:
            AlphaBenchError: the folder cannot be read.
        """
        models: Counter[str] = Counter()
        with _storing(self.folder):
            for shard in self._shards:
                models.update(row["reply"]["model"] for _, row in shard.rows())
            size = sum(s.path.stat().st_size for s in self._shards if s.path.exists())
        return CacheStats(replies=models.total(), size_bytes=size, by_model=dict(models))

    def clear(self) -> int:
        """Delete all replies; returns how many there were.

        Raises:
            AlphaBenchError: the folder cannot be written.
        """
        gone = self.stats().replies
        with _storing(self.folder):
            for shard in self._shards:
                shard.path.unlink(missing_ok=True)
        return gone

    def _shard_of(self, key: str) -> _Shard:
        return self._shards[int(key[0], 16) % N_SHARDS]


def key_of(judge: Mapping[str, str], question: Question) -> str:
    """What a reply is kept under: sha256 of the judge's identity and all that it is told."""
    about = json.dumps([dict(sorted(judge.items())), question.content_digest])
    return hashlib.sha256(about.encode()).hexdigest()


class _Shard:
    """One file, and where in it each reply begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets: dict[int, int] = {}
        self._scanned = 0
        self._inode = 0

    def get(self, key: str) -> Reply | None:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            self._scan(file)
            offset = self._offsets.get(_number(key))
            if offset is None:
                return None
            file.seek(offset)
            row = _read_row(file.readline())
        # Numbers are shorter than keys, so two keys may share one.
        return _reply_in(row) if row is not None and row["key"] == key else None

    def append(self, lines: bytes) -> None:
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _cut_torn_line(file)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The whole, undamaged lines with their offsets; a later one under a key comes later."""
        if self.path.exists():
            with self.path.open("rb") as file:
                yield from _rows_from(file, 0)

    def _scan(self, file: IO[bytes]) -> None:
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
            if (row := _read_row(line)) is not None:
                self._offsets[_number(row["key"])] = self._scanned
            self._scanned += len(line)


def _rows_from(file: IO[bytes], offset: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in file:
        if (row := _read_row(line)) is not None:
            yield offset, row
        offset += len(line)


def _read_row(line: bytes) -> dict[str, Any] | None:
    """None for a line that is torn or damaged: asking again costs less than stopping."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
        return row if isinstance(row["key"], str) and _reply_in(row) else None
    except (ValueError, TypeError, KeyError):
        return None


def _reply_in(row: Mapping[str, Any]) -> Reply:
    content = dict(row["reply"])
    content["first_token"] = tuple((token, logprob) for token, logprob in content["first_token"])
    return Reply(**content)


def _number(key: str) -> int:
    return int(key[:16], 16)


def _cut_torn_line(file: IO[bytes]) -> None:
    """Only a process that died tears a line, and the lock keeps living ones out."""
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        last = file.read(position - start).rfind(b"\n")
        if last >= 0:
            position = start + last + 1
            break
        position = start
    if position < end:
        file.truncate(position)
    file.seek(0, os.SEEK_END)


@contextlib.contextmanager
def _storing(folder: Path) -> Iterator[None]:
    """Whatever the operating system objects to becomes one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise AlphaBenchError(
                f"there is no room left for the judge's answers in {str(folder)!r}",
                hint="free some space and give the same command again; what was done is kept",
            ) from error
        why = error.strerror or str(error)
        if error.errno in _LOCKLESS:
            why = f"its file system has no working locks: {why}"
        raise AlphaBenchError(
            f"the judge's answers cannot be stored in {str(folder)!r} ({why})",
            hint="name another folder in ALPHABENCH_CACHE, or use --no-cache, which stores none",
        ) from error


@runtime_checkable
class HandsOver(Protocol):
    """A judge that gives replies away as they come, before their turn in the order."""

    def ask_and_keep(
        self, questions: Iterable[Question], keep: Callable[[Replies], None]
    ) -> Iterator[Answer]: ...


@dataclass(kw_only=True, eq=False)
class CachedJudge:
    """A judge that is asked only what the cache does not know."""

    judge: Judge
    cache: AnswerCache
    reask_unread: bool = False
    """Ask again what was answered but could not be read, or was refused."""
    _known: Mapping[str, str] = field(init=False, repr=False)
    _is_checked: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        self._known = dict(self.judge.identity)

    @property
    def identity(self) -> Mapping[str, str]:
        return self.judge.identity

    @property
    def capabilities(self) -> Capabilities:
        return self.judge.capabilities

    @property
    def licences(self) -> Mapping[str, str]:
        return self.judge.licences if isinstance(self.judge, Licensed) else {}

    def prepare(self) -> None:
        """See `AnswerCache.check`; done once."""
        if not self._is_checked:
            self.cache.check()
            self._is_checked = True

    def ask(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """See `Judge.ask`; equal questions are asked once, unless they differ in `repeat`."""
        source = iter(questions)
        while True:
            for question in source:
                if (answer := self._look_up(question)) is None:
                    break
                yield answer
            else:
                return
            yield from self._ask_from(question, source)

    def _ask_from(self, first: Question, source: Iterator[Question]) -> Iterator[Answer]:
        """The answers from one unknown question on, until long nothing unknown comes."""
        self.prepare()
        line = _Line(self._look_up)
        asked = line.unknown(first, source)
        if isinstance(self.judge, HandsOver):
            answers = self.judge.ask_and_keep(asked, self._keep)
        else:
            answers = self._keep_each(self.judge.ask(asked))
        for answer in answers:
            yield from line.known()
            line.settle(answer)
            yield answer
            yield from line.known()
        yield from line.known()

    def _look_up(self, question: Question) -> Answer | None:
        reply = self.cache.get(key_of(self._known, question))
        if reply is None or says_nothing(reply):
            return None
        answer = read_reply(question, reply, cached=True)
        return None if self.reask_unread and answer.status != "scored" else answer

    def _keep(self, replies: Replies) -> None:
        self.cache.put(self._known, replies)

    def _keep_each(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        for answer in answers:
            error = None
            if answer.reply is not None and answer.status != "failed":
                try:
                    self._keep([(answer.question, answer.reply)])
                except AlphaBenchError as caught:
                    error = caught
            yield answer  # though it could not be stored: it may have been paid for
            if error is not None:
                raise error


class _Place(NamedTuple):
    question: Question
    answer: Answer | None
    """None where the judge is being asked, this or an equal question."""
    is_asked: bool


class _Line:
    """Questions in order: with known answers, in the judge's hand, or equal to one that is."""

    def __init__(self, look_up: Callable[[Question], Answer | None]) -> None:
        self._look_up = look_up
        self._places: deque[_Place] = deque()
        self._in_hand: set[str] = set()
        self._unanswered: dict[str, Answer] = {}

    def unknown(self, first: Question, source: Iterator[Question]) -> Iterator[Question]:
        """What the judge is to be asked; ends after many known ones in a row."""
        hits = 0
        yield self._begin(first)
        for question in source:
            if question.content_digest in self._in_hand:
                self._places.append(_Place(question, None, is_asked=False))
            elif (answer := self._look_up(question)) is not None:
                self._places.append(_Place(question, answer, is_asked=False))
                hits += 1
                if hits >= _HITS_AHEAD:
                    return
            else:
                hits = 0
                yield self._begin(question)

    def _begin(self, question: Question) -> Question:
        self._places.append(_Place(question, None, is_asked=True))
        self._in_hand.add(question.content_digest)
        return question

    def settle(self, answer: Answer) -> None:
        """The first place, which the judge had in hand, has its answer."""
        digest = self._places.popleft().question.content_digest
        self._in_hand.discard(digest)
        if answer.reply is None:
            self._unanswered[digest] = answer

    def known(self) -> Iterator[Answer]:
        """The answers at the head of the line, as far as nobody need be asked for them."""
        while self._places and not self._places[0].is_asked:
            question, answer, _ = self._places.popleft()
            again = answer or self._look_up(question)
            equal = self._unanswered.get(question.content_digest)
            if again is None and equal is not None:
                again = unscored(question, equal.status, equal.reason)
            yield again or unscored(question, "failed", "an equal question got no usable answer")
