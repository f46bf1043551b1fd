"""Energies of finitely many steps: along the chords, and along the arc.

Source: arXiv 2509.13866, appendix D.5, for chords of equal steps; ``DERIVATIONS.md``, "Finitely many steps".
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require, verbatim
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules.base import HALF_PI


def chord_energy(angles: ArrayLike, gammas: ArrayLike) -> Float[Array, "*stack"]:
    """The energy of finitely many steps with straight chords on the circle of ``(sqrt(1 - alpha), sqrt(alpha))``.

    ``sum_k 4 |chord_k|^2 / (gamma_k - gamma_{k-1})``, which is below the energy of any path through the same points.
    At ``theta = gamma`` and equal steps it is ``8 K^2 (1 - cos(pi / 2K))``, rising to ``pi^2``; for unequal steps the
    optimum is near, but not at, ``theta = gamma`` (the paper's appendix D.5 takes it to be there).

    Args:
        angles: float[*stack, K + 1], ``theta`` at the knots, from 0 to 1 along the last axis.
        gammas: float[*stack, K + 1], ``gamma`` at the knots, from 0 to 1.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> thetas = jnp.linspace(0.0, 1.0, 5)
        >>> float(mdm.energies.chord_energy(thetas, thetas))  # pi^2 with infinitely many steps
        9.743
    """
    turns, times = _steps(angles, gammas)
    # |chord|^2 = 2 - 2 cos(turn) = 4 sin^2(turn / 2)
    return jnp.sum(16 * jnp.square(jnp.sin(0.5 * HALF_PI * turns)) / times, axis=-1)


def angle_energy(angles: ArrayLike, gammas: ArrayLike) -> Float[Array, "*stack"]:
    """The energy of finitely many steps along the arc, ``pi^2 sum_k (turn of theta)^2 / (rise of gamma)``.

    It is the energy of the schedule whose angle is piecewise linear in ``gamma``; its minimum is exactly ``pi^2``, at
    ``theta = gamma``, for any steps.

    Args:
        angles: float[*stack, K + 1], ``theta`` at the knots, from 0 to 1 along the last axis.
        gammas: float[*stack, K + 1], ``gamma`` at the knots, from 0 to 1.

    Raises:
        InputError: different numbers of knots, or fewer than 2.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> thetas = jnp.linspace(0.0, 1.0, 5)
        >>> float(mdm.energies.angle_energy(thetas, thetas)), float(mdm.energies.angle_energy(thetas**2, thetas))
        (9.8696, 12.954)
    """
    turns, times = _steps(angles, gammas)
    return np.pi**2 * jnp.sum(jnp.square(turns) / times, axis=-1)


def _steps(angles: ArrayLike, gammas: ArrayLike) -> tuple[Array, Array]:
    angles, gammas = as_float(angles), as_float(gammas)
    shapes = verbatim(f"{angles.shape} and {gammas.shape}")
    good = angles.ndim > 0 and gammas.ndim > 0 and angles.shape[-1] == gammas.shape[-1] > 1
    require(good, "angles and gammas", shapes, "arrays with the same number of knots, at least 2, along the last axis")
    return jnp.diff(angles), jnp.diff(gammas)
