"""A profile for free: the training loss, sorted by how much of each sequence was revealed.

Every training example has a number of revealed tokens and a mean loss over its hidden ones: an unbiased draw of
``g(revealed)`` for the parameters of that step (``DERIVATIONS.md``, "Counts instead of times"). Adding them up costs
nothing beside the step itself. What comes out is the profile of the parameters as they are trained (not their EMA) on
*training* data, through a window that forgets: it follows the model as it learns and says early which schedule it is
going to want. A held-out profile (``evaluation.estimate_profile``) has the last word.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Denoiser, is_readable
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.models.parameters import summary
from mdm_jax.theory.profiles import Profile, default_counts, interpolated, interpolation_slopes

HALF_LIVES = 20
"""Half-lives of the window in a training run: what was tallied a twentieth of the run ago counts half."""
COUNTS = (24, 16, 12, 8, 6, 4)
"""How many counts a profile has: as many of these as there are examples enough for."""
UPPER_BOUNDS = "upper bounds: the draws of one row are not independent"
"""What a profile says of its standard errors where a row gives several draws."""
_NEWTON_STEPS = 4
_ENOUGH = 4.0
"""Examples that every count of a profile must rest on, in effect."""


@struct.dataclass
class Tally:
    """Weighted sums over training examples, by number of revealed tokens; a pytree in the training state.

    Attributes:
        weight: float32[length], the sum of weights ``w``; newer examples weigh more.
        weight_squared: float32[length], of ``w^2``, times the draws of a row: see :func:`add`.
        loss: float32[length], of ``w x``, ``x`` being an example's mean loss over its hidden tokens, nats.
        loss_squared: float32[length], of ``w x^2``.
    """

    weight: Any  # abstract (shapes only) as often as not
    weight_squared: Any
    loss: Any
    loss_squared: Any

    def __repr__(self) -> str:
        if not is_readable(self.weight) or not hasattr(self.weight, "__array__"):
            return f"Tally({summary(self.weight)} each)"
        seen = np.asarray(self.weight, np.float64)
        return f"Tally(length={len(seen)}, examples={seen.sum():.1f} in effect, over {np.sum(seen > 0)} of the counts)"


def empty(length: int) -> Tally:
    """Nothing seen yet."""
    return Tally(*(jnp.zeros(length, jnp.float32) for _ in range(4)))  # an array each: a state is donated


def add(
    tally: Tally,
    revealed: Int[Array, " rows *draws"],
    loss: Float[Array, " rows *draws"],
    steps: int,
    weight: Float[Array, " rows *draws"] | None = None,
) -> Tally:
    """The tally after one more batch, what was there before having faded by one step of ``steps``.

    The draws of one row are not independent of each other. Each of ``D`` draws of a row counts as ``1 / D`` of an
    independent example: a sum of them varies at most so much (``DERIVATIONS.md``, "Several draws of one row count as
    one example").

    Args:
        tally: before.
        revealed: how many tokens each example showed, from 0 to ``length - 1``: one number for each row, or several.
        loss: its mean cross-entropy over the hidden tokens, nats.
        steps: of the whole training; a twentieth of them is the half-life.
        weight: how much each counts; alike if left out.
    """
    fade = 0.5 ** (HALF_LIVES / steps)
    length = tally.weight.shape[0]
    draws = max(1, revealed.size // max(1, revealed.shape[0]))
    revealed, loss = revealed.reshape(-1), loss.reshape(-1)
    weight = jnp.ones_like(loss) if weight is None else weight.reshape(-1)
    where = revealed[:, None] == jnp.arange(length, dtype=revealed.dtype)[None, :]

    def total(values: Array) -> Array:
        return jnp.sum(jnp.where(where, values[:, None], 0.0), axis=0)

    return Tally(
        fade * tally.weight + total(weight),
        fade**2 * tally.weight_squared + draws * total(weight**2),
        fade * tally.loss + total(weight * loss),
        fade * tally.loss_squared + total(weight * loss**2),
    )


def about(denoiser: Denoiser, **more: Any) -> dict[str, Any]:
    """What a profile of a tally says of itself: of which block or order, if the model goes by those, and what else.

    Such models give several draws of a row, so that the errors of their profiles are upper bounds.
    """
    block = block_length(denoiser)
    if by_rank(denoiser):
        return {"order": "uniform", "errors": UPPER_BOUNDS, **more}
    return more if block is None else {"block": block, "errors": UPPER_BOUNDS, **more}


def to_profile(
    tally: Tally, provenance: Mapping[str, Any] | None = None, numbers: Sequence[int] = COUNTS
) -> Profile | None:
    """The profile that fits the tally best, or ``None`` while too little has been seen.

    Weighted least squares by the very curve that a profile draws between its counts (fewer while little has been
    seen), which takes a few Gauss-Newton steps from straight lines; the covariance of its means comes from the
    residuals (White's, which takes no variance for granted). Errors count examples as independent, and the several
    draws of a row (any-order and block-causal models) as one example in all: they are upper bounds then, too large by
    up to the square root of the draws. They do not know that parameters moved meanwhile, nor that this is training
    data.

    Args:
        tally: what was seen.
        provenance: JSON to store with the profile.
        numbers: how many counts it may have, from many to few: the first for which enough has been seen.
    """
    weight, squared, loss, loss_squared = (
        np.asarray(leaf, dtype=np.float64)
        for leaf in (tally.weight, tally.weight_squared, tally.loss, tally.loss_squared)
    )
    length = len(weight)
    for most in numbers:
        counts = default_counts(length, most)
        hats = np.stack([np.interp(np.arange(length), counts, row) for row in np.eye(len(counts))], axis=1)
        effective = (hats.T @ weight) ** 2 / np.maximum(hats.T**2 @ squared, 1e-30)
        if effective.min() < _ENOUGH:
            continue
        means, *_ = np.linalg.lstsq(hats.T @ (weight[:, None] * hats), hats.T @ loss)
        for _ in range(_NEWTON_STEPS):
            design, fit = interpolation_slopes(counts, means, length), interpolated(counts, means, length)
            move, *_ = np.linalg.lstsq(design.T @ (weight[:, None] * design), design.T @ (loss - weight * fit))
            means = means + move
        design, fit = interpolation_slopes(counts, means, length), interpolated(counts, means, length)
        inverse = np.linalg.pinv(design.T @ (weight[:, None] * design), hermitian=True)
        residuals = np.maximum(loss_squared - 2 * fit * loss + fit**2 * weight, 0.0)
        spread = residuals * squared / np.maximum(weight, 1e-30)
        covariance = inverse @ (design.T @ (spread[:, None] * design)) @ inverse
        about = {
            "estimator": "training loss",
            "rows_of": "train",
            "effective_rows": float(weight.sum() ** 2 / squared.sum()),
        }
        return Profile(length, counts, means, (covariance + covariance.T) / 2, {**about, **(provenance or {})})
    return None
