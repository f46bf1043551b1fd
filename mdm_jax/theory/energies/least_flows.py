"""The least energy of any rates that make a path move, by brute force: what masked diffusion's own are held against."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mdm_jax.support.errors import require, verbatim


class LeastEnergy(NamedTuple):
    """A flow of least energy, with what a caller needs to check it."""

    value: float
    """``sum flows^2 / (p_z p_x)``: an upper bound of the minimum as far as ``residual`` is zero."""
    bound: float
    """The dual problem's value at ``potential``: a lower bound of the minimum whatever the solver did."""
    residual: float
    """Largest violation of continuity by ``flows``, per unit of time."""
    flows: Float[np.ndarray, "states states"]
    potential: Float[np.ndarray, " states"]


def least_energy(
    probabilities: Float[np.ndarray, " states"],
    probability_rates: Float[np.ndarray, " states"],
    allowed: Bool[np.ndarray, "states states"],
) -> LeastEnergy:
    """The least ``sum_{z != x} j(z, x)^2 / (p_z p_x)`` of any flow ``j >= 0`` on ``allowed`` that makes the path move.

    That is the integrand of (5), ``p_z / p_x Q^2`` with ``j = p_z Q``, minimised over the rates instead of taken at
    the masked diffusion's. Solved through its dual, ``max_f 2 f.p' - sum p_z p_x max(f_x - f_z, 0)^2``, by Newton's
    method on its active moves; with every move allowed the answer is ``sum p'^2 / p`` (``DERIVATIONS.md``, "The least
    energy over rates").

    Args:
        probabilities: ``p``, not negative.
        probability_rates: ``p'``, summing to zero, zero wherever ``p`` is.
        allowed: the moves ``z -> x`` (row to column) by which the path can be made to move; the diagonal is ignored.

    Raises:
        InputError: shapes that differ, no path, or moves that cannot make it.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.theory.energies import enumeration, least_flows
        >>> probabilities, rates = enumeration.path(np.array([0.5, 0.5]), alpha=0.5, alpha_rate=1.0)
        >>> least_flows.least_energy(probabilities, rates, enumeration.unmaskings(1, 2)).value  # fisher(0.5)
        4.0
    """
    p, p_rate, count = probabilities, probability_rates, len(probabilities)
    fit = p_rate.shape == (count,) and allowed.shape == (count, count)
    require(fit, "probability_rates and allowed", (p_rate.shape, allowed.shape), f"of {count} states")
    require(bool(np.isfinite(p).all() and (p >= 0).all()), "probabilities", p, "finite and not negative")
    scale = float(np.max(np.abs(p_rate), initial=0.0))
    balanced = bool(np.isfinite(scale) and abs(p_rate.sum()) <= 1e-9 * scale and not p_rate[p == 0].any())
    require(balanced, "probability_rates", p_rate, "finite, zero where the probability is, and sum to zero")
    capacity = np.outer(p, p) * allowed * ~np.eye(count, dtype=bool)

    def flows_of(potential: np.ndarray) -> np.ndarray:
        return capacity * np.maximum(potential[None, :] - potential[:, None], 0)

    def slope(potential: np.ndarray) -> np.ndarray:
        flows = flows_of(potential)
        return p_rate + flows.sum(axis=1) - flows.sum(axis=0)

    potential = _newton_step(capacity, p_rate)
    for _ in range(200):
        if np.max(np.abs(slope(potential)), initial=0.0) <= 1e-11 * scale:
            break
        step = _newton_step(capacity * (potential[None, :] > potential[:, None]), slope(potential))
        size, rise = 1.0, slope(potential) @ step
        while size > 1e-9 and slope(potential + size * step) @ step < -0.5 * rise:  # far beyond the top
            size *= 0.5
        potential = potential + size * step
    flows = flows_of(potential)
    residual = float(np.max(np.abs(slope(potential)), initial=0.0))
    left = verbatim(f"a residual of {residual:.2g}")
    require(residual <= 1e-9 * scale, "allowed", left, "moves by which the path can be made to move")
    value = float(np.sum(flows[flows > 0] ** 2 / capacity[flows > 0]))
    return LeastEnergy(value, float(2 * potential @ p_rate) - value, residual, flows, potential)


def _newton_step(capacity: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Solve ``L step = gradient`` for the Laplacian of ``capacity``, scaled and shifted to be regular."""
    degree = capacity.sum(axis=0) + capacity.sum(axis=1)
    root = np.sqrt(np.where(degree > 0, degree, 1.0))
    laplacian = (np.diag(degree) - capacity - capacity.T) / np.outer(root, root)
    return np.linalg.solve(laplacian + 1e-13 * np.eye(len(root)), gradient / root) / root
