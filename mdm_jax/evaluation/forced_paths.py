"""What given rows cost along the path of a rule that looks at the model's predictions: one program, batch by batch."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import context_of
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.sampling.forcing import forced_log_prob
from mdm_jax.sampling.rule import Rule
from mdm_jax.support.errors import InputError

BATCH = 16
"""Rows that are forced together: fewer wait for the slowest, more share a pass."""


def rule_costs(
    denoiser: Denoiser,
    params: Params,
    rows: Int[np.ndarray, "rows length"],
    rule: Rule,
    name: str,
    *,
    key: PRNGKeyArray,
    context: Context = None,
    given: Bool[np.ndarray, "*rows length"] | None = None,
    advance: Callable[[int], None] = lambda batches: None,
) -> tuple[Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """``-log q`` of each row along the rule's own path, nats, and its model calls.

    Another rule of the same functions (another plan, budget or threshold) reuses what was compiled.

    Args:
        denoiser: the model.
        params: its parameters.
        rows: complete sequences; -1 where there is no position.
        rule: one that can be forced.
        name: what it is called where it is refused.
        key: of orders that chance decides.
        context: passed to the denoiser: leading axis 1, or ``rows``.
        given: bool[length] or bool[rows, length], positions that are known from the start.
        advance: told of each batch that is done.

    Raises:
        InputError: a row that the rule never draws, or logits that are no law.
    """
    padded = np.pad(np.arange(len(rows)), (0, -len(rows) % BATCH), mode="edge").reshape(-1, BATCH)
    known = None if given is None else np.broadcast_to(given, rows.shape)
    costs, passes = [], []
    for ids in padded:
        found = forced_log_prob(
            denoiser,
            params,
            rows[ids],
            rule,
            key=key,
            given=None if known is None else known[ids],
            context=context_of(context, ids),
            row_ids=jnp.asarray(ids, jnp.int32),
        )
        costs.append(-np.asarray(found.log_prob, np.float64))
        passes.append(np.asarray(found.nfe))
        advance(1)
    cost = np.concatenate(costs)[: len(rows)]
    for row in np.flatnonzero(~np.isfinite(cost)).tolist():
        why = "logits along its path are no law" if np.isnan(cost[row]) else "its probability is 0"
        raise InputError(f"rows must be such as every sampler can draw; under {name} row {row} is none: {why}.")
    return cost, np.concatenate(passes)[: len(rows)]
