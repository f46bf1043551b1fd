"""Lines of a text in subwords as a task: each line a row of its own length."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, Int64

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.files import digest
from mdm_jax.support.ragged import ABSENT, present
from mdm_jax.tasks.dealing import FEWEST_ROWS, FEWEST_WORDS, HELD_OUT, dealt, require_held_out, share_of, spelled_share
from mdm_jax.tasks.notations import Subwords
from mdm_jax.tasks.repeats import told_repeats
from mdm_jax.tasks.row_lengths import said_lengths
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.source_files import SourceFile, read_text
from mdm_jax.tasks.spelling import Settings, parsed, spelled, whole
from mdm_jax.tasks.subwords.subword_texts import LENGTH, SETTINGS, SubwordsTask, chosen, encoded, tokenized
from mdm_jax.tasks.subwords.tokenizer_files import LARGEST_TEXT


@dataclass(frozen=True, eq=False)
class SubwordLinesTask(RowsTask):
    """Lines in subwords as a :class:`mdm_jax.tasks.Task`. Made by :func:`tokenized_lines`; the arrays are read-only."""

    def bytes_of(self, tokens: Int[Any, "rows length"]) -> Int64[np.ndarray, " rows"]:
        """How many bytes of text each row writes; see :meth:`mdm_jax.tasks.subwords.SubwordsTask.bytes_of`."""
        rows, words = self.ending(tokens), self.vocabulary
        assert isinstance(words, Subwords)
        return np.where(present(rows), words.byte_lengths[np.where(present(rows), rows, 0)], 0).sum(axis=1)


def tokenized_lines(
    path: str | Path,
    tokenizer: str | Path | Subwords | int,
    length: int | None = None,
    spec: str | None = None,
    *,
    held_out: float = HELD_OUT,
) -> SubwordLinesTask:
    r"""Lines of a text, each a row of subwords as long as it is: eight tenths to train on, a tenth each held out.

    Rows end as those of :func:`mdm_jax.tasks.lines` do, in ``ABSENT``; the vocabulary is that of
    :func:`mdm_jax.tasks.tokenized`.

    Args:
        path: any UTF-8 file; empty lines are left out.
        tokenizer: as :func:`mdm_jax.tasks.tokenized` takes it; a BPE is trained on the training lines, long
            ones too.
        length: tokens in the longest row; longer lines are left out. By default that of the longest.
        spec: the name of the task, of a run that keeps its tokenizer.
        held_out: the share of lines to choose by and to judge by, half of it each. The rest is to train on.

    Raises:
        InputError: a file cannot be read or is something else, a line that the tokenizer cannot write, fewer than
            ``FEWEST_ROWS`` lines; the package ``tokenizers`` is missing, which a ``vocab.txt`` does not need.

    Example:
        >>> import pathlib, mdm_jax as mdm
        >>> pathlib.Path("vocab.txt").write_text("[MASK]\nC\nO\nCl\n=\n(\n)") > 0
        True
        >>> pathlib.Path("molecules.txt").write_text("CCl\nCC(=O)O\nOCC\n" * 10) > 0
        True
        >>> task = mdm.tasks.tokenized_lines("molecules.txt", "vocab.txt")
        >>> task.train.shape, task.show(task.train[0]), task.train[0].tolist()
        ((24, 7), 'CCl', [0, 2, -1, -1, -1, -1, -1])
    """
    length = None if length is None else require_whole("length", length, 2)
    held_out = require_held_out(held_out)
    require(str(path) != "", "path", str(path), "the path of a UTF-8 text file")
    file = SourceFile(path, "a readable UTF-8 text file")
    content = read_text(file, LARGEST_TEXT)
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line]
    if len(lines) < FEWEST_ROWS:
        raise file.refused(f"has {len(lines)} lines, fewer than {FEWEST_ROWS} ({FEWEST_WORDS})")
    # Before any is left out: which are depends on a tokenizer that may be trained on a part.
    parts = dealt(len(lines), held_out)
    vocabulary, settings = chosen(tokenizer, "\n".join(lines[i][1] for i in parts[0].tolist()), spec)
    told = spec or spelled("tokens", str(file.path), {**settings, "lines": True, **spelled_share(held_out)}, SETTINGS)
    rows = [encoded(file, vocabulary, line, f"line {number} ") for number, line in lines]
    fits = np.array([length is None or len(row) <= length for row in rows], bool)
    train, validation, test = (places[fits[places]] for places in parts)
    kept = int(fits.sum())
    if kept < FEWEST_ROWS or min(len(train), len(validation), len(test)) < 2:
        short = "" if length is None else f" of at most {length} tokens"
        raise InputError(
            f"path must name at least {FEWEST_ROWS} lines{short} ({FEWEST_WORDS}); {str(file.path)!r} has {kept}: "
            f"{len(train)} to train on, {len(validation)} to choose by, {len(test)} to judge by."
        )
    width = max(2, *map(len, rows)) if length is None else length
    made = _table(rows, train, width), _table(rows, validation, width), _table(rows, test, width)
    more = len(rows) - kept
    notes = (f"{more:,} {'line' if more == 1 else 'lines'} of more than {length:,} tokens left out.",) if more else ()
    notes += said_lengths(made) + told_repeats(made)
    # Lines used to be left out before they were dealt: a run of such rows must not take these for its own.
    known = digest(f"{digest(content)} {vocabulary.digest}{' dealt first' if more else ''}")
    return SubwordLinesTask(told, vocabulary, *made, known, made=made, notes=notes, held_out=held_out)


def _table(
    rows: Sequence[Int[np.ndarray, "..."]], places: Int64[np.ndarray, " part"], width: int
) -> Int32[np.ndarray, "part width"]:
    """The rows at some places, filled up with ``ABSENT``; read-only."""
    table = np.full((len(places), width), ABSENT, np.int32)
    for row, place in zip(table, places.tolist()):
        row[: len(rows[place])] = rows[place]
    table.flags.writeable = False
    return table


def from_settings(path: str, settings: Settings, length: int | None) -> SubwordsTask | SubwordLinesTask:
    """The task of a file and its settings, as a spec "tokens:PATH?tokenizer=FILE" has them.

    Raises:
        InputError: as :func:`tokenized`, or not one of both settings.
    """
    both = ("tokenizer" in settings) + ("bpe" in settings)
    wanted = "given one way to tokenize, as in tokens:PATH?tokenizer=tokenizer.json or tokens:PATH?bpe=2048"
    require(both == 1, "spec", f"tokens:{path}", wanted)
    size = whole(settings, "bpe", "tokens:PATH?bpe=2048")
    tokenizer = settings["tokenizer"] if size is None else size
    if "lines" in settings:
        return tokenized_lines(path, tokenizer, length, held_out=share_of(settings))
    shown = f"tokens:{path} with held_out"
    require("held_out" not in settings, "spec", shown, "given lines too, as in tokens:PATH?bpe=2048&lines&held_out=0.5")
    return tokenized(path, tokenizer, LENGTH if length is None else length)


def by_stored(spec: str, vocabulary: Subwords, length: int) -> SubwordsTask | SubwordLinesTask:
    """The task of a run, by the tokenizer that it keeps, whatever became of its file."""
    path, settings = parsed("tokens", spec.partition(":")[2], SETTINGS)
    if "lines" in settings:
        return tokenized_lines(path, vocabulary, length, spec, held_out=share_of(settings))
    return tokenized(path, vocabulary, length, spec)
