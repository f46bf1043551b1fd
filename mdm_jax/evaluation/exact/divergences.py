"""How far a sampler's law is from the target: total variation, KL, Jensen-Shannon."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdm_jax.evaluation.exact.laws import ancestral_law
from mdm_jax.evaluation.exact.states import Numbers, checked_target
from mdm_jax.support.errors import require, require_choice, verbatim


def total_variation(p: Numbers, q: Numbers) -> Float[Array, ""]:
    """``sum |p - q| / 2``, from 0 to 1.

    Args:
        p: a law, of any shape.
        q: another of the same states, in the same order.

    Returns:
        float[]; the same either way round.

    Raises:
        InputError: laws of other states.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> target, law = np.asarray([3, 1, 1, 3]) / 8, np.ones(4) / 4
        >>> print(mdm.evaluation.exact.total_variation(target, law))
        0.25
    """
    p, q = _pair(p, q)
    return jnp.sum(jnp.abs(p - q)) / 2


def kl_divergence(p: Numbers, q: Numbers) -> Float[Array, ""]:
    """``sum p log(p / q)`` in nats; infinite where ``q`` rules out what ``p`` allows.

    The target first and the sampler's law second is what an expected NELBO bounds.

    Args:
        p: a law, of any shape.
        q: another of the same states, in the same order.

    Raises:
        InputError: laws of other states.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> target, law = np.asarray([3, 1, 1, 3]) / 8, np.ones(4) / 4
        >>> print(mdm.evaluation.exact.kl_divergence(target, law))
        0.13081202
    """
    p, q = _pair(p, q)
    here, good = p > 0, (p > 0) & (q > 0)
    ratio = jnp.where(good, p, 1.0) / jnp.where(good, q, 1.0)
    return jnp.sum(jnp.where(good, p * jnp.log(ratio), jnp.where(here, jnp.inf, 0.0)))


def jensen_shannon(p: Numbers, q: Numbers) -> Float[Array, ""]:
    """The mean divergence of ``p`` and ``q`` from their mean, in nats: from 0 to log 2, always finite.

    Args:
        p: a law, of any shape.
        q: another of the same states, in the same order.

    Returns:
        float[]; the same either way round.

    Raises:
        InputError: laws of other states.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> target, law = np.asarray([3, 1, 1, 3]) / 8, np.ones(4) / 4
        >>> print(mdm.evaluation.exact.jensen_shannon(target, law))
        0.0338221
    """
    p, q = _pair(p, q)
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def _pair(p: Numbers, q: Numbers) -> tuple[Array, Array]:
    p, q = jnp.asarray(p, float), jnp.asarray(q, float)
    require(p.size == q.size, "the laws", verbatim(f"{p.size} and {q.size} states"), "over the same states")
    return p.reshape(-1), q.reshape(-1)


DIVERGENCES: Mapping[str, Callable[[Any, Any], Float[Array, ""]]] = {
    "total variation": total_variation,
    "KL": kl_divergence,
    "Jensen-Shannon": jensen_shannon,
}
"""Divergences by name, each a function of the target and of the sampler's law: from 0 to 1, nats, nats."""


def law_divergence(
    logits: Float[Array, "states length vocab_size"],
    target: Numbers,
    grid: Numbers,
    divergence: str = "total variation",
) -> float:
    """How far the output law of ancestral sampling with ``grid`` is from ``target``.

    Args:
        logits: of every partial state (:func:`~mdm_jax.evaluation.exact.states.conditionals`).
        target: the law to be sampled, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.
        grid: float[K + 1], revealed fractions from 0 to 1 (``Grid.fractions``, ``schedule.alpha(arange(K + 1) / K)``).
        divergence: one of :data:`DIVERGENCES`; KL is from the target to the sampler's law.

    Raises:
        InputError: no such divergence, a target of other states, or fractions that do not rise from 0 to 1.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> mdm.evaluation.law_divergence(logits, world.probabilities, np.asarray([0.0, 1.0]))  # 1 - 2 / 32
        0.9375
    """
    target = checked(logits, target, divergence)
    value = float(DIVERGENCES[divergence](target, ancestral_law(logits, grid)))
    require(not math.isnan(value), "logits", verbatim("some that are none"), "log-probabilities in every partial state")
    return value


def checked(logits: Array, target: Numbers, divergence: str) -> np.ndarray:
    """The target as float64[sequences], after checks."""
    require_choice("divergence", divergence, DIVERGENCES)
    return checked_target(logits, target)
