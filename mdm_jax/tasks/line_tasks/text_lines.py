"""Lines of text as a task: each line a row of its own length."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.files import digest
from mdm_jax.support.ragged import ABSENT
from mdm_jax.tasks.dealing import HELD_OUT, deal, require_held_out, spelled_share
from mdm_jax.tasks.line_tasks.line_texts import END, Texts, described, fitting, of_content, rows_of
from mdm_jax.tasks.ngram import NGram, fit_rows
from mdm_jax.tasks.notations import Vocabulary, is_text
from mdm_jax.tasks.repeats import told_repeats
from mdm_jax.tasks.row_lengths import said_lengths
from mdm_jax.tasks.rows import RowsTask, counted, mean_of
from mdm_jax.tasks.source_files import SourceFile, read_text
from mdm_jax.tasks.spelling import spelled
from mdm_jax.tasks.text_files import LARGEST_FILE, ORDERS, SETTINGS


@dataclass(frozen=True, eq=False, kw_only=True)
class LinesTask(RowsTask):
    """Lines as a :class:`mdm_jax.tasks.Task`; made by :func:`lines` and :func:`mdm_jax.tasks.fasta`."""

    separator: tuple[int, ...] | None = None
    """The tokens up to and with the first of which a row is given."""
    end: int | None = None
    """The token that ends a line and fills up its row, if there is one."""

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "trigram bits per character" + (" behind the prompt" if self.separator else "")

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """Bits per character of each row under the back-off trigram of the training rows; lower is more like them.

        Every character of a row counts, what fills up its end does not. With an end token those count up to and with
        the first end; with a separator, those behind the first one, or all where it does not occur or nothing follows.
        Raises ``InputError`` for rows with masks, or of another length.
        """
        rows = self._cut(self.ending(tokens))
        return self._bits(rows, self._counted(rows, None), 3)

    def baselines(
        self, tokens: Int[Any, "rows length"], given: Bool[Any, "rows length"] | None = None
    ) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under back-off n-grams of the training rows, unigram to 5-gram.

        A row's beginning is a symbol of contexts; its end is not predicted. So they are laws of the characters given
        the length. With an end token, the first end of a row is predicted as any token; those behind it are certain,
        and cost nothing, but are counted as tokens, as a model's figures count them.

        Args:
            tokens: complete rows; they may end in ``ABSENT``, which is not counted.
            given: positions that are not counted; those of the prompt if left out.

        Raises:
            InputError: rows with masks, or of another length.
        """
        rows = self.ending(tokens)
        mask, cut = self._counted(rows, given), self._cut(rows)
        return {name: self._bits(cut, mask, order) for order, name in enumerate(ORDERS, start=1)}

    def describe(self) -> dict[str, Any]:
        """As :meth:`RowsTask.describe`, with the id of the end token as "end"."""
        return super().describe() | ({} if self.end is None else {"end": self.end})

    def _bits(self, rows: np.ndarray, mask: np.ndarray, order: int) -> Float64[np.ndarray, " rows"]:
        return mean_of(-self._grams.log_prob(rows, order) / np.log(2), mask)

    def _counted(self, rows: np.ndarray, given: Any) -> Bool[np.ndarray, "rows length"]:
        if given is None and self.separator is not None:
            given = up_to_first(rows, self.separator)
        return counted(rows, given)

    def _cut(self, rows: np.ndarray) -> np.ndarray:
        """Without what stands behind the first end."""
        if self.end is None:
            return rows
        ends = rows == self.end
        return np.where(np.cumsum(ends, axis=1) - ends > 0, ABSENT, rows)

    @cached_property
    def _grams(self) -> NGram:
        return fit_rows(self._cut(self.train), self.vocab_size, order=len(ORDERS))


def lines(
    source: str | Path | Sequence[str],
    length: int | None = None,
    *,
    prompt: str | None = None,
    end: bool = False,
    held_out: float = HELD_OUT,
) -> LinesTask:
    r"""Lines of text, each a row of its own length: eight tenths to train on, a tenth each to choose and to judge.

    A fixed permutation deals them. Empty lines are left out. A row ends where its line does: what fills it up is
    ``ABSENT`` (-1), which no model sees and no figure counts. So a model is told the length of a line and learns no
    end; the lengths of samples are drawn from the law of those of the training lines.

    Args:
        source: a UTF-8 file ("\r\n" becomes "\n", a byte-order mark is dropped), or the lines themselves, which a
            run cannot restore by their name.
        length: characters in the longest row; longer lines are left out. By default that of the longest line.
        prompt: text that every line has, behind the first of which something follows: all up to and with it is given
            in training, and what follows is learned.
        end: fill up rows with an end token instead, "⏎", which is learned as any other, so that the model decides how
            long a line is. All rows are then of one length, and every figure counts the ends that fill them up.
        held_out: the share of lines to choose by and to judge by, half of it each. The rest is to train on.

    Raises:
        InputError: the file cannot be read or is no text; fewer than ``FEWEST_ROWS`` lines; a line without
            ``prompt``, or with nothing behind it; "⏎" in a text with ``end``; an argument out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.lines(["CCO", "CC(=O)O", "C1CC1", "OCC"] * 10)
        >>> task.train.shape, task.vocabulary.characters, task.show(task.test[0]), task.test[0].tolist()
        ((32, 7), '()1=CO', 'C1CC1', [4, 2, 4, 4, 2, -1, -1])
        >>> task.notes[0]
        'Rows have 3 to 7 tokens, 4.5 on average.'
    """
    held_out = require_held_out(held_out)
    settings = {"lines": True, "end": end, "prompt": prompt, **spelled_share(held_out)}
    if isinstance(source, str | Path):
        require(str(source) != "", "path", str(source), "the path of a UTF-8 text file")
        file = SourceFile(source, "a readable UTF-8 text file")
        content = read_text(file, LARGEST_FILE)
        spec, known = spelled("text", str(file.path), settings, SETTINGS), of_content(content, str(file.path))
        return task_of(known, spec, digest(content), length, prompt, end, held_out=held_out)
    good = isinstance(source, Sequence) and all(isinstance(line, str) and is_text(line) for line in source)
    require(good, "source", source, "the path of a file, or a list of lines of text")
    known = Texts(list(source), list(range(1, len(source) + 1)), "the list", "line", "source must have")
    return task_of(known, "lines", digest(json.dumps(list(source))), length, prompt, end, held_out=held_out)


def task_of(
    known: Texts,
    spec: str,
    source_digest: str,
    length: int | None,
    prompt: str | None = None,
    end: bool = False,
    letters: str | None = None,
    held_out: float = HELD_OUT,
) -> LinesTask:
    """The task of texts in memory.

    Args:
        known: the texts, and where they come from.
        spec: the name of the task.
        source_digest: that of the source.
        length: as :func:`lines` takes it.
        prompt: likewise.
        end: likewise.
        letters: the vocabulary, which has every character of the texts; by default those that occur.
        held_out: as :func:`lines` takes it.
    """
    length = None if length is None else require_whole("length", length, 2)
    require(prompt is None or (isinstance(prompt, str) and is_text(prompt) and prompt != ""), "prompt", prompt, "text")
    kept, notes = fitting(known, length, prompt, end)
    characters = Vocabulary.of("".join(kept.texts) if letters is None else letters).characters
    if end and END in characters:
        raise InputError(f"end must be left out where a {known.unit} has the character {END!r}, as {known.place} does.")
    vocabulary = Vocabulary("".join(sorted(characters + END * end)))
    if vocabulary.size < 2:
        raise InputError(f"{known.must} {known.unit}s of at least two different characters; {known.place!r} has one.")
    last = int(vocabulary.encode(END)[0]) if end else None
    width = (max(map(len, kept.texts)) + end) if length is None else length
    rows = rows_of(kept, vocabulary, width, ABSENT if last is None else last)
    separator = None if prompt is None else tuple(vocabulary.encode(prompt).tolist())
    made = deal(rows, held_out=held_out)
    given = None if separator is None else deal(up_to_first(rows, separator), bool, held_out)
    return LinesTask(
        spec,
        vocabulary,
        *made,
        source_digest,
        made=(*made, *(given or ())),
        prompts=given,
        notes=notes + (said_lengths(made) if last is None else described(kept)) + told_repeats(made),
        held_out=held_out,
        separator=separator,
        end=last,
    )


def up_to_first(rows: Int[np.ndarray, "rows length"], separator: tuple[int, ...]) -> Bool[np.ndarray, "rows length"]:
    """The positions of each row up to and with the first ``separator``; none where it does not occur.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.tasks.line_tasks.text_lines import up_to_first
        >>> up_to_first(np.array([[5, 1, 2, 5], [5, 1, 1, 5]]), (1, 2)).tolist()
        [[True, True, True, False], [False, False, False, False]]
    """
    starts = rows.shape[1] - len(separator) + 1
    if starts < 1:
        return np.zeros(rows.shape, bool)
    found = np.ones((len(rows), starts), bool)
    for offset, token in enumerate(separator):
        found &= rows[:, offset : offset + starts] == token
    behind = np.where(found.any(axis=1), np.argmax(found, axis=1) + len(separator), 0)
    return np.arange(rows.shape[1]) < behind[:, None]
