"""``mdm-jax sample --output``: samples as a file, whose suffix says of which kind."""

import argparse
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from mdm_jax.app.options.ends import cut_behind, own_end
from mdm_jax.app.options.lengths import is_ragged
from mdm_jax.sampling import GIVEN, Sampled
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import write_bytes
from mdm_jax.support.ragged import present
from mdm_jax.support.text import printable
from mdm_jax.tasks import Numbers, Vocabulary
from mdm_jax.training import Run

SUFFIXES = (".npy", ".txt", ".fasta")
_LETTERS = re.compile(r"[A-Za-z*-]*")
"""What a sequence is written with in FASTA."""
_WIDTH = 60
"""Letters of a line there."""


def check_output(options: argparse.Namespace) -> None:
    """Refuse a file that cannot be written, or must not be, before anything is drawn.

    Raises:
        InputError: another suffix, or something that is there already, unless ``--force`` replaces a file.
    """
    if options.output is None:
        if options.force:
            raise InputError("--force must be given beside --output: it replaces the file that is there.")
        return
    path = Path(options.output)
    require(path.suffix in SUFFIXES, "--output", str(path), "a .npy, .txt or .fasta file")
    require(not path.is_dir(), "--output", str(path), "a file, not a folder")
    there = os.path.lexists(path) and not options.force
    require(not there, "--output", str(path), "a new file, or one that --force replaces; this one is there")


def check_letters(trained: Run, options: argparse.Namespace) -> None:
    """Refuse FASTA for tokens that are no letters.

    Raises:
        InputError: they are something else.
    """
    if options.output is None or Path(options.output).suffix != ".fasta":
        return
    known = trained.vocabulary
    letters = isinstance(known, Vocabulary) and _LETTERS.fullmatch(known.characters.replace("\n", "")) is not None
    require(letters, "--output", options.output, "a .npy or .txt file: this run's tokens are not all letters, * or -")


def save(
    trained: Run, drawn: Sampled, rows: Sequence[dict[str, Any]], options: argparse.Namespace, end: int | None
) -> str:
    """Write the samples; returns the sentence that says so.

    Args:
        trained: the run.
        drawn: its samples.
        rows: the same, as :func:`mdm_jax.app.work.rows.as_rows` gives them.
        options: those of the command.
        end: the token that ends a sequence, if one does.
    """
    path = Path(options.output)
    texts, more = [row["text"] for row in rows], ""
    if path.suffix == ".npy":
        known = trained.vocabulary
        content = _npy(drawn, end, known.shape if isinstance(known, Numbers) else None)
        more = ", token ids" + " with -1 where a row has none" * (is_ragged(trained) or end is not None)
    elif path.suffix == ".fasta":
        content = _fasta(rows).encode()
    else:
        texts = _without_own_end(trained, texts, end)
        many = any("\n" in text for text in texts)
        content = (("\n\n" if many else "\n").join(texts) + "\n").encode()
        more = ", with an empty line between them since they have line breaks" if many else ", each a line"
        if any("\n\n" in text for text in texts):
            more += " (some hold empty lines of their own: a .npy file keeps them apart)"
    write_bytes(path, content)
    count = "1 sample is" if len(rows) == 1 else f"{len(rows):,} samples are"
    return f"{count} in {printable(str(path))}{more}."


def _without_own_end(trained: Run, texts: list[str], end: int | None) -> list[str]:
    """Texts without the token that ends the rows of the data, which no line of theirs has; unless others end them."""
    own, known = own_end(trained), trained.vocabulary
    if own is None or end not in (None, own) or not isinstance(known, Vocabulary):
        return texts
    return [text.removesuffix(known.decode(np.array([own]))) for text in texts]


def _npy(drawn: Sampled, end: int | None, shape: tuple[int, int] | None) -> bytes:
    """int32[rows, length], or [rows, height, width] of whole pictures; what stands behind the end is left out too."""
    tokens: Int32[np.ndarray, "rows length"] = np.asarray(drawn.tokens, np.int32)
    if end is not None:
        tokens = cut_behind(tokens, end, np.asarray(drawn.reveal_step) == GIVEN)
    if shape is not None and present(tokens).all():
        tokens = tokens.reshape(-1, *shape)
    stream = io.BytesIO()
    np.save(stream, tokens)
    return stream.getvalue()


def _fasta(rows: Sequence[dict[str, Any]]) -> str:
    """Each sample under a heading with its number and its model calls."""
    parts = []
    for i, row in enumerate(rows):
        text = row["text"].replace("\n", "")
        if _LETTERS.fullmatch(text) is None:
            raise InputError(f"--output must be a .npy or .txt file for these samples: sample {i} has masks left.")
        lines = [text[at : at + _WIDTH] for at in range(0, len(text), _WIDTH)]
        parts.append("\n".join([f">sample-{i} nfe={row['nfe']}", *lines]) + "\n")
    return "".join(parts)
