"""The exact output law of a sampler with latents: one for all steps of a row, or another at each step."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdm_jax.evaluation.exact.laws import Sizes, in_random_order, steps_of
from mdm_jax.evaluation.exact.moves import chances, drawn_everywhere
from mdm_jax.evaluation.exact.states import Numbers, as_float64
from mdm_jax.support.errors import require, verbatim


def latent_law(
    logits: Float[Array, "latents states length vocab_size"],
    sizes: Sizes,
    weights: Numbers | None = None,
    redrawn: bool = False,
) -> Float[Array, " sequences"]:
    """The output law of a uniformly random order, ``sizes[k]`` tokens at step ``k``, by a model with a latent.

    Exact if the latent has as many values as are given; of a normal latent as exact as the points and weights that
    stand for it (quadrature, or many draws of the prior). Differentiable in ``logits``.

    Args:
        logits: of every partial state under each latent, :func:`~mdm_jax.evaluation.exact.states.conditionals` with
            each as context, stacked.
        sizes: numbers of tokens, 0 or more, that sum to the length.
        weights: float[latents], the prior's probability of each; equal if left out.
        redrawn: whether the latent is drawn at each step (``models.redrawn``), and not once for all.

    Returns:
        float[vocab_size^length], summing to 1.

    Raises:
        InputError: sizes of another sum, logits of no latent, weights that are no probabilities.

    Source: ``DERIVATIONS.md``, "A latent drawn at each step averages the step".

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> heads = jnp.log(jnp.asarray([0.9, 0.1]))  # a coin, or another, for all positions and states
        >>> coins = jnp.broadcast_to(jnp.stack([heads, heads[::-1]])[:, None, None, :], (2, 9, 2, 2))
        >>> print(mdm.evaluation.exact.latent_law(coins, [1, 1]))  # the same coin twice
        [0.41 0.09 0.09 0.41]
        >>> print(mdm.evaluation.exact.latent_law(coins, [1, 1], redrawn=True))
        [0.25 0.25 0.25 0.25]
    """
    shown = verbatim(f"shape {np.shape(logits)}")
    good = np.ndim(logits) == 4 and len(logits) >= 1
    require(good, "logits", shown, "conditionals of all partial states for each latent, stacked")
    given = np.full(len(logits), 1 / len(logits)) if weights is None else as_float64(weights)
    good = given.shape == (len(logits),) and bool((given >= 0).all() and abs(given.sum() - 1) < 1e-4)
    require(good, "weights", given.tolist(), f"{len(logits)} probabilities, one for each latent")
    left, ways = steps_of(logits[0], sizes)
    return (_redrawn if redrawn else _fixed)(logits, jnp.asarray(given, logits.dtype), left, ways)


@jax.jit
def _fixed(logits: Array, weights: Array, left: Array, ways: Array) -> Array:
    def add(law: Array, of_latent: tuple[Array, Array]) -> tuple[Array, None]:
        mine, weight = of_latent
        return law + weight * in_random_order(mine, chances(*drawn_everywhere(mine)), left, ways), None

    _, _, length, vocab_size = logits.shape
    return jax.lax.scan(add, jnp.zeros(vocab_size**length, logits.dtype), (logits, weights))[0]


@jax.jit
def _redrawn(logits: Array, weights: Array, left: Array, ways: Array) -> Array:
    # A step is linear in its chances, each a product over the positions that it reveals: their mean over latents.
    def add(mean: Array, of_latent: tuple[Array, Array]) -> tuple[Array, None]:
        mine, weight = of_latent
        return mean + weight * chances(*drawn_everywhere(mine)), None

    _, _, length, vocab_size = logits.shape
    nothing = jnp.zeros((2 * vocab_size + 1) ** length, logits.dtype)
    return in_random_order(logits[0], jax.lax.scan(add, nothing, (logits, weights))[0], left, ways)
