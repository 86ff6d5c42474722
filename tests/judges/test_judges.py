"""How a judge is named on the command line, and what is wrapped around it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges import open_judge, pick_judge_kind
from alphabench.questions import Capabilities
from tests.judges.conftest import question
from tests.support.judge_server import JudgeServer, Say, serving

FACTORY = """
from alphabench.judges.scripted import ScriptedJudge

def make(answer: str = "7"):
    return ScriptedJudge(answer, name=f"mine-{answer}")

def wrong():
    return object()

def broken():
    raise OSError("disk on fire")
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"factory_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("http://a:8000/v1#m", ("openai", "http://a:8000/v1#m")),
        ("https://a/v1,https://b/v1#m", ("openai", "https://a/v1,https://b/v1#m")),
        ("scripted:", ("scripted", "")),
        ("vllm:/models/x", ("vllm", "/models/x")),
        ("python:pkg.mod:make", ("python", "pkg.mod:make")),
    ],
)
def test_the_form_of_the_name_tells_the_kind(spec: str, kind: tuple[str, str]) -> None:
    assert pick_judge_kind(spec) == kind


def test_a_name_that_fits_no_form_gets_the_nearest_kind_or_all_forms() -> None:
    with pytest.raises(AlphaBenchError, match="did you mean 'scripted'"):
        open_judge("script:")
    with pytest.raises(AlphaBenchError, match="http://host:8000/v1#model"):
        open_judge("gpt-4o")


def test_options_go_to_whoever_reads_them(tmp_path: Path) -> None:
    judge = open_judge("scripted:?answer=no&handshake=off", options={"name": "x"})
    assert judge.identity == {"kind": "scripted", "model": "x=no", "self_test": "off"}
    for options in ({"anser": "no"}, {"handshake": "maybe"}, {"answer": "yes"}):
        with pytest.raises(AlphaBenchError):
            open_judge("scripted:?answer=no", options=options)


def test_a_remote_judge_is_tested_and_cached_and_a_scripted_one_is_not(tmp_path: Path) -> None:
    with serving(JudgeServer(lambda _: Say(text="7"))) as server:
        remote = open_judge(server.spec, cache_dir=tmp_path / "answers")
        assert remote.identity["self_test"] == "on"
        assert [a.cached for _ in range(2) for a in remote.ask([question()])] == [False, True]
        uncached = open_judge(server.spec + "?cache=false", cache_dir=tmp_path / "answers")
        assert [a.cached for a in uncached.ask([question()])] == [False]
        assert server.n_calls == 2
        with pytest.raises(AlphaBenchError, match="cannot be parsed"):
            remote.shake_hands(Capabilities(images_per_question=1, logprobs=False))
        assert server.n_calls > 2
    scripted = open_judge("scripted:?answer=7", cache_dir=tmp_path / "none")
    assert [a.cached for _ in range(2) for a in scripted.ask([question()])] == [False, False]
    assert not (tmp_path / "none").exists()


def test_a_judge_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    judge = open_judge("http://127.0.0.1:1/v1#m", cache_dir=tmp_path)
    assert pickle.loads(pickle.dumps(judge)).identity == judge.identity


def test_the_users_own_judge_is_made_by_its_factory(factory: str) -> None:
    judge = open_judge(f"python:{factory}:make?answer=9")
    (answer,) = judge.ask([question()])
    assert answer.values == (9.0,)
    assert judge.identity["model"] == "mine-9"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong", "no judge"),
        ("broken", "disk on fire"),
        ("absent", "no factory"),
        ("make?a=1", "a"),
    ],
)
def test_what_is_wrong_with_the_users_own_judge_is_said(factory: str, name: str, said: str) -> None:
    with pytest.raises(AlphaBenchError, match=said):
        open_judge(f"python:{factory}:{name}")
