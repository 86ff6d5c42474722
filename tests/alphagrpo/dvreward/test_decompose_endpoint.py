"""DecompositionOptions and judging over a real endpoint of the chat completions API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alphabench.judges import open_judge
from alphagrpo.dvreward.decompose import decompose_file
from alphagrpo.dvreward.prompt_texts import NumberedPrompt
from alphagrpo.dvreward.question_files import read_question_sets
from tests.alphagrpo.dvreward.test_decompose import QUALITY, SEMANTIC
from tests.support.judge_server import Call, JudgeServer, Say, error, serving
from tests.support.worlds import Draw

PROMPTS = [NumberedPrompt(text=f"a red kite, number {n}", index=n) for n in range(6)]


def writes(call: Call) -> Say:
    """A language model, told apart by what it is asked for."""
    if call.nth == 0 and "number 2" in call.text:
        return error(429, "slow down", headers={"Retry-After": "0.01"})
    if "to be reviewed" in call.text:
        place = next(i for i, q in enumerate(SEMANTIC) if q["question"] in call.text)
        return Say(text=json.dumps({"keep": True, "tag": SEMANTIC[place]["tag"], "why": "fine"}))
    return Say(
        text=json.dumps(QUALITY if 'Already asked: ["Is there a kite?' in call.text else SEMANTIC)
    )


def test_any_openai_compatible_model_can_decompose_and_nothing_paid_is_paid_twice(
    tmp_path: Path,
) -> None:
    out, cache = tmp_path / "questions.jsonl", tmp_path / "answers"
    with serving(JudgeServer(writes, model="writer")) as server:
        spec = f"{server.spec}?handshake=off"
        written = decompose_file(PROMPTS, out, open_judge(spec, cache_dir=cache))
        assert (written.n_written, written.not_done) == (6, ())
        assert all(isinstance(m["content"], str) or all(p["type"] == "text" for p in m["content"])
                   for call in server.calls for m in call.body["messages"])  # fmt: skip
        n_calls = server.n_calls
        first = out.read_bytes()
        out.unlink()
        decompose_file(PROMPTS, out, open_judge(spec, cache_dir=cache))
        assert server.n_calls == n_calls
    assert out.read_bytes() == first
    assert all(len(one.questions) == 5 for one in read_question_sets(out))
    assert "127.0.0.1" not in first.decode()


def test_each_question_is_one_request_in_the_order_system_image_question(draw: Draw) -> None:
    run = draw(n_prompts=3)
    with serving(JudgeServer(lambda _: Say(logprobs=[("Yes", -0.1), (" no", -2.5)]))) as server:
        judge = open_judge(f"{server.spec}?handshake=off")
        evaluator = run.benchmark.evaluator(judge=judge)
        verdicts = list(evaluator.evaluate(run.images))
    assert server.n_calls == len(run.truth)
    for call in server.calls:
        body: dict[str, Any] = call.body
        system, user = body["messages"]
        assert system["role"] == "system"
        assert [part["type"] for part in user["content"]] == ["image_url", "text"]
        assert (body["max_tokens"], body["top_logprobs"]) == (1, 20)
    assert len({round(verdict.value or 0.0, 9) for verdict in verdicts}) == 1
