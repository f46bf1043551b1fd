"""How long the rows are that are drawn: as the run's training rows were, or as ``--length`` says."""

import numpy as np
from jaxtyping import Bool, Int, Int32

from mdm_jax import tasks
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.ragged import ABSENT
from mdm_jax.training import Run


def is_ragged(trained: Run) -> bool:
    """Whether the rows that a run learned from had different lengths."""
    return tasks.lengths_of(trained.description) is not None


def check_length(trained: Run, asked: int | None) -> None:
    """Refuse a ``--length`` that the run's rows cannot have.

    Raises:
        InputError: rows of one length alone, or a number that is none of theirs.
    """
    if asked is None:
        return
    longest = trained.settings.length
    if not is_ragged(trained):
        raise InputError(f"--length needs a run of rows of different lengths; all rows of this one have {longest}.")
    require(1 <= asked <= longest, "--length", asked, f"from 1 to {longest}, the length of the longest rows")


def row_lengths(
    trained: Run, asked: int | None, seed: int, begun: Int[np.ndarray, " rows"]
) -> Int32[np.ndarray, " rows"]:
    """The length of each row: the one asked for, or drawn from the law of the training rows' lengths.

    Where the first tokens of a row are given, the law is that of the rows that are longer. Row ``r`` takes the same
    quantile whatever the other rows are.

    Args:
        trained: a run.
        asked: ``--length``.
        seed: of the draws.
        begun: int[rows], how many tokens at the beginning of each row are given.

    Raises:
        InputError: so much is given that nothing is left to be drawn.
    """
    longest, rows = trained.settings.length, len(begun)
    counts = tasks.lengths_of(trained.description)
    if asked is not None or counts is None:
        length = longest if asked is None else asked
        most = int(begun.max(initial=0))
        require(most < length, "--length", length, f"more than {most}, for so many tokens are given")
        return np.full(rows, length, np.int32)
    found = np.zeros(rows, np.int32)
    for given in np.unique(begun).tolist():
        longer = np.where(np.arange(len(counts)) > given, counts, 0)
        if not longer.sum():
            raise InputError(
                f"what is given must leave something to be drawn: it has {given} tokens, and no row that the run "
                f"learned from has more; --length N, of at most {longest}, asks for rows of N tokens all the same."
            )
        mine = begun == given
        found[mine] = tasks.draw_lengths(longer, rows, seed)[mine]
    return found


def cut(rows: Int32[np.ndarray, "rows length"], lengths: Int[np.ndarray, " rows"]) -> Int32[np.ndarray, "rows length"]:
    """The rows with nothing behind their lengths."""
    return np.where(_before(lengths, rows.shape[1]), rows, ABSENT).astype(np.int32)


def _before(lengths: np.ndarray, length: int) -> Bool[np.ndarray, "rows length"]:
    return np.arange(length) < np.asarray(lengths)[:, None]
