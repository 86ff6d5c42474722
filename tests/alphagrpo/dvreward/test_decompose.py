"""Writing the questions of prompts with a language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.judges.scripted import Mishap, ScriptedJudge, ScriptedReply
from alphabench.questions import Question
from alphagrpo.dvreward.decompose import (
    DecompositionOptions,
    FailedDecomposition,
    decompose_file,
    decompose_prompts,
)
from alphagrpo.dvreward.prompt_texts import NumberedPrompt, read_prompts
from alphagrpo.dvreward.question_files import QuestionSet, read_question_sets

SEMANTIC = [
    {"question": "Is there a kite?", "tag": "Existence"},
    {"question": "Is the kite red?", "tag": "Attribute"},
    {"question": "Does the kite fly?", "tag": "Action"},
]
QUALITY = [
    {"question": "Is the kite evenly shaped?", "tag": "Geometry"},
    {"question": "Is the light even?", "tag": "Lighting"},
]
KEEP = {"keep": True, "tag": "Existence", "why": "it follows"}
PROMPTS = [NumberedPrompt(text=f"a red kite, number {n}", index=n) for n in range(5)]


@dataclass
class Writer:
    """A language model: answers by the name of the call; remembers what it was told."""

    answers: dict[str, Any] = field(default_factory=dict)
    """Call (`list-semantic`, `review-1` ...) -> what is said: JSON values, or anything scripted."""
    on: Callable[[Question], Any] | None = None
    """Looked at first."""
    calls: list[Question] = field(default_factory=list)

    def __call__(self, question: Question) -> ScriptedReply:
        self.calls.append(question)
        said = self.on(question) if self.on else None
        if said is None:
            said = self.answers.get(question.id, self._usual(question.id))
        return said if isinstance(said, str | Mishap) else json.dumps(said)

    def _usual(self, name: str) -> Any:
        if name.startswith("review"):
            place = int(name.rpartition("-")[2])
            return {**KEEP, "tag": SEMANTIC[place]["tag"]}
        return SEMANTIC if name == "list-semantic" else QUALITY

    @property
    def names(self) -> list[str]:
        return [question.id for question in self.calls]

    @property
    def judge(self) -> ScriptedJudge:
        return ScriptedJudge(self, name="writer")


def only(outcomes: list[QuestionSet | FailedDecomposition]) -> QuestionSet:
    (one,) = outcomes
    assert isinstance(one, QuestionSet), one
    return one


def test_a_prompt_becomes_reviewed_semantic_and_then_quality_questions() -> None:
    writer = Writer()
    found = only(decompose_prompts(PROMPTS[:1], writer.judge))
    assert [(q.text, q.tag) for q in found.semantic] == [
        (q["question"], q["tag"]) for q in SEMANTIC
    ]
    assert [q.tag for q in found.quality] == ["Geometry", "Lighting"]
    assert found.prompt == PROMPTS[0].text
    assert found.original_index == 0
    assert found.made_by["llm.model"] == "writer"
    assert len(found.made_by["wording"]) == 64
    assert writer.names == ["list-semantic", "review-0", "review-1", "review-2", "list-quality"]


def test_the_model_sees_no_image_and_the_prompt_as_it_is() -> None:
    writer = Writer()
    nasty = 'a "kite" {prompt} </s>\n[["question"]]'
    decompose_prompts([NumberedPrompt(text=nasty, index=0)], writer.judge)
    for question in writer.calls:
        (text,) = question.parts
        assert isinstance(text, str)
        assert json.dumps(nasty) in text


def test_the_reviewer_chooses_the_tag() -> None:
    writer = Writer({"review-1": {**KEEP, "tag": "style"}})
    assert only(decompose_prompts(PROMPTS[:1], writer.judge)).semantic[1].tag == "Style"


def test_a_question_that_fails_the_review_is_improved_alone_and_keeps_its_place() -> None:
    def on(question: Question) -> Any:
        text = str(question.parts[0])
        if question.id == "review-1":
            bad = "Is the kite red?" in text
            return {"keep": not bad, "tag": "Attribute", "why": "say which kite"}
        if question.id == "mend-1":
            assert "say which kite" in text
            return {"question": "Is the flying kite red?", "tag": "Attribute"}
        return None

    writer = Writer(on=on)
    found = only(decompose_prompts(PROMPTS[:1], writer.judge))
    assert [q.text for q in found.semantic] == [
        "Is there a kite?", "Is the flying kite red?", "Does the kite fly?"
    ]  # fmt: skip
    assert writer.names.count("list-semantic") == 1
    assert writer.names.count("review-0") == 1
    assert writer.names.count("mend-1") == 1


def test_a_question_that_cannot_be_improved_is_dropped_with_the_reason_and_the_rest_stays() -> None:
    answers = {
        "review-1": {"keep": False, "tag": "Attribute", "why": "the text names no colour"},
        "mend-1": {"question": "Is the kite crimson?", "tag": "Attribute"},
    }
    writer = Writer(answers)
    found = only(decompose_prompts(PROMPTS[:1], writer.judge, DecompositionOptions(attempts=2)))
    assert [q.text for q in found.semantic] == ["Is there a kite?", "Does the kite fly?"]
    (dropped,) = found.dropped
    assert "names no colour" in dropped.reason
    assert writer.names.count("mend-1") == 2


def test_a_question_is_given_up_when_the_model_says_so() -> None:
    answers = {"review-2": {"keep": False, "why": "no"}, "mend-2": {"question": None}}
    found = only(decompose_prompts(PROMPTS[:1], Writer(answers).judge))
    assert len(found.semantic) == 2
    assert "given up" in found.dropped[0].reason


def test_questions_without_form_are_improved_before_anybody_reviews_them() -> None:
    listed = [{"question": "Which colour is the kite?", "tag": "Attribute"}]
    answers = {
        "list-semantic": listed,
        "mend-0": {"question": "Is the kite red?", "tag": "Attribute"},
    }
    writer = Writer(answers)
    assert only(decompose_prompts(PROMPTS[:1], writer.judge)).semantic[0].text == "Is the kite red?"
    assert writer.names == ["list-semantic", "mend-0", "review-0", "list-quality"]


def test_a_question_asked_twice_is_kept_once() -> None:
    writer = Writer(
        {"list-semantic": [*SEMANTIC, {"question": "is there  a KITE?", "tag": "Count"}]}
    )
    found = only(decompose_prompts(PROMPTS[:1], writer.judge))
    assert len(found.semantic) == 3
    assert found.dropped[0].reason == "another question asks the same"


@pytest.mark.parametrize(
    "reply",
    [
        "```json\n{}\n```",
        "Here you are: {}",
        "<think>[perhaps]</think>{}",
        "{}\nAnything else?",
    ],
)
def test_what_models_write_around_their_json_does_no_harm(reply: str) -> None:
    text = reply.replace("{}", json.dumps(SEMANTIC))
    found = only(decompose_prompts(PROMPTS[:1], Writer({"list-semantic": text}).judge))
    assert len(found.semantic) == 3


def test_an_unreadable_list_is_asked_for_again_alone_and_warmer() -> None:
    tries: list[Question] = []

    def on(question: Question) -> Any:
        if question.id == "list-semantic" and "number 1" in str(question.parts[0]):
            tries.append(question)
            return "I made a list." if len(tries) == 1 else None
        return None

    writer = Writer(on=on)
    outcomes = decompose_prompts(PROMPTS[:3], writer.judge)
    assert all(isinstance(one, QuestionSet) for one in outcomes)
    assert writer.names.count("list-semantic") == 4
    assert [question.repeat for question in tries] == [0, 1]
    assert tries[0].content_digest != tries[1].content_digest
    assert (tries[1].sampling.temperature or 0.0) > 0.0


@pytest.mark.parametrize("call", ["list-semantic", "review-1", "list-quality"])
@pytest.mark.parametrize(
    ("mishap", "status"),
    [("server_error", "failed"), ("refusal", "refused"), ("garbage", "unparsed")],
)
def test_a_call_that_fails_leaves_that_prompt_without_questions_and_the_others_alone(
    call: str, mishap: Any, status: str
) -> None:
    def on(question: Question) -> Any:
        hit = question.id == call and "number 1" in str(question.parts[0])
        return Mishap(kind=mishap) if hit else None

    first, second, third = decompose_prompts(PROMPTS[:3], Writer(on=on).judge)
    assert isinstance(first, QuestionSet)
    assert isinstance(third, QuestionSet)
    assert isinstance(second, FailedDecomposition)
    assert second.status == status
    assert second.reason


def test_a_prompt_of_which_no_question_passes_is_not_done() -> None:
    rejected = {"keep": False, "why": "no"}
    answers = {f"review-{n}": rejected for n in range(3)} | {
        f"mend-{n}": {"question": None} for n in range(3)
    }
    (outcome,) = decompose_prompts(PROMPTS[:1], Writer(answers).judge)
    assert isinstance(outcome, FailedDecomposition)


def test_a_second_run_asks_for_what_failed_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "questions.jsonl"

    def on(question: Question) -> Any:
        bad = "number 3" in str(question.parts[0])
        return Mishap(kind="server_error") if bad else None

    written = decompose_file(PROMPTS, out, Writer(on=on).judge, DecompositionOptions(together=2))
    assert (written.n_written, written.n_before) == (4, 0)
    assert [one.prompt.index for one in written.not_done] == [3]
    before = out.read_bytes()

    healthy = Writer()
    again = decompose_file(PROMPTS, out, healthy.judge, DecompositionOptions(together=2))
    assert (again.n_written, again.n_before, again.not_done) == (1, 4, ())
    assert all("number 3" in str(question.parts[0]) for question in healthy.calls)
    assert out.read_bytes().startswith(before)
    assert sorted(one.original_index or 0 for one in read_question_sets(out)) == [0, 1, 2, 3, 4]


def test_what_was_written_before_a_crash_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "questions.jsonl"

    def on(question: Question) -> Any:
        if "number 4" in str(question.parts[0]):
            raise KeyboardInterrupt
        return None

    with pytest.raises(KeyboardInterrupt):
        decompose_file(PROMPTS, out, Writer(on=on).judge, DecompositionOptions(together=2))
    assert [one.original_index for one in read_question_sets(out)] == [0, 1, 2, 3]


def test_questions_of_two_models_never_share_a_file(tmp_path: Path) -> None:
    out = tmp_path / "questions.jsonl"
    decompose_file(PROMPTS[:1], out, Writer().judge)
    with pytest.raises(AlphaBenchError, match=r"another model or template.*llm\.model"):
        decompose_file(PROMPTS, out, ScriptedJudge(Writer(), name="another"))


def test_the_size_of_the_portions_changes_no_question(tmp_path: Path) -> None:
    files = [tmp_path / f"{size}.jsonl" for size in (1, 3, 16)]
    for size, out in zip((1, 3, 16), files, strict=True):
        decompose_file(PROMPTS, out, Writer().judge, DecompositionOptions(together=size))
    assert len({out.read_bytes() for out in files}) == 1


def test_prompts_are_read_from_text_and_from_json_lines(tmp_path: Path) -> None:
    text = tmp_path / "prompts.txt"
    text.write_text("a kite\n\n  a boat \n")
    assert [(p.text, p.index) for p in read_prompts(text)] == [("a kite", 0), ("a boat", 1)]
    lines = tmp_path / "prompts.jsonl"
    lines.write_text('{"prompt": "a kite", "original_index": 7}\n{"prompt": "a boat"}\n')
    assert [(p.text, p.index) for p in read_prompts(lines)] == [("a kite", 7), ("a boat", 1)]


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"prompt": " "}'])
def test_a_file_without_prompts_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)
    with pytest.raises(AlphaBenchError):
        read_prompts(path)
