"""Files that are never half-written and never trusted blindly."""

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mdm_jax.support.errors import InputError
from mdm_jax.support.text import shortened

Made = TypeVar("Made")

LARGEST_JSON = 64 * 2**20
"""Bytes; a larger JSON file is refused before it is read."""

DEEPEST_JSON = 100
"""How deep objects and lists may lie in each other in what is read: writing them again recurses."""

_UMASK = os.umask(0o077)
os.umask(_UMASK)
# Read once: reading means setting, and files that other threads make meanwhile would get the wrong permissions.


def write_text(path: str | Path, text: str) -> Path:
    """Write ``text`` to ``path`` atomically: readers see the old file or the new one, never a part.

    Raises:
        OSError: it cannot be written; the error names ``path`` (or the folder that cannot be made).
    """
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, content: bytes) -> Path:
    """As :func:`write_text`, for what is no text."""
    return write_parts(path, (content,))


def write_parts(path: str | Path, parts: Iterable[bytes | memoryview]) -> Path:
    """As :func:`write_bytes`, of parts that are put one after another: no two of them need be there at once."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _replace(path, parts)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # not the temporary file, and not nothing
        raise
    return path


def append_text(path: str | Path, text: str) -> None:
    """Add ``text`` to the end of a file, all of it or, if the disk is full, none.

    A process killed meanwhile may leave a part: whoever reads the file must do without its last line.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    try:
        # Without a buffer: what cannot be written is known before the file is closed.
        with Path(path).open("ab", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            content = text.encode("utf-8")
            try:
                while content:
                    content = content[stream.write(content) :]
            except OSError:
                stream.truncate(size)
                raise
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _replace(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a temporary file beside ``path`` and put it in its place; on failure nothing is left of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            for part in parts:
                stream.write(part)
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
        InputError: missing, unreadable, no regular file, too large, nested too deeply, or not JSON (which has no NaN
            and no infinities) that can be written again.
    """
    path = Path(path)
    try:
        about = path.stat()
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):  # a pipe or a device may never end
            raise InputError(f"{path} cannot be read as {what}: it is not a regular file.")
        size = about.st_size
        if size > LARGEST_JSON:
            raise InputError(f"{path} has {size} bytes, more than {what} can have ({LARGEST_JSON}).")
        return parse_json(path.read_text(encoding="utf-8"))
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


def parse_json(text: str) -> Any:
    """The value of a JSON text that can be written again: no infinities (1e999), no halves of characters, no key twice.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested deeper than ``DEEPEST_JSON``.
    """
    value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_no_key_twice)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    level = [value]
    for _ in range(DEEPEST_JSON):
        holders = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not holders:
            return value
        level = [item for holder in holders for item in holder if isinstance(item, dict | list)]
    raise RecursionError


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
        raise InputError(f"{path} is not {what}: {type(error).__name__} {shortened(str(error))}.") from None


def known(value: dict[str, Any], written: dict[str, Any]) -> None:
    """Refuse a document with an entry that nobody writes: it may be meant for something."""
    more = sorted(set(value) - set(written))
    if more:
        raise InputError(
            f"its entries must be {', '.join(written)}; got {shortened(', '.join(map(repr, more)))} as well."
        )


def listed(value: dict[str, Any], name: str, kind: type[int] | type[float]) -> list[Any]:
    """The entry ``name``, a list of whole numbers (of at most 63 bits) or of numbers: ``true`` and ``"1"`` are none."""
    given = value[name]
    kinds = (int,) if kind is int else (int, float)
    good = isinstance(given, list) and all(type(x) in kinds and (kind is float or abs(x) < 2**63) for x in given)
    if not good:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{name} must be a list of {what}; got {shortened(repr(given))}.")
    return [kind(x) for x in given]


def stated(value: dict[str, Any], name: str, true: int, source: str) -> None:
    """Refuse a document whose entry ``name``, if it has one, is not what follows from its ``source``."""
    given = value.get(name, true)
    if type(given) is not int or given != true:
        raise InputError(f"{name} must be {true}, which its {source} make; got {shortened(repr(given))}.")


def told(value: dict[str, Any], name: str) -> dict[str, Any]:
    """The entry ``name``, an object that says where the rest came from; empty if left out."""
    given = value.get(name, {})
    if not isinstance(given, dict):
        raise InputError(f"{name} must be an object; got {shortened(repr(given))}.")
    return given


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these entries; which of two with one name would be meant, nobody can tell."""
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the key {shortened(repr(twice))} stands twice in one object")
    return value


def _refuse(constant: str) -> NoReturn:
    """What Python's JSON reader would take though JSON has no such number."""
    raise ValueError(f"{constant} is no number")


def digest(data: bytes | str) -> str:
    """SHA-256 of ``data`` (text as UTF-8), in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
