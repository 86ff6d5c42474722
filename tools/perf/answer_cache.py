"""Compares the judge's answer cache with sqlite (WAL) at 100,000 answers; prints JSON lines.

    python -m tools.perf.answer_cache                  about two minutes
    python -m tools.perf.answer_cache --answers 2000   a quick look

Both store the same replies under the same keys, and both are durable when `put` returns: the cache
by one fsync for each file it appends to, sqlite by `synchronous=FULL`. Every line is a measurement
of both in alternation and its ratio; above 1, the answer cache is faster (or smaller). A process of
its own does the writing that is killed, and two do the writing that is shared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from alphabench.judges.answer_cache import AnswerCache, key_of
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import Question, Reply

JUDGE: Final = {"kind": "openai", "provider": "local", "model": "test-vlm"}
TOP: Final = tuple((f"token{n}", -float(n)) for n in range(20))
REPLY: Final = Reply(
    text="Yes", model="test-vlm", first_token=TOP, finish_reason="stop", tokens_in=1200
)
N_SINGLE, N_LOOKUPS, N_SHARED = 500, 5000, 2000


class Store(Protocol):
    """What is compared."""

    def put(self, judge: Mapping[str, str], replies: Sequence[tuple[Question, Reply]]) -> None: ...

    def get(self, key: str) -> Reply | None: ...


class SqliteStore:
    """The candidate: one table in one file, write-ahead log, durable commits."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(
            folder / "answers.sqlite", timeout=60, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS replies "
            "(key BLOB PRIMARY KEY, image_id TEXT, question_id TEXT, reply TEXT) WITHOUT ROWID"
        )

    def put(self, judge: Mapping[str, str], replies: Sequence[tuple[Question, Reply]]) -> None:
        rows = [
            (bytes.fromhex(key_of(judge, q)), q.image_id, q.id, json.dumps(asdict(reply)))
            for q, reply in replies
        ]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    def get(self, key: str) -> Reply | None:
        query = "SELECT reply FROM replies WHERE key = ?"
        row = self._connection.execute(query, (bytes.fromhex(key),)).fetchone()
        if row is None:
            return None
        content = json.loads(row[0])
        content["first_token"] = tuple((token, p) for token, p in content["first_token"])
        return Reply(**content)


OPEN: Final[Mapping[str, Callable[[Path], Store]]] = {"cache": AnswerCache, "sqlite": SqliteStore}


def main() -> None:
    """Print one line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        name, folder, start, count = options.write
        write_one_by_one(OPEN[name](Path(folder)), int(start), int(count))
        return
    with tempfile.TemporaryDirectory() as root:
        folders = {name: Path(root, name) for name in OPEN}
        _compare("answers/s, batches of 64, all", _fill(folders, options.answers), "more")
        for _ in range(options.repeats):
            _compare("answers/s, one at a time", single_writes(folders, options.answers), "more")
            _compare("start-up and first hit, s", start_up(folders), "less")
            _compare("hits/s", hits(folders, options.answers, found=True), "more")
            _compare("misses/s", hits(folders, options.answers, found=False), "more")
        _compare("bytes on disk", sizes(folders), "less")
        _compare("answers/s, two processes", shared_writes(Path(root)), "more")
        for name in OPEN:
            _say(case=f"kill -9 while writing: {name}", **killed(name, Path(root)))
        for name, folder in folders.items():
            for block in ("first", "middle"):
                lost = lost_with_a_block(name, folder, Path(root), options.answers, block)
                _say(case=f"the {block} 4 KiB of a file overwritten: {name}", lost=lost)


def _questions(start: int, stop: int) -> Iterator[Question]:
    """All different; ten about each image."""
    answer_format = YesNoProbability()
    for number in range(start, stop):
        yield yes_no_question(
            f"Is this number {number}?",
            [],
            image_id=f"{number // 10:06d}/0",
            question_id=str(number % 10),
            answer_format=answer_format,
        )


def _fill(folders: Mapping[str, Path], count: int) -> dict[str, float]:
    """Batches as a busy endpoint's replies form them."""
    rates = {}
    for name, folder in folders.items():
        store, began = OPEN[name](folder), time.perf_counter()
        remaining = _questions(0, count)
        while batch := list(islice(remaining, 64)):
            store.put(JUDGE, [(question, REPLY) for question in batch])
        rates[name] = count / (time.perf_counter() - began)
    return rates


def single_writes(folders: Mapping[str, Path], count: int) -> dict[str, float]:
    """A commit for each answer; the answers are stored already, so that the caches stay equal."""
    rates = {}
    for name, folder in folders.items():
        store, began = OPEN[name](folder), time.perf_counter()
        n_written = write_one_by_one(store, 0, min(N_SINGLE, count))
        rates[name] = n_written / (time.perf_counter() - began)
    return rates


def write_one_by_one(store: Store, start: int, count: int) -> int:
    """Put single answers, and print each number once its answer is durable."""
    for number, question in enumerate(_questions(start, start + count), start=start):
        store.put(JUDGE, [(question, REPLY)])
        if not sys.stdout.isatty() and "--write" in sys.argv:
            print(number, flush=True)
    return count


def start_up(folders: Mapping[str, Path]) -> dict[str, float]:
    """Seconds until a new handle has given one stored reply."""
    key, seconds = key_of(JUDGE, next(_questions(0, 1))), {}
    for name, folder in folders.items():
        began = time.perf_counter()
        assert OPEN[name](folder).get(key) == REPLY
        seconds[name] = time.perf_counter() - began
    return seconds


def hits(folders: Mapping[str, Path], count: int, *, found: bool) -> dict[str, float]:
    """Look-ups in random order after the first one."""
    first = 0 if found else count
    keys = [key_of(JUDGE, question) for question in _questions(first, first + count)]
    keys = sorted(keys)[:: max(1, count // N_LOOKUPS)]  # keys are hashes: a random order
    rates = {}
    for name, folder in folders.items():
        store = OPEN[name](folder)
        for key in "0123456789abcdef":  # every file of the cache is indexed
            store.get(key * 64)
        began = time.perf_counter()
        assert all((store.get(key) is not None) == found for key in keys)
        rates[name] = len(keys) / (time.perf_counter() - began)
    return rates


def sizes(folders: Mapping[str, Path]) -> dict[str, float]:
    """Of all files in the folder."""
    return {
        name: float(sum(path.stat().st_size for path in folder.iterdir()))
        for name, folder in folders.items()
    }


def shared_writes(root: Path) -> dict[str, float]:
    """Two processes that write different answers one at a time; none may be lost."""
    rates = {}
    for name in OPEN:
        folder, began = root / f"shared-{name}", time.perf_counter()
        OPEN[name](folder)
        writers = [writer(name, folder, start, N_SHARED // 2) for start in (0, N_SHARED // 2)]
        for process in writers:
            process.communicate()
            assert process.returncode == 0
        rates[name] = N_SHARED / (time.perf_counter() - began)
        store = OPEN[name](folder)
        assert all(store.get(key_of(JUDGE, q)) == REPLY for q in _questions(0, N_SHARED))
    return rates


def killed(name: str, root: Path) -> dict[str, object]:
    """Kill a writer without warning; every answer that it reported as stored must be there."""
    folder = root / f"killed-{name}"
    OPEN[name](folder)
    process = writer(name, folder, 0, 10**6)
    assert process.stdout is not None
    reported = [int(process.stdout.readline()) for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    reported += [int(line) for line in process.communicate()[0].splitlines()]
    store = OPEN[name](folder)
    lost = sum(store.get(key_of(JUDGE, q)) != REPLY for q in _questions(0, len(reported)))
    store.put(JUDGE, [(next(_questions(-1, 0)), REPLY)])  # and it goes on
    return {"reported_as_stored": len(reported), "lost": lost}


def lost_with_a_block(name: str, folder: Path, root: Path, count: int, block: str) -> int:
    """Replies of `count` that a look-up no longer finds once a block of the largest file is bad."""
    copy = Path(shutil.copytree(folder, root / f"{block}-{name}"))
    if name == "sqlite":  # as after a clean end: no page stands in the log as well
        sqlite3.connect(copy / "answers.sqlite").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = max(copy.iterdir(), key=lambda one: one.stat().st_size)
    with path.open("r+b") as file:
        file.seek(0 if block == "first" else path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    try:
        store = OPEN[name](copy)
    except sqlite3.DatabaseError:
        return count
    lost = 0
    for question in _questions(0, count):
        try:
            lost += store.get(key_of(JUDGE, question)) is None
        except sqlite3.DatabaseError:
            lost += 1
    return lost


def writer(name: str, folder: Path, start: int, count: int) -> subprocess.Popen[str]:
    """A process that writes one answer at a time."""
    command = [sys.executable, "-m", "tools.perf.answer_cache"]
    command += ["--write", name, str(folder), str(start), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _compare(case: str, values: Mapping[str, float], better: str) -> None:
    """One line; the ratio is above 1 where the answer cache does better."""
    cache, sqlite = values["cache"], values["sqlite"]
    ratio = cache / sqlite if better == "more" else sqlite / cache
    rounded = {name: float(f"{value:.4g}") for name, value in values.items()}
    _say(case=case, **rounded, ratio=round(ratio, 3))


def _say(**fields: object) -> None:
    """One JSON line."""
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
