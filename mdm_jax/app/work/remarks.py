"""How to read what ``evaluate`` and ``race`` print: sentences that follow their tables."""

from collections.abc import Mapping
from typing import Any

from mdm_jax import models
from mdm_jax.app.options.comparing import Basis, cuts
from mdm_jax.app.options.scoring import OWN_ENTROPY, Scoring
from mdm_jax.evaluation import Raced
from mdm_jax.support.text import printable
from mdm_jax.training import Run

ENTROPY_FALLS = "but not if the samples' own entropy falls with it"
"""What a better score may be bought with."""


def told_of_end(end: str | None, basis: Basis, scoring: Scoring) -> str:
    """What samples that stop at ``--end`` are scored by."""
    if end is None:
        return ""
    if cuts(basis, scoring):
        return f" They stop at {printable(repr(end))}, and scores see what stands before that and it."
    return (
        f" They stop at {printable(repr(end))}; this task's score is of rows of one length, so it sees them filled up "
        "with that token."
    )


def told_of_reference(scores: Mapping[str, Any] | None, basis: Basis, samples: int) -> str:
    """What to know of the line of held-out rows, or why there is none."""
    if scores is None:
        why = basis.without_data or "none of the test half is of these classes."
        return f" There are no held-out rows to compare with: {why}"
    rows = len(next(iter(scores.values())))
    if rows >= samples:
        return ""
    return (
        f" The held-out rows are only {rows}: their own entropy comes out lower for that, and is not to be compared "
        "with the samples'."
    )


def told_of_blocks(trained: Run) -> str:
    """Of which positions steps and model calls are, where the model goes by blocks."""
    block = models.block_length(trained.denoiser)
    if block is None:
        return ""
    blocks = -(-trained.settings.length // block)
    return f" Steps are those of each block of {block} tokens; nfe is that of all {blocks} blocks of a sequence."


def told_of_entropy(raced: Raced) -> list[str]:
    """One sentence for each schedule that the winner beats by samples of less entropy of their own."""
    said = []
    for one in raced.differences():
        less = raced.test.difference(one.name, one.baseline, OWN_ENTROPY)
        better = one.decided and (one.mean < 0) == raced.lower_is_better
        if better and less.decided and less.mean < 0:
            said.append(
                f"But the samples of {printable(one.name)} have less entropy of their own than those of "
                f"{printable(one.baseline)} ({less.mean:+.3f} bits, 95 % interval {less.low:+.3f} to "
                f"{less.high:+.3f}): a better score may be had by writing less."
            )
    return said
