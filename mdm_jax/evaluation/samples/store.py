"""Rows that were drawn, kept in a file: what is there is not drawn again, whoever asks and in whatever order.

The first line says which model the rows are of; every other line holds finished rows and their digest, so that nothing
damaged is believed. A row is known by the fingerprint of all that determines it but the model: its schedule or rule,
the key, the temperature, what was given, its context, and its number among the samples.
"""

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import LARGEST_JSON, digest, parse_json
from mdm_jax.support.ragged import ABSENT
from mdm_jax.support.text import shortened

FORMAT = "mdm_jax rows 2"

_AROUND = 200
"""Bytes of a line beside its rows, and more."""

RowId = tuple[str, int]
"""The fingerprint of what was asked for, and the number of the sample."""


class Row(NamedTuple):
    """One sequence and what it cost: see :class:`~mdm_jax.sampling.Sampled`."""

    tokens: Int32[np.ndarray, " length"]
    nfe: int
    remaining: int
    log_prob: float


class Store:
    """An open file of rows, whose writer holds its lock (:func:`mdm_jax.support.locks.exclusive`).

    Args:
        path: the file, made with its folder if it is not there.
        model: what the rows are of: names and their values, as JSON; under "mdm_jax" what version draws them.
        length: tokens of a row.
        most: the largest token id (the mask among them).

    Raises:
        InputError: it is there and no regular file.
    """

    def __init__(self, path: Path, model: Mapping[str, Any], length: int, most: int) -> None:
        self.path = path
        self._length, self._most = length, most
        self._header = {"format": FORMAT, **model, "length": length}
        self._end = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise self._refused("it is not a regular file")
        path.touch()

    def read(self) -> Iterator[tuple[RowId, Row]]:
        """Every row of the file, to be read to its end before the first :meth:`add`.

        Raises:
            InputError: not such a file, of another version or model, or damaged elsewhere than in its last line, which
                a crash may cut short and which is then dropped.
        """
        with self.path.open("rb") as stream:
            for number, line in self._lines(stream):
                value = _parsed(line)
                if number == 1:
                    self._check(value)
                else:
                    yield from self._rows(value, number)
                self._end += len(line)
            if not self._end:  # nothing is overwritten but what a crash may have left of a first line
                stream.seek(0)
                head = _line(self._header)
                if not head.startswith(stream.read(len(head) + 1)):
                    raise self._refused("its first line is not that of one")

    def add(self, rows: Mapping[RowId, Row]) -> None:
        """Append finished rows, as one line if one can hold them, and wait until the disk has them.

        Raises:
            OSError: it cannot be written; what was there before is still good.
        """
        lists = _split([[*name, *_listed(row)] for name, row in rows.items()])
        lines = [{"rows": one, "digest": _digest(one)} for one in lists]
        data = b"".join(map(_line, lines if self._end else [self._header, *lines]))
        try:
            with self.path.open("r+b") as stream:
                stream.truncate(self._end)  # a line that was cut short
                stream.seek(self._end)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            error.filename = str(self.path)
            raise
        self._end += len(data)

    def _lines(self, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        """Whole lines and their numbers; a last one without its end, or that is no JSON, is left out."""
        number, line = 1, stream.readline(LARGEST_JSON)
        while line.endswith(b"\n"):
            following = stream.readline(LARGEST_JSON)
            if not following and _parsed(line) is None:
                return
            yield number, line
            number, line = number + 1, following
        if len(line) == LARGEST_JSON:
            raise self._refused(f"line {number} has more than {LARGEST_JSON} bytes")

    def _check(self, header: Any) -> None:
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            given = header.get("format") if isinstance(header, dict) else header
            raise self._refused(f"its first line must have the format {FORMAT!r}; got {_brief(given)}")
        theirs, ours = (one.get("mdm_jax") for one in (header, self._header))
        if theirs != ours:
            raise InputError(
                f"{self.path} holds rows drawn by mdm_jax {_brief(theirs)}, and this is {_brief(ours)}, which may draw "
                "others: name another file, or delete this one, and the rows are drawn anew."
            )
        for name, value in self._header.items():
            if header.get(name) != value:
                raise InputError(
                    f"{self.path} holds rows of another model: its {name} is {_brief(header.get(name))}, not "
                    f"{_brief(value)}; name another file."
                )

    def _rows(self, value: Any, number: int) -> Iterator[tuple[RowId, Row]]:
        rows = value.get("rows") if isinstance(value, dict) else None
        if not isinstance(rows, list):
            raise self._refused(f"line {number} has no rows")
        found = list(map(self._row, rows))
        if any(row is None for row in found):
            raise self._refused(f"line {number} has a row that none can be")
        if value.get("digest") != _digest(rows):
            raise self._refused(f"line {number} is damaged: its digest is not that of its rows")
        yield from (row for row in found if row is not None)

    def _row(self, row: Any) -> tuple[RowId, Row] | None:
        if not isinstance(row, list) or len(row) != 6:
            return None
        name, sample, nfe, remaining, log_prob, tokens = row
        whole = isinstance(tokens, list) and all(type(x) is int for x in (sample, nfe, remaining, *tokens))
        if not whole or not isinstance(name, str) or not _is_log_prob(log_prob):
            return None
        if len(tokens) != self._length or not all(0 <= x < 2**31 for x in (nfe, remaining, sample)):
            return None
        if not ABSENT <= min(tokens) <= max(tokens) <= self._most:
            return None
        return (name, sample), Row(
            np.array(tokens, np.int32), nfe, remaining, float("nan" if log_prob is None else log_prob)
        )

    def _refused(self, why: str) -> InputError:
        return InputError(f"{self.path} is not a store of evaluated rows: {why}.")


def _listed(row: Row) -> list[Any]:
    """A row as JSON: a log-probability that is not defined is null, an infinite one a text."""
    log_prob = float(row.log_prob)
    known = None if math.isnan(log_prob) else log_prob if math.isfinite(log_prob) else str(log_prob)
    return [int(row.nfe), int(row.remaining), known, np.asarray(row.tokens).tolist()]


def _is_log_prob(value: Any) -> bool:
    return value in (None, "inf", "-inf") or (type(value) is float and math.isfinite(value))


def _split(rows: list[list[Any]]) -> Iterator[list[list[Any]]]:
    """The rows in lists that a line can hold: a longer one would be refused when it is read."""
    while rows:
        sizes = itertools.accumulate(len(_line(row)) for row in rows)
        fitting = sum(size <= LARGEST_JSON - _AROUND for size in sizes)
        yield rows[: max(fitting, 1)]
        rows = rows[max(fitting, 1) :]


def _digest(rows: list[Any]) -> str:
    return digest(_line(rows))


def _line(value: Any) -> bytes:
    return (json.dumps(value, separators=(",", ":")) + "\n").encode()


def _parsed(line: bytes) -> Any:
    try:
        return parse_json(line.decode())
    except (ValueError, RecursionError):
        return None


def _brief(value: Any) -> str:
    return shortened(json.dumps(value), 80)
