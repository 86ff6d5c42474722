"""One process writes a folder at a time, whether the file system has locks or not."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from alphabench.core.locking import HeldError, exclusive, holder_of, is_running


@pytest.fixture(params=["locks", "no locks"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system's locks, and without."""
    if request.param == "no locks":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(filelock, "lock_descriptor", refuse)
    return str(request.param)


@pytest.mark.usefixtures("file_system")
def test_the_second_holder_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with exclusive(lock), pytest.raises(HeldError, match=r"process \d+ on"), exclusive(lock):
        pass
    with exclusive(lock) as was_left:
        assert not was_left
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_file_that_stands_for_a_lock_is_respected_where_there_are_locks(tmp_path: Path) -> None:
    (tmp_path / "lock.exclusive").write_text("process 7 on another-machine in space once\n")
    with (
        pytest.raises(HeldError, match="process 7 on another-machine") as caught,
        exclusive(tmp_path / "lock"),
    ):
        pass
    assert caught.value.file == tmp_path / "lock.exclusive"


DIE = """
import errno, filelock, os, sys
from pathlib import Path
def refuse(*_, **__): raise OSError(errno.ENOLCK, "No locks available")
if sys.argv[2] == "no locks": filelock.lock_descriptor = refuse
from alphabench.core.locking import exclusive
with exclusive(Path(sys.argv[1])):
    os._exit(9)
"""


def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path: Path, file_system: str) -> None:
    lock = tmp_path / "lock"
    done = subprocess.run(
        [sys.executable, "-c", DIE, str(lock), file_system], timeout=60, check=False
    )
    assert done.returncode == 9
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert holder_of(lock) is None
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == left
    with exclusive(lock) as was_left:
        assert was_left
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.usefixtures("file_system")
@pytest.mark.parametrize("space", ["unknown", "another-boot/pid:[1]"])
def test_a_process_that_cannot_be_seen_from_here_counts_as_alive(
    tmp_path: Path, space: str
) -> None:
    text = f"process 999999999 on {socket.gethostname()} in {space} once\n"
    (tmp_path / "lock.exclusive").write_text(text)
    with pytest.raises(HeldError), exclusive(tmp_path / "lock"):
        pass


@pytest.mark.usefixtures("file_system")
def test_a_holder_is_named_and_nothing_is_changed_by_asking(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert holder_of(lock) is None
    assert list(tmp_path.iterdir()) == []
    with exclusive(lock):
        held = holder_of(lock)
        assert held is not None
        assert held.holder == f"process {os.getpid()} on {socket.gethostname()}"
        lock.chmod(0o444)  # a folder of somebody else
        assert holder_of(lock) is not None
    assert holder_of(lock) is None
    (tmp_path / "lock.exclusive").write_text("process 7 on another-machine in space once\n")
    assert str(holder_of(lock)) == "process 7 on another-machine"


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "thesis")
    with pytest.raises(OSError, match="symbolic links"), exclusive(tmp_path / "lock"):
        pass
    with pytest.raises(OSError, match="symbolic links"):
        holder_of(tmp_path / "lock")
    assert (tmp_path / "thesis").read_text() == "precious"


def test_a_named_pipe_in_the_lock_s_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError, match="not a regular file"):
        holder_of(tmp_path / "lock")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell")
def test_a_process_that_has_ended_but_was_not_waited_for_is_not_running() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_running(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(process.pid)
    process.communicate()
