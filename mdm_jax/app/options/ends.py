"""``--end``: the token that ends a sequence, and rows cut behind it."""

import numpy as np
from jaxtyping import Bool, Int, Int32

from mdm_jax.sampling.rule import require_end
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.ragged import ABSENT
from mdm_jax.training import Run
from mdm_jax.training.sources import end_of


def end_token(trained: Run, text: str) -> int:
    """The token that ``text`` writes.

    Raises:
        InputError: it writes none, or several.
    """
    try:
        tokens = trained.vocabulary.encode(text)
    except InputError:
        tokens = np.zeros(0, np.int32)
    require(len(tokens) == 1, "--end", text, "one token of this run's vocabulary")
    require_end(int(tokens[0]), trained.denoiser, "--end")
    return int(tokens[0])


def own_end(trained: Run) -> int | None:
    """The token that ends and fills up the rows of a run's data; else that which ends a published model's texts."""
    end = trained.description.get("end")
    if isinstance(end, int):
        return end
    return None if trained.directory is None else end_of(trained.directory.read_config())


def cut_behind(
    tokens: Int[np.ndarray, "rows length"], end: int, given: Bool[np.ndarray, "... length"]
) -> Int32[np.ndarray, "rows length"]:
    """Rows with nothing behind the first ``end`` that was not given.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.app.options.ends import cut_behind
        >>> cut_behind(np.array([[9, 4, 9, 9], [9, 4, 5, 6]]), 9, np.array([True, False, False, False]))
        array([[ 9,  4,  9, -1],
               [ 9,  4,  5,  6]], dtype=int32)
    """
    ends = (tokens == end) & ~given
    behind = np.cumsum(ends, axis=1) - ends > 0
    return np.where(behind, ABSENT, tokens).astype(np.int32)
