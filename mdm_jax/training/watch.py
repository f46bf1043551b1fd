"""Whether training still gets anywhere: a network can die, or end far from anything, with every number finite.

After a blow-up the parameters may be so large that normalisation returns exact zeros (the mean square overflows). Then
the logits are zero, the loss is that of a uniform guess, and the gradient is zero in every digit: no step will change
that. A gradient of exactly zero is what tells it: one of a living network has noise in its last digits, however small,
unless the loss itself has gone (data without any doubt left), which is an end and no death.
"""

import math
import warnings

import numpy as np

PATIENCE = 5
"""Steps in a row without any gradient after which a network is taken for dead; at the end of a run two will do."""
_AT_THE_END = 2
_GONE = 1e-3
"""Nats per token below which a loss is none: a zero gradient belongs there."""
_FAR = 4.0
"""As many times the loss of a uniform guess are far."""


def still(before: int, losses: np.ndarray, norms: np.ndarray) -> int:
    """How many steps in a row, up to the last one, had a loss but no gradient.

    Args:
        before: of the steps before these.
        losses: of each step, nats per token.
        norms: of its gradient.
    """
    for loss, norm in zip(losses, norms):
        before = before + 1 if norm == 0 and loss > _GONE else 0
    return before


def is_dead(count: int, last: bool) -> bool:
    """Whether so many steps in a row without a gradient are enough to say so."""
    return count >= (_AT_THE_END if last else PATIENCE)


def obituary(done: int, steps: int, count: int, loss: float, vocab_size: int) -> str:
    """What has happened, as the beginning of a sentence.

    Args:
        done: steps done.
        steps: of the run.
        count: of them in a row, up to the last, without a gradient.
        loss: of the last one, nats per token.
        vocab_size: of the model.
    """
    figures = f"{loss / math.log(2):.3f} bits per token, a uniform guess has {math.log2(vocab_size):.3f}"
    if count >= done:
        what = "the loss does not depend on the parameters it started with"
    else:
        what = "the network has died (of too large a step, most likely)"
    return f"step {done} of {steps}: {what}: the gradient of the last {count} steps is exactly zero at {figures}"


def tell_if_far(bits: float, vocab_size: int) -> None:
    """Warn of a training that ended with a loss far above that of a uniform guess.

    Args:
        bits: mean training loss of the last steps, bits per token.
        vocab_size: of the model.
    """
    uniform = math.log2(vocab_size)
    if bits > _FAR * uniform:
        warnings.warn(
            f"training ended at {bits:.4g} bits per token on its own data, where a uniform guess has {uniform:.4g}: it "
            "has blown up and not come back, or was too short. Try a lower learning rate or a longer warmup.",
            RuntimeWarning,
            stacklevel=4,
        )
