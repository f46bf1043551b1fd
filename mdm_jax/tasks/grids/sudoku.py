"""Sudoku as tasks: grids of 4 x 4, 6 x 6 and 9 x 9 cells to be made from nothing, and puzzles to be completed."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int32, UInt8

from mdm_jax.support.errors import require, require_choice, require_whole, verbatim
from mdm_jax.support.files import digest
from mdm_jax.tasks.grids import puzzles as making
from mdm_jax.tasks.grids.filling import filled, first_row_sorted, renamed, transformed
from mdm_jax.tasks.grids.puzzles import Puzzles
from mdm_jax.tasks.grids.solver import solve
from mdm_jax.tasks.grids.units import Box, broken, cells_of
from mdm_jax.tasks.notations import Grid
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.rows import RowsTask, counted, mean_of
from mdm_jax.tasks.task import token_ids

TRAIN_ROWS = 100_000
HELD_OUT_ROWS = 2_000
"""To choose by, and as many to judge by."""
COPIES = 16
"""How often each of the 288 grids of 4 x 4 stands in the training rows: their law is exactly uniform."""
BASES = 1_000
"""Grids that a search fills, from which the training rows of 9 x 9 are made by symmetries."""
HELD_OUT_BASES = 100
"""More of them for each held-out part."""
CLUES = {True: {4: 6, 6: 12, 9: 32}, False: {4: 4, 6: 9, 9: 28}}
"""Of a puzzle with one solution, and of one with several, by size, unless another number is asked for."""
MOST_SOLUTIONS = 100_000
"""Of one puzzle; they are kept while they are counted."""
_MISPRINT = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class SudokuTask(RowsTask):
    """Whole grids in raster order as a :class:`mdm_jax.tasks.Task`; made by :func:`sudoku9`."""

    box: Box
    """Rows and columns of one box."""

    @property
    def size(self) -> int:
        """Digits, rows and columns."""
        return self.box[0] * self.box[1]

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "broken rows, columns and boxes"

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """How many rows, columns and boxes of each grid do not hold every digit: 0 of a valid one, at most 3 ``size``.

        Raises ``InputError`` for rows with masks, or of another length.
        """
        return broken(self.complete(tokens), self.box).astype(np.float64)

    def baselines(
        self, tokens: Int[Any, "rows length"], given: Bool[Any, "rows length"] | None = None
    ) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under two laws that know the rules and nothing of the training rows.

        "uniform": all digits are as likely. "no repeats": cell by cell in raster order, a digit that does not stand in
        its row, column and box so far, each as likely; with probability .01, or where there is none, any digit.
        Cells that are ``given`` are not counted. Raises ``InputError`` as :meth:`score`.
        """
        rows = self.complete(tokens).astype(np.int64)
        one, size = np.left_shift(1, rows), self.size
        bits = np.zeros(rows.shape)
        for cell in range(self.length):
            seen = [unit[unit < cell] for unit in cells_of(self.box) if cell in unit]
            used = np.bitwise_or.reduce(one[:, np.concatenate(seen)], axis=1)
            free = size - np.bitwise_count(used).astype(np.int64)
            allowed = np.where(used & one[:, cell], 0, 1 / np.maximum(free, 1))
            bits[:, cell] = -np.log2(np.where(free > 0, (1 - _MISPRINT) * allowed + _MISPRINT / size, 1 / size))
        return {"uniform": np.full(len(rows), np.log2(size)), "no repeats": mean_of(bits, counted(rows, given))}

    def is_valid(self, tokens: Int[Any, "rows length"]) -> Bool[np.ndarray, " rows"]:
        """Whether each row is a valid grid; one with masks is not.

        Raises:
            InputError: ids that are no tokens, or rows of another length.
        """
        return broken(self._cells("tokens", tokens), self.box) == 0

    def solves(self, canvas: Int[Any, "puzzles length"], tokens: Int[Any, "rows length"]) -> Bool[np.ndarray, " rows"]:
        """Whether each row of ``tokens`` is a valid grid that agrees with the clues of its row of ``canvas``.

        Args:
            canvas: puzzles, with the mask where there is no clue; one row, or one for each row of ``tokens``.
            tokens: grids; one with masks solves nothing.

        Raises:
            InputError: ids that are no tokens, rows of another length, or another number of puzzles than of grids.
        """
        grids, clues = self._cells("tokens", tokens), self._cells("canvas", canvas)
        wanted = f"one puzzle, or one for each of the {len(grids)} grids"
        require(len(clues) in (1, len(grids)), "canvas", verbatim(f"{len(clues)} puzzles"), wanted)
        return self.is_valid(grids) & ((clues == self.size) | (clues == grids)).all(axis=1)

    def solutions(self, canvas: Int[Any, " length"], most: int = 1000) -> Int32[np.ndarray, "solutions length"]:
        """The solutions of one puzzle, all if there are no more than ``most``.

        Raises:
            InputError: ``canvas`` is no row of tokens and masks, or ``most`` is not from 1 to ``MOST_SOLUTIONS``.

        Example:
            >>> import mdm_jax as mdm
            >>> task = mdm.tasks.sudoku4()
            >>> len(task.solutions(task.vocabulary.encode("1234 .... .... ....", mask=".")))
            12
        """
        ids = token_ids(canvas, "length", self.size + 1, self._wanted, "canvas")
        require(len(ids) == self.length, "canvas", verbatim(f"shape {ids.shape}"), f"of {self.length} cells")
        found = solve(ids.tolist(), self.box, require_whole("most", most, 1, MOST_SOLUTIONS))
        return np.array(found, np.int32).reshape(-1, self.length)

    def puzzles(
        self,
        count: int,
        seed: int = 0,
        clues: int | None = None,
        unique: bool = True,
        most: int = 1000,
        part: str = "test",
    ) -> Puzzles:
        """Puzzles of held-out grids, for a sampler to complete.

        Those with one solution are dug: cells are cleared in a random order, each if no other digit in it leads to a
        solution (``tasks/DERIVATIONS.md``, "Digging tries each cell once"). Those with several keep random cells.

        Args:
            count: how many; beyond the rows of ``part``, grids recur with other clues.
            seed: of the choice of grids and clues.
            clues: how many each has; ``CLUES`` unless said.
            unique: one solution each, or else two at least.
            most: how far solutions are counted, where there are several; from 2 to ``MOST_SOLUTIONS``.
            part: "test", or "validation" to choose by.

        Raises:
            InputError: an argument out of range, or a number of clues for which no such puzzle was found.

        Example:
            >>> import mdm_jax as mdm
            >>> task = mdm.tasks.sudoku4()
            >>> made = task.puzzles(2, clues=4, unique=False)
            >>> made.solutions.tolist(), [len(task.solutions(canvas)) for canvas in made.canvas]
            ([2, 3], [2, 3])
        """
        count, most = require_whole("count", count, 1), require_whole("most", most, 2, MOST_SOLUTIONS)
        clues = CLUES[bool(unique)][self.size] if clues is None else require_whole("clues", clues, 0, self.length)
        seed = require_whole("seed", seed, 0, 2**31 - 1)
        require_choice("part", part, ("test", "validation"))
        rows, stream = getattr(self, part), np.random.RandomState(seed)
        turns = [stream.permutation(len(rows)) for _ in range(-(-count // len(rows)))]
        grids = rows[np.concatenate(turns)[:count]]
        return making.make(grids, self.box, stream, clues, None if unique else most)

    @property
    def _wanted(self) -> str:
        return f"ids from 0 to {self.size - 1} or the mask {self.size}"

    def _cells(self, name: str, tokens: Int[Any, "rows length"]) -> np.ndarray:
        ids = token_ids(tokens, "rows length", self.size + 1, self._wanted, name)
        require(ids.shape[1] == self.length, name, verbatim(f"shape {ids.shape}"), f"rows of length {self.length}")
        return ids


@dataclass(frozen=True, eq=False, kw_only=True)
class UniformSudokuTask(SudokuTask):
    """Small grids, drawn uniformly from all valid ones, so that their law is known; made by :func:`sudoku4` and 6."""

    grids: int
    """How many valid grids there are."""

    @property
    def entropy(self) -> float:
        """Of a row, in nats: ``log(grids)``."""
        return math.log(self.grids)

    def log_prob(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """``log p`` of each row, in nats: ``-entropy`` of a valid grid, ``-inf`` of others."""
        return np.where(broken(self.complete(tokens), self.box) == 0, -self.entropy, -np.inf)


def sudoku4() -> UniformSudokuTask:
    """Sudoku of 4 x 4 cells with boxes of 2 x 2: 288 grids, all as likely.

    Each grid stands ``COPIES`` times in the training rows; held-out rows are draws, so that they too recur, and no
    grid is held out: what is tested here is a law, not generalisation.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.sudoku4()
        >>> task.grids, task.train.shape, round(task.entropy, 4)
        (288, (4608, 16), 5.663)
        >>> task.is_valid(task.test).all(), task.score(0 * task.test[:1]).tolist()
        (np.True_, [12.0])
    """
    box, stream = (2, 2), np.random.RandomState(0)
    names = np.array(list(itertools.permutations(range(4))), np.uint8)
    everything = names[:, first_row_sorted(box)].reshape(-1, 16)
    train = np.tile(everything, (COPIES, 1))[stream.permutation(COPIES * len(everything))]
    drawn = everything[stream.randint(len(everything), size=2 * HELD_OUT_ROWS, dtype=np.int64)]
    return _uniform("sudoku4", box, len(everything), (train, drawn[:HELD_OUT_ROWS], drawn[HELD_OUT_ROWS:]))


def sudoku6() -> UniformSudokuTask:
    """Sudoku of 6 x 6 cells with boxes of 2 rows and 3 columns: 28,200,960 grids, all as likely.

    Draws are exactly uniform: one of the 39,168 grids whose first row is 1 to 6, its digits renamed by a uniformly
    random permutation. Draws for training that are held-out grids were left out.

    Source: ``tasks/DERIVATIONS.md``, "Renamed digits make every small grid once"; the count is that of the literature.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.sudoku6()
        >>> task.grids, task.train.shape, round(task.entropy, 4)
        (28200960, (100000, 36), 17.1548)
    """
    box, stream = (2, 3), np.random.RandomState(0)
    bases = first_row_sorted(box)

    def drawn(rows: int) -> UInt8[np.ndarray, "rows length"]:
        return renamed(stream, bases[stream.randint(len(bases), size=rows, dtype=np.int64)], 6)

    held_out = drawn(2 * HELD_OUT_ROWS)
    train = drawn(TRAIN_ROWS + TRAIN_ROWS // 100)
    known = {row.tobytes() for row in held_out}
    free = np.array([row.tobytes() not in known for row in train])
    parts = train[free][:TRAIN_ROWS], held_out[:HELD_OUT_ROWS], held_out[HELD_OUT_ROWS:]
    return _uniform("sudoku6", box, len(bases) * math.factorial(6), parts)


def sudoku9() -> SudokuTask:
    """Sudoku of 9 x 9 cells: 100,000 grids to train on.

    A search fills ``BASES`` grids, trying the digits of each cell in a random order. Symmetries of the rules make
    the rows of them (rows within a band, bands, columns, stacks, transposition, digits), at random. Each part has
    bases of its own. Their law is not uniform over all valid grids, and its entropy is not known.

    Source: ``tasks/DERIVATIONS.md``, "The parts of 9 x 9 share no orbit".

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.sudoku9()
        >>> made = task.puzzles(1, clues=30)
        >>> (made.canvas < 9).sum(), task.solves(made.canvas, made.solution)
        (np.int64(30), array([ True]))
    """
    stream = np.random.RandomState(0)
    bases = filled(stream, BASES + 2 * HELD_OUT_BASES, (3, 3))
    groups = np.split(bases, (BASES, BASES + HELD_OUT_BASES))
    sizes = (TRAIN_ROWS, HELD_OUT_ROWS, HELD_OUT_ROWS)
    chosen = [group[stream.randint(len(group), size=size, dtype=np.int64)] for group, size in zip(groups, sizes)]
    train, validation, test = (transformed(stream, group, (3, 3)) for group in chosen)
    rows = train, validation, test
    parts = _parts(rows)
    return SudokuTask("sudoku9", Grid(9, (3, 3)), *parts, _digest(rows), parts, box=(3, 3))


def _uniform(spec: str, box: Box, grids: int, rows: Parts) -> UniformSudokuTask:
    parts = _parts(rows)
    vocabulary = Grid(box[0] * box[1], box)
    return UniformSudokuTask(spec, vocabulary, *parts, _digest(rows), parts, box=box, grids=grids)


def _parts(rows: Parts) -> Parts:
    """As int32, read-only."""
    train, validation, test = (np.asarray(part, np.int32) for part in rows)
    for part in (train, validation, test):
        part.flags.writeable = False
    return train, validation, test


def _digest(rows: Parts) -> str:
    """Of all the rows, so that another way to make them is another task."""
    return digest(b"".join(part.tobytes() for part in rows))
