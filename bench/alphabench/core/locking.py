"""Lets one process at a time write a file or a folder, also on file systems without locks.

The library `filelock` takes the operating system's lock, which ends with its process, however that
ends. Its `FileLock` and `SoftFileLock` are not used, because a run folder needs more: the name of
the holder for the message, a note whether the last holder ended without releasing it, and, where
there is no system lock (some network and cluster file systems, a Python without fcntl), a lock file
that only one process can create, which another machine respects and which is taken over only from a
process of this machine that certainly ended. Knows no file of ours but these.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal, TextIO

import filelock

FileLocking = Literal["wait", "refuse"]
"""What to do where another process holds a file: wait for it, or raise `HeldError`."""
_POLL_SECONDS: Final = 0.005
_NO_LOCKS: Final = (
    errno.ENOLCK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.ESTALE,
    errno.EINVAL,
    524,  # ENOTSUPP, which Linux lets through from some network file systems
)
_HOLDER: Final = re.compile(r"process (\d{1,10}) on (\S+) in (\S+) \w+")


class HeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: `process 12 on host`, or as much of it as is known.
        file: to be deleted by the user once no process writes; None where the system frees it.
    """

    def __init__(self, holder: str, file: Path | None = None) -> None:
        super().__init__(holder)
        self.holder, self.file = holder, file


@contextlib.contextmanager
def exclusive(lock: Path) -> Iterator[bool]:
    """Holds the lock that the file `lock` represents.

    Yields:
        Whether the previous holder ended without releasing it, and may have left drafts.

    Raises:
        HeldError: another process holds it.
        OSError: the file cannot be written.
    """
    substitute = lock.with_name(f"{lock.name}.exclusive")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_lock(lock))
        text = file.read(300)
        if not _has_system_lock(file):
            if _HOLDER.match(text) and not _is_dead(text):
                raise HeldError(_name(text), lock)
            stack.enter_context(_created(substitute))
        elif substitute.exists() and not _is_dead(owner := _text(substitute)):
            raise HeldError(_name(owner), substitute)
        file.seek(0)
        file.truncate()
        file.write(_own_name())
        file.flush()
        try:
            yield bool(text)
        finally:
            with contextlib.suppress(OSError):
                os.truncate(lock, 0)


def holder_of(lock: Path) -> HeldError | None:
    """Who holds the lock now that `exclusive` takes; None for nobody.

    Writes nothing, so that it can be asked about a folder that may not be written. Where the file
    system has no locks, a holder of another machine counts until it has left the lock.
    """
    try:
        file = _open_to_look(lock)
    except FileNotFoundError:
        return None
    with file:
        text = file.read(300)
        try:
            if not filelock.lock_descriptor(file.fileno(), blocking=False):
                return HeldError(_name(text))
        except OSError:  # no locks there, or none on a file that was opened for reading
            if _HOLDER.match(text) and not _is_dead(text):
                return HeldError(_name(text), lock)
    substitute = lock.with_name(f"{lock.name}.exclusive")
    if substitute.exists() and not _is_dead(owner := _text(substitute)):
        return HeldError(_name(owner), substitute)
    return None


def lock_file(file: IO[Any], locking: FileLocking) -> None:
    """Holds an open file against other processes until it is closed.

    Raises:
        HeldError: another process holds it, and `locking` is "refuse".
        OSError: its file system has no locks; see `has_no_locks`.
    """
    is_locked = filelock.lock_descriptor(
        file.fileno(), blocking=locking == "wait", poll_interval=_POLL_SECONDS
    )
    if not is_locked:
        raise HeldError("another process")


def has_no_locks(error: OSError) -> bool:
    """Whether the error says that the file system offers no locks."""
    return error.errno in _NO_LOCKS


def is_running(pid: int) -> bool:
    """Whether this machine has such a process; another container's are not seen.

    One that has ended but was not waited for yet does not count (known on Linux only).
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    try:
        # The name before it, in brackets, may hold anything.
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in (b"Z", b"X")


def _open_lock(lock: Path) -> TextIO:
    # Through a link the lock's text would replace another file; a named pipe would block.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(lock, flags, 0o666)
    return _regular(os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace"))


def _regular(file: TextIO) -> TextIO:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file")
    return file


def _open_to_look(lock: Path) -> TextIO:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(lock, os.O_RDWR | flags)  # network file systems lock no others
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        descriptor = os.open(lock, os.O_RDONLY | flags)
    return _regular(os.fdopen(descriptor, "r", encoding="utf-8", errors="replace"))


def _has_system_lock(file: TextIO) -> bool:
    """Takes the system lock; False where the file system has none."""
    try:
        is_locked = filelock.lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    if not is_locked:
        file.seek(0)
        raise HeldError(_name(file.read(300)))
    return True


@contextlib.contextmanager
def _created(substitute: Path) -> Iterator[None]:
    if not _create(substitute) and not (_remove_dead(substitute) and _create(substitute)):
        raise HeldError(_name(_text(substitute)), substitute)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            substitute.unlink()


def _create(substitute: Path) -> bool:
    try:
        descriptor = os.open(substitute, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_own_name())
    return True


def _remove_dead(substitute: Path) -> bool:
    """Whether this process, and no other, removed the file of a dead process."""
    text = _text(substitute)
    if not _is_dead(text):
        return False
    # Named after the text that it may remove: a process that read the same text and comes later
    # finds either this file, or another text than the one it may remove.
    permit = substitute.with_name(f"{substitute.name}.{hashlib.sha256(text.encode()).hexdigest()}")
    if not _create(permit):
        return False
    try:
        if _text(substitute) != text:
            return False
        substitute.unlink()
    finally:
        permit.unlink()
    return True


def _text(file: Path) -> str:
    with contextlib.suppress(OSError), _open_lock(file) as handle:
        return handle.read(300)
    return ""


def _name(text: str) -> str:
    return text.partition(" in ")[0].strip() or "another process"


def _is_dead(text: str) -> bool:
    """Certain only for a process that this one could see: same machine, boot and container."""
    match = _HOLDER.match(text)
    if match is None or match[2] != socket.gethostname() or match[3] != _process_space():
        return False
    return match[3] != "unknown" and not is_running(int(match[1]))


def _own_name() -> str:
    once = os.urandom(8).hex()
    return f"process {os.getpid()} on {socket.gethostname()} in {_process_space()} {once}\n"


def _process_space() -> str:
    """Names the space in which process ids are unique; `unknown` where the system has no name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except (OSError, ValueError):
        return "unknown"
