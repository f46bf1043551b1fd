"""Samples as JSON: what ``sample`` prints and ``samples.json`` keeps."""

from typing import Any

import numpy as np

from mdm_jax.app.terminal.output import finite
from mdm_jax.sampling import GIVEN, Sampled
from mdm_jax.training import Run


def as_rows(trained: Run, drawn: Sampled, end: int | None = None) -> list[dict[str, Any]]:
    """One object for each row: text, the piece at each position, its step, nfe, what is still masked, log-probability
    (``None`` where it is not defined).

    The text stops at the first ``end`` that was drawn; the pieces do not.
    """
    rows = []
    for tokens, step, nfe, remaining, log_prob in zip(
        *map(np.asarray, (drawn.tokens, drawn.reveal_step, drawn.nfe, drawn.remaining, drawn.log_prob))
    ):
        ends = np.flatnonzero((tokens == end) & (step != GIVEN))
        written = 1 + ends[0] if len(ends) else len(tokens)
        rows.append(
            {
                "text": trained.vocabulary.decode(tokens[:written]),
                "pieces": trained.vocabulary.pieces(tokens),
                "reveal_step": step.tolist(),
                "nfe": int(nfe),
                "remaining": int(remaining),
                "log_prob": finite(float(log_prob)),
            }
        )
    return rows
