"""No reply is paid for twice, whatever happens to the process."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import filelock
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.answer_cache import AnswerCache, key_of
from alphabench.judges.cached_judge import CachedJudge
from alphabench.judges.handshake import VettedJudge
from alphabench.judges.openai.judge import open_openai
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Answer, Capabilities, ImagePart, Question, Reply
from tests.judges.conftest import Number, question
from tests.support.forks import Forked, run
from tests.support.judge_server import Call, JudgeServer, Say, serving

SERVER = Path(__file__).parents[1] / "support" / "judge_server.py"
JUDGE = {"kind": "test", "model": "m"}


def numbers(start: int, stop: int) -> list[Question]:
    return [question(f"number {n}", image=f"{n // 5}/0") for n in range(start, stop)]


def numeric(asked: Question) -> ScriptedReply:
    return str(asked.parts[0]).removeprefix("number ")


def cached(folder: Path, judge: ScriptedJudge | None = None, **more: bool) -> CachedJudge:
    return CachedJudge(judge=judge or ScriptedJudge(numeric), cache=AnswerCache(folder), **more)


def lines(folder: Path) -> list[str]:
    return [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    first, again = ScriptedJudge(numeric), ScriptedJudge(numeric)
    fresh = list(cached(tmp_path, first).ask(numbers(0, 20)))
    known = list(cached(tmp_path, again).ask(numbers(0, 20)))
    assert [a.values for a in known] == [a.values for a in fresh] == [(n,) for n in range(20)]
    assert (len(first.asked), again.asked) == (20, [])
    assert not any(a.cached for a in fresh)
    assert all(a.cached for a in known)


def test_known_and_unknown_questions_keep_their_order(tmp_path: Path) -> None:
    list(cached(tmp_path).ask(numbers(0, 50)[::3]))
    judge = ScriptedJudge(numeric)
    answers = list(cached(tmp_path, judge).ask(numbers(0, 50)))
    assert [a.values for a in answers] == [(n,) for n in range(50)]
    assert len(judge.asked) == 50 - 17


def test_a_long_run_of_known_questions_is_not_held_in_memory(tmp_path: Path) -> None:
    list(cached(tmp_path).ask(numbers(0, 1500)))
    taken = 0

    def source() -> Iterator[Question]:
        nonlocal taken
        for asked in [question("number 7777"), *numbers(0, 1500), question("number 8888")]:
            taken += 1
            yield asked

    judge = ScriptedJudge(numeric)
    answers = cached(tmp_path, judge).ask(source())
    assert next(answers).values == (7777.0,)
    assert taken < 300
    assert len(list(answers)) == 1501
    assert len(judge.asked) == 2


def test_equal_questions_are_asked_once_and_repeats_as_often_as_they_differ(tmp_path: Path) -> None:
    judge = ScriptedJudge("7")
    same = [question("a", name=str(n)) for n in range(3)]
    repeats = [replace(same[0], repeat=n) for n in range(3)]
    answers = list(cached(tmp_path, judge).ask([*same, *repeats]))
    assert [a.question for a in answers] == [*same, *repeats]
    assert len(judge.asked) == 3


def test_the_key_is_what_is_asked_of_whom_and_not_where_files_lie(
    picture: ImagePart, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(picture.path.read_bytes())
    here, there = (
        question(parts=(replace(picture, path=path), "x"), image=image)
        for path, image in ((picture.path, "0/0"), (moved, "9/9"))
    )
    assert key_of(JUDGE, here) == key_of(JUDGE, there)
    different = [
        key_of({**JUDGE, "model": "n"}, here),
        key_of(JUDGE, replace(here, system="s")),
        key_of(JUDGE, replace(here, parts=("x", picture))),
        key_of(JUDGE, replace(here, answer_format=Number("2"))),
        key_of(JUDGE, replace(here, parts=(replace(picture, encoding="jpeg"), "x"))),
        key_of(JUDGE, replace(here, parts=(replace(picture, sha256="0" * 64), "x"))),
    ]
    assert len({key_of(JUDGE, here), *different}) == 7


def test_failed_calls_are_never_kept(tmp_path: Path) -> None:
    failing = ScriptedJudge(lambda _: Mishap(kind="server_error"))
    assert {a.status for a in cached(tmp_path, failing).ask(numbers(0, 5))} == {"failed"}
    judge = ScriptedJudge(numeric)
    assert {a.status for a in cached(tmp_path, judge).ask(numbers(0, 5))} == {"scored"}
    assert len(judge.asked) == 5


@pytest.mark.parametrize("kind", ["garbage", "refusal", "filtered"])
def test_a_paid_reply_that_could_not_be_read_is_kept_until_it_is_asked_for_again(
    kind: str, tmp_path: Path
) -> None:
    bad = ScriptedJudge(lambda _: Mishap(kind=kind))  # type: ignore[arg-type]
    (before,) = cached(tmp_path, bad).ask(numbers(3, 4))
    good = ScriptedJudge(numeric)
    (kept,) = cached(tmp_path, good).ask(numbers(3, 4))
    assert (kept.status, kept.reply, good.asked) == (before.status, before.reply, [])
    (again,) = cached(tmp_path, good, reask_unread=True).ask(numbers(3, 4))
    assert again.values == (3.0,)
    (at_last,) = cached(tmp_path).ask(numbers(3, 4))
    assert at_last.values == (3.0,)


class Words(Number):
    """The same answer format with a better parser: the reply is what is stored."""

    def parse(self, reply: Reply) -> tuple[float, ...] | None:
        return (7.0,) if reply.text == "seven" else super().parse(reply)


def test_a_better_parser_reads_old_replies(tmp_path: Path) -> None:
    (before,) = cached(tmp_path, ScriptedJudge("seven")).ask([question()])
    (after,) = cached(tmp_path, ScriptedJudge("eight")).ask([question(answer_format=Words())])
    assert (before.status, after.values) == ("unparsed", (7.0,))


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 2000))
def test_a_cut_at_any_byte_loses_the_last_reply_at_most(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    asked = [q for q in numbers(0, 40) if key_of(ScriptedJudge("").identity, q)[0] in "048c"]
    list(cached(folder).ask(asked))
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    whole = path.read_bytes().count(b"\n")
    judge = ScriptedJudge(numeric)
    answers = list(cached(folder, judge).ask(asked))
    assert [a.values for a in answers] == [(float(str(numeric(q))),) for q in asked]
    assert len(judge.asked) == len(asked) - whole
    assert all(json.loads(line) for line in lines(folder))


def test_a_damaged_line_is_a_question_asked_again_and_no_crash(tmp_path: Path) -> None:
    list(cached(tmp_path).ask(numbers(0, 8)))
    for path in tmp_path.iterdir():
        rows = path.read_text().splitlines()
        path.write_text("\n".join(["{", '{"key": 3}', '{"key": "ab"}', *rows, ""]))
    judge = ScriptedJudge(numeric)
    assert [a.values for a in cached(tmp_path, judge).ask(numbers(0, 9))] == [
        (n,) for n in range(9)
    ]
    assert len(judge.asked) == 1


def test_a_damaged_newer_reply_leaves_the_older_one(tmp_path: Path) -> None:
    cache, asked = AnswerCache(tmp_path), numbers(3, 4)[0]
    cache.put(JUDGE, [(asked, Reply(text="older", model="m"))])
    cache.put(JUDGE, [(asked, Reply(text="newer", model="m"))])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes().replace(b'"text": "newer"', b'"text" "newer"'))
    for reader in (cache, AnswerCache(tmp_path)):
        reply = reader.get(key_of(JUDGE, asked))
        assert reply is not None
        assert reply.text == "older"


@pytest.mark.parametrize("text", ["<b>\n\r\u2028", "\x00\x1b\ud83d", "x" * 100_000, '"}\n{"key":'])
def test_any_text_survives_the_disk(text: str, tmp_path: Path) -> None:
    (fresh,) = cached(tmp_path, ScriptedJudge(lambda _: text)).ask([question()])
    (known,) = cached(tmp_path).ask([question()])
    assert known.reply == fresh.reply
    assert known.cached
    assert len(lines(tmp_path)) == 1


def _fill(folder: Path, start: int) -> None:
    cache = AnswerCache(folder)
    for asked in numbers(start, start + 60):
        cache.put(JUDGE, [(asked, Reply(text=str(numeric(asked)), model="m"))])


def test_several_processes_share_one_folder(tmp_path: Path) -> None:
    reader = AnswerCache(tmp_path)
    assert reader.get(key_of(JUDGE, numbers(0, 1)[0])) is None
    context = get_context("spawn")
    writers = [context.Process(target=_fill, args=(tmp_path, start)) for start in (0, 30, 60)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    for asked in numbers(0, 120):
        reply = reader.get(key_of(JUDGE, asked))
        assert reply is not None
        assert reply.text == numeric(asked)
    assert len(lines(tmp_path)) == 180


def test_it_counts_and_clears(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path)
    assert cache.stats().replies == 0
    list(CachedJudge(judge=ScriptedJudge(numeric), cache=cache).ask(numbers(0, 12)))
    stats = pickle.loads(pickle.dumps(cache)).stats()
    assert (stats.replies, dict(stats.by_model)) == (12, {"scripted": 12})
    assert stats.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert cache.clear() == 12
    assert cache.get(key_of(ScriptedJudge("").identity, numbers(0, 1)[0])) is None
    assert cache.stats().replies == 0


def failing_locks(monkeypatch: pytest.MonkeyPatch, number: int, *, after: int = 0) -> None:
    """From the call after so many on, locking fails as some file systems let it."""
    real, calls = filelock.lock_descriptor, itertools.count()

    def lock_descriptor(descriptor: int, **options: Any) -> bool:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        return real(descriptor, **options)

    monkeypatch.setattr(filelock, "lock_descriptor", lock_descriptor)


@pytest.mark.parametrize(
    "number",
    [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.ESTALE, 524, errno.EROFS, errno.EIO,
     errno.ENOSPC, errno.EACCES, errno.EMFILE],
)  # fmt: skip
def test_a_folder_that_cannot_store_answers_is_found_out_before_anything_is_asked(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_locks(monkeypatch, number)
    judge = ScriptedJudge(numeric)
    with pytest.raises(AlphaBenchError) as refused:
        list(cached(tmp_path, judge).ask(numbers(0, 9)))
    assert judge.asked == []
    assert str(tmp_path) in refused.value.message
    assert "--no-cache" in refused.value.hint or number == errno.ENOSPC
    vetted = VettedJudge(judge=cached(tmp_path, judge), tested=judge, level="protocol")
    with pytest.raises(AlphaBenchError, match=str(tmp_path)):
        vetted.shake_hands(Capabilities(images_per_question=1, logprobs=False))
    assert judge.asked == []


def test_a_file_in_the_way_and_a_home_that_is_unknown_are_sentences_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlphaBenchError, match="cannot be stored"):
        list(cached(tmp_path / "file" / "cache").ask(numbers(0, 1)))
    with pytest.raises(AlphaBenchError, match="no home folder"):
        list(cached(Path("~/.cache/x")).ask(numbers(0, 1)))


def test_known_answers_are_read_from_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(cached(tmp_path).ask(numbers(0, 9)))
    failing_locks(monkeypatch, errno.EROFS)
    assert [a.values for a in cached(tmp_path).ask(numbers(0, 9))] == [(n,) for n in range(9)]


def test_a_write_that_fails_later_stops_and_loses_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, answers = ScriptedJudge(numeric), list[Answer]()
    failing_locks(monkeypatch, errno.EIO, after=4)
    with pytest.raises(AlphaBenchError, match="cannot be stored"):
        answers.extend(answer for answer in cached(tmp_path, judge).ask(numbers(0, 9)))
    assert [a.values for a in answers] == [(float(n),) for n in range(len(judge.asked))]
    assert len(judge.asked) == 4


@pytest.mark.parametrize(
    ("reply", "is_trusted"),
    [
        (Reply(text="", model="m", finish_reason="stop"), False),
        (Reply(text=" \n", model="m"), False),
        (Reply(text="3", model="m", finish_reason="error"), False),
        (Reply(text="3", model="m", finish_reason="network_error"), False),
        (Reply(text="", model="m", finish_reason="length", tokens_out=9), True),
        (Reply(text="", model="m", finish_reason="content_filter"), True),
        (Reply(text="", model="m", first_token=(("Yes", -0.1),)), True),
        (Reply(text="3", model="m", finish_reason="stop"), True),
    ],
)  # fmt: skip
def test_replies_of_earlier_versions_that_say_nothing_are_asked_for_again(
    reply: Reply, is_trusted: bool, tmp_path: Path
) -> None:
    judge = ScriptedJudge(numeric)
    AnswerCache(tmp_path).put(judge.identity, [(q, reply) for q in numbers(3, 4)])
    list(cached(tmp_path, judge).ask(numbers(3, 4)))
    assert len(judge.asked) == (0 if is_trusted else 1)


def test_equal_questions_share_the_reason_why_there_is_no_answer(tmp_path: Path) -> None:
    judge = ScriptedJudge(lambda _: Mishap(kind="server_error"))
    asked = [question("a", name=str(n)) for n in range(3)]
    answers = list(cached(tmp_path, judge).ask(asked))
    assert {(a.status, a.reason) for a in answers} == {("failed", answers[0].reason)}


def test_replies_are_stored_as_they_come_and_not_when_their_turn_is(tmp_path: Path) -> None:
    def first_is_slow(call: Call) -> Say:
        return Say(text="7", seconds=1.0 if call.text == "number 0" else 0.0)

    with serving(JudgeServer(first_is_slow)) as server:
        remote = open_openai(server.spec, options={}, device="cpu")
        cache = AnswerCache(tmp_path)
        answers = CachedJudge(judge=remote, cache=cache).ask(numbers(0, 30))
        seen: list[int] = []

        def watch() -> Iterable[Answer]:
            first = next(answers)
            seen.append(cache.stats().replies)
            return [first, *answers]

        assert len(list(watch())) == 30
    assert seen[0] >= 29


ASK = """
import sys
from pathlib import Path
from alphabench.judges import open_judge
from alphabench.judges.yesno import YesNoProbability, yes_no_question
judge = open_judge(sys.argv[1], options={"handshake": "off"}, cache_dir=Path(sys.argv[2]))
parser = YesNoProbability()
asked = (yes_no_question(f"{n}?", [], image_id=f"{n}/0", question_id="q", answer_format=parser)
         for n in range(60))
print(sum(answer.status == "scored" for answer in judge.ask(asked)))
"""


def test_killing_the_process_loses_no_paid_answer(tmp_path: Path) -> None:
    """The server holds all calls from the 40th on, so that the client waits when it is killed."""
    command = [sys.executable, str(SERVER), "--hold-from", "40"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    words = ("-c", ASK, f"http://127.0.0.1:{port}/v1#test-vlm", tmp_path)
    client = Forked(*words)
    deadline = time.monotonic() + 30
    while httpx.get(f"http://127.0.0.1:{port}/stats").json()["answered"] < 40:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    client.send_signal(signal.SIGKILL)
    client.wait()
    server.kill()
    server.wait()
    server.stdout.close()
    assert AnswerCache(tmp_path).stats().replies == 40
    with serving(JudgeServer(), port=port) as revived:
        done = run(*words, seconds=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "60"
        assert revived.n_calls == 20
