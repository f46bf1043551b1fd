r"""Hybrid noise (GIDD, arXiv 2503.04482): on the way from data to masks some tokens are other tokens for a while.

At time ``t`` each token ``x`` is, independently, itself with probability ``alpha``, the mask with probability ``m``,
and one of all real tokens, uniformly drawn (``x`` among them), with probability ``u``:

    alpha = t / C,   m = (1 - t) / C,   u = c / C,   C = 1 + c,   c = B (t (1 - t))^(gamma / 2),
    B = 2^gamma p / (1 - p),

so that ``u = p`` at ``t = 1/2``. Time runs with generation, as everywhere here: the paper's and its code's time is
``1 - t``. With ``p = 0`` it is the masked process of the linear schedule.

Relative to ``alpha`` the noise is ``m / alpha = (1 - t) / t`` and ``u / alpha = c / t``. Both fall as ``t`` rises,
which is what makes it a Markov process (``training/DERIVATIONS.md``, "Hybrid noise is a Markov process").
"""

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require, require_number
from mdm_jax.theory.numerics.given import as_float

MOST_UNIFORM = 0.99
"""The largest uniform share: beyond it hardly a mask or a token of the data is left in the middle."""


class HybridShares(NamedTuple):
    """What tokens are at a time; the three sum to 1.

    Attributes:
        kept: float[*times], the probability that a token is itself, but for what uniform noise hits by chance.
        masked: float[*times], that it is the mask.
        uniform: float[*times], that it was drawn from all real tokens.
    """

    kept: Float[Array, "*times"]
    masked: Float[Array, "*times"]
    uniform: Float[Array, "*times"]


def hybrid_shares(t: ArrayLike, uniform: float, gamma: float = 1.0) -> HybridShares:
    """The shares of hybrid noise at time ``t``.

    Args:
        t: float[*times], from 0 (all masked) to 1 (data).
        uniform: the share of uniform noise at ``t = 1/2``, from 0 (masks alone) to .99.
        gamma: how much of it there is towards the ends: from 1 (the paper's) to below 2.

    Returns:
        :class:`HybridShares`, each float[*times].

    Raises:
        InputError: a time, a share or a gamma beyond its range (times are seen only where they are not traced).

    Source: arXiv 2503.04482 (GIDD), its mixing schedule, in this library's time.

    Example:
        >>> import mdm_jax as mdm
        >>> shares = mdm.schedules.hybrid_shares(0.5, uniform=0.2)
        >>> print(*(round(float(share), 3) for share in shares))  # kept, masked, uniform
        0.4 0.4 0.2
    """
    require_hybrid(uniform, gamma)
    t = as_float(t)
    if not isinstance(t, jax.core.Tracer):
        require(bool(jnp.all((t >= 0) & (t <= 1))), "t", t, "times from 0 to 1")
    amount = uniform_odds(t, 1 - t, uniform, gamma)
    total = 1 + amount
    return HybridShares(t / total, (1 - t) / total, jnp.asarray(amount / total))


def uniform_odds(t: Any, left: Any, uniform: float, gamma: float = 1.0) -> Any:
    """``c``, the uniform noise relative to tokens kept and masked together, which weigh 1.

    Of NumPy's arrays NumPy's, of JAX's JAX's.

    Args:
        t: float[*times].
        left: ``1 - t``, from who knows it more exactly than the difference tells.
        uniform: as in :func:`hybrid_shares`; not checked.
        gamma: likewise.
    """
    return 2**gamma * uniform / (1 - uniform) * (t * left) ** (gamma / 2)


def require_hybrid(uniform: float, gamma: float = 1.0) -> None:
    """Refuse what is no hybrid noise.

    Raises:
        InputError: a share or a gamma beyond its range.
    """
    require_number("uniform", uniform, 0, MOST_UNIFORM, f"the share of uniform noise, from 0 to {MOST_UNIFORM}")
    require_number("gamma", gamma, 1, 1.99, "from 1 (the paper's) to 1.99")
