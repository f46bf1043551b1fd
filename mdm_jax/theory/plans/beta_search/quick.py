"""A quick search on the host, without a program to compile: a coarse grid, then steps that halve around its best."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from mdm_jax.support.progress import bar
from mdm_jax.theory.plans.beta_search.judging import Judge, starts_of
from mdm_jax.theory.plans.beta_search.searching import BetaSearch, asked_budgets, grid_values
from mdm_jax.theory.profiles import Profile, checked_profile

QUICK_GRID = 16
"""Values of ``a`` and of ``b`` that are tried at first."""
_STARTS = 3
_HALVINGS = 5
"""From a grid of 16 values to distances finer than that of 256."""
_AROUND = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
_NEAR = 8
"""Budgets on either side whose best schedules are tried too."""


def quick_search(
    profile: Profile,
    budgets: Sequence[int] | None = None,
    *,
    grid: int | Sequence[float] = QUICK_GRID,
    progress: bool = False,
) -> BetaSearch:
    """The Beta(a, b) schedule of about the least expected NELBO for every budget, in milliseconds each.

    A coarse grid is scored on the host in float64; from its best cells steps go on that halve in length, in ``log a``
    and ``log b``; then each budget hears of its neighbours' best. For curves over all budgets and for choices that are
    made many times, where :func:`~mdm_jax.theory.plans.beta_search.search` would take its time for a picture, or for a
    program. Every cost is exact, and no worse than linear's and sine squared's; the best of all schedules may be missed
    by a little: of smooth profiles what is found costs on average over budgets no more than the full search finds, but
    for a thousandth of what that is above one token per step.

    Args:
        profile: the model's profile.
        budgets: numbers of steps; :func:`~mdm_jax.theory.plans.beta_search.searching.default_budgets` if left out.
        grid: as :func:`~mdm_jax.theory.plans.beta_search.search` takes it; more than 64 values are better searched
            there.
        progress: show a progress bar.

    Raises:
        InputError: no budget, one that is not from 1 to the length, or numbers out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.theory.plans import beta_search
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> found = beta_search.quick_search(profile, [2, 4])
        >>> found.plan(2).sizes.tolist(), mdm.plans.optimal(profile, 2).sizes.tolist()
        ([2, 6], [2, 6])
    """
    asked, values = asked_budgets(checked_profile(profile).length, budgets), grid_values(grid)
    landscape = np.empty((len(asked), len(values), len(values)), np.float32)
    judges = [Judge(profile, steps, values, landscape[i]) for i, steps in enumerate(asked)]
    with bar(len(asked), "quick search", "budget", progress) as advance:
        for i, judge in enumerate(judges):
            landscape[i] = _descend(judge, values)
            advance(1)
    for i, judge in enumerate(judges):
        near = judges[max(i - _NEAR, 0) : i + _NEAR + 1]
        judge.hear(np.unique([other.best for other in near], axis=0))
    for judge in judges:
        judge.shorten()
    best, nelbo = np.array([judge.best for judge in judges]), np.array([judge.nelbo for judge in judges])
    return BetaSearch(profile, asked, values, landscape, best, nelbo, gradient_steps=0)


def _descend(judge: Judge, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """Let the judge hear of the whole grid, then of what lies around its best cells; the grid's excess, nats."""
    a, b = np.meshgrid(values, values, indexing="ij")
    costs = judge.hear(np.stack([a.ravel(), b.ravel()], axis=1)).reshape(a.shape)
    cells = starts_of(costs, min(_STARTS, costs.size), apart=2)
    centres, least = np.log(values[cells]), costs[tuple(cells.T)]
    ends = np.log(values[[0, -1]])
    distance = (ends[1] - ends[0]) / max(len(values) - 1, 1)
    for _ in range(_HALVINGS):
        distance /= 2
        around = np.clip(centres[:, None] + distance * _AROUND[None], *ends)
        found = judge.hear(_single(np.exp(around).reshape(-1, 2), values)).reshape(len(centres), -1)
        at = found.argmin(axis=1)
        better = found.min(axis=1) < least
        centres = np.where(better[:, None], around[np.arange(len(at)), at], centres)
        least = np.where(better, found.min(axis=1), least)
    return costs - judge.floor


def _single(points: Float[np.ndarray, "points 2"], values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "points 2"]:
    """As float32 holds them, within the grid's ends."""
    return np.clip(points.astype(np.float32).astype(np.float64), values[0], values[-1])
