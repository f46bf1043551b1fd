"""Whether samples have collapsed: nearly all of them is one token, or they are all the same row."""

from collections import Counter

import numpy as np
from jaxtyping import Bool, Int, Int32

from mdm_jax.app.options.ends import cut_behind
from mdm_jax.evaluation import Evaluation
from mdm_jax.support.ragged import present
from mdm_jax.support.text import printable
from mdm_jax.tasks import Notation, Numbers
from mdm_jax.training import Run

SHARE, FROM = 0.9, 8
"""A sample is monotonous if one token is this share of what was drawn, and so many tokens were. Much of
a picture may be background, so a picture is if all of it is one token."""
MOST_OF_THEM = 0.5
"""The share of a sampler's samples that collapse before that is said of it."""
_NAMED = 3
"""Samplers that a sentence names."""


def told_collapse(
    tokens: Int[np.ndarray, "rows length"],
    drawn: Bool[np.ndarray, "rows length"],
    vocabulary: Notation,
    least: float = 0.0,
) -> str | None:
    """What the samples are, if they have collapsed; ``None`` if they have not. Blanks do not show in a terminal.

    Args:
        tokens: the samples.
        drawn: which of their tokens were drawn, and are no masks.
        vocabulary: how a token is written.
        least: the share of the samples that must be so; any one is enough if left out.
    """
    counts: Counter[int] = Counter()
    share = 1.0 if isinstance(vocabulary, Numbers) and vocabulary.shape is not None else SHARE
    for row, mine in zip(tokens, drawn):
        written = row[mine]
        if len(written) >= FROM:
            token, count = max(zip(*np.unique(written, return_counts=True)), key=lambda pair: pair[1])
            counts[int(token)] += int(count >= share * len(written))
    total = len(tokens)
    token, rows = max(counts.items(), key=lambda pair: pair[1], default=(0, 0))
    if rows > 0 and rows >= least * total:
        which = "the sample" if total == 1 else f"{rows} of {total} samples"
        return f"almost all that was drawn in {which} is one token, {vocabulary.pieces(np.array([token]))[0]!r}."
    told = drawn.sum(axis=1) >= FROM
    if not told.any():
        return None
    most = max(Counter(row.tobytes() for row in tokens[told]).values())
    return f"{most} of {total} samples are the same row." if most > 1 and most >= SHARE * total else None


def collapsed(
    found: Evaluation, trained: Run, canvas: Int32[np.ndarray, "rows length"] | None, end: int | None
) -> str | None:
    """Which samplers of an evaluation write samples most of which have collapsed, and what the first one's are."""
    mask, told = trained.denoiser.mask_id, {}
    for name, tokens in zip(found.names, found.tokens):
        given = np.zeros(tokens.shape, bool) if canvas is None else canvas != mask
        drawn = ~given & (tokens != mask) & (True if end is None else present(cut_behind(tokens, end, given)))
        if (said := told_collapse(tokens, drawn, trained.vocabulary, MOST_OF_THEM)) is not None:
            told[name] = said
    if not told:
        return None
    names = ", ".join(map(printable, list(told)[:_NAMED])) + (" and others" if len(told) > _NAMED else "")
    return f"samples have collapsed, and their scores are no praise: of {names} {next(iter(told.values()))}"
