"""Python, YAML and JSON blocks of the documentation are valid; Python marked `run` is run."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.support.page_commands import PAGES, CodeBlock, code_blocks, name_of

BLOCKS = [block for page in PAGES for block in code_blocks(page)]
PYTHON = [block for block in BLOCKS if block.language in ("python", "py")]
DATA = [block for block in BLOCKS if block.language in ("yaml", "json", "jsonl")]
RUN = sorted({block.page for block in PYTHON if block.mark == "run"})


def where(block: CodeBlock) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", PYTHON, ids=where)
def test_a_python_block_compiles(block: CodeBlock) -> None:
    compile(textwrap.dedent(block.text), where(block), "exec")


@pytest.mark.parametrize("block", DATA, ids=where)
def test_a_block_of_data_can_be_read(block: CodeBlock) -> None:
    if block.language == "yaml":
        yaml.safe_load(block.text)
    else:
        texts = [block.text] if block.language == "json" else block.text.splitlines()
        for text in texts:
            json.loads(text)


@pytest.mark.parametrize("page", [page for page in PAGES if name_of(page) in RUN], ids=name_of)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALPHABENCH_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {"__name__": "page"}
    for block in code_blocks(page):
        if block.language in ("python", "py") and block.mark == "run":
            exec(compile(textwrap.dedent(block.text), where(block), "exec"), names)


def test_every_block_names_its_language() -> None:
    unnamed = [where(block) for block in BLOCKS if not block.language]
    assert unnamed == [], "name the language of these blocks: bash, python, yaml, json or text"
