"""One writer at a time: locks that the kernel keeps, and gives back when a process dies, however it dies."""

import contextlib
import errno
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from mdm_jax.support.errors import InputError

_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_SIGNED = re.compile(rb"(\d+ \S*\n?)?")  # what a killed holder leaves, or nothing
_AT = 2**30  # Windows refuses to read a locked byte: the one that is locked lies behind the text


@contextlib.contextmanager
def exclusive(path: str | Path, what: str) -> Iterator[None]:
    """Hold the lock file ``path`` for the body of the ``with`` statement; whoever comes second is refused at once.

    The lock is the kernel's (``flock``; ``LockFile`` on Windows), not the file's existence: a killed process leaves no
    stale lock behind. The file stays, since removing it would let two processes lock two files of one name. While the
    lock is held the file says by whom. A second ``with`` in the same process is refused as another process would be.

    Args:
        path: the lock file; made, with its folder, if it is not there.
        what: what is locked, as the beginning of a sentence ("the run in runs/demo").

    Raises:
        InputError: somebody else holds it (the sentence names process and host), or the file is no lock file: it holds
            something else, which stays.
        OSError: the file cannot be made, or its file system has no locks; the error names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A symbolic link is not followed: what it points at would be overwritten.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        try:
            _lock(handle)
        except OSError as error:
            if error.errno not in _HELD:
                error.filename = str(path)
                raise
            raise InputError(f"{what} is in use by {_holder(handle)}; wait until that has ended, or stop it.") from None
        try:
            if not _SIGNED.fullmatch(_content(handle)):
                raise InputError(f"{path} must be a lock file; it holds something else. Move it away.")
            try:
                _sign(handle, f"{os.getpid()} {socket.gethostname()}\n")
                yield
            finally:
                _sign(handle, "")
        finally:
            _unlock(handle)
    finally:
        os.close(handle)


def _sign(handle: int, text: str) -> None:
    """Make ``text`` all that the file holds. It is only for people to read: a full disk must not be in the way."""
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, text.encode())


def _content(handle: int) -> bytes:
    """What the file says; of a longer one than we write, the beginning."""
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 1000)


def _holder(handle: int) -> str:
    """Who holds the lock, as the file says it; it is empty for the instant between locking and signing."""
    words = _content(handle).decode(errors="replace").split()
    return f"process {words[0]} on {words[1]}" if len(words) == 2 else "another process"


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        os.lseek(handle, _AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
