"""What plans cost along the path that an order of confidence takes: measured on rows, and told by a table of one path.

The *table* takes the states of one path, after each number of tokens of a short chain, for those of every plan. From
each it tells what it costs to reveal the next ``s`` surest tokens at once; what a plan costs is then the sum over its
steps. It is exact where the surest ``i`` positions are the same however they were come to, and biased elsewhere.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdm_jax import models
from mdm_jax.evaluation.forced_paths import rule_costs
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import rules
from mdm_jax.sampling.readings import Measure, Reading
from mdm_jax.theory.plans import Plan

POSITIONS = 4096
"""Of a batch of rows."""
Rows = Int[np.ndarray, "rows length"]
Given = Bool[np.ndarray, "rows length"]


def forced_costs(
    denoiser: Denoiser, params: Params, rows: Rows, given: Given, plans: Sequence[Plan], measure: Measure
) -> Float[np.ndarray, "plans rows"]:
    """The teacher-forced cost of every plan on every row, along the order's own path; nats.

    Raises:
        InputError: the model rules out a token of the data.
    """
    cost = functools.partial(rule_costs, denoiser, params, rows, key=jax.random.key(0), given=given)
    return np.stack([cost(rules.surest(plan, score=measure), plan.name)[0] for plan in plans])


def table(
    denoiser: Denoiser, params: Params, rows: Rows, given: Given, counts: Sequence[int], measure: Measure
) -> Float[np.ndarray, "free free_and_one"]:
    """What it costs to reveal the next ``s`` surest tokens after ``i`` of a path: mean over rows, nats, NaN beyond.

    Args:
        denoiser: the model.
        params: its parameters.
        rows: complete sequences.
        given: what is known from the start, as many positions in every row.
        counts: ascending, the first 0: the path stops there. Between them the cost of a share of what is left is
            interpolated, by token.
        measure: decides which positions are the surest.
    """
    free = int((~given[0]).sum())
    ends, batch = [*counts[1:], free], max(1, min(len(rows), POSITIONS // rows.shape[1]))
    sums = np.zeros((len(counts), free + 1))
    for start in range(0, len(rows), batch):
        some = min(batch, len(rows) - start)
        ids = np.minimum(np.arange(start, start + batch), len(rows) - 1)
        tokens, known = jnp.asarray(rows[ids]), jnp.asarray(given[ids])
        for place, end in enumerate(ends):
            costs, known = _look(denoiser, measure, params, tokens, known, rows.shape[1] - free + end)
            sums[place] += np.asarray(costs, np.float64)[:some, : free + 1].sum(axis=0)
    return between(sums / len(rows), counts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _look(
    denoiser: Denoiser, measure: Measure, params: Params, tokens: Array, known: Array, upto: Array
) -> tuple[Array, Array]:
    """The costs of the next 0, 1, 2, ... surest tokens, and what is known when there are ``upto``."""
    rows, length = tokens.shape
    canvas = jnp.where(known, tokens, denoiser.mask_id).astype(jnp.int32)
    flat = models.logits(denoiser, params, canvas).reshape(rows * length, -1)
    reading = Reading(flat, tokens.reshape(-1), canvas.reshape(-1), ~known.reshape(-1))
    score = jnp.where(known, -jnp.inf, measure(reading).reshape(rows, length))
    loss = -reading.log_prob(tokens.reshape(-1)).reshape(rows, length)
    order = jnp.lexsort((-score, known), axis=-1)
    costs = jnp.cumsum(jnp.take_along_axis(jnp.where(known, 0.0, loss), order, axis=1), axis=1)
    count = upto - jnp.sum(known, axis=-1, dtype=jnp.int32)
    return jnp.pad(costs, ((0, 0), (1, 0))), known | rules.take_surest(score, ~known, count)


def between(
    costs: Float[np.ndarray, "counts free_and_one"], counts: Sequence[int]
) -> Float[np.ndarray, "free free_and_one"]:
    """The table at every number of tokens, from its rows at ``counts``."""
    free = costs.shape[1] - 1
    made = np.full((free, free + 1), np.nan)
    for i in range(free):
        left = free - i
        shares = np.arange(left + 1) / left
        after = min(int(np.searchsorted(counts, i)), len(counts) - 1)
        before = max(after - 1, 0) if counts[after] > i else after
        weight = 0.0 if after == before else (i - counts[before]) / (counts[after] - counts[before])
        here, there = (_by_token(costs[place], free - counts[place], shares) for place in (before, after))
        made[i, : left + 1] = left * ((1 - weight) * here + weight * there)
    return made


def _by_token(costs: Float[np.ndarray, " any"], left: int, shares: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What the surest share of the ``left`` tokens costs, per token that is left."""
    return np.interp(shares * left, np.arange(left + 1), costs[: left + 1]) / left


def told(made: Float[np.ndarray, "free free_and_one"], plan: Plan) -> float:
    """What a table says that a plan costs, nats.

    Example:
        >>> import numpy as np
        >>> from experiments.tools.own_paths import told
        >>> from mdm_jax import plans
        >>> told(np.array([[0.0, 1.0, 3.0], [0.0, 1.5, np.nan]]), plans.uniform(2, 2))
        2.5
    """
    return float(made[plan.knots[:-1], plan.sizes].sum())
