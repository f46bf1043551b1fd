"""Reading the denoiser where a rule wants it: tokens are proposed and measured, in chunks of fixed shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import draws
from mdm_jax.sampling.chunks import chunk_size, in_chunks
from mdm_jax.sampling.looking import Found
from mdm_jax.sampling.readings import Measure, Reading
from mdm_jax.sampling.rule import Rule

_ORDER, _DRAW = 0, 1  # what a position's random numbers at a step are for, besides a rule's coins
_SECOND = 0  # folded into the key of the first draw


class Seen(NamedTuple):
    """What was read, each [rows, length]; -inf for measures where nothing was."""

    proposal: Array
    log_prob: Array
    measured: tuple[Array, ...]
    second: tuple[Array, Array] | None = None  # proposals at the rule's temperature, their log_prob at 1


def read_out(
    denoiser: Denoiser,
    params: Params,
    rule: Rule,
    temperature: Array,
    chunk: int | None,
    keys: Array,
    tokens: Array,
    masked: Array,
    read: Array,
    found: Found,
    forced: Array | None = None,
) -> tuple[Seen, bool]:
    """Propose and measure where ``read``; also whether any measure looked at the proposals.

    What is ``forced``, int32[rows, length], is proposed in place of a draw.
    """
    rows, length = tokens.shape
    total = rows * length
    flat_tokens, flat_masked, flat_keys = tokens.reshape(-1), masked.reshape(-1), keys.reshape(-1)
    pairs = jnp.nonzero(read.reshape(-1), size=total, fill_value=0)[0].astype(jnp.int32)
    looked = False

    def one_chunk(seen: Seen, pair: Array, inside: Array) -> Seen:
        nonlocal looked
        logits = denoiser.readout(params, found.hidden[found.at[pair]]).astype(jnp.float32)
        draw_keys = jax.vmap(lambda key: jax.random.fold_in(key, _DRAW))(flat_keys[pair])
        if forced is None:
            proposal, log_prob = draws.categorical(draw_keys, logits, temperature)
        else:
            proposal = forced.reshape(total)[pair]
            log_prob = draws.log_prob_of(logits, proposal)
        reading = Reading(logits, proposal, flat_tokens[pair], flat_masked[pair])
        measured = tuple(measure(reading).astype(jnp.float32) for measure in measures_of(rule))
        second = None
        if rule.second_temperature is not None:
            second_keys = jax.vmap(lambda key: jax.random.fold_in(key, _SECOND))(draw_keys)
            token, _ = draws.categorical(second_keys, logits, jnp.asarray(rule.second_temperature))
            second = token, draws.log_prob_of(logits, token)
        values = Seen(proposal, log_prob, measured, second)
        looked = looked or reading.looked_at_draw
        at = jnp.where(inside, pair, total)
        return jax.tree.map(lambda room, value: room.at[at].set(value, mode="drop"), seen, values)

    written = in_chunks(
        pairs,
        jnp.zeros((), jnp.int32),
        jnp.sum(read, dtype=jnp.int32),
        chunk_size(denoiser.vocab_size) if chunk is None else chunk,
        one_chunk,
        jax.tree.map(lambda room: room.reshape(total), nothing(rows, length, rule)),
    )
    return jax.tree.map(lambda room: room.reshape(rows, length), written), looked


def measures_of(rule: Rule) -> tuple[Measure, ...]:
    """What is measured where something is read; a rule that decides before needs it for its memory alone."""
    return (rule.score, *rule.measures) if rule.reads != "chosen" or rule.remember is not None else ()


def nothing(rows: int, length: int, rule: Rule) -> Seen:
    """What was read where nothing was."""
    unread = jnp.full((rows, length), -jnp.inf, jnp.float32)
    zero = jnp.zeros((rows, length), jnp.float32)
    second = None if rule.second_temperature is None else (zero.astype(jnp.int32), unread)
    return Seen(zero.astype(jnp.int32), zero, tuple(unread for _ in measures_of(rule)), second)


def with_noise(score: Array, temperature: Array, keys: Array) -> Array:
    """The score at an order temperature: Gumbel noise added, so that the top ``n`` are a draw without replacement."""

    def noisy() -> Array:
        order_keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, _ORDER)))(keys)
        gumbel = jax.vmap(jax.vmap(lambda key: jax.random.gumbel(key, (), jnp.float32, mode="high")))(order_keys)
        return score + temperature * gumbel

    return jax.lax.cond(temperature > 0, noisy, lambda: score)
