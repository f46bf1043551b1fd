"""What measurements are given: sequences of a model's tokens, one context for all, and costs that are finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from mdm_jax.models.denoiser import Context, Denoiser, Params, checked_tokens, logits
from mdm_jax.support.errors import InputError, require, verbatim

LARGEST = 2**31 - 1
"""Of what is counted in 32 bits: encodings, repeats, rows."""


def sequences(
    denoiser: Denoiser, tokens: Any, least: int = 1, argument: str = "tokens"
) -> Int32[np.ndarray, "rows length"]:
    """``tokens`` as int32[rows, length], each of them a real token of the denoiser's.

    Raises:
        InputError: no token ids, another shape, or fewer rows than ``least``.
    """
    ids = np.asarray(checked_tokens(denoiser, tokens, argument))
    good = ids.ndim == 2 and len(ids) >= least and ids.shape[1] >= 1
    rows = "at least 1 row" if least == 1 else f"at least {least} rows"
    require(good, argument, verbatim(f"shape {ids.shape}"), f"of shape [rows, length] with {rows}")
    return ids


def shared_context(context: Context, rows: int) -> Context:
    """A context with a leading axis of 1, for so many rows.

    Raises:
        InputError: another leading axis.
    """
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(context)]
    good = all(shape[:1] == (1,) for shape in shapes)
    require(good, "context", verbatim(f"leaves of shapes {shapes}"), "one for all rows, with a leading axis of 1")
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape[1:])), context)


def what_rules_out(
    denoiser: Denoiser,
    params: Params,
    tokens: Int32[np.ndarray, " length"],
    corrupted: Int32[np.ndarray, " length"],
    context: Context,
    row: int,
) -> InputError | None:
    """Why predicting the masked tokens of a row costs no finite number of nats; ``None`` if it does.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: the truth.
        corrupted: what the model sees.
        context: passed to the denoiser, leading axis 1.
        row: its number, for the sentence.
    """
    scores = np.asarray(logits(denoiser, params, jnp.asarray(corrupted)[None], context))[0]
    seen = int((corrupted != denoiser.mask_id).sum())
    for position in np.flatnonzero(corrupted == denoiser.mask_id).tolist():
        here, token = scores[position], int(tokens[position])
        where = f"at position {position} of row {row}, where {seen} tokens are revealed"
        if np.isnan(here).any() or (here == np.inf).any() or (here == -np.inf).all():
            return InputError(
                "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; "
                f"{where}, they are {np.array2string(here, threshold=8)}."
            )
        if here[token] == -np.inf:
            return InputError(
                f"tokens must be possible under the denoiser, else their cost is infinite; it gives token {token} "
                f"probability 0 {where}."
            )
    return None
