"""A remote judge whose model ends, or whose replies come from another model; real servers."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge
from alphabench.judges.answer_cache import AnswerCache
from alphabench.judges.cached_judge import CachedJudge
from alphabench.judges.openai.judge import OpenAIJudge, open_openai
from alphabench.questions import Answer, Capabilities
from tests.judges.conftest import question
from tests.support.judge_server import Call, JudgeServer, Say, serving

NEEDS = Capabilities(images_per_question=1, logprobs=False)
TODAY = datetime.now(UTC).date()


def ending(in_days: int) -> JudgeServer:
    day = (TODAY + timedelta(days=in_days)).isoformat()
    return JudgeServer(lambda _: Say(), models=[{"id": "test-vlm", "shutdown_date": day}])


def opened(server: JudgeServer, **options: str) -> OpenAIJudge:
    return open_openai(server.spec, options=options, device="cpu")


def test_a_judge_that_its_host_has_ended_is_refused_before_any_question() -> None:
    with serving(ending(0)) as server, pytest.raises(AlphaBenchError, match="switched off"):
        open_judge(f"{server.spec}?handshake=protocol").shake_hands(NEEDS)
    assert server.n_calls == server.n_controls == 0


def test_a_judge_that_ends_soon_is_asked_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving(ending(46)) as server, caplog.at_level(logging.WARNING):
        judge = open_judge(f"{server.spec}?handshake=protocol")
        for n_images in (1, 2, 3, 3):  # equal needs are tested once
            judge.shake_hands(Capabilities(images_per_question=n_images, logprobs=False))
    assert server.n_calls == 3
    (note,) = [record.message for record in caplog.records if "ends at" in record.message]
    assert "in 46 days" in note


@pytest.mark.parametrize(
    "models", [None, [{"id": "test-vlm"}], [{"id": "test-vlm", "shutdown_date": None}]]
)
def test_a_judge_without_an_announced_end_is_asked_in_silence(
    models: list[dict[str, str | None]] | None, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(JudgeServer(lambda _: Say(), models=models)) as server:
        open_judge(f"{server.spec}?handshake=protocol").shake_hands(NEEDS)
    assert server.n_calls == 1
    assert caplog.records == []


def test_with_consent_it_is_asked_after_its_end_and_the_identity_says_so() -> None:
    with serving(ending(-9)) as server:
        judge = open_judge(f"{server.spec}?handshake=protocol&after_shutdown=allow")
        judge.shake_hands(NEEDS)
    assert server.n_calls == 1
    assert judge.identity["after_shutdown"] == "allow"
    assert "after_shutdown" not in opened(server).identity


def test_a_judge_that_ends_while_it_is_used_is_asked_nothing_more() -> None:
    with serving(ending(1)) as server:
        judge = opened(server)
        judge.check_retirement()
        assert [a.status for a in judge.ask([question("1")])] == ["unparsed"]
        tomorrow = datetime.now(UTC).timestamp() + 86400
        judge.clock = type(judge.clock)(wall=lambda: tomorrow)
        with pytest.raises(AlphaBenchError, match="switched off"):
            list(judge.ask([question("2")]))
    assert server.n_calls == 1


def test_without_handshake_the_host_is_not_asked_for_the_end() -> None:
    with serving(ending(0)) as server:
        open_judge(f"{server.spec}?handshake=off").shake_hands(NEEDS)
    assert server.listings == []


def test_opening_an_ended_judge_is_possible_as_old_runs_need_it_and_asking_is_not() -> None:
    judge = open_openai("https://api.openai.com/v1#gpt-4o-2024-05-13", options={}, device="cpu")
    assert judge.identity["model"] == "gpt-4o-2024-05-13"
    with pytest.raises(AlphaBenchError, match="2026-10-23"):
        list(judge.ask([question("1")]))


def until_another_answers(n: int, **fields: str) -> JudgeServer:
    """The requested model answers `n` calls, then another one, without any error."""

    def script(call: Call) -> Say:
        return Say(text="7", fields=fields if call.number >= n else {})

    return JudgeServer(script, model="gemini-2.5-pro")


def asked(judge: OpenAIJudge | CachedJudge, count: int) -> tuple[list[Answer], str]:
    """The answers, and why the judge was stopped."""
    answers: list[Answer] = []
    try:
        answers.extend(judge.ask(question(str(n), image=f"{n}/0") for n in range(count)))
    except AlphaBenchError as error:
        return answers, error.message
    return answers, ""


@pytest.mark.parametrize("fields", [{"model": "gemini-3.8-flash"},
                                    {"modelVersion": "gemini-3.8-flash"}])  # fmt: skip
def test_another_model_in_the_middle_of_a_run_stops_it_and_no_reply_of_it_counts(
    fields: dict[str, str], tmp_path: Path
) -> None:
    with serving(until_another_answers(20, **fields)) as server:
        cache = AnswerCache(tmp_path)
        judge = CachedJudge(judge=opened(server, concurrency="1"), cache=cache)
        answers, why = asked(judge, 40)
        assert why == ("the judge 'gemini-2.5-pro' was requested, but 'gemini-3.8-flash' answered")
        assert [a.status for a in answers if a.status != "missing"] == ["scored"] * 20
        assert cache.stats().by_model == {"gemini-2.5-pro": 20}
    with serving(JudgeServer(lambda _: Say(text="7"), model="gemini-2.5-pro")) as server:
        again = CachedJudge(judge=opened(server), cache=AnswerCache(tmp_path))
        answers, why = asked(again, 40)
    assert (len(answers), why, server.n_calls) == (40, "", 20)


def test_a_filtered_question_does_not_make_the_next_snapshot_look_like_another_model() -> None:
    def script(call: Call) -> Say:
        if call.number == 0:
            body = b'{"error": {"message": "no", "code": "content_filter"}}'
            return Say(status=400, body=body)
        return Say(text="7", fields={"model": "test-vlm-2026-01-31"})

    with serving(JudgeServer(script)) as server:
        answers, why = asked(opened(server, concurrency="1"), 3)
    assert why == ""
    assert [a.status for a in answers] == ["refused", "scored", "scored"]
