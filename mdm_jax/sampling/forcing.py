"""Teacher forcing through rules: what given sequences cost along the paths that a rule takes with them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, checked_tokens, require_model
from mdm_jax.sampling.adaptive import unmarked
from mdm_jax.sampling.rule import Rule
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.ragged import present


class Forced(NamedTuple):
    """What :func:`forced_log_prob` finds.

    Attributes:
        log_prob: float32[rows], nats.
        nfe: int32[rows], model calls of each row.
    """

    log_prob: Float[Array, " rows"]
    nfe: Int[Array, " rows"]


def forced_log_prob(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array | np.ndarray, "rows length"],
    rule: Rule,
    *,
    key: PRNGKeyArray,
    given: ArrayLike | None = None,
    context: Context = None,
    row_ids: Int[Array, " rows"] | None = None,
    chunk: int | None = None,
) -> Forced:
    """Teacher-forced ``log q(tokens)`` under a rule, and the model calls that it takes: the loop with the true tokens.

    The adaptive loop runs as it samples, but writes the true tokens in place of draws. Where the order is a function of
    what is revealed (``surest``, ``confident``, ``entropy_bounded`` at order temperature 0, with blocks or without), a
    sequence has one path, and ``q(x) = prod over steps of p(tokens revealed | those before)`` is the probability with
    which the rule draws it: exact, and comparable with the costs of plans. Where chance decides the order too
    (``at_random``, an order temperature), it is the log-probability along a path drawn for the row; ``-log q(x)`` is at
    most the mean of its negative over such paths.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], complete sequences; -1 where there is no position.
        rule: one whose order looks at the model's predictions, not at what was drawn.
        key: of the order where chance decides it, of a latent, and of the order within a step for a model that goes by
            ranks: as :func:`~mdm_jax.sampling.adaptive_loop` uses it.
        given: bool[length] or bool[rows, length], positions that are known from the start and cost nothing.
        context: passed to the denoiser, leading axis ``rows``.
        row_ids: as :func:`~mdm_jax.sampling.adaptive_loop` takes them.
        chunk: likewise.

    Returns:
        A :class:`Forced`. ``log_prob`` is at temperature 1; -inf where the rule never draws the row: the model gives a
        token probability 0, or the rule's end comes before other tokens. It is NaN where logits along the path are no
        law, and where the rule leaves masks.

    Raises:
        InputError: a rule that looks at what was drawn (LLaDA's ``quota``), masks again or replaces tokens: such rules
            are judged by samples; ids that are no tokens, a rule that does not fit.

    Source: ``DERIVATIONS.md``, "The path of a rule that looks at predictions alone".

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> rows, rule = jnp.asarray([[1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]), mdm.rules.confident(0.9)
        >>> mdm.sampling.forced_log_prob(world.denoiser, world.params, rows, rule, key=mdm.key(0))
        Forced(log_prob=Array([-0.6931472,       -inf], dtype=float32), nfe=Array([2, 2], dtype=int32))
    """
    require_model(denoiser, params)
    require(isinstance(rule, Rule), "rule", rule, "a rule of the adaptive loop, as rules.confident(0.9)")
    whole = jnp.asarray(checked_tokens(denoiser, tokens, "tokens"), jnp.int32)
    good = whole.ndim == 2 and whole.shape[1] >= 1
    require(good, "tokens", verbatim(f"shape {whole.shape}"), "of shape [rows, length]")
    known = ~present(whole)
    if given is not None:
        mask = as_array(given)
        fits = mask.dtype == bool and mask.shape in (whole.shape, whole.shape[1:])
        wanted = f"bool of shape [{whole.shape[1]}] or {list(whole.shape)}"
        require(bool(fits), "given", verbatim(f"{mask.dtype} of shape {mask.shape}"), wanted)
        known = known | jnp.asarray(mask)
    canvas = jnp.where(known, whole, jnp.int32(denoiser.mask_id))
    found, _ = unmarked(
        denoiser, params, canvas, rule, key=key, context=context, row_ids=row_ids, chunk=chunk, forced=whole
    )
    never = jnp.any(~known & (found.tokens != denoiser.mask_id) & (found.tokens != whole), axis=-1)
    never = never | (found.log_prob == -jnp.inf)
    log_prob = jnp.where(found.remaining > 0, np.float32(np.nan), found.log_prob)
    return Forced(jnp.where(never, np.float32(-np.inf), log_prob), found.nfe)
