"""How a remote judge is named, what it is, and where its key may go."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge
from alphabench.judges.openai.chat_api import request_body
from alphabench.judges.openai.judge import OpenAIJudge, open_openai, parse_replicas
from alphabench.judges.yesno import YesNo, YesNoProbability, YesNoText
from alphabench.questions import Answer, Question, Reply, ReplySampling
from tests.judges.conftest import question
from tests.support.judge_server import Call, JudgeServer, Say, error, serving

SPEC = "http://127.0.0.1:8000/v1#qwen3-vl"
KEY = "sk-test-0123456789"


def opened(spec: str = SPEC, **options: str) -> OpenAIJudge:
    return open_openai(spec, options=options, device="cpu")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ALPHABENCH_API_KEY", KEY)
    return KEY


def test_several_addresses_are_replicas_of_one_model() -> None:
    replicas = parse_replicas("http://a:8000/v1,http://b:8000/v1/chat/completions#org/model")
    assert [one.base for one in replicas] == ["http://a:8000/v1", "http://b:8000/v1"]
    assert {one.model for one in replicas} == {"org/model"}


@pytest.mark.parametrize(
    "spec",
    ["http://a/v1", "http://#m", "http://a/v1#x,http://b/v1#y", "http://me:secret@a/v1#m",
     "http://a:port/v1#m"],
)  # fmt: skip
def test_addresses_that_do_not_fit_are_refused_without_repeating_a_password(spec: str) -> None:
    with pytest.raises(AlphaBenchError) as refused:
        opened(spec)
    assert "secret" not in str(refused.value)


def test_where_ones_own_server_listens_is_no_part_of_the_identity() -> None:
    here, there = opened(), opened("http://localhost:9000/v1,http://127.0.0.1:9001/v1#qwen3-vl")
    assert here.identity == there.identity
    assert here.identity == {"kind": "openai", "provider": "local", "model": "qwen3-vl"}
    assert opened(provider="team").identity["provider"] == "team"
    assert opened("https://api.example.org/v1#m").identity["provider"] == "api.example.org"


def test_whatever_changes_an_answer_changes_the_identity() -> None:
    plain = opened().identity
    for options in (
        {"revision": "abc"},
        {"image_detail": "low"},
        {"served_as": "other"},
        {"body.chat_template_kwargs": '{"enable_thinking": false}'},
        {"temperature": "omit"},
        {"top_p": "omit"},
        {"seed": "omit"},
        {"top_logprobs": "5"},
        {"thinking": "false"},
        {"thoughts": "keep"},
        {"extra_tokens": "4096"},
        {"token_field": "max_completion_tokens"},
    ):
        assert opened(**options).identity != plain
    assert opened(concurrency="3", timeout_seconds="9").identity == plain


@pytest.mark.parametrize(
    "options",
    [{"concurency": "3"}, {"concurrency": "0"}, {"budget_usd": "5"}, {"body.model": "x"},
     {"timeout_seconds": "never"}, {"price_in": "-1"}, {"temperature": "0.5"},
     {"top_logprobs": "0"}, {"top_logprobs": "21"}, {"extra_tokens": "-1"}, {"thoughts": "drop"},
     {"body.temperature": "1"}, {"body.omit": "[]"}],
    ids=str,
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(AlphaBenchError):
        opened(**options)


def test_a_key_is_not_sent_where_others_can_read_it(key: str) -> None:
    with pytest.raises(AlphaBenchError, match="unencrypted") as refused:
        opened("http://judge.example.org/v1#m")
    assert key not in str(refused.value)
    opened("http://judge.example.org/v1#m", key_without_tls="true")
    opened("https://judge.example.org/v1#m")


def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALPHABENCH_API_KEY", "sk-\nsecret")
    with pytest.raises(AlphaBenchError, match="characters") as refused:
        opened("https://judge.example.org/v1#m")
    assert "secret" not in str(refused.value)


def test_the_key_is_in_no_identity_repr_or_pickle(key: str) -> None:
    judge = opened("https://judge.example.org/v1#m")
    copy = pickle.loads(pickle.dumps(judge))
    assert copy.identity == judge.identity
    for form in (repr(judge), repr(vars(judge)), str(judge.identity), repr(pickle.dumps(judge))):
        assert key not in form


def test_openai_itself_is_told_the_bound_by_its_newer_name() -> None:
    assert opened("https://api.openai.com/v1#gpt-9").fixed_fields["token_field"] == (
        "max_completion_tokens"
    )
    assert opened().fixed_fields["token_field"] == "max_tokens"
    assert opened(token_field="max_completion_tokens").fixed_fields["token_field"] == (
        "max_completion_tokens"
    )


def test_what_is_sent_can_be_chosen() -> None:
    judge = opened(
        temperature="omit", top_logprobs="5", extra_tokens="100", thinking="false",
        **{"body.chat_template_kwargs": '{"a": 1, "enable_thinking": true}'},
    )  # fmt: skip
    asked = question(sampling=ReplySampling(max_tokens=1, temperature=0.0, seed=3, top_logprobs=20))
    body = request_body(asked, [], model="m", fixed=judge.fixed_fields)
    assert "temperature" not in body
    assert (body["seed"], body["top_logprobs"], body["max_tokens"]) == (3, 5, 101)
    assert body["chat_template_kwargs"] == {"a": 1, "enable_thinking": False}
    own = {"chat_template_kwargs": {"enable_thinking": True}}
    asked = question(sampling=ReplySampling(max_tokens=1, extra=own))
    body = request_body(asked, [], model="m", fixed=judge.fixed_fields)
    assert body["chat_template_kwargs"] == {"a": 1, "enable_thinking": True}


def picky(call: Call) -> Say:
    """A reasoning model that accepts its own temperature only, and few alternatives."""
    if "temperature" in call.body or "max_tokens" in call.body:
        field = "temperature" if "temperature" in call.body else "max_tokens"
        return error(400, f"Unsupported: {field}", param=field)
    if call.body.get("top_logprobs", 0) > 5:
        return error(400, "top_logprobs must be between 0 and 5")
    if call.body["max_completion_tokens"] < 100:
        return Say(text="<think>No, look", finish_reason="length")
    return Say(text="<think>No, look closer.</think>\n\nYes.")


def test_the_hints_lead_to_a_judge_that_can_be_read() -> None:
    def answers(answer_format: YesNo, options: str) -> list[Answer]:
        asked = question(answer_format=answer_format, sampling=answer_format.sampling)
        return list(open_judge(f"{server.spec}?{options}").ask([asked]))

    with serving(JudgeServer(picky)) as server:
        for options, hint in (
            ("handshake=off", "temperature=omit"),
            ("temperature=omit", "token_field=max_completion_tokens"),
        ):
            with pytest.raises(AlphaBenchError) as refused:
                answers(YesNoText(), options)
            assert hint in refused.value.hint
        accepted = "temperature=omit&token_field=max_completion_tokens"
        with pytest.raises(AlphaBenchError) as refused:
            answers(YesNoProbability(), accepted)
        assert "top_logprobs=5" in refused.value.hint
        (cut,) = answers(YesNoText(), accepted)
        assert (cut.status, "thought" in cut.reason) == ("unparsed", True)
        (answer,) = answers(YesNoText(), f"{accepted}&extra_tokens=100")
        assert answer.values == (1.0,)
        kept = f"{accepted}&extra_tokens=100&thoughts=keep"
        assert answers(YesNoText(), kept)[0].status == "unparsed"


@pytest.mark.parametrize(
    ("location", "options", "use"),
    [
        ("https://r.openai.azure.com/openai/deployments/gpt4o/chat/completions",
         {"api-version": "2024-06-01#gpt-4o"}, "https://r.openai.azure.com/openai/v1#gpt4o"),
        ("https://r.openai.azure.com/openai/deployments/eyes#gpt-4o", {},
         "https://r.openai.azure.com/openai/v1#eyes"),
        ("https://gate.example/v1#m", {"api-version": "preview"}, "/openai/v1#DEPLOYMENT"),
    ],
)  # fmt: skip
def test_azures_older_addresses_are_refused_with_the_newer_one(
    location: str, options: dict[str, str], use: str
) -> None:
    with pytest.raises(AlphaBenchError, match="Azure's older form") as refused:
        open_openai(location, options=options, device="cpu")
    assert use in refused.value.hint


def test_no_more_answers_are_unsaved_than_questions_may_be_under_way() -> None:
    saved: list[str] = []
    behind: list[int] = []

    def answered(call: Call) -> Say:
        behind.append(call.number - len(saved))
        return Say()

    def slow_disk(replies: Sequence[tuple[Question, Reply]]) -> None:
        time.sleep(0.02)
        saved.extend(one.id for one, _ in replies)

    with serving(JudgeServer(answered)) as server:
        judge = opened(server.spec, concurrency="2")
        questions = [question(f"number {n}") for n in range(20)]
        answers = list(judge.ask_and_store(questions, slow_disk))
    assert len(answers) == len(saved) == 20
    assert max(behind) <= 1, "a kill would lose more"
