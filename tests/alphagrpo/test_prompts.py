"""Training prompts: from files, benchmarks and the small world; nothing that is validated."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.core.options import fill, split_spec
from alphabench.interfaces import Benchmark
from alphabench.scenes.small_world import why_not_small
from alphabench.types import Sample
from alphabench.upstream import UpstreamData
from alphagrpo.assemble import prompts_as_begun
from alphagrpo.assembly_context import AssemblyContext
from alphagrpo.dvreward.prompt_sources import questions_of
from alphagrpo.dvreward.question_files import (
    DVQuestion,
    QuestionSet,
    facts_of,
    read_question_sets,
    to_row,
)
from alphagrpo.prompt_facts import evaluator_sample
from alphagrpo.prompts import SmallOptions, leaks, load_prompts, small_prompts, with_questions
from alphagrpo.recipe import load_recipe
from alphatrainers.prompt_stream import digest_of
from alphatrainers.trajectory import TrainingPrompt

MINI = open_benchmark("geneval:mini").samples()
TEST = open_benchmark("geneval:mini-test").samples()


def load(
    source: str, held_out: list[Sample] | None = None, *, column: str | None = None
) -> list[TrainingPrompt]:
    def opened(name: str) -> Benchmark:
        return open_benchmark(name)

    return load_prompts(source, opened, held_out=held_out or [], column=column)


def test_the_small_world_asks_for_many_different_things_but_none_that_is_validated() -> None:
    found = load("small:?count=300&seed=2", list(MINI))
    assert len(found) == 300
    assert len({prompt.id for prompt in found}) == 300
    assert not leaks(found, MINI)
    assert all(why_not_small(prompt.facts) is None for prompt in found)
    assert len(Counter(prompt.facts["tag"] for prompt in found)) == 6


def test_the_small_world_never_asks_for_a_test_prompt_in_any_words() -> None:
    assert not leaks(load("small:?count=200&tasks=position"), TEST)
    unfiltered = small_prompts(SmallOptions(count=200, tasks="position"), held_out=[])
    assert leaks(list(unfiltered), TEST)


@pytest.mark.parametrize("recipe", ["nano-rt2i", "nano-awm"])
def test_leaving_test_prompts_out_changes_no_prompt_of_the_recipes(recipe: str) -> None:
    name, options = split_spec(load_recipe(recipe).prompts.source)
    as_before = small_prompts(fill(SmallOptions, options, owner=name), held_out=MINI)
    assert load(load_recipe(recipe).prompts.source, list(MINI)) == list(as_before)


def test_a_training_that_began_with_test_prompts_goes_on_with_them_and_says_so(
    tmp_path: Path,
) -> None:
    prompts, earlier = (
        load_prompts(
            "small:?count=120&tasks=position", open_benchmark, held_out=MINI, test_left_out=left_out
        )
        for left_out in (True, False)
    )
    assert prompts != earlier
    said: list[str] = []
    context = AssemblyContext(
        folder=tmp_path,
        data=UpstreamData(cache_dir=tmp_path),
        device="cpu",
        report=said.append,
    )
    assert prompts_as_begun(prompts, lambda: earlier, context) == prompts
    for begun, expected in ((prompts, prompts), (prompts[:5], prompts)):
        (tmp_path / "identity.json").write_text(json.dumps({"prompts": digest_of(begun)}))
        assert prompts_as_begun(prompts, lambda: earlier, context) == expected
    assert said == []
    (tmp_path / "identity.json").write_text(json.dumps({"prompts": digest_of(earlier)}))
    assert prompts_as_begun(prompts, lambda: earlier, context) == earlier
    assert "not those of unseen prompts" in said[0]


@pytest.mark.parametrize(
    "change",
    [
        "prompts.source=geneval:mini-test",
        "validation=[{benchmark: 'geneval@1:mini-test', evaluator: nano}]",
    ],
)
def test_a_training_on_or_validated_by_the_test_split_is_refused(change: str) -> None:
    with pytest.raises(AlphaBenchError, match="the test split is for the end"):
        load_recipe("nano-awm", [change])


def test_the_same_seed_gives_the_same_prompts_and_another_gives_others() -> None:
    texts = [[p.text for p in load(f"small:?count=40&seed={seed}")] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_task_that_is_used_up_ends_and_the_others_go_on() -> None:
    found = list(small_prompts(SmallOptions(count=60, tasks="single_object,counting"), held_out=[]))
    counts = Counter(prompt.facts["tag"] for prompt in found)
    assert counts["single_object"] == 16
    assert counts["counting"] == 44
    ended = list(small_prompts(SmallOptions(count=60, tasks="single_object"), held_out=[]))
    assert len(ended) == 16


def test_a_leak_is_found_in_other_words_too() -> None:
    sample = next(one for one in MINI if one.group == "colors")
    clause = sample.facts["include"][0]
    words = TrainingPrompt(id="1", text=sample.prompt.upper() + ".")
    facts = {"include": [dict(clause)], "exclude": []}
    demand = TrainingPrompt(id="2", text="something quite else", facts=facts)
    other = TrainingPrompt(id="3", text="a bowl of soup")
    assert [one.id for one in leaks([words, demand, other], MINI)] == ["1", "2"]


def test_rules_write_the_questions_of_prompts_with_facts() -> None:
    (prompt,) = with_questions(load("small:?count=1"), {})
    semantic = prompt.facts["semantic_questions"]
    assert isinstance(semantic, list)
    assert semantic[0]["question"].endswith("?")
    assert prompt.facts["quality_questions"]


def test_a_file_s_own_questions_win_and_a_prompt_without_any_is_refused(tmp_path: Path) -> None:
    own = {"prompt": "a kite", "semantic_questions": [{"question": "Is there a kite?"}],
           "quality_questions": [], "original_index": 7}  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(own) + "\n" + json.dumps({"prompt": "a boat"}) + "\n")
    kite, boat = load(str(path))
    assert (kite.text, kite.id) == ("a kite", "train-000000")
    (asked,) = with_questions([kite], {})
    assert asked.facts["semantic_questions"] == own["semantic_questions"]
    with pytest.raises(AlphaBenchError, match="'a boat' has no questions"):
        with_questions([kite, boat], {})
    path.write_text(json.dumps({**own, "prompt": "a boat"}) + "\n")
    written = {one.prompt: facts_of(one) for one in read_question_sets(path)}
    assert len(with_questions([kite, boat], written)) == 2


def test_plain_text_is_one_prompt_a_line_and_sources_are_beside_their_file(tmp_path: Path) -> None:
    plain = tmp_path / "p.txt"
    plain.write_text("a cat\n\na dog\n")
    assert [one.text for one in load(str(plain))] == ["a cat", "a dog"]
    rows = tmp_path / "e.jsonl"
    rows.write_text(json.dumps({"prompt": "make it red", "image": "pics/1.png"}) + "\n")
    (edit,) = load(str(rows))
    assert edit.facts["source_image"] == str((tmp_path / "pics" / "1.png").resolve())


def test_a_benchmark_trains_on_what_is_not_held_out() -> None:
    every = load("geneval:mini")
    assert len(every) == len(MINI)
    kept = load("geneval:mini", list(MINI[:10]))
    assert 0 < len(kept) <= len(MINI) - 10
    with pytest.raises(AlphaBenchError, match="every prompt"):
        load("geneval:mini", list(MINI))


@pytest.mark.parametrize("source", ["small:?cuont=3", "small:?tasks=colour", "/no/such.jsonl"])
def test_a_mistake_in_a_source_is_named(source: str) -> None:
    with pytest.raises(AlphaBenchError):
        load(source)


def written_to(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_questions_that_were_hashed_with_a_space_behind_the_prompt_are_asked(
    tmp_path: Path,
) -> None:
    kite = DVQuestion(aspect="semantic", text="Is there a kite?", tag="Existence")
    hashed = to_row(QuestionSet(prompt="a kite ", semantic=(kite,), quality=()))
    (prompt,) = with_questions(load(written_to(tmp_path / "p.jsonl", hashed)), {})
    assert questions_of(evaluator_sample(prompt)).semantic == (kite,)


@pytest.mark.parametrize("own", [{"semantic_questions": "x"}, {"quality_questions": [{"tag": 1}]}])
def test_questions_that_cannot_be_put_are_refused_with_their_row(
    own: dict[str, Any], tmp_path: Path
) -> None:
    prompts = load(written_to(tmp_path / "p.jsonl", {"prompt": "a boat"}, {"prompt": "x"} | own))
    written = {"a boat": {"semantic_questions": ["Is there a boat?"]}}
    with pytest.raises(AlphaBenchError, match="the row of the prompt 'x' cannot be used"):
        with_questions(prompts, written)


def test_empty_lists_of_a_row_leave_a_file_s_questions_in_force(tmp_path: Path) -> None:
    bare = to_row(QuestionSet(prompt="a boat", semantic=(), quality=()))
    written = {"a boat": {"semantic_questions": ["Is there a boat?"]}}
    (asked,) = with_questions(load(written_to(tmp_path / "p.jsonl", bare)), written)
    assert [one.text for one in questions_of(evaluator_sample(asked)).questions] == [
        "Is there a boat?"
    ]


@pytest.mark.parametrize("include", [[{"class": "dog"}], "dog", [{"class": "dog", "count": "1"}]])
def test_facts_that_are_not_geneval_s_are_refused_with_their_prompt(
    include: object, tmp_path: Path
) -> None:
    with pytest.raises(AlphaBenchError, match=r"the facts of 'a dog' in 'p\.jsonl'"):
        load(written_to(tmp_path / "p.jsonl", {"prompt": "a dog", "include": include}))


def test_a_parquet_file_gives_the_prompts_of_the_same_lines(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"prompt": "two green apples on a table"},
        {
            "prompt": "a photo of three dogs",
            "tag": "counting",
            "include": [{"class": "dog", "count": 3}],
        },
    ]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(
        arrow.Table.from_pylist([{"tag": None, "include": None, **row} for row in rows]),
        tmp_path / "own.parquet",
    )
    assert load(str(tmp_path / "own.parquet")) == load(str(tmp_path / "own.jsonl"))
    parquet.write_table(arrow.Table.from_pylist([{"text": "a dog"}]), tmp_path / "text.parquet")
    with pytest.raises(AlphaBenchError, match=r"row 1 of 'text.parquet' has no text 'prompt'"):
        load(str(tmp_path / "text.parquet"))
    (tmp_path / "no.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(AlphaBenchError, match=r"'.*no.parquet' cannot be read"):
        load(str(tmp_path / "no.parquet"))
    with pytest.raises(AlphaBenchError, match="does not exist"):
        load(str(tmp_path / "absent.parquet"))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_prompts_of_a_table_may_stand_in_another_column(kind: str, tmp_path: Path) -> None:
    rows = [{"caption": "two apples", "prompt": "unused", "n": 1}, {"caption": "a dog", "n": 2}]
    path = tmp_path / f"own.{kind}"
    if kind == "jsonl":
        written_to(path, *rows)
    else:
        arrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    found = load(str(path), column="caption")
    assert [(one.text, dict(one.facts)) for one in found] == [
        ("two apples", {"n": 1}),
        ("a dog", {"n": 2}),
    ]
    with pytest.raises(AlphaBenchError, match="no text 'words'") as caught:
        load(str(path), column="words")
    assert "prompts.column" in caught.value.hint


@pytest.mark.parametrize("source", ["small:?count=3", "geneval:mini", "p.txt"])
def test_a_source_without_columns_refuses_one(source: str) -> None:
    with pytest.raises(AlphaBenchError, match="has no columns"):
        load(source, column="caption")
