"""Files beside an array: how long its rows are, their classes, and which positions are given."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer

from mdm_jax.support.errors import InputError
from mdm_jax.tasks.array_files.npy_files import BOOLEANS, INTEGERS, npy_map, npy_shape
from mdm_jax.tasks.source_files import SourceFile

LARGEST_LABEL = 2**20 - 1


@dataclass(frozen=True, eq=False)
class Beside:
    """What was read; ``None`` where no file was named. Made by :func:`read_beside`."""

    lengths: Integer[np.ndarray, " rows"] | None
    labels: Integer[np.ndarray, " rows"] | None
    prompt: Bool[np.ndarray, "rows length"] | None
    files: tuple[SourceFile, ...]
    """In the order of the arguments."""
    paths: dict[str, str]
    """By the name of the setting, absolute."""


def read_beside(
    shape: tuple[int, ...], lengths: str | Path | None, labels: str | Path | None, prompt: str | Path | None
) -> Beside:
    """Read the files that are named, each seen to fit an array of shape ``shape``.

    Args:
        shape: [rows, length] or [rows, height, width].
        lengths: an .npy file of whole numbers from 1 to the length of a row, one for each row.
        labels: one of whole numbers from 0 to ``LARGEST_LABEL``, likewise.
        prompt: one of truth values, of shape ``shape``.

    Raises:
        InputError: a file cannot be read, is something else, or holds other numbers.
    """
    rows, length = shape[0], int(np.prod(shape[1:]))
    found: dict[str, np.ndarray] = {}
    files: dict[str, SourceFile] = {}
    for name, path, wanted, kinds, fits in (
        ("lengths", lengths, f"whole numbers from 1 to {length}, one for each of the {rows} rows", INTEGERS, (rows,)),
        ("labels", labels, f"whole numbers from 0 on, one for each of the {rows} rows", INTEGERS, (rows,)),
        ("prompt", prompt, f"truth values of shape {list(shape)}", BOOLEANS, shape),
    ):
        if path is None:
            continue
        file = files[name] = SourceFile(path, f"an .npy file of {wanted}", name)
        stored = npy_shape(file, kinds)
        if stored != fits:
            raise file.refused(f"has the shape {list(stored)}")
        found[name] = np.asarray(npy_map(file, kinds))
    for name, least, most in (("lengths", 1, length), ("labels", 0, LARGEST_LABEL)):
        if name in found and not least <= int(found[name].min()) <= int(found[name].max()) <= most:
            row = int(np.argmax((found[name] < least) | (found[name] > most)))
            raise files[name].refused(f"has {found[name][row]} for row {row}")
    mask = found.get("prompt")
    paths = {name: str(file.path) for name, file in files.items()}
    return Beside(
        found.get("lengths"),
        found.get("labels"),
        None if mask is None else np.reshape(mask, (rows, length)),
        tuple(files.values()),
        paths,
    )


def ends_by_lengths(rows: Integer[np.ndarray, "rows length"], beside: Beside) -> Bool[np.ndarray, "rows length"] | None:
    """Which positions of each row are there; ``None`` if all are."""
    return None if beside.lengths is None else np.arange(rows.shape[1]) < beside.lengths[:, None]


def ends_by_padding(
    file: SourceFile, rows: Integer[np.ndarray, "rows length"], pad: int
) -> Bool[np.ndarray, "rows length"]:
    """Which positions of each row are there, where ``pad`` fills up its end.

    Raises:
        InputError: a row is nothing but padding.
    """
    real = np.asarray(rows != pad)
    if not (begun := real.any(axis=1)).all():
        raise InputError(
            f"pad must leave a token in every row; row {int(np.argmin(begun))} of {str(file.path)!r} is all {pad}."
        )
    last = rows.shape[1] - np.argmax(real[:, ::-1], axis=1)
    return np.arange(rows.shape[1]) < last[:, None]


def check_prompt(beside: Beside, there: Bool[np.ndarray, "rows length"] | None) -> None:
    """Refuse prompts that leave nothing to be learned of a row.

    Raises:
        InputError: a sentence that names the row.
    """
    if beside.prompt is None:
        return
    full = (beside.prompt if there is None else beside.prompt | ~there).all(axis=1)
    if full.any():
        raise InputError(
            f"prompt must leave a token to be learned in every row; row {int(np.argmax(full))} of "
            f"{beside.paths['prompt']!r} leaves none."
        )
