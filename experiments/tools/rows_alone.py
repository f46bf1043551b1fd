"""Figures of a run, worked out anew: each row alone without padding, and orders that NumPy draws."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from mdm_jax import models, tasks
from mdm_jax.models.extending import by_rank
from mdm_jax.support.ragged import lengths, present
from mdm_jax.training import Run
from mdm_jax.training.objective import Examples
from mdm_jax.training.objectives import default_objective

BATCH = 64
"""Rows whose logits are held together."""


class Alone(NamedTuple):
    """Rows in a padded canvas against the same rows alone, under the same maskings or orders.

    Attributes:
        rows: how many were compared.
        lengths: how many different lengths they have.
        worst: the greatest difference of a row's loss, nats per real token.
        together: the difference of the losses of all, nats per real token.
    """

    rows: int
    lengths: int
    worst: float
    together: float


def padded_and_alone(run: Run, tokens: Int[np.ndarray, "rows length"], of_lengths: int, key: jax.Array) -> Alone:
    """Compare the rows of ``of_lengths`` lengths, from the shortest to the longest, that occur in ``tokens``."""
    there = lengths(tokens)
    found = np.unique(there)
    wanted = found[np.unique(np.linspace(0, len(found) - 1, of_lengths).round().astype(int))]
    chosen = np.isin(there, wanted)
    objective, examples, there = default_objective(run.denoiser), Examples(jnp.asarray(tokens[chosen])), there[chosen]
    drawn = objective.corrupt(key, run.denoiser, examples, jnp.float32(1))
    cost = jax.jit(objective.losses, static_argnums=0)

    def losses(of: tuple[Examples, Any]) -> Float[np.ndarray, " rows"]:
        return np.asarray(cost(run.denoiser, run.params, *of).loss, np.float64)

    padded, alone = losses((examples, drawn)), np.zeros(len(there))
    for many in wanted.tolist():
        mine = np.flatnonzero(there == many)

        def cut(leaf: jax.Array, mine: np.ndarray = mine, many: int = many) -> jax.Array:
            return leaf[mine, :many] if leaf.ndim == 2 else leaf[mine]

        alone[mine] = losses(jax.tree.map(cut, (examples, drawn)))
    apart = padded - alone
    return Alone(len(there), len(wanted), float(np.abs(apart / there).max()), float(abs(apart.sum()) / there.sum()))


def own_nelbo(run: Run, tokens: Int[np.ndarray, "rows length"], repeats: int, seed: int) -> Float[np.ndarray, " rows"]:
    """The NELBO of each row, nats, from the denoiser's logits alone: orders, sums and logarithms are NumPy's.

    An any-order model is asked for all tokens of an order at once; another for the hidden ones at one count of revealed
    tokens, whose mean loss stands for every token of the row.
    """
    random, there = np.random.default_rng(seed), np.asarray(present(tokens))
    many, context = there.sum(axis=1), tasks.context_of(run.task, "test")
    ranked, total = by_rank(run.denoiser), np.zeros(len(tokens))

    @jax.jit
    def scores(rows: jax.Array, rank: jax.Array, shown: jax.Array, known: Any) -> jax.Array:
        if ranked:
            model: Any = run.denoiser
            return model.readout(run.params, model.encode_ranked(run.params, rows, rank, rank, known))
        return models.logits(run.denoiser, run.params, shown, known)

    for _ in range(repeats):
        order = np.argsort(np.where(there, random.random(tokens.shape), 2.0), axis=1)
        rank = np.argsort(order, axis=1).astype(np.int32)
        revealed = np.zeros(len(tokens), int) if ranked else random.integers(0, many)
        hidden = there & (rank >= revealed[:, None])
        shown = np.where(hidden, run.denoiser.mask_id, tokens)
        for start in range(0, len(tokens), BATCH):
            at = slice(start, start + BATCH)
            known = jax.tree.map(lambda leaf, at=at: leaf[: len(tokens)][at], context)
            logits = np.asarray(scores(tokens[at], rank[at], shown[at], known), np.float64)
            top = logits.max(axis=-1, keepdims=True)
            cost = top[..., 0] + np.log(np.exp(logits - top).sum(axis=-1))
            cost -= np.take_along_axis(logits, np.where(there[at], tokens[at], 0)[..., None], axis=-1)[..., 0]
            total[at] += np.where(hidden[at], cost, 0).sum(axis=1) * many[at] / hidden[at].sum(axis=1)
    return total / repeats
