"""Looking at a user's file before it is read, and saying in one sentence why it cannot be."""

import os
from pathlib import Path

from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks.notations import is_text


class SourceFile:
    """A user's file that is to become data; ``wanted`` completes "path must be ...", of another argument if it is said.

    ``path`` is absolute, without ".." and symbolic links: one file has one spelling, from whatever directory it is
    named, and a link that is set to other data later does not change what a run was trained on.
    """

    def __init__(self, path: str | Path, wanted: str, argument: str = "path") -> None:
        require(isinstance(path, str | Path), argument, path, "some text, or a Path")
        expanded = os.path.expanduser(path)
        try:
            self.path = Path(os.path.realpath(expanded))
        except ValueError:  # a NUL or half a character, which reading it will name
            self.path = Path(expanded).absolute()
        self._wanted, self._argument = wanted, argument

    def refused(self, reason: str) -> InputError:
        """The error to raise; ``reason`` says what is the matter with the file."""
        return InputError(f"{self._argument} must be {self._wanted}; {str(self.path)!r} {reason}.")

    def unreadable(self, error: OSError | ValueError) -> InputError:
        """The error to raise when the system would not read it (``ValueError``: a NUL or a surrogate in the path)."""
        if isinstance(error, FileNotFoundError):
            return self.refused("does not exist")
        return self.refused(f"cannot be read ({getattr(error, 'strerror', error)})")

    def size(self) -> int:
        """Its size in bytes.

        Raises:
            InputError: there is no such file, it is none that can be read to its end, or its name is none that a run
                could store.
        """
        try:
            if self.path.is_dir():
                raise self.refused("is a directory")
            # A pipe or a device could block for ever or never end.
            if self.path.exists() and not self.path.is_file():
                raise self.refused("is not a regular file")
            size = self.path.stat().st_size
            if not is_text(str(self.path)):
                raise self.refused("has a name that is not UTF-8, which a run cannot store; rename it")
            return size
        except InputError:
            raise
        except (OSError, ValueError) as error:
            raise self.unreadable(error) from None


def read_text(file: SourceFile, largest: int) -> str:
    r"""The text of a UTF-8 file: "\r\n" becomes "\n", and a byte-order mark is dropped.

    Args:
        file: any.
        largest: bytes; a larger file is refused before it is read.

    Raises:
        InputError: it cannot be read, is too large, is empty or is no such text.
    """
    size = file.size()
    if size > largest:
        raise file.refused(f"has {size} bytes, more than the limit of {largest}")
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise file.unreadable(error) from None
    if not data:
        raise file.refused("is empty")
    if (place := data.find(0)) >= 0:
        raise file.refused(f"has a NUL byte at position {place}, so it is binary or UTF-16")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"has the byte 0x{data[error.start]:02x} at position {error.start}, which is not UTF-8"
        raise file.refused(reason) from None
    return content.removeprefix("\ufeff").replace("\r\n", "\n")
