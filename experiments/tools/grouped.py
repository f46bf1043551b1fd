"""Costs of rows that depend on each other within groups: means of groups, curves over steps, and intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from mdm_jax.support.intervals import mean_interval

DRAWS = 400
"""Of the bootstrap over groups."""


def interval(values: np.ndarray | Sequence[float]) -> list[float]:
    """The mean of independent values and its 95% interval, as JSON holds it."""
    return list(mean_interval(values))


def by_group(values: Float[np.ndarray, "any rows"], groups: Sequence[str]) -> Float[np.ndarray, "any groups"]:
    """The mean of each group's rows, groups in the order of their names.

    Example:
        >>> import numpy as np
        >>> from experiments.tools.grouped import by_group
        >>> by_group(np.array([[1.0, 5.0, 3.0]]), ["b", "a", "b"])
        array([[5., 2.]])
    """
    names = sorted(set(groups))
    of = np.asarray([names.index(group) for group in groups])
    return np.stack([values[:, of == i].mean(axis=1) for i in range(len(names))], axis=1)


def curve(by_name: Mapping[str, np.ndarray], name: str) -> Float[np.ndarray, "steps groups"]:
    """The costs of a family's plans of 1, 2, 3, ... steps."""
    steps = sorted(int(key.split()[1]) for key in by_name if key.startswith(f"{name} "))
    return np.stack([by_name[f"{name} {k}"] for k in steps])


def steps_as_good(costs: Float[np.ndarray, "steps groups"], ours: Float[np.ndarray, " groups"]) -> list[float]:
    """How many steps of a family cost as much as a plan does, with the 95% interval of the bootstrap over groups.

    A plan that costs less than all of the family's is said to be as good as its last.
    """
    groups = costs.shape[1]
    places = np.random.default_rng(0).integers(0, groups, (DRAWS, groups))
    weights = np.stack([np.bincount(one, minlength=groups) for one in (np.arange(groups), *places)]) / groups
    falling = np.minimum.accumulate(weights @ costs.T, axis=1)[:, ::-1]
    found = [
        float(np.interp(nats, line, np.arange(len(costs), 0, -1.0))) for nats, line in zip(weights @ ours, falling)
    ]
    return [
        found[0],
        min(found[0], float(np.quantile(found[1:], 0.025))),
        max(found[0], float(np.quantile(found[1:], 0.975))),
    ]
