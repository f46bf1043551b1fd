"""Files that are never half-written and never trusted blindly."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mdm_jax.support.errors import InputError

Made = TypeVar("Made")

LARGEST_JSON = 64 * 2**20
"""Bytes; a larger JSON file is refused before it is read."""

_UMASK = os.umask(0o077)
os.umask(_UMASK)
# Read once: reading means setting, and files that other threads make meanwhile would get the wrong permissions.


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` to ``path`` atomically: readers see the old file or the new one, never a part.

    Raises:
        OSError: it cannot be written; the error names ``path`` (or the folder that cannot be made).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(path, text)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # not the temporary file, and not nothing
        raise
    return path


def _replace(path: Path, text: str) -> None:
    """Write a temporary file beside ``path`` and put it in its place; on failure nothing is left of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` as strict, readable JSON, atomically. NaN and infinities are refused (``ValueError``)."""
    return write_text(path, to_json(value) + "\n")


def to_json(value: Any) -> str:
    """Strict JSON with an indent of two; the one format that every command prints and every file holds."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def read_json(path: str | Path, what: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        what: what the file should be ("a plan"), for the error message.

    Raises:
        InputError: missing, unreadable, too large or not JSON (which has no NaN and no infinities).
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_JSON:
            raise InputError(f"{path} has {size} bytes, more than {what} can have ({LARGEST_JSON}).")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected {what}.") from None
    except InputError:
        raise
    except ValueError as error:  # not UTF-8, not JSON, a number of more digits than Python reads
        raise InputError(f"{path} is not {what}: not valid JSON ({error}).") from None
    except RecursionError:
        raise InputError(f"{path} is not {what}: its JSON is nested too deeply.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read as {what}: {error.strerror}.") from None


def made_from(path: str | Path, value: Any, what: str, form: str, make: Callable[[dict[str, Any]], Made]) -> Made:
    """``make(value)`` of a JSON document that :func:`read_json` read from ``path``; whatever is wrong is one sentence.

    Args:
        path: named in error messages.
        value: the document.
        what: what it should be, with its article ("a plan").
        form: what its ``format`` must say.
        make: from the document to what it describes; its complaints about missing or odd entries are told.

    Raises:
        InputError: another format, or a document that ``make`` cannot use.
    """
    if not isinstance(value, dict) or value.get("format") != form:
        raise InputError(f"{path} is not {what}: its format must be {form!r}.")
    try:
        return make(value)
    except InputError as error:
        raise InputError(f"{path} is not {what}: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is not {what}: {type(error).__name__} {error}.") from None


def _refuse(constant: str) -> NoReturn:
    """What Python's JSON reader would take though JSON has no such number."""
    raise ValueError(f"{constant} is no number")


def digest(data: bytes | str) -> str:
    """SHA-256 of ``data`` (text as UTF-8), in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
