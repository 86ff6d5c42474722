"""The questions of a prompt and the file that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphabench.core.errors import AlphaBenchError
from alphagrpo.dvreward.question_files import (
    OURS,
    TAGS,
    Aspect,
    DroppedQuestion,
    DVQuestion,
    QuestionSet,
    appending_question_sets,
    fault_of,
    from_row,
    question_key,
    read_question_sets,
    to_row,
)

RELEASED: dict[str, Any] = {
    "prompt": "a red kite over a field",
    "original_index": 12,
    "semantic_questions": [
        {"question_type": "semantic", "question": "Is there a kite?", "is_valid": True,
         "tag": "Existence"},
        {"question_type": "semantic", "question": "Is the kite red?", "is_valid": False,
         "tag": "Attribute"},
    ],
    "quality_questions": [
        {"question_type": "quality", "question": "Is the kite evenly shaped?", "is_valid": True,
         "tag": "Geometry"},
    ],
}  # fmt: skip


def question(text: str = "Is there a kite?", tag: str | None = "Existence") -> DVQuestion:
    return DVQuestion(aspect="semantic", text=text, tag=tag)


TEXTS = st.text(min_size=1, max_size=30).filter(str.strip)


def sets() -> st.SearchStrategy[QuestionSet]:
    def asked(aspect: Aspect) -> st.SearchStrategy[tuple[DVQuestion, ...]]:
        tag = st.one_of(st.none(), st.sampled_from(TAGS[aspect]))
        one = st.builds(
            DVQuestion,
            aspect=st.just(aspect),
            text=TEXTS,
            tag=tag,
            valid=st.booleans(),
            check=st.one_of(st.none(), st.just({"include": [], "exclude": []})),
        )
        return st.lists(one, max_size=4).map(tuple)

    return st.builds(
        QuestionSet,
        prompt=TEXTS,
        semantic=asked("semantic"),
        quality=asked("quality"),
        original_index=st.one_of(st.none(), st.integers(0, 10**6)),
        made_by=st.dictionaries(TEXTS, TEXTS, max_size=2),
        dropped=st.lists(
            st.builds(DroppedQuestion, aspect=st.just("semantic"), text=TEXTS, reason=TEXTS),
            max_size=2,
        ).map(tuple),
        extra=st.just({"group": "colours"}),
    )


@given(sets())
def test_reading_inverts_writing(questions: QuestionSet) -> None:
    line = json.dumps(to_row(questions), ensure_ascii=False)
    assert from_row(json.loads(line), where="here") == questions


def test_a_released_line_is_read_and_written_back_unchanged() -> None:
    read = from_row(RELEASED, where="here")
    assert [one.valid for one in read.semantic] == [True, False]
    assert read.quality[0].tag == "Geometry"
    assert {key: value for key, value in to_row(read).items() if key != OURS} == RELEASED


def test_bare_texts_and_further_keys_are_taken() -> None:
    row = {"prompt": "p", "semantic_questions": ["Is it so?"], "source": "elsewhere"}
    read = from_row(row, where="here")
    assert read.semantic == (DVQuestion(aspect="semantic", text="Is it so?"),)
    assert read.extra == {"source": "elsewhere"}
    assert to_row(read)["source"] == "elsewhere"


@pytest.mark.parametrize(
    "broken",
    [
        {"prompt": ""},
        {"prompt": 3},
        {"prompt": "p", "original_index": "1"},
        {"prompt": "p", "semantic_questions": "Is it?"},
        {"prompt": "p", "semantic_questions": [3]},
        {"prompt": "p", "quality_questions": [{"question": " "}]},
        {"prompt": "p", "quality_questions": [{"question": "Is it?", "tag": 1}]},
        {"prompt": "p", "quality_questions": [{"question": "Is it?", "is_valid": "no"}]},
        {"prompt": "p", "quality_questions": [{"question": "Is it?", "check": []}]},
        {"prompt": "p", OURS: []},
        {"prompt": "p", OURS: {"schema": 99}},
        {"prompt": "p", OURS: {"made_by": "me"}},
        {"prompt": "p", OURS: {"dropped": [{"question": "Is it?"}]}},
    ],
)
def test_a_line_of_another_form_is_refused_with_its_place(broken: dict[str, Any]) -> None:
    with pytest.raises(AlphaBenchError, match="line 7"):
        from_row(broken, where="line 7")


def test_a_question_changed_behind_the_hash_is_noticed() -> None:
    row = to_row(from_row(RELEASED, where="here"))
    row["semantic_questions"][0]["question"] = "Is there a bird?"
    with pytest.raises(AlphaBenchError, match="changed"):
        from_row(row, where="here")
    del row[OURS]
    assert from_row(row, where="here").semantic[0].text == "Is there a bird?"


def test_the_hash_follows_all_that_decides_what_is_asked() -> None:
    base = from_row(RELEASED, where="here")
    other = from_row({**RELEASED, "original_index": 99}, where="here")
    assert base.digest == other.digest
    for changed in (
        {**RELEASED, "prompt": "a red kite"},
        {**RELEASED, "quality_questions": []},
        {**RELEASED, "semantic_questions": RELEASED["semantic_questions"][::-1]},
    ):
        assert from_row(changed, where="here").digest != base.digest


def test_a_line_torn_by_a_crash_is_cut_and_the_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    one = from_row(RELEASED, where="here")
    with appending_question_sets(path) as append:
        append([one, one])
    whole = path.read_bytes()
    for cut in range(0, len(whole), 9):
        path.write_bytes(whole[:cut])
        n_whole = whole[:cut].count(b"\n")
        assert n_whole <= len(read_question_sets(path)) <= n_whole + 1
        with appending_question_sets(path) as append:
            append([one])
        assert len(read_question_sets(path)) == n_whole + 1


def test_half_a_surrogate_pair_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    odd = QuestionSet(prompt="a \ud800 é", semantic=(question("Is \ud83d?"),), quality=())
    with appending_question_sets(path) as append:
        append([odd])
    assert read_question_sets(path) == [odd]


def test_a_byte_order_mark_is_passed_over_and_deep_nesting_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    with appending_question_sets(path) as append:
        append([QuestionSet(prompt="a", semantic=(), quality=())])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [one.prompt for one in read_question_sets(path)] == ["a"]
    path.write_bytes(b"[" * 99_999 + b"\n" + path.read_bytes())
    with pytest.raises(AlphaBenchError, match="line 1 of"):
        read_question_sets(path)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    with (
        appending_question_sets(path),
        pytest.raises(AlphaBenchError, match="another process"),
        appending_question_sets(path),
    ):
        pass


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"prompt": "a"}\n{"prom\n{"prompt": "b"}\n')
    with pytest.raises(AlphaBenchError, match=r"line 2 of 'questions\.jsonl'"):
        read_question_sets(path)
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        read_question_sets(tmp_path / "absent.jsonl")


@pytest.mark.parametrize(
    ("text", "tag", "fault"),
    [
        ("Is there a kite?", "Existence", None),
        ("Does the kite fly above the field?", "Spatial", None),
        ("Is there a kite", "Existence", "no question"),
        ("Which colour has the kite?", "Attribute", "yes or no"),
        ("Is there a kite? Is it red?", "Existence", "more than one"),
        ("Is there a kite?", None, "tag"),
        ("Is there a kite?", "Geometry", "tag"),
        ("Is there\na kite?", "Existence", "printed"),
        ("Is there a \ud800?", "Existence", "printed"),
        ("Is " + "very " * 100 + "long?", "Attribute", "longer"),
    ],
)
def test_faults_of_form_are_named(text: str, tag: str | None, fault: str | None) -> None:
    found = fault_of(question(text, tag))
    assert found is None if fault is None else found is not None and fault in found


def test_questions_that_differ_in_spelling_alone_are_the_same() -> None:
    assert question_key("Is  there a KITE?") == question_key("is there, a kite")
    assert question_key("Is there a kite?") != question_key("Is there a kite tail?")
