"""What a checkpoint was when it was written: size and digest of every file, so that damage is noticed before use.

Orbax stores numbers without a checksum that its reader looks at: a flipped bit comes back as another number. A manifest
is written into the checkpoint's folder after Orbax has committed it, so it says two things: the folder is complete, and
it is what was written.
"""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest, read_json, to_json, write_json

FORMAT = "mdm_jax checkpoint manifest 1"
NAME = "manifest.json"
_PIECE = 2**20


class Damaged(InputError):
    """A checkpoint that is not what was written."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One file: its size in bytes and the SHA-256 of its content, in hexadecimal."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` in the folder of a checkpoint says.

    Attributes:
        step: of the checkpoint.
        run: digest of the configuration of the run (:func:`mdm_jax.training.runs.identity`), if it belongs to one.
        figure: held-out bits per token of the EMA of its parameters, if they were measured; lower is better.
        files: every other file in the folder by its path in it, with ``/`` between the parts.
    """

    step: int
    run: str | None
    figure: float | None
    files: dict[str, Entry]


def present(folder: Path) -> bool:
    """Whether the checkpoint in ``folder`` is complete: its manifest is what is written last."""
    return (folder / NAME).is_file()


def write(folder: Path, step: int, run: str | None, figure: float | None) -> Path:
    """Write the manifest of the finished checkpoint in ``folder``, atomically.

    Raises:
        OSError: a file cannot be read, or the manifest cannot be written.
    """
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for name, path in _files(folder)}
    content = {"format": FORMAT, "step": step, "run": run, "figure": figure, "files": files}
    return write_json(folder / NAME, {**content, "digest": digest(to_json(content))})


def read(folder: Path) -> Manifest:
    """The manifest in ``folder``.

    Raises:
        Damaged: it is not what :func:`write` wrote; the sentence names the file.
    """
    try:
        content = read_json(folder / NAME, "the manifest of a checkpoint")
    except InputError as error:
        raise Damaged(f"{NAME} cannot be read ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Damaged(f"{NAME} has another format than {FORMAT!r}")
    said = content.pop("digest", None)
    try:
        found = digest(to_json(content))
    except (ValueError, RecursionError):  # an infinite number, half a character, endless nesting: not from here
        found = None
    if found is None or said != found:
        raise Damaged(f"{NAME} has another digest than when it was written")
    # From here on it is ours: what follows cannot fail but by a forger's hand, who gets the same sentence.
    try:
        return _from_json(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{NAME} lacks or misstates {error}") from None


def check(folder: Path, manifest: Manifest, item: str | None = None) -> None:
    """Compare the files in ``folder`` with the manifest: all names, then all sizes, and only then contents.

    A name in a manifest is only ever compared with the names found in the folder, never opened: no name leads out.

    Args:
        folder: of the checkpoint.
        manifest: what it should hold.
        item: read only the contents of this item and of the files beside the items; sizes are compared all the same.

    Raises:
        Damaged: a file is missing, unknown, no file, or has another size or digest; the sentence names the first.
    """
    found = dict(_files(folder))
    for name in sorted(manifest.files.keys() - found.keys()):
        raise Damaged(f"{name} is missing")
    for name in sorted(found.keys() - manifest.files.keys()):
        raise Damaged(f"{name} was not there when it was written")
    for name, path in found.items():
        size, entry = path.stat().st_size, manifest.files[name]
        if size != entry.bytes:
            raise Damaged(f"{name} has {size} bytes, not the {entry.bytes} that were written")
    for name, path in found.items():
        wanted = item is None or "/" not in name or name.startswith(f"{item}/")
        if wanted and sha256(path) != manifest.files[name].sha256:
            raise Damaged(f"{name} has another digest than when it was written")


def sha256(path: Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file under ``folder`` but its manifest, by name and in order; a link or a device is no file."""
    for place, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            path = Path(place) / name
            inside = path.relative_to(folder).as_posix()
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise Damaged(f"{inside} is neither a file nor a folder")
            if stat.S_ISREG(kind) and inside != NAME:
                yield inside, path


def _from_json(content: dict[str, Any]) -> Manifest:
    step, run, figure = content["step"], content["run"], content["figure"]
    if type(step) is not int or not isinstance(run, str | None) or not isinstance(figure, float | int | None):
        raise TypeError("step, run or figure")
    files = {name: Entry(**entry) for name, entry in content["files"].items()}
    if not all(type(entry.bytes) is int and isinstance(entry.sha256, str) for entry in files.values()):
        raise TypeError("the size or digest of a file")
    return Manifest(step, run, figure, files)
