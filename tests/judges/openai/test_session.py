"""A remote judge against a real server that misbehaves in every way it can."""

from __future__ import annotations

import logging
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.openai.judge import OpenAIJudge, open_openai
from alphabench.judges.yesno import YesNoProbability, yes_no_question
from alphabench.questions import Answer, ImagePart, Question, ReplySampling
from tests.judges.conftest import FakeTime, question
from tests.support.judge_server import Call, JudgeServer, Say, Script, error, serving

SERVER = Path(__file__).parents[2] / "support" / "judge_server.py"
KEY = "sk-live-0123456789abcdef"


def judge_at(server: JudgeServer, time_of: FakeTime | None = None, **options: str) -> OpenAIJudge:
    judge = open_openai(server.spec, options=options, device="cpu")
    if time_of is not None:
        judge.clock = time_of.clock
    return judge


def numbers(count: int) -> Iterator[Question]:
    return (question(f"number {n}", image=f"{n // 5}/0") for n in range(count))


def echo(call: Call) -> Say:
    """Says the number in the question."""
    return Say(text=call.text.removeprefix("number "))


def sometimes(fault: Say) -> Script:
    """The first try of every third question meets the fault."""

    def script(call: Call) -> Say:
        bad = call.nth == 0 and int(call.text.removeprefix("number ")) % 3 == 0
        return fault if bad else echo(call)

    return script


def values(answers: list[Answer]) -> list[float | None]:
    return [a.values[0] if a.values else None for a in answers]


def test_answers_come_in_order_though_replies_do_not() -> None:
    def late_first(call: Call) -> Say:
        return Say(text=echo(call).text, seconds=0.05 if call.number % 7 == 0 else 0.0)

    with serving(JudgeServer(late_first)) as server:
        answers = list(judge_at(server).ask(numbers(60)))
    assert values(answers) == [float(n) for n in range(60)]
    assert server.n_calls == 60


@pytest.mark.parametrize("concurrency", ["1", "3", "64"])
def test_concurrency_and_order_change_no_answer(concurrency: str) -> None:
    with serving(JudgeServer(echo)) as server:
        judge = judge_at(server, concurrency=concurrency)
        forwards = list(judge.ask(numbers(25)))
        backwards = list(judge.ask(reversed(list(numbers(25)))))
    assert values(forwards) == [float(n) for n in range(25)]
    assert values(backwards) == values(forwards)[::-1]
    assert server.most_busy <= int(concurrency)


@pytest.mark.parametrize(
    "fault",
    [
        error(429, headers={"Retry-After": "2"}), error(429), error(500), error(503),
        Say(body=b"<html>\x00</html>"), Say(body=b'{"choices": [{"mess'), Say(cut=40),
        Say(cut=0), Say(body=b"{}"),
    ],
    ids=["429 with Retry-After", "429", "500", "503", "garbage", "cut JSON", "cut answer",
         "connection reset", "empty"],
)  # fmt: skip
def test_passing_faults_are_waited_out_and_no_answer_is_asked_for_twice(
    fault: Say, fake_time: FakeTime
) -> None:
    with serving(JudgeServer(sometimes(fault))) as server:
        answers = list(judge_at(server, fake_time).ask(numbers(30)))
    assert values(answers) == [float(n) for n in range(30)]
    assert max(server.answered.values()) == 1 or fault.status == 200
    assert server.n_calls == 40


def test_a_host_that_asks_to_wait_is_left_alone_until_then(fake_time: FakeTime) -> None:
    def script(call: Call) -> Say:
        return error(429, headers={"Retry-After": "30"}) if call.number == 0 else echo(call)

    with serving(JudgeServer(script)) as server:
        judge = judge_at(server, fake_time, concurrency="1")
        assert values(list(judge.ask(numbers(3)))) == [0.0, 1.0, 2.0]
    assert fake_time.seconds >= 30


def test_a_host_that_asks_to_wait_too_long_stops_the_run(fake_time: FakeTime) -> None:
    tomorrow = error(429, headers={"Retry-After": "86400"})
    with (
        serving(JudgeServer(lambda _: tomorrow)) as server,
        pytest.raises(AlphaBenchError, match="86400 s"),
    ):
        list(judge_at(server, fake_time).ask(numbers(3)))


def test_a_lasting_fault_of_some_questions_fails_those_alone(fake_time: FakeTime) -> None:
    def script(call: Call) -> Say:
        number = int(echo(call).text)
        return error(500, "crash") if number == 3 else error(400) if number == 5 else echo(call)

    with serving(JudgeServer(script)) as server:
        answers = list(judge_at(server, fake_time, attempts="3").ask(numbers(8)))
    assert [a.status for a in answers].count("failed") == 2
    assert values(answers)[3] is values(answers)[5] is None
    assert "crash" in answers[3].reason
    assert "3 attempts" in answers[3].reason
    assert server.n_calls == 6 + 3 + 1


def test_a_slow_answer_is_given_up_and_asked_for_again(fake_time: FakeTime) -> None:
    def script(call: Call) -> Say:
        return Say(text="7", seconds=5.0 if call.nth == 0 else 0.0)

    with serving(JudgeServer(script)) as server:
        judge = judge_at(server, fake_time, timeout_seconds="0.2")
        assert values(list(judge.ask(numbers(2)))) == [7.0, 7.0]


def test_refusals_and_filters_are_counted_as_what_they_are() -> None:
    says = [
        Say(text="7"),
        Say(text="", message={"refusal": "I will not."}),
        Say(text="7", finish_reason="content_filter"),
        error(400, "policy", code="content_filter"),
        Say(text="I'm sorry, I can't."),
        Say(text="seven"),
    ]
    with serving(JudgeServer(lambda call: says[int(echo(call).text)])) as server:
        answers = list(judge_at(server).ask(numbers(6)))
    assert [a.status for a in answers] == ["scored"] + ["refused"] * 4 + ["unparsed"]
    assert all(a.reply is not None for a in answers)
    assert server.n_calls == 6


def test_another_model_stops_the_run() -> None:
    with serving(JudgeServer(lambda _: Say(text="7", fields={"model": "cheap-vlm"}))) as server:
        with pytest.raises(AlphaBenchError, match="'cheap-vlm' answered"):
            list(judge_at(server).ask(numbers(3)))
        assert values(list(judge_at(server, served_as="cheap-vlm").ask(numbers(3)))) == [7.0] * 3


def test_model_fingerprint_and_tokens_are_kept_and_the_cost_is_counted() -> None:
    with serving(JudgeServer(lambda _: Say(text="7", fields={"system_fingerprint": "fp"}))) as s:
        judge = judge_at(s, price_in="10", price_out="100")
        (answer,) = judge.ask(numbers(1))
    assert answer.reply is not None
    assert (answer.reply.model, answer.reply.fingerprint) == ("test-vlm", "fp")
    assert judge.account.spent_usd == pytest.approx((100 * 10 + 1 * 100) / 1e6)


def test_the_budget_stops_the_run_and_keeps_what_was_paid() -> None:
    kept: list[Any] = []
    with serving(JudgeServer(echo)) as server:
        judge = judge_at(server, price_in="100", price_out="100", budget_usd="0.1")
        with pytest.raises(AlphaBenchError, match="budget"):
            list(judge.ask_and_store(numbers(100), kept.extend))
    assert judge.account.spent_usd <= 0.1
    assert len(kept) == server.n_calls == judge.account.replies < 100


def test_log_probabilities_come_through_and_their_absence_is_no_answer() -> None:
    def script(call: Call) -> Say:
        return Say(text="Yes", logprobs=[] if "1" in call.text else [(" yes", -0.1), ("No", -3.0)])

    answer_format = YesNoProbability()
    with serving(JudgeServer(script)) as server:
        with_them, without = judge_at(server).ask(
            yes_no_question(
                f"{n}?", [], image_id="0/0", question_id=str(n), answer_format=answer_format
            )
            for n in range(2)
        )
    assert with_them.values == pytest.approx((0.9478,), abs=1e-4)
    assert without.status == "unparsed"
    assert server.calls[0].body["top_logprobs"] == 20


def test_pictures_arrive_and_an_altered_one_fails_its_question_alone(picture: ImagePart) -> None:
    altered = replace(picture, sha256="0" * 64)
    asked = [question(parts=(shown, "number 7"), name=str(n)) for n, shown in
             enumerate((picture, altered, picture))]  # fmt: skip
    with serving(JudgeServer(echo)) as server:
        answers = list(judge_at(server).ask(asked))
    assert [a.status for a in answers] == ["scored", "failed", "scored"]
    shown = server.calls[0].body["messages"][0]["content"][0]["image_url"]["url"]
    assert shown.startswith("data:image/png;base64,")


def test_all_questions_about_an_image_go_to_one_replica() -> None:
    with serving(JudgeServer(echo)) as one, serving(JudgeServer(echo)) as two:
        judge = open_openai(f"{one.url},{two.url}#test-vlm", options={}, device="cpu")
        assert values(list(judge.ask(numbers(100)))) == [float(n) for n in range(100)]
    seen = [{int(echo(call).text) // 5 for call in server.calls} for server in (one, two)]
    assert seen[0].isdisjoint(seen[1])
    assert min(map(len, seen)) >= 3


def test_a_judge_that_stays_down_stops_the_run(fake_time: FakeTime) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    judge = open_openai(f"http://127.0.0.1:{port}/v1#m", options={}, device="cpu")
    judge.clock = fake_time.clock
    with pytest.raises(AlphaBenchError, match="answered nothing for"):
        list(judge.ask(numbers(40)))
    assert fake_time.seconds >= 180


def test_a_judge_that_refuses_every_question_stops_the_run() -> None:
    with (
        serving(JudgeServer(lambda _: error(400, "no images here"))) as server,
        pytest.raises(AlphaBenchError, match="answered none of 16 questions"),
    ):
        list(judge_at(server).ask(numbers(200)))
    assert server.n_calls < 120


def poison(fault: Say, every: int = 4) -> Script:
    """Every so manieth question meets the fault each time."""

    def script(call: Call) -> Say:
        return fault if int(call.text.removeprefix("number ")) % every == 0 else echo(call)

    return script


@pytest.mark.parametrize(
    "fault",
    [
        error(500, "crash"), error(429), error(503), Say(cut=40), Say(body=b"<html></html>"),
        error(400), error(400, "too long", param="input_tokens"), error(403, "flagged input"),
        error(429, headers={"Retry-After": "86400"}), error(413),
    ],
    ids=["500", "429", "503", "reset", "HTML", "400", "400 of another field", "403",
         "429 until tomorrow", "413"],
)  # fmt: skip
@pytest.mark.parametrize("concurrency", ["1", "64"])
def test_questions_that_can_never_be_answered_fail_alone_and_the_rest_is_answered(
    fault: Say, concurrency: str, fake_time: FakeTime
) -> None:
    with serving(JudgeServer(poison(fault))) as server:
        judge = judge_at(server, fake_time, concurrency=concurrency, attempts="3")
        list(judge.ask([question("number 77")]))
        answers = list(judge.ask(numbers(40)))
    assert values(answers) == [None if n % 4 == 0 else float(n) for n in range(40)]
    assert all(a.status in ("failed", "refused") and a.reason for a in answers if not a.values)
    assert max(server.tries.values()) <= 40
    assert all(n == 1 for n in server.answered.values()) or fault.status == 200
    assert server.n_controls <= 12


def test_when_only_such_questions_are_left_they_fail_and_nothing_is_stopped(
    fake_time: FakeTime,
) -> None:
    with serving(JudgeServer(poison(error(500), every=1))) as server:
        judge = judge_at(server, fake_time, attempts="3")
        server.script = echo
        list(judge.ask([question("number 77")]))
        server.script = poison(error(500), every=1)
        answers = list(judge.ask(numbers(30)))
    assert {a.status for a in answers} == {"failed"}
    assert server.n_calls < 1 + 30 * 3 * 3
    assert 1 <= server.n_controls <= 4


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_puts_off_everything_from_some_moment_on_is_no_fault_of_the_questions(
    status: int, fake_time: FakeTime
) -> None:
    busy = error(status, "busy")

    def script(call: Call) -> Say:
        return echo(call) if call.number < 10 else busy

    with serving(JudgeServer(script, control=lambda _: busy)) as server:
        judge = judge_at(server, fake_time, attempts="3", patience_seconds="0")
        answers = judge.ask(numbers(30))
        answered: list[Answer] = []
        with pytest.raises(
            AlphaBenchError, match=r"rate-limits every question|answered nothing for"
        ):
            answered.extend(answers)
    assert "failed" not in {answer.status for answer in answered}


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_before_the_first_answer_is_the_hosts_only_if_it_refuses_the_control_too(
    status: int, fake_time: FakeTime
) -> None:
    refusal = error(status, "not this")
    with serving(JudgeServer(poison(refusal))) as server:
        answers = list(judge_at(server, fake_time, concurrency="1").ask(numbers(8)))
    assert values(answers) == [None, 1.0, 2.0, 3.0, None, 5.0, 6.0, 7.0]
    with (
        serving(JudgeServer(lambda _: refusal, control=lambda _: refusal)) as server,
        pytest.raises(AlphaBenchError, match="not this"),
    ):
        list(judge_at(server, fake_time).ask(numbers(8)))


@pytest.mark.parametrize("concurrency", ["1", "7", "64"])
def test_an_outage_costs_no_question_its_tries(concurrency: str, fake_time: FakeTime) -> None:
    def down(call: Call) -> Say:
        return error(502, "bad gateway") if fake_time.seconds < 100 else echo(call)

    with serving(JudgeServer(down, control=down)) as server:
        server.control = lambda call: down(call) if fake_time.seconds < 100 else Say()
        judge = judge_at(server, fake_time, attempts="2", concurrency=concurrency)
        answers = list(judge.ask(numbers(100)))
    assert values(answers) == [float(n) for n in range(100)]
    assert 100 <= fake_time.seconds < 120


def test_a_question_that_brings_its_host_down_fails_alone(fake_time: FakeTime) -> None:
    up_at = 0.0

    def script(call: Call) -> Say:
        nonlocal up_at
        if call.text == "number 3" and fake_time.seconds >= up_at:
            up_at = fake_time.seconds + 5
        return error(502, "bad gateway") if fake_time.seconds < up_at else echo(call)

    def control(_: Call) -> Say:
        return error(502, "bad gateway") if fake_time.seconds < up_at else Say()

    with serving(JudgeServer(script, control=control)) as server:
        judge = judge_at(server, fake_time, attempts="3", concurrency="1")
        list(judge.ask([question("number 77")]))
        answers = list(judge.ask(numbers(8)))
    assert values(answers) == [None if n == 3 else float(n) for n in range(8)]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Say(body=b"<html>Log in</html>", headers={"Content-Type": "text/html"}), "a web page"),
        (Say(body=b'data: {"choices": []}\n\n'), "a stream of events"),
        (Say(body=b'{"model": "m", "message": {"content": "Yes"}}'), "the JSON of another API"),
        (Say(status=204, body=b""), "nothing .HTTP 204"),
        (Say(body=b"[1]"), "no JSON object"),
    ],
)
def test_what_is_no_chat_endpoint_is_recognised_after_a_few_answers(
    answer: Say, why: str, fake_time: FakeTime
) -> None:
    with (
        serving(JudgeServer(lambda _: answer, control=lambda _: answer)) as server,
        pytest.raises(AlphaBenchError, match=f"no chat endpoint: it answers with .*{why}"),
    ):
        list(judge_at(server, fake_time).ask(numbers(1)))
    assert fake_time.seconds < 10


def test_a_host_that_is_down_is_told_within_seconds(
    fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    judge = open_openai("http://127.0.0.1:1/v1#m", options={}, device="cpu")
    judge.clock = fake_time.clock
    with pytest.raises(AlphaBenchError, match=r"answered nothing for 1[89]\d s \(no connection"):
        list(judge.ask(numbers(1)))
    first = "the judge at http://127.0.0.1:1/v1 does not answer (no conn"
    assert caplog.records[0].message.startswith(first)
    assert 3 <= len(caplog.records) <= 4


@pytest.mark.parametrize("ids", ["each its own", "one for all"])
def test_an_answer_that_another_question_got_already_is_not_taken(ids: str) -> None:
    """As from a proxy that keeps answers by something else than the question."""
    first: list[Say] = []

    def script(call: Call) -> Say:
        number = echo(call).text
        name = f"chatcmpl-{call.number}" if ids == "each its own" else "chatcmpl-0"
        said = Say(text=number, fields={"id": name})
        first.append(said)
        return first[0] if number == "5" and call.nth == 0 and ids != "one for all" else said

    with serving(JudgeServer(script)) as server:
        answers = list(judge_at(server, concurrency="1").ask(numbers(8)))
    assert values(answers) == [float(n) for n in range(8)]
    assert server.n_calls == (9 if ids == "each its own" else 8)


def test_what_was_answered_is_handed_on_though_it_could_not_be_stored() -> None:
    def full(_: Any) -> None:
        raise AlphaBenchError("no room", hint="free some")

    answers: list[Answer] = []
    with serving(JudgeServer(echo)) as server:
        stream = judge_at(server, concurrency="4").ask_and_store(numbers(60), full)
        with pytest.raises(AlphaBenchError, match="no room"):
            answers.extend(answer for answer in stream)
    scored = [a for a in answers if a.status == "scored"]
    assert len(scored) == server.n_calls == sum(server.answered.values())
    assert {a.status for a in answers} <= {"scored", "missing"}


def test_a_server_that_is_killed_and_comes_back_costs_no_answer() -> None:
    def start(port: int) -> tuple[subprocess.Popen[str], int]:
        words = ["--port", str(port), "--latency", "0.02"]
        server = subprocess.Popen(
            [sys.executable, str(SERVER), *words], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        return server, int(server.stdout.readline())

    first, port = start(0)
    judge = open_openai(
        f"http://127.0.0.1:{port}/v1#test-vlm", options={"concurrency": "4"}, device="cpu"
    )
    second: list[subprocess.Popen[str]] = []

    def replace_server() -> None:
        time.sleep(0.4)
        first.kill()
        first.wait()
        time.sleep(0.5)
        second.append(start(port)[0])

    helper = threading.Thread(target=replace_server)
    helper.start()
    yes = [
        yes_no_question(
            f"{n}?", [], image_id="0/0", question_id=str(n), answer_format=YesNoProbability()
        )
        for n in range(150)
    ]
    try:
        answers = list(judge.ask(yes))
    finally:
        helper.join()
        for server in (first, *second):
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
    assert {a.status for a in answers} == {"scored"}


def test_an_abandoned_stream_sends_no_more_and_keeps_what_was_under_way() -> None:
    kept: list[Any] = []
    with serving(JudgeServer(echo, latency=0.05)) as server:
        stream = judge_at(server, concurrency="4").ask_and_store(numbers(500), kept.extend)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        calls = server.n_calls
        time.sleep(0.2)
        assert server.n_calls == calls < 30
    assert len(kept) == sum(server.answered.values()) == calls


def test_the_key_travels_in_the_header_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ALPHABENCH_API_KEY", KEY)

    def repeats_it(call: Call) -> Say:
        match int(echo(call).text):
            case 0:
                return Say(text=f"7 {KEY}", fields={"system_fingerprint": KEY})
            case 1:
                return error(400, f"bad key {KEY}")
            case _:
                return error(401, f"Incorrect API key provided: {KEY}")

    with caplog.at_level(logging.DEBUG), serving(JudgeServer(repeats_it)) as server:
        judge = judge_at(server, concurrency="1")
        first, second = judge.ask(numbers(2))
        with pytest.raises(AlphaBenchError, match="does not accept the key") as refused:
            list(judge.ask(numbers(3)))
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(server.calls[0].body)
    for form in (repr(first), second.reason, str(refused.value), repr(refused.value.args),
                 repr(vars(judge)), repr(pickle.dumps(judge)), caplog.text):  # fmt: skip
        assert KEY not in form


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>&amp;", "a\r\n\r\nb\nc", "\x00\x07\x1b[2J\u202e\ud83d\ude00",
     "x" * 100_000, '"}],"model":"other"', "data:image/png;base64,AAAA"],
    ids=["HTML", "newlines", "control characters", "100 kB", "JSON", "data URI"],
)  # fmt: skip
def test_no_prompt_or_reply_does_harm(text: str) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16")

    def mirror(call: Call) -> Say:
        return Say(text=call.text)

    with serving(JudgeServer(mirror)) as server:
        asked = question(text, system=text, sampling=ReplySampling(max_tokens=9))
        (answer,) = judge_at(server).ask([asked])
    assert answer.reply is not None
    assert answer.reply.text == text
    assert answer.status == "unparsed"
