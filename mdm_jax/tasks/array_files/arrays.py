"""Any array of integers in a file as a task: one row of tokens for each row of the array."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.files import digest
from mdm_jax.support.ragged import ABSENT
from mdm_jax.tasks.array_files.beside import Beside, check_prompt, ends_by_lengths, ends_by_padding, read_beside
from mdm_jax.tasks.array_files.npy_files import npy_map, npy_shape
from mdm_jax.tasks.array_files.token_files import TokensTask, tokens
from mdm_jax.tasks.array_files.token_maps import is_too_large
from mdm_jax.tasks.dealing import (
    FEWEST_ROWS,
    FEWEST_WORDS,
    HELD_OUT,
    SETTING,
    deal,
    require_held_out,
    share_of,
    spelled_share,
)
from mdm_jax.tasks.notations import Alphabet, Numbers
from mdm_jax.tasks.repeats import told_repeats
from mdm_jax.tasks.row_lengths import said_lengths
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.source_files import SourceFile
from mdm_jax.tasks.spelling import Settings, spelled, whole

LARGEST_VOCABULARY = 2**20
"""More tokens than that are no vocabulary but numbers of another kind."""

MOST_TOKENS = 2**30
"""A larger array is refused before it is read (training keeps four bytes for each token in memory)."""

SETTINGS = {
    "vocab": "SIZE",
    "shape": "HEIGHTxWIDTH",
    "alphabet": "LETTERS",
    "lengths": "FILE",
    "pad": "ID",
    "labels": "FILE",
    "prompt": "FILE",
    **SETTING,
}
"""What may stand behind ``npy:PATH?``."""


def npy(
    path: str | Path,
    vocab_size: int | None = None,
    *,
    shape: tuple[int, int] | None = None,
    alphabet: str | None = None,
    lengths: str | Path | None = None,
    pad: int | None = None,
    labels: str | Path | None = None,
    prompt: str | Path | None = None,
    held_out: float = HELD_OUT,
) -> RowsTask:
    """The rows of an array of integers: eight tenths to train on, a tenth each to choose and to judge.

    A fixed permutation deals them. Files are mapped into memory, never unpickled; the digest is that of their bytes.

    Args:
        path: a file that ``numpy.save`` wrote: integers from 0 on, of any integer type, of shape [rows, length] or,
            for pictures, [rows, height, width], with at least ``FEWEST_ROWS`` rows and a length of at least 2.
        vocab_size: number of different tokens; by default the largest token in the array, plus one.
        shape: height and width, if each row is a picture in raster order.
        alphabet: how the ids are written, the first character for 0; then its size is that of the vocabulary.
        lengths: an .npy file of one whole number for each row: how many tokens it has. What stands behind them in the
            array is no token, whatever it is.
        pad: the number that fills up rows; at the end of a row it is no token. Elsewhere it is one. It may be any
            number, also a negative one. A row whose last token is that number cannot be told: then give ``lengths``.
        labels: an .npy file of one whole number from 0 on for each row: its class.
        prompt: an .npy file of truth values, of the shape of the array: which positions are given.
        held_out: the share of rows to choose by and to judge by, half of it each. The rest is to train on.

    Raises:
        InputError: a file cannot be read or is something else; a token is negative or not below the size of the
            vocabulary; more than ``LARGEST_VOCABULARY`` different tokens or ``MOST_TOKENS`` in all; arguments that
            contradict each other; a row without a token, or of which nothing is left to be learned.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> task = mdm.tasks.npy("rows.npy")
        >>> task.train.shape, task.validation.shape, task.test.shape, task.vocab_size
        ((40, 4), (5, 4), (5, 4), 10)
        >>> np.save("lengths.npy", np.arange(50) % 4 + 1)
        >>> task = mdm.tasks.npy("rows.npy", alphabet="abcdefghij", lengths="lengths.npy")
        >>> task.show(task.test[1]), task.test[1].tolist()  # -1: the row has ended
        ('cde', [2, 3, 4, -1])
    """
    if isinstance(path, np.ndarray):
        raise InputError("path must be that of an .npy file; got an array: save it with numpy.save.")
    require(str(path) != "", "path", str(path), "the path of an .npy file")
    file = SourceFile(path, "an .npy file of integers of shape [rows, length] or [rows, height, width]")
    vocab_size = None if vocab_size is None else require_whole("vocab", vocab_size, 2, LARGEST_VOCABULARY)
    held_out = require_held_out(held_out)
    pad = None if pad is None else require_whole("pad", pad, -(2**31), 2**31 - 1)
    require(lengths is None or pad is None, "pad", pad, "left out where lengths are given")
    array = _mapped(file)
    picture = _shape_of(file, array, shape)
    named = {"alphabet": alphabet, "lengths": lengths, "pad": pad}
    _check_rows_are_pictures(file, array, picture, [name for name, value in named.items() if value is not None])
    rows = np.reshape(array, (len(array), -1))
    beside = read_beside(array.shape, lengths, labels, prompt)
    there = ends_by_lengths(rows, beside) if pad is None else ends_by_padding(file, rows, pad)
    size = _vocab_size(file, rows if there is None else rows[there], vocab_size, alphabet, there is not None)
    check_prompt(beside, there)
    made = deal(rows if there is None else np.where(there, rows, ABSENT), held_out=held_out)
    given = None if beside.prompt is None else deal(beside.prompt, bool, held_out)
    classes = None if beside.labels is None else deal(beside.labels, held_out=held_out)
    settings = {
        # A path that itself looks as if it had settings is followed by one, by which it is read back.
        "vocab": size if alphabet is None and (vocab_size is not None or "?" in str(file.path)) else None,
        "shape": None if picture is None or array.ndim == 3 else f"{picture[0]}x{picture[1]}",
        "alphabet": alphabet,
        "pad": pad,
        **beside.paths,
        **spelled_share(held_out),
    }
    return RowsTask(
        spelled("npy", str(file.path), {name: settings.get(name) for name in SETTINGS}, SETTINGS),
        Numbers(size, picture) if alphabet is None else Alphabet(alphabet),
        *made,
        _digest(file, beside),
        made=(*made, *(given or ()), *(classes or ())),
        prompts=given,
        labels=classes,
        classes=None if beside.labels is None else int(beside.labels.max()) + 1,
        notes=said_lengths(made) + told_repeats(made),
        held_out=held_out,
    )


def from_settings(path: str, settings: Settings, length: int | None) -> RowsTask | TokensTask:
    """:func:`npy` of a path and settings as a spec has them; of a stream or of very many rows :func:`tokens`."""
    size = whole(settings, "vocab", "npy:PATH?vocab=256")
    file = SourceFile(path, "an .npy file of integers of shape [tokens], [rows, length] or [rows, height, width]")
    stored = npy_shape(file)
    if len(stored) == 1 or (
        len(stored) == 2 and is_too_large(stored[0] * stored[1]) and not settings.keys() - {"vocab"}
    ):
        wrong = sorted(settings.keys() - {"vocab"})
        require(
            not wrong, "spec", f"npy:{path} with {', '.join(wrong)}", "without them: that file is one stream of tokens"
        )
        return tokens(path, length, size)
    sides = settings.get("shape")
    shape = None if sides is None else re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", sides)
    require(sides is None or shape is not None, "shape", sides, "height and width, as in npy:PATH?shape=14x14")
    return npy(
        path,
        size,
        shape=None if shape is None else (int(shape[1]), int(shape[2])),
        alphabet=settings.get("alphabet"),
        lengths=settings.get("lengths"),
        pad=whole(settings, "pad", "npy:PATH?pad=0"),
        labels=settings.get("labels"),
        prompt=settings.get("prompt"),
        held_out=share_of(settings),
    )


def _mapped(file: SourceFile) -> Integer[np.ndarray, "rows ..."]:
    """The array, not yet read, after a look at its header."""
    shape = npy_shape(file)
    if len(shape) not in (2, 3):
        raise file.refused(f"has the shape {list(shape)}" + (", as mdm.tasks.tokens takes it" * (len(shape) == 1)))
    if shape[0] < FEWEST_ROWS:
        reason = f"has {shape[0]} rows, fewer than {FEWEST_ROWS} ({FEWEST_WORDS})"
        raise file.refused(reason)
    length = int(np.prod(shape[1:], dtype=object))
    if length < 2:
        raise file.refused(f"has rows of length {length}, less than 2")
    if shape[0] * length > MOST_TOKENS:
        raise file.refused(f"has {shape[0] * length} numbers, more than the limit of {MOST_TOKENS}")
    return npy_map(file)


def _shape_of(file: SourceFile, array: np.ndarray, shape: Any) -> tuple[int, int] | None:
    """Height and width of the pictures, if rows are pictures."""
    found = None if array.ndim == 2 else (array.shape[1], array.shape[2])
    if shape is None:
        return found
    sides = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else ()
    require(len(sides) == 2, "shape", shape, "height and width")
    height, width = (require_whole("shape", side, 1) for side in sides)
    if found is not None and found != (height, width):
        raise InputError(
            f"shape must be {found}, that of the pictures in {str(file.path)!r}, or left out; got {shape}."
        )
    length = int(np.prod(array.shape[1:]))
    if height * width != length:
        raise InputError(
            f"shape must have as many pixels as a row of {str(file.path)!r} has tokens, {length}; "
            f"{height} x {width} are {height * width}."
        )
    return height, width


def _check_rows_are_pictures(file: SourceFile, array: np.ndarray, picture: Any, named: list[str]) -> None:
    """Refuse what pictures do not have: letters, and rows that end early."""
    if picture is None or not named:
        return
    if array.ndim == 3:
        raise InputError(
            f"{named[0]} must be left out where rows are pictures; the array in {str(file.path)!r} has the shape "
            f"{list(array.shape)}. Store its rows as [rows, length]."
        )
    require(False, "shape", picture, f"left out beside {named[0]}: pictures have neither letters nor ends")


def _vocab_size(file: SourceFile, found: np.ndarray, vocab_size: int | None, alphabet: str | None, ends: bool) -> int:
    """The size of the vocabulary, seen to fit what was found."""
    least, most = int(found.min()), int(found.max())
    if least < 0:
        padding = "" if ends else f"; if {least} fills up rows, give pad={least}"
        raise file.refused(f"holds negative numbers, {least} at the least{padding}")
    if alphabet is not None:
        size = Alphabet(alphabet).size
        require(vocab_size in (None, size), "vocab", vocab_size, f"{size}, the size of the alphabet, or left out")
        if most >= size:
            raise InputError(
                f"alphabet must have a character for every number in {str(file.path)!r}, whose largest is {most}; "
                f"got {size} characters."
            )
        return size
    if vocab_size is not None and most >= vocab_size:
        raise InputError(f"vocab must be larger than every number in {str(file.path)!r}, whose largest is {most}.")
    if not 1 <= most < LARGEST_VOCABULARY:
        wanted = f"it must be from 1 to {LARGEST_VOCABULARY - 1}, for numbers are tokens from 0 on"
        raise file.refused(f"has {most} as its largest number; {wanted}")
    return most + 1 if vocab_size is None else vocab_size


def _digest(file: SourceFile, beside: Beside) -> str:
    """Of the bytes of the file; with others beside it, of the digests of all."""
    found = [_of_bytes(each) for each in (file, *beside.files)]
    return found[0] if len(found) == 1 else digest(" ".join(found))


def _of_bytes(file: SourceFile) -> str:
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise file.unreadable(error) from None
