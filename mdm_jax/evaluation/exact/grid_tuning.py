"""The revealed fractions, whatever they are, whose ancestral sampler is nearest to the target: gradients."""

import dataclasses

import jax
import numpy as np
import scipy.special
from jaxtyping import Array, Float, PRNGKeyArray

from mdm_jax.evaluation.exact.descent import MOST_STEPS, Objective, descend, grid_of
from mdm_jax.evaluation.exact.divergences import checked
from mdm_jax.evaluation.exact.states import Numbers
from mdm_jax.support.errors import InputError, require_whole
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory.plans.grids import Grid


@dataclasses.dataclass(frozen=True, eq=False)
class GridByLaw:
    """The grid of least divergence that :func:`optimal_grid_by_law` found, and where every start led.

    Attributes:
        divergence: its name, one of :data:`~mdm_jax.evaluation.exact.divergences.DIVERGENCES`.
        grid: the best fractions. Steps that nothing gains shrink to nothing and are left out.
        value: the divergence of its law from the target.
        values: float64[starts], the divergence where each start led.
        fractions: float64[starts, steps + 1], the fractions there.
    """

    divergence: str
    grid: Grid
    value: float
    values: Float[np.ndarray, " starts"]
    fractions: Float[np.ndarray, "starts knots"]


def optimal_grid_by_law(
    logits: Float[Array, "states length vocab_size"],
    target: Numbers,
    steps: int,
    divergence: str = "total variation",
    starts: int = 8,
    *,
    key: PRNGKeyArray,
    progress: bool = False,
) -> GridByLaw:
    """The revealed fractions, whatever they are, whose ancestral sampler is nearest to ``target``.

    Increments are a softmax of free numbers; L-BFGS follows gradients from ``starts`` sets of standard normal ones.
    Where all starts end at one value, that is likely the optimum; nothing proves it.

    Args:
        logits: of every partial state (:func:`~mdm_jax.evaluation.exact.states.conditionals`).
        target: the law to be sampled, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.
        steps: number of steps, 1 or more.
        divergence: one of :data:`~mdm_jax.evaluation.exact.divergences.DIVERGENCES`; KL is from the target to the
            sampler's law.
        starts: number of random starts; start ``s`` depends on ``fold_in(key, s)`` alone.
        key: a typed PRNG key.
        progress: show a progress bar.

    Returns:
        The best grid, and where every start led.

    Raises:
        InputError: an argument out of its range, or starts that all have an infinite divergence.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> optimal = mdm.evaluation.optimal_grid_by_law
        >>> found = optimal(logits, world.probabilities, steps=3, starts=2, key=mdm.key(0))
        >>> print(found.value, found.grid.fractions)
        0.2811 [0. 0.1584 0.3810 1.]
    """
    target = checked(logits, target, divergence)
    steps, starts = require_whole("steps", steps, 1, MOST_STEPS), require_whole("starts", starts, 1, MOST_STEPS)
    key = threefry(key)
    normals = [np.asarray(jax.random.normal(jax.random.fold_in(key, s), (steps,)), np.float64) for s in range(starts)]
    found = []
    with jax.enable_x64(True), bar(starts, "grid by law", "start", progress) as advance:
        objective = Objective(logits, target, divergence)

        def of_free_numbers(x: np.ndarray) -> tuple[float, np.ndarray]:
            shares = scipy.special.softmax(x)
            value, slope = objective(_sums(shares))
            by_share = np.append(np.cumsum(slope[1:-1][::-1])[::-1], 0.0)  # a_k is the sum of the first k shares
            return value, shares * (by_share - shares @ by_share)

        for start in normals:
            value, x = descend(of_free_numbers, start)
            found.append((value, _sums(scipy.special.softmax(x))))
            advance(1, least=min(found, key=lambda pair: pair[0])[0])
    values, fractions = np.array([pair[0] for pair in found]), np.stack([pair[1] for pair in found])
    best = int(np.argmin(values))
    if not np.isfinite(values[best]):
        raise InputError(f"divergence must be finite somewhere; {divergence} is infinite at all {starts} starts.")
    value = float(values[best])
    origin = {"rule": "grid of least divergence", "divergence": divergence, "value": value, "starts": starts}
    return GridByLaw(divergence, grid_of(fractions[best], "optimal by law", origin), value, values, fractions)


def _sums(shares: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " knots"]:
    return np.concatenate([[0.0], np.minimum(np.cumsum(shares)[:-1], 1.0), [1.0]])
