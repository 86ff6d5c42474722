"""Forked commands are processes like any other; see `tests.support.forks`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.forks import FIXED, START, Forked, early, run

REPORT = """
import os, sys, threading
print(__name__, sys.argv[1:], os.getcwd(), os.environ["ALPHABENCH_CACHE"], sys.stdin.read())
print(os.getppid(), os.getsid(0) == os.getpid(), threading.active_count(), file=sys.stderr)
"""


def test_it_has_its_own_arguments_folder_environment_streams_and_session(tmp_path: Path) -> None:
    process = Forked(
        "-c", REPORT, "one", "two",
        cwd=tmp_path, variables={"ALPHABENCH_CACHE": "here"}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    out, err = process.communicate("some text", timeout=60)
    assert out == f"__main__ ['one', 'two'] {tmp_path} here some text\n"
    assert err == f"{os.getpid()} True 1\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("program", "code", "printed"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('a reason')", 1, "a reason\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
        ("import atexit, sys; atexit.register(print, 'at the end', file=sys.stderr)", 0, "end\n"),
    ],
)
def test_it_ends_as_an_interpreter_ends(program: str, code: int, printed: str) -> None:
    done = run("-c", program)
    assert done.returncode == code
    assert done.stderr.endswith(printed)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_no_other(by: signal.Signals) -> None:
    sleeping = ("-c", "import time; print('awake', flush=True); time.sleep(60)")
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with (
        Forked(*sleeping, stdout=pipe, stderr=null) as one,
        Forked(*sleeping, stdout=pipe, stderr=null) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "awake\n"
        one.send_signal(by)
        assert one.wait(timeout=60) == -by
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("words", [("-m", "alphabench"), ("file.py",)])
def test_it_finds_modules_where_python_finds_them(words: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("HERE = 'found'")
    (tmp_path / "file.py").write_text("import beside, sys; print(beside.HERE, sys.argv)")
    done = run(*words, "--version", cwd=tmp_path)
    expected = "found ['file.py', '--version']\n" if words == ("file.py",) else "alphabench "
    assert done.stdout.startswith(expected), done.stderr


def test_what_imports_read_starts_an_interpreter_of_its_own() -> None:
    program = "import sys; print('torch' in sys.modules)"
    assert run("-c", program, variables={"OMP_NUM_THREADS": "2"}).stdout == "False\n"
    forked = sys.platform == "linux"
    assert early(dict(os.environ)) | FIXED == early(START)
    assert run("-c", program).stdout == f"{forked}\n"
    late = {"TORCHINDUCTOR_CACHE_DIR": "anywhere", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    assert run("-c", program, variables=late).stdout == f"{forked}\n"
