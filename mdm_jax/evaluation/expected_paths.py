"""What plans cost on given sequences, told from one path: less noise between them than paths of their own have."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    checked_plans,
    context_of,
    known_positions,
    require_context,
    require_costs,
    sequences,
)
from mdm_jax.evaluation.paths import BATCH, gains_between, path_nelbo
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.sampling.orders import first_hitting
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory.plans import Plan


@usual()
def plan_costs(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plans: Iterable[Plan],
    *,
    key: PRNGKeyArray,
    context: Context = None,
    given: Bool[np.ndarray, "*rows length"] | None = None,
    progress: bool = False,
) -> Float[np.ndarray, "plans rows"]:
    """The teacher-forced cost of each plan on each sequence, told from what all of them pass on one path; nats.

    Each sequence gets one uniformly random order, the same for all plans. The *chain* takes a step wherever one of the
    plans does; what it costs is counted as :func:`~mdm_jax.evaluation.path_nelbo` counts. A plan that passes over some
    of the chain's places predicts its tokens from less: it costs what the tokens of its step that are still hidden
    there would have gained, and that gain is averaged over *all* hidden tokens, since those of the step are a random
    part of them. So the mean is that of ``path_nelbo``, ``sum_k n_k g(N_{k-1})``, after the same passes (a row with
    ``N`` tokens revealed is encoded once for all plans that pass there); what plans have in common cancels in their
    differences, row by row, and what is left varies less than differences of paths do: on exact laws by a factor of 1.3
    to 7 in variance. A plan asked for alone costs its path. (To average each step's own loss over the hidden tokens
    would be unbiased, too, and noisier: a path counts each token once, hard ones and easy ones, and that would not.)

    Where a path cannot be averaged so (a model by ranks or by blocks; positions that are given or absent) the costs are
    those of :func:`~mdm_jax.evaluation.path_nelbo`.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        plans: plans of that length; other plans reuse what was compiled.
        key: a typed PRNG key; row ``r``'s order depends on it and on ``r`` alone.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each.
        given: bool[length] or bool[rows, length], as :func:`~mdm_jax.evaluation.path_nelbo` takes it.
        progress: show a progress bar.

    Returns:
        float64[plans, rows]; infinite where the model gives a token of the plan's path probability 0. A row's costs
        depend on which plans are asked for together, their means do not.

    Raises:
        InputError: as :func:`~mdm_jax.evaluation.path_nelbo`.

    Source: conditional expectations (Rao and Blackwell) of differences of paths; arXiv 2510.25544 for the mean.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world, plans = mdm.oracles.polya(8, 0.5), [mdm.plans.uniform(8, 8), mdm.plans.uniform(8, 4)]
        >>> rows = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])
        >>> mdm.evaluation.plan_costs(world.denoiser, world.params, rows, plans, key=mdm.key(0)).shape
        (2, 2)
    """
    require_model(denoiser, params)
    if block_length(denoiser) is not None or by_rank(denoiser):
        return path_nelbo(denoiser, params, tokens, plans, key=key, context=context, given=given, progress=progress)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    rows, length = tokens.shape
    require_context(denoiser, context, rows)
    plans = checked_plans(plans, length, f"plans of the sequences' length {length}")
    if known_positions(given, tokens)[0].any():
        return path_nelbo(denoiser, params, tokens, plans, key=key, context=context, given=given, progress=progress)
    ends = _ends(plans, length)
    counts = np.flatnonzero(ends.any(axis=0))
    batch = min(BATCH, rows)
    padded = np.pad(np.arange(rows), (0, -rows % batch), mode="edge").reshape(-1, batch)
    free, costs = jnp.ones((batch, length), bool), np.zeros((len(plans), padded.size))
    with bar(len(padded) * len(counts), "plans", "batch", progress) as advance:
        for block, ids in enumerate(padded):
            rank = first_hitting(key, free, jnp.asarray(ids))
            seen, theirs = jnp.asarray(tokens[ids]), context_of(context, ids)
            losses = _losses(denoiser, params, seen, rank, theirs, counts, advance)
            costs[:, block * batch : (block + 1) * batch] = _along(losses, np.asarray(rank), counts, ends[:, counts])
    costs = costs[:, :rows]
    require_costs(costs, plans)
    return costs


def _ends(plans: Sequence[Plan], length: int) -> Int[np.ndarray, "plans length"]:
    """How many tokens are revealed after the step that a plan takes where so many are; 0 where it takes none."""
    ends = np.zeros((len(plans), length), np.int64)
    for plan, of_plan in zip(plans, ends):
        after = np.cumsum(plan.sizes)
        of_plan[after - plan.sizes] = after
    return ends


def _losses(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "batch length"],
    rank: Int[Array, "batch length"],
    context: Context,
    counts: Int[np.ndarray, " m"],
    advance: Callable[[int], None],
) -> Iterator[Float[np.ndarray, "batch length"]]:
    """``-log p`` of all tokens that are hidden at each count, 0 elsewhere: one pass after the other."""
    for count in counts.tolist():
        upto = jnp.int32(count), jnp.int32(tokens.shape[1])
        yield -np.asarray(gains_between(denoiser, params, tokens, rank, *upto, context), np.float64)
        advance(1)


def _along(
    losses: Iterator[Float[np.ndarray, "batch length"]],
    order: Int[np.ndarray, "batch length"],
    counts: Int[np.ndarray, " m"],
    ends: Int[np.ndarray, "plans m"],
) -> Float[np.ndarray, "plans batch"]:
    """Costs of plans from the losses of what is hidden at each count of their chain, one count after the other."""
    plans, (batch, length) = len(ends), order.shape
    chain, passed, paths = np.zeros(batch), np.zeros((plans, batch)), np.zeros((plans, batch))
    step, before = np.zeros(plans, np.int64), np.zeros((batch, length))
    for i, (count, until, loss) in enumerate(zip(counts, [*counts[1:], length], losses)):
        chain += np.where((count <= order) & (order < until), loss, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):  # of infinite losses: such rows cost their paths
            gained = np.where(count <= order, before - loss, 0.0).sum(axis=1)
        begins = ends[:, i] > 0
        step = np.where(begins, ends[:, i], step)
        left = ((step - count) / (length - count))[~begins]
        with np.errstate(invalid="ignore"):
            passed[~begins] += left[:, None] * gained
        for end in np.unique(step[begins]).tolist():
            paths[begins & (step == end)] += np.where((count <= order) & (order < end), loss, 0.0).sum(axis=1)
        before = loss
    with np.errstate(invalid="ignore"):
        told = chain + passed
    return np.where(np.isfinite(told), told, paths)
