"""A benchmark in a file: what it may hold, what is refused and with which words, what it scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alphabench.benchmarks import open_benchmark
from alphabench.benchmarks.file_benchmark import FileBenchmark, open_kept_benchmark
from alphabench.core.errors import AlphaBenchError
from alphabench.interfaces import PortableBenchmark
from alphabench.judges.scripted import ScriptedJudge
from alphabench.types import GeneratedImage, ImageRequest, Verdict
from tests.support.page_commands import ROOT, code_blocks

HEAD = "name: mine\ndescription: Mine\n"
ASKED = "questions: ['Does it show {prompt}?']\n"
JSONL = "prompts: p.jsonl\n"


def opened(folder: Path, yaml: str, prompts: str = "", name: str = "p.jsonl") -> FileBenchmark:
    (folder / "b.yaml").write_text(yaml)
    (folder / name).write_text(prompts)
    benchmark = open_benchmark(f"file:{folder / 'b.yaml'}")
    assert isinstance(benchmark, FileBenchmark)
    return benchmark


def test_prompts_may_stand_inline_in_jsonl_or_in_csv(tmp_path: Path) -> None:
    inline = "prompts:\n  - {prompt: a cat, group: animals, questions: ['Is it, a cat?']}\n"
    line = {"prompt": "a cat", "group": "animals", "questions": ["Is it, a cat?"]}
    table = 'prompt,group,question,question_2\n"a cat",animals,"Is it, a cat?",\n'
    three = [
        opened(tmp_path, HEAD + inline),
        opened(tmp_path, HEAD + JSONL, f"\n{json.dumps(line)}\n\n"),
        opened(tmp_path, HEAD + "prompts: p.csv\n", table, "p.csv"),
    ]
    assert len({one.card.data_digest for one in three}) == 1
    (sample,) = three[0].samples()
    assert (sample.id, sample.prompt, sample.group) == ("0001", "a cat", "animals")
    assert sample.facts["questions"] == ["Is it, a cat?"]


def test_questions_for_all_prompts_follow_those_of_one(tmp_path: Path) -> None:
    rows = '{"prompt": "a cat", "questions": ["Is it black?"]}\n{"prompt": "a dog"}\n'
    first, second = opened(tmp_path, HEAD + ASKED + JSONL, rows).samples()
    assert first.facts["questions"] == ["Is it black?", "Does it show a cat?"]
    assert second.facts["questions"] == ["Does it show a dog?"]


@pytest.mark.parametrize(
    ("yaml", "prompts", "words"),
    [
        (HEAD + ASKED + "promts: p.jsonl\n", "", "lacks 'prompts'"),
        (HEAD + ASKED + JSONL + "anwser: yes_no\n", '{"prompt": "a"}', "'anwser'"),
        (HEAD + ASKED + JSONL + "answer: maybe\n", '{"prompt": "a"}', "'maybe'"),
        ("name: mine\n" + ASKED + JSONL, '{"prompt": "a"}', "lacks 'description'"),
        ("name: Mine\ndescription: M\n" + ASKED + JSONL, '{"prompt": "a"}', "lower-case"),
        ("name: geneval\ndescription: M\n" + ASKED + JSONL, '{"prompt": "a"}', "another benchmark"),
        (HEAD + "name: mine\n" + ASKED + JSONL, '{"prompt": "a"}', "written twice"),
        (HEAD + ASKED + JSONL + "images_per_prompt: 0\n", '{"prompt": "a"}', "between 1 and 64"),
        (HEAD + ASKED + JSONL + "template: Well?\n", '{"prompt": "a"}', "'{question}'"),
        (HEAD + ASKED + JSONL, "", "holds no prompts"),
        (HEAD + ASKED + JSONL, '{"prompt": "a"}\n{"promt": "b"}', "p.jsonl line 2"),
        (HEAD + ASKED + JSONL, '{"prompt": "a"}\n{"prompt": 3}', "p.jsonl line 2"),
        (HEAD + ASKED + JSONL, '{"prompt": "a"}\n\n{"prompt": " "}', "p.jsonl line 3"),
        (HEAD + ASKED + JSONL, '{"prompt": "a"}\n{"prompt":', "p.jsonl line 2"),
        (HEAD + ASKED + JSONL, '"a"', "p.jsonl line 1"),
        (HEAD + ASKED + JSONL, '{"prompt": "a", "id": "../x"}', "p.jsonl line 1: id"),
        (
            HEAD + ASKED + JSONL,
            '{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "X"}',
            "the id 'X' of p.jsonl line 2 is also that of p.jsonl line 1",
        ),
        (HEAD + JSONL, '{"prompt": "a"}', "nothing is asked about '0001'"),
        (HEAD + ASKED + "prompts: ../p.jsonl\n", "", "leads out of its folder"),
        (HEAD + ASKED + "prompts: /etc/passwd\n", "", "leads out of its folder"),
        (HEAD + ASKED + "prompts: absent.jsonl\n", "", "absent.jsonl"),
        (HEAD + ASKED + "prompts: b.yaml\n", "", "neither .jsonl nor .csv"),
        (HEAD + ASKED + "prompts:\n  - {prompt: a, color: red}\n", "", "prompts[0] of b.yaml"),
    ],
)
def test_a_mistake_is_one_sentence_that_says_where(
    tmp_path: Path, yaml: str, prompts: str, words: str
) -> None:
    with pytest.raises(AlphaBenchError) as error:
        opened(tmp_path, yaml, prompts)
    assert words in error.value.message
    assert "\n" not in error.value.message
    assert error.value.hint


def test_a_misspelt_key_of_the_prompts_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError) as error:
        opened(tmp_path, HEAD + ASKED + "promts: p.jsonl\n", "")
    assert error.value.hint == "'promts' may be meant as 'prompts'"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("prompt,colour\na,red\n", "p.csv line 1 must name"),
        ("id,group\nx,y\n", "p.csv line 1 must name"),
        ("prompt,question\na,Is it, red?\n", "p.csv line 2 has 3 cells"),
        ('prompt,question\n"a,b\n', "is no CSV"),
    ],
)
def test_a_faulty_table_is_refused_with_its_line(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        opened(tmp_path, HEAD + "prompts: p.csv\n", table, "p.csv")


def test_the_digest_follows_what_decides_a_score_and_nothing_else(tmp_path: Path) -> None:
    rows = '{"prompt": "a cat", "id": "1"}'
    before = opened(tmp_path, HEAD + ASKED + JSONL, rows).card.data_digest
    renamed = HEAD.replace("Mine", "Other") + "licence: MIT\n" + ASKED + JSONL
    assert opened(tmp_path, renamed, f"{rows}\n").card.data_digest == before
    for changed in (
        opened(tmp_path, HEAD + ASKED + JSONL, rows.replace("cat", "dog")),
        opened(tmp_path, HEAD + ASKED.replace("Does", "Did") + JSONL, rows),
        opened(tmp_path, HEAD + ASKED + JSONL + "answer: score_1_5\n", rows),
        opened(tmp_path, HEAD + ASKED + JSONL + "images_per_prompt: 2\n", rows),
        opened(tmp_path, HEAD + ASKED + JSONL + "template: 'Now: {question}'\n", rows),
    ):
        assert changed.card.data_digest != before


def test_a_copy_of_the_benchmark_is_the_same_benchmark(tmp_path: Path) -> None:
    rows = '{"prompt": "a cat", "id": "1", "scene": {"include": []}, "questions": ["Is it?"]}'
    benchmark = opened(tmp_path, HEAD + ASKED + JSONL + "answer: score_0_10\n", rows)
    assert isinstance(benchmark, PortableBenchmark)
    copy = open_kept_benchmark(benchmark.portable, protocol="official")
    assert copy.definition == benchmark.definition
    with pytest.raises(AlphaBenchError):
        open_kept_benchmark("{}", protocol="official")


def scored(benchmark: FileBenchmark, folder: Path, reply: str) -> list[Verdict]:
    (sample,) = benchmark.samples()
    image = GeneratedImage(
        request=ImageRequest(sample=sample, index=0, seed=1),
        path=folder / "none.png",
        sha256="0" * 64,
        seconds=0.0,
    )
    judge = ScriptedJudge(lambda question: reply)
    return list(benchmark.evaluator(judge=judge).evaluate([image]))


@pytest.mark.parametrize(
    ("answer", "reply", "value"),
    [
        ("yes_no", "yes", 1.0),
        ("yes_no", "No.", 0.0),
        ("score_0_10", "7", 0.7),
        ("score_1_5", "1", 0.0),
        ("score_1_5", "5/5", 1.0),
    ],
)
def test_answers_become_values_from_0_to_1(
    tmp_path: Path, answer: str, reply: str, value: float
) -> None:
    benchmark = opened(tmp_path, f"{HEAD}{ASKED}{JSONL}answer: {answer}\n", '{"prompt": "a"}')
    (verdict,) = scored(benchmark, tmp_path, reply)
    assert verdict.value == pytest.approx(value)


@pytest.mark.parametrize("answer", ["yes_no", "score_0_10"])
def test_a_reply_that_cannot_be_read_is_no_zero(tmp_path: Path, answer: str) -> None:
    benchmark = opened(tmp_path, f"{HEAD}{ASKED}{JSONL}answer: {answer}\n", '{"prompt": "a"}')
    (verdict,) = verdicts = scored(benchmark, tmp_path, "perhaps")
    assert (verdict.value, verdict.status) == (None, "unparsed")
    samples = benchmark.samples()
    report = benchmark.summarise(samples, verdicts, evaluator="judge", all_samples=samples)
    assert (report.headline.value, report.coverage) == (None, 0.0)


def test_without_a_judge_or_with_another_evaluator_it_says_what_to_do(tmp_path: Path) -> None:
    benchmark = opened(tmp_path, HEAD + ASKED + JSONL, '{"prompt": "a"}')
    with pytest.raises(AlphaBenchError, match="scored by a judge"):
        benchmark.evaluator()
    with pytest.raises(AlphaBenchError, match="evaluator of mine"):
        benchmark.evaluator("mask2former", judge=ScriptedJudge("yes"))
    with pytest.raises(AlphaBenchError, match="strict"):
        open_benchmark(f"file:{tmp_path / 'b.yaml'}", protocol="strict")
    with pytest.raises(AlphaBenchError, match="names no YAML file"):
        open_benchmark("file:prompts.txt")


def test_the_files_on_the_page_about_ones_own_prompts_are_read(tmp_path: Path) -> None:
    blocks = list(code_blocks(ROOT / "docs" / "prompts.md"))
    texts = {kind: [b.text for b in blocks if b.language == kind] for kind in ("yaml", "csv")}
    shown = {"own_prompts.jsonl": (ROOT / "examples" / "own_prompts.jsonl").read_text()}
    first, second = texts["yaml"]
    assert (ROOT / "examples" / "own_prompts.yaml").read_text().endswith(first.strip() + "\n")
    for yaml in (first, second):
        assert opened(tmp_path, yaml, shown["own_prompts.jsonl"], "own_prompts.jsonl").samples()
    (table,) = texts["csv"]
    cat = opened(tmp_path, HEAD + "prompts: p.csv\n", table, "p.csv").samples()[1]
    assert (cat.prompt, cat.facts["questions"]) == (
        "a cat, asleep",
        ["Is there a cat in the image?"],
    )
