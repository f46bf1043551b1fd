"""Samples as JSON: what ``sample`` prints and ``samples.json`` keeps."""

from typing import Any

import numpy as np

from mdm_jax.app.options.ends import own_end
from mdm_jax.app.terminal.output import finite
from mdm_jax.sampling import GIVEN, Sampled
from mdm_jax.support.ragged import present
from mdm_jax.training import Run


def as_rows(trained: Run, drawn: Sampled, end: int | None = None) -> list[dict[str, Any]]:
    """One object for each row: text, the id and the piece at each position, its step, nfe, what is still masked,
    log-probability (``None`` where it is not defined). Positions that a row does not have are left out.

    The text stops at the first ``end`` that was drawn, or at the data's own; ids and pieces do not.
    """
    end = own_end(trained) if end is None else end
    rows = []
    for tokens, step, nfe, remaining, log_prob in zip(
        *map(np.asarray, (drawn.tokens, drawn.reveal_step, drawn.nfe, drawn.remaining, drawn.log_prob))
    ):
        there = present(tokens)
        tokens, step = tokens[there], step[there]
        ends = np.flatnonzero((tokens == end) & (step != GIVEN))
        written = 1 + ends[0] if len(ends) else len(tokens)
        rows.append(
            {
                "text": trained.vocabulary.decode(tokens[:written]),
                "tokens": tokens.tolist(),
                "pieces": trained.vocabulary.pieces(tokens),
                "reveal_step": step.tolist(),
                "nfe": int(nfe),
                "remaining": int(remaining),
                "log_prob": finite(float(log_prob)),
            }
        )
    return rows
