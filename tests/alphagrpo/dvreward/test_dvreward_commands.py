"""`alphabench dvreward ...`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from alphagrpo.dvreward.dvreward_commands import app
from alphagrpo.dvreward.question_files import read_question_sets

QUESTIONS = [
    {"question": "Is there a kite?", "tag": "Existence"},
    {"question": "Is the kite red?", "tag": "Attribute"},
]
WRITER = {
    "*": {
        "list-semantic": json.dumps(QUESTIONS),
        "review-0": '{"keep": true, "tag": "Existence"}',
        "review-1": '{"keep": true, "tag": "Attribute"}',
        "list-quality": '[{"question": "Is the kite whole?", "tag": "Geometry"}]',
        "s0": "1.0",
        "s1": "0.5",
        "q0": "0.75",
    }
}


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model that writes questions and answers them."""
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(WRITER))
    return f"scripted:{path}"


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--no-cache"], catch_exceptions=False)


def test_questions_are_written_once_and_then_put_about_a_image(tmp_path: Path, model: str) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "questions.jsonl"
    prompts.write_text("a red kite\n")
    said = invoke("decompose", prompts, "--llm", model, "--out", out)
    assert said.exit_code == 0, said.output
    assert said.output == f"1 prompts written to {out}, 0 were there\n"
    assert len(read_question_sets(out)[0].questions) == 3
    again = invoke("decompose", prompts, "--llm", model, "--out", out)
    assert again.output == f"0 prompts written to {out}, 1 were there\n"

    picture = tmp_path / "kite.png"
    Image.new("RGB", (8, 8)).save(picture)
    scored = invoke("score", picture, "--questions", out, "--judge", model)
    assert scored.exit_code == 0, scored.output
    assert "0.750 (semantic 0.750, quality 0.750)" in scored.output
    raw = invoke("score", picture, "--questions", out, "--judge", model, "--json")
    assert json.loads(raw.output)["value"] == pytest.approx(0.75)


def test_what_could_not_be_done_is_named_and_the_exit_code_says_so(tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "questions.jsonl"
    prompts.write_text("a red kite\na boat\n")
    said = invoke("decompose", prompts, "--llm", "scripted:?answer=hm", "--out", out)
    assert said.exit_code == 1
    assert "not done: prompt 1: unparsed: list of semantic questions" in said.output


def test_a_image_without_a_reward_is_exit_code_one(tmp_path: Path, model: str) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "questions.jsonl"
    prompts.write_text("a red kite\n")
    invoke("decompose", prompts, "--llm", model, "--out", out)
    picture = tmp_path / "kite.png"
    Image.new("RGB", (8, 8)).save(picture)
    said = invoke("score", picture, "--questions", out, "--judge", "scripted:?answer=maybe")
    assert said.exit_code == 1
    assert "no reward, unparsed" in said.output
