"""How the tests of the documentation read a page; a command that they miss is never checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_checks import faults
from tests.support.command_plan import plan, why_left_out
from tests.support.page_commands import PageCommand, page_commands, unquoted_patterns


def commands(folder: Path, *lines: str, mark: str = "") -> list[PageCommand]:
    page = folder / "page.md"
    page.write_text("\n".join(["# Page", "", mark, "```bash", *lines, "```", ""]))
    return page_commands(page)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alphabench list  # all names", ("alphabench", "list")),
        ("KEY=1 alphabench list > names.txt", ("alphabench", "list")),
        (".venv/bin/alphabench list | less", ("alphabench", "list")),
        ("cd runs && alphabench list", ("alphabench", "list")),
        ("srun --gpus 8 alphabench list", ("alphabench", "list")),
        ("torchrun --nproc-per-node 8 -m alphabench train x", ("alphabench", "train", "x")),
        ("python -m tools.results runs", ("python", "-m", "tools.results", "runs")),
        ("make demo", ("make", "demo")),
        ("alphabench run 'a?x=1&y=2' 2>&1 | tee log", ("alphabench", "run", "a?x=1&y=2")),
    ],
)  # fmt: skip
def test_a_command_is_found_however_it_is_started(
    tmp_path: Path, line: str, words: tuple[str, ...]
) -> None:
    assert [command.words for command in commands(tmp_path, line)] == [words]


@pytest.mark.parametrize(
    "line", ["pip install alphabench", "git clone x", "python -m venv .venv", "# alphabench list"]
)
def test_commands_of_others_are_not_ours(tmp_path: Path, line: str) -> None:
    assert commands(tmp_path, line) == []


def test_a_command_over_several_lines_is_one(tmp_path: Path) -> None:
    (command,) = commands(tmp_path, "alphabench run geneval \\", "    --ckpt nano")
    assert command.words == ("alphabench", "run", "geneval", "--ckpt", "nano")
    assert command.line == 5


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("alphabench run geneval --ckpt nano --nope", "No such option: --nope"),
        ("alphabench walk", "No such command"),
        ("alphabench run genevil --ckpt nano", "no benchmark 'genevil'"),
        ("alphabench run geneval:tiny --ckpt nano", "no split 'tiny'"),
        ("alphabench run geneval --ckpt nano --set step=3", "no option 'step'"),
        ("alphabench run geneval --ckpt 'scene:?errors=1'", "no option 'errors'"),
        ("alphabench run geneval --ckpt nano --evaluator x", "no evaluator 'x'"),
        ("alphabench run wise:mini --ckpt nano --judge gpt", "no kind of judge 'gpt'"),
        ("alphabench train nano-rt2i training.step=3", "step"),
        ("make nothing", "no target 'nothing'"),
        ("python -m tools.nothing", "no module 'tools.nothing'"),
    ],
)
def test_a_name_that_does_not_exist_is_a_fault(tmp_path: Path, line: str, fault: str) -> None:
    (command,) = commands(tmp_path, line)
    assert [one for one in faults(command) if fault in one] != []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alphabench list", None),
        ("alphabench run geneval:mini --ckpt nano --limit 6", None),
        ("alphabench run geneval:mini --ckpt nano", "--whole"),
        ("alphabench run geneval --ckpt nano --limit 6", "official data"),
        ("alphabench run geneval:mini --ckpt owner/name", "needs weights"),
        ("alphabench run geneval:mini --ckpt 'https://h/v1#m'", "needs a server"),
        ("alphabench run geneval:mini --ckpt nano --devices 0,1", "needs GPUs"),
        ("alphabench fetch geneval", "needs the network"),
        ("alphabench compare RUN_A RUN_B", "RUN_A stands for"),
        ("make demo", "only checked to exist"),
    ],
)
def test_a_command_that_cannot_run_here_is_left_out_with_its_reason(
    tmp_path: Path, line: str, reason: str | None
) -> None:
    (command,) = commands(tmp_path, line)
    found = why_left_out(command)
    assert found is None if reason is None else reason in (found or "")


def test_a_change_of_the_folder_holds_for_the_rest_of_the_page(tmp_path: Path) -> None:
    found = commands(tmp_path, "alphabench list", "cd examples", "alphabench list", "cd ..", "make")
    assert [command.folder for command in found] == [".", "examples", "."]


def test_a_mark_before_a_block_leaves_it_out(tmp_path: Path) -> None:
    (command,) = commands(tmp_path, "alphabench list", mark="<!-- not run: needs a cluster -->")
    assert why_left_out(command) == "needs a cluster"


def test_what_reads_the_run_of_a_command_that_is_left_out_is_left_out_too(tmp_path: Path) -> None:
    commands(
        tmp_path,
        "alphabench run geneval:mini --ckpt nano --out runs/a",
        "alphabench run geneval:mini --ckpt nano --limit 6 --out runs/b",
        "alphabench show runs/a",
        "alphabench show runs/b",
    )
    reasons = [reason for _, reason in plan(tmp_path / "page.md")]
    assert [bool(reason) for reason in reasons] == [True, False, True, False]
    assert reasons[2] == "reads runs/a of line 5, which is not run"


def test_words_that_zsh_would_expand_are_found() -> None:
    assert unquoted_patterns("alphabench run x --ckpt scene:?error=1  # why?") == ["scene:?error=1"]
    assert unquoted_patterns("alphabench run x --ckpt 'scene:?error=1'") == []
