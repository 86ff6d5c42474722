"""Files that nobody meant to be what a command takes them for: one sentence, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell

QUESTIONS = '{"prompt": "a boat", "semantic_questions": [{"question": "Is there a boat?"}]}'
FILES = {
    "empty.jsonl": b"",
    "binary.jsonl": b"\x7fELF\x02\x01\x01\x00\xd0\xff",
    "deep.jsonl": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "list.jsonl": b"[1]\n",
    "number.jsonl": b"3\n",
    "types.jsonl": b'{"prompt": 7, "semantic_questions": {"a": 1}}\n',
    "facts.jsonl": b'{"prompt": "x", "tag": "counting", "include": [{"class": 3}]}\n',
    "pointer.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "notes.txt": b"do not touch",
    "wide.yaml": b"a: &a [1,1,1]\nb: &b [*a,*a,*a]\n" + b"",
    "latin.yaml": "a: é".encode("latin-1"),
}
SCORED = ("--judge", "scripted:?answer=0.5")
ASK = ("run", "dvreward", "--ckpt", "scene:", *SCORED, "--prompts")
TRAIN = ("train", "nano-rt2i", "--dry-run")
WRITE = ("dvreward", "decompose", "notes.txt", "--llm", "scripted:", "--out")

TABLE = (
    ((*ASK, "empty.jsonl"), "holds prompts without questions"),
    ((*ASK, "binary.jsonl"), "holds prompts without questions"),
    ((*ASK, "deep.jsonl"), "line 1 of 'deep' cannot be used"),
    ((*ASK, "types.jsonl"), "line 1 of 'types' cannot be used"),
    ((*ASK, "/dev/zero"), "cannot be read (it is not a regular file)"),
    ((*ASK, "."), "cannot be read"),
    ((*WRITE, "notes.txt"), "line 1 of 'notes.txt' cannot be used"),
    ((*WRITE, "/dev/null"), "'/dev/null'"),
    ((*TRAIN, "prompts.source=deep.jsonl"), "line 1 of 'deep.jsonl' is not JSON"),
    ((*TRAIN, "prompts.source=binary.jsonl"), "cannot be read (it is not UTF-8"),
    ((*TRAIN, "prompts.source=number.jsonl"), "has no text 'prompt'"),
    ((*TRAIN, "prompts.source=types.jsonl"), "has no text 'prompt'"),
    ((*TRAIN, "prompts.source=empty.jsonl"), "holds no prompt"),
    ((*TRAIN, "prompts.source=facts.jsonl"), "the facts of 'x' in 'facts.jsonl' cannot be used"),
    ((*TRAIN, "prompts.source=pointer.jsonl"), "is a Git LFS pointer"),
    ((*TRAIN, "prompts.source=notes.txt", "prompts.questions=/dev/zero"), "not a regular file"),
    ((*TRAIN, "prompts.source=notes.txt", "prompts.questions=deep.jsonl"), "cannot be used"),
    (("train", "latin.yaml"), "it is not UTF-8"),
    (("train", "./binary.jsonl"), "cannot be read: it is not UTF-8"),
    (("train", "./number.jsonl"), "holds no settings"),
    (("train", "wide.yaml"), "there is no setting"),
    (("summarise", "geneval", "--official", "deep.jsonl"), "nested too deeply"),
    (("summarise", "geneval", "--official", "binary.jsonl"), "binary.jsonl"),
    (("run", "tiif:mini", "--ckpt", "scene:", "--judge", "scripted:/dev/zero"), "not a table"),
    (("run", "tiif:mini", "--ckpt", "scene:", "--judge", "scripted:deep.jsonl"), "too deeply"),
    (("run", "tiif:mini", "--ckpt", "scene:", "--judge", "scripted:list.jsonl"), "not a table"),
    (("run", "geneval:mini", "--ckpt", "diffusers:"), "names no checkpoint"),
    (("run", "geneval:mini", "--ckpt", "nano?timesteps=100000000000"), "at most 1000"),
)


@pytest.mark.parametrize(
    ("words", "expected"),
    TABLE,
    ids=lambda one: " ".join(one)[:70] if isinstance(one, tuple) else "",
)
def test_a_file_of_another_kind_is_a_sentence(
    words: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    said = Shell(folder=tmp_path, cache=tmp_path / "cache")(*words, code=2)
    told = f"{said.err}{said.out}"
    assert expected in told
    assert len(max(told.splitlines(), key=len)) < 600
    for name, content in FILES.items():
        assert (tmp_path / name).read_bytes() == content


def test_a_question_file_may_begin_with_a_mark_and_hold_half_a_character(tmp_path: Path) -> None:
    text = QUESTIONS.replace(
        '"a boat"', '"a \\ud800 boat", "include": [{"class": "boat", "count": 1}]'
    )
    (tmp_path / "mine.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\n")
    shell = Shell(folder=tmp_path, cache=tmp_path / "cache")
    said = shell(*ASK, "mine.jsonl", "--dry-run")
    assert "samples         1" in said.out
