"""What a choice makes of the tokens in the adaptive loop: what is committed, filled behind an end, done next."""

import jax.numpy as jnp
from jaxtyping import Array

from mdm_jax.models.denoiser import Denoiser
from mdm_jax.models.extending import can_extend
from mdm_jax.sampling.result import FILLED
from mdm_jax.sampling.rule import Rule
from mdm_jax.sampling.view import Choice, View
from mdm_jax.support.errors import require, verbatim

NEVER = jnp.iinfo(jnp.int32).max
"""The block of a row that is done."""


def require_kept(denoiser: Denoiser, changes: bool) -> None:
    """Refuse a rule that looks at revealed tokens or changes them, for a model that keeps what it made of them.

    Raises:
        InputError: the two do not go together.
    """
    wanted = "one that leaves revealed tokens as they are: this model keeps what it made of them (models.without_cache "
    wanted += "makes one that is encoded anew at each step)"
    require(
        not (changes and can_extend(denoiser)),
        "rule",
        verbatim("one that scores revealed tokens or masks again"),
        wanted,
    )


def fill_behind_end(tokens: Array, reveal_step: Array, free: Array, end: Array, mask_id: int) -> tuple[Array, Array]:
    """Fill what is masked behind the first drawn end token that has nothing masked before it."""
    masked = tokens == mask_id
    clear = jnp.cumsum(masked & free, axis=-1) == 0  # nothing masked up to here
    ended = jnp.cumsum((tokens == end) & free & clear, axis=-1) > 0
    fill = masked & free & ended
    return jnp.where(fill, end, tokens), jnp.where(fill, FILLED, reveal_step)


def committed(choice: Choice, view: View, proposal: Array, lawless: Array, mask_id: int) -> tuple[Array, Array]:
    """The tokens after a choice, and which masked positions took their proposals."""
    if choice.write is not None:
        return jnp.where((view.open | view.settled) & ~lawless, choice.write, view.tokens), jnp.zeros_like(view.open)
    reveal = choice.reveal & view.open & ~lawless
    tokens = jnp.where(reveal, proposal, view.tokens)
    if choice.remask is not None:
        tokens = jnp.where(choice.remask & view.settled, mask_id, tokens)
    return tokens, reveal


def next_block(
    tokens: Array,
    done: Array,
    free: Array,
    block_of: Array,
    block: Array,
    clock: Array,
    rule: Rule,
    mask_id: int,
) -> tuple[Array, Array]:
    """Each row's block and its clock after a step: the next block with anything to do, once this one is done."""
    masked = (tokens == mask_id) & free
    busy = jnp.any(masked & (block_of == block[:, None]), axis=-1)
    if rule.steps is not None:
        busy = busy | ((clock < jnp.asarray(rule.steps)) & ~done)
    later = (block_of > block[:, None]) & masked
    following = jnp.min(jnp.where(later, block_of, NEVER), axis=-1)
    stay = busy & (block < NEVER)
    return jnp.where(stay, block, following), jnp.where(stay, clock, 0)
