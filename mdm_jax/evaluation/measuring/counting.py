"""What a measurement asks of a model about a batch of sequences: the loss at several counts of revealed tokens."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, PRNGKeyArray

from mdm_jax.evaluation.inputs import context_of, what_rules_out
from mdm_jax.evaluation.measuring.curves import at_shares
from mdm_jax.evaluation.measuring.ranks import given_first, in_order, ranked_costs, why_infinite_by_rank
from mdm_jax.models.denoiser import Context, Denoiser, Params, logits
from mdm_jax.models.extending import by_rank
from mdm_jax.support.errors import InputError
from mdm_jax.training.losses import masked_cross_entropy


@dataclasses.dataclass(frozen=True)
class Counting:
    """Sequences and how they are looked at; called, it looks at some of them in one random order each.

    Attributes:
        denoiser: the model.
        params: its parameters.
        tokens: all sequences.
        known: what is given of each.
        left: how many tokens each has besides.
        length: of the profile.
        whole: whether every row has so many tokens; else counts are shares of a row.
        counts: how many tokens are revealed; a model that goes by ranks is asked after every number of them.
        context: as a denoiser takes it: leading axis 1, or one for each sequence.
        increments: whether falls are measured too.
    """

    denoiser: Denoiser
    params: Params
    tokens: Int32[np.ndarray, "all tokens"]
    known: Bool[np.ndarray, "all tokens"]
    left: Int[np.ndarray, " all"]
    length: int
    whole: bool
    counts: Int[np.ndarray, " m"]
    context: Context
    increments: bool

    def __call__(
        self, key: PRNGKeyArray, ids: Int[np.ndarray, " batch"]
    ) -> tuple[Float[np.ndarray, "batch m"], Float[np.ndarray, "batch m"] | None]:
        """The losses of some sequences at every count, and the falls to each if they are measured; nats per token.

        Args:
            key: of this order; the order of a row depends on it and on the row's number alone.
            ids: which sequences.
        """
        rank = ranks(key, jnp.asarray(ids), jnp.asarray(self.known[ids]))
        shown, theirs = jnp.asarray(self.tokens[ids]), context_of(self.context, ids)
        if by_rank(self.denoiser):
            place = given_first(np.asarray(rank), self.known[ids])
            cost = ranked_costs(self.denoiser, self.params, shown, jnp.asarray(place), jnp.asarray(place), theirs)
            costs = in_order(np.asarray(cost), place)
            return (costs[:, -self.length :] if self.whole else at_shares(costs, self.left[ids], self.length)), None
        asked = jnp.asarray(self.revealed(self.counts, key, ids), jnp.int32)
        free = jnp.asarray(self.left[ids], jnp.int32)
        found = at_counts(self.denoiser, self.params, shown, rank, asked, free, theirs, self.increments)
        loss, fall = (np.asarray(each, np.float64).T for each in found)
        return loss, fall if self.increments else None

    def revealed(
        self, counts: Int[np.ndarray, " m"], key: PRNGKeyArray, ids: Int[np.ndarray, " batch"]
    ) -> Int[np.ndarray, "m batch"]:
        """How many tokens of each row are revealed at each count of the profile."""
        left = self.left[ids]
        if self.whole:
            return np.broadcast_to(counts[:, None], (len(counts), len(left)))
        within = np.asarray(_within(key, jnp.asarray(ids)), np.float64)
        return np.minimum((counts[:, None] + within[None]) * left[None] // self.length, left[None] - 1).astype(np.int64)

    def why_infinite(self, row: int, at: int, keys: Sequence[PRNGKeyArray]) -> InputError:
        """Why a row's loss at the count of index ``at`` is no finite number, in one of its orders."""
        one, ranked, count = np.asarray([row]), by_rank(self.denoiser), 0
        mine = context_of(self.context, one)
        for key in keys:
            count = at if ranked else int(self.revealed(self.counts[[at]], key, one)[0, 0])
            rank = np.asarray(ranks(key, jnp.asarray(one), jnp.asarray(self.known[one])))
            if ranked:
                place = given_first(rank, self.known[one])[0]
                found = why_infinite_by_rank(self.denoiser, self.params, self.tokens[row], place, mine, row)
            else:
                corrupted = np.where(rank[0] >= count, self.denoiser.mask_id, self.tokens[row]).astype(np.int32)
                found = what_rules_out(self.denoiser, self.params, self.tokens[row], corrupted, mine, row)
            if found is not None:
                return found
        told = f"the denoiser must give row {row} a finite cost with {count} tokens revealed; it gives none."
        return InputError(told)


@jax.jit
def _within(key: PRNGKeyArray, rows: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """Where in the share of a count each row is looked at: one number in [0, 1) for each row of an order."""
    own = jax.random.fold_in(key, 2**31 - 1)
    return jax.vmap(lambda row: jax.random.uniform(jax.random.fold_in(own, row), (), jnp.float32))(rows)


@jax.jit
def ranks(
    key: PRNGKeyArray, rows: Int[Array, " batch"], known: Bool[Array, "batch length"]
) -> Int[Array, "batch length"]:
    """The place of each position in its row's random order; -1 where it is known from the start.

    Args:
        key: of the order; that of a row depends on it and on the row's number alone.
        rows: their numbers.
        known: what is given of each.
    """
    length = known.shape[1]
    bits = jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row), (length,), jnp.uint32))(rows)
    order = jnp.lexsort((bits, known), axis=-1)
    return jnp.where(known, -1, jnp.argsort(order, axis=-1))


@functools.partial(jax.jit, static_argnums=(0, 7))
def at_counts(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "batch length"],
    rank: Int[Array, "batch length"],
    counts: Int[Array, "m batch"],
    free: Int[Array, " batch"],
    context: Context,
    increments: bool,
) -> tuple[Float[Array, "m batch"], Float[Array, "m batch"]]:
    """The loss when the first-ranked ``count`` are revealed, and the fall since the count before, nats per token.

    Both are means over the hidden positions. The falls are 0 unless asked for, and at the first count.
    """

    def at_count(before: Array, count: Array) -> tuple[Array, tuple[Array, Array]]:
        hidden = rank >= count[:, None]
        corrupted, left = jnp.where(hidden, denoiser.mask_id, tokens), (free - count).astype(jnp.float32)
        if not increments:
            entropy = masked_cross_entropy(denoiser, params, tokens, corrupted, hidden, context)
            return before, (jnp.sum(entropy, axis=-1) / left, jnp.zeros(len(tokens), jnp.float32))
        log_probs = jax.nn.log_softmax(logits(denoiser, params, corrupted, context), axis=-1)
        chosen = jnp.take_along_axis(log_probs, tokens[:, :, None], axis=-1)[:, :, 0]
        loss = -jnp.sum(jnp.where(hidden, chosen, 0.0), axis=-1) / left
        before = jnp.where(jnp.all(count == counts[0]), log_probs, before)
        likely = log_probs > -jnp.inf
        moved = jnp.where(likely, log_probs, 0.0) - jnp.where(likely, before, 0.0)
        divergence = jnp.sum(jnp.where(likely, jnp.exp(log_probs) * moved, 0.0), axis=-1)
        return log_probs, (loss, jnp.sum(jnp.where(hidden, divergence, 0.0), axis=-1) / left)

    start = jnp.zeros((*tokens.shape, denoiser.vocab_size) if increments else (), jnp.float32)
    # One call for all counts: XLA on CPU reuses its buffers inside (see ``BLOCK`` of the training step).
    return jax.lax.scan(at_count, start, counts)[1]
