"""The adaptive loop: at each step encode, read, propose, choose, commit, and perhaps mask again.

What is read and what is chosen is a :class:`~mdm_jax.sampling.rule.Rule`'s to say. The positions to be read are
gathered and read out in chunks of fixed shapes, so that a late step costs less than an early one. The loop ends when
every row is done, and each row counts the model calls that it needed (``nfe``).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens
from mdm_jax.models.extending import block_length
from mdm_jax.sampling import draws
from mdm_jax.sampling.committing import NEVER, committed, fill_behind_end, next_block, require_kept
from mdm_jax.sampling.looking import Kept, look, nothing_kept, queue_and_turn, ties
from mdm_jax.sampling.orders import blocks_of
from mdm_jax.sampling.readout import Seen, nothing, read_out, with_noise
from mdm_jax.sampling.result import FILLED, GIVEN, MISSING, Sampled
from mdm_jax.sampling.rule import Rule, ready, require_fit
from mdm_jax.sampling.trajectory import Frame, Record, begin, put
from mdm_jax.sampling.undefined import marked
from mdm_jax.sampling.view import View
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.keys import threefry
from mdm_jax.support.ragged import present


class _State(NamedTuple):
    step: Array
    tokens: Array
    reveal_step: Array
    log_prob: Array
    refused: Array  # whether any logits that the row read were no law
    nfe: Array
    batch_nfe: Array
    block: Array  # each row's current block; NEVER when it is done
    clock: Array
    memory: Any
    kept: Kept | None
    taken: Array  # what of the tokens is kept
    trajectory: Any


def adaptive_loop(
    denoiser: Denoiser,
    params: Params,
    canvas: Int[Array, "rows length"],
    rule: Rule,
    *,
    key: PRNGKeyArray,
    temperature: ArrayLike = 1.0,
    context: Context = None,
    row_ids: Int[Array, " rows"] | None = None,
    chunk: int | None = None,
    record: Record | None = None,
    frames: int | None = None,
) -> Sampled:
    """Sample what is masked in ``canvas`` as ``rule`` says.

    Args:
        denoiser: the model (static: one executable per denoiser, shape, and the rule's functions).
        params: its parameters.
        canvas: int32[rows, length]; positions that hold ``denoiser.mask_id`` are drawn, others are given.
        rule: how to go on.
        key: a typed PRNG key; row ``r``, position ``j``, step ``k`` use
            ``fold_in(fold_in(fold_in(key, r), j), k)``.
        temperature: divides the logits of the draws, not of the scores; 0 is the argmax.
        context: passed to the denoiser, leading axis ``rows``.
        row_ids: int32[rows], the ``r`` of each row's draws; ``0 .. rows - 1`` if left out.
        chunk: positions read out together, if not chosen by the library (see :mod:`mdm_jax.sampling.chunks`).
        record: as in :func:`~mdm_jax.sampling.blind.blind_loop`.
        frames: how many steps the trajectory has room for; ``length`` if left out. Later ones are dropped.

    Returns:
        :class:`~mdm_jax.sampling.result.Sampled`. ``log_prob`` is defined where the order did not look at the draws
        and nothing was masked again, or where there was nothing to draw; NaN elsewhere.

    Raises:
        InputError: a rule for other rows, plans or an end that do not fit the canvas, ids that are no tokens (where
            these are not traced).

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world, rule = mdm.oracles.polya(8, 0.5), mdm.rules.surest(mdm.plans.uniform(8, 4))
        >>> canvas = jnp.full((2, 8), 2)  # 2 is the mask
        >>> out = mdm.sampling.adaptive_loop(world.denoiser, world.params, canvas, rule, key=mdm.key(0))
        >>> out.nfe.tolist(), out.remaining.tolist()
        ([4, 4], [0, 0])
    """
    sampled, undefined = unmarked(
        denoiser,
        params,
        canvas,
        rule,
        key=key,
        temperature=temperature,
        context=context,
        row_ids=row_ids,
        chunk=chunk,
        record=record,
        frames=frames,
    )
    return sampled._replace(log_prob=marked(sampled.log_prob, undefined))


def unmarked(
    denoiser: Denoiser,
    params: Params,
    canvas: Int[Array, "rows length"],
    rule: Rule,
    *,
    key: PRNGKeyArray,
    temperature: ArrayLike = 1.0,
    context: Context = None,
    row_ids: Int[Array, " rows"] | None = None,
    chunk: int | None = None,
    record: Record | None = None,
    frames: int | None = None,
    forced: Int[Array, "rows length"] | None = None,
) -> tuple[Sampled, Bool[Array, " rows"] | None]:
    """:func:`adaptive_loop` without NaN: also which rows' ``log_prob`` is undefined, ``None`` where all are defined.

    For programs whose outputs ``jax_debug_nans`` looks at; :func:`marked` puts the two together. Where there are
    ``forced`` tokens they are written in place of draws, at temperature 1; a rule whose path has no log-probability is
    then refused (see :func:`~mdm_jax.sampling.forcing.forced_log_prob`).
    """
    rows = canvas.shape[0]
    require(
        rule.rows in (None, rows), "rule", verbatim(f"one for {rule.rows} rows"), f"one for any rows, or for {rows}"
    )
    given, rule = rule, ready(rule)  # under jit numbers are traced once they are made ready
    if not isinstance(canvas, jax.core.Tracer) and getattr(canvas, "is_fully_addressable", True):
        canvas = checked_tokens(denoiser, canvas, "canvas", masks=True)
        require_fit(given, denoiser, np.asarray(canvas) == denoiser.mask_id)
    elif isinstance(canvas, jax.core.Tracer):
        require_fit(given, denoiser, canvas == denoiser.mask_id)
    rule = rule.replace(planned=None)  # pyright: ignore[reportAttributeAccessIssue]
    return _adaptive_loop(
        denoiser, params, canvas, rule, key, temperature, context, row_ids, chunk, record, frames, forced
    )


@functools.partial(jax.jit, static_argnames=("denoiser", "chunk", "record", "frames"))
def _adaptive_loop(
    denoiser: Denoiser,
    params: Params,
    canvas: Array,
    rule: Rule,
    key: Array,
    temperature: ArrayLike,
    context: Context,
    row_ids: Array | None,
    chunk: int | None,
    record: Record | None,
    frames: int | None,
    forced: Array | None,
) -> tuple[Sampled, Array | None]:
    rows, length = canvas.shape
    canvas = canvas.astype(jnp.int32)
    temperature = jnp.asarray(temperature, jnp.float32)
    free = canvas == denoiser.mask_id
    own = block_length(denoiser)  # the model's blocks stand where they stand, whatever is given
    block_of = blocks_of(free, jnp.asarray(rule.block)) if own is None else blocks_of(free, jnp.int32(own), 0)
    block_of = jnp.where(free, block_of, NEVER)
    ids = jnp.arange(rows, dtype=jnp.int32) if row_ids is None else row_ids
    keys = draws.all_position_keys(threefry(key), ids, length)
    bits = ties(denoiser, threefry(key), ids, length)
    require_kept(denoiser, rule.reads == "all")
    context = begun(denoiser, params, draws.row_keys(threefry(key), ids), context)
    defined = True  # whether the path has a log-probability: settled while tracing

    def one_step(state: _State) -> _State:
        nonlocal defined
        masked = (state.tokens == denoiser.mask_id) & free
        mine = block_of == state.block[:, None]
        step_keys = jax.vmap(jax.vmap(lambda k: jax.random.fold_in(k, state.step)))(keys)
        settled = mine & ~masked & free
        view = View(state.tokens, masked & mine, settled, state.clock, state.memory, step_keys, denoiser)

        def reading(read: Array) -> tuple[Seen, bool, Kept | None]:
            fresh = (state.tokens != denoiser.mask_id) & ~state.taken
            queue, turn = queue_and_turn(fresh, read, ~free, bits)
            kept, found = look(denoiser, params, state.kept, state.tokens, queue, turn, context)
            seen = read_out(
                denoiser, params, rule, temperature, chunk, step_keys, state.tokens, masked, read, found, forced
            )
            return *seen, kept

        if rule.reads == "chosen":
            choice = rule.choose(view)
            wanted = "of what to reveal: this one chooses before anything is read"
            require(choice.write is None, "the rule's choice", verbatim("of what to write"), wanted)
            read = choice.reveal & view.open
            # A step may reveal nothing: then nothing is encoded.
            any_read = jnp.any(read)
            seen, kept = jax.lax.cond(
                any_read, lambda: reading(read)[::2], lambda: (nothing(rows, length, rule), state.kept)
            )
            view.read(seen.proposal, seen.measured)
            looked = False
        else:
            read = view.open | view.settled if rule.reads == "all" else view.open
            any_read = jnp.ones((), bool)
            seen, looked, kept = reading(read)
            score = with_noise(seen.measured[0], jnp.asarray(rule.order_temperature), step_keys)
            view.read(seen.proposal, (score, *seen.measured[1:]), seen.second)
            choice = rule.choose(view)

        # Logits that are no law (NaN, all -inf) reveal nothing: `remaining` tells.
        lawless = jnp.isnan(seen.log_prob)
        require_kept(denoiser, choice.remask is not None or choice.write is not None)
        taken = state.taken | ((state.tokens != denoiser.mask_id) & any_read)
        tokens, reveal = committed(choice, view, seen.proposal, lawless, denoiser.mask_id)
        moved = tokens != state.tokens
        put_in = reveal | (moved & (tokens != denoiser.mask_id))
        reveal_step = jnp.where(put_in, state.step, jnp.where(moved, GIVEN, state.reveal_step))
        memory = state.memory if rule.remember is None else rule.remember(view, choice)
        # A memory of proposals counts too, except where only what is revealed is read at all.
        looked = rule.reads != "chosen" and (looked or view.looked_at_draw)
        defined = defined and not looked and choice.remask is None and choice.write is None

        tokens, reveal_step = fill_behind_end(tokens, reveal_step, free, jnp.asarray(rule.end), denoiser.mask_id)
        clock = jnp.where(state.block < NEVER, state.clock + 1, state.clock)
        done = jnp.any(reveal_step == FILLED, axis=-1)
        done = done if choice.done is None else done | choice.done
        block, clock = next_block(tokens, done, free, block_of, state.block, clock, rule, denoiser.mask_id)
        row_read = jnp.any(read, axis=-1)
        trajectory = state.trajectory
        if record is not None:
            score = None if rule.reads == "chosen" else seen.measured[0]
            trajectory = put(trajectory, state.step, record(Frame(state.step, tokens, score)))
        return _State(
            step=state.step + 1,
            tokens=tokens,
            reveal_step=reveal_step,
            log_prob=state.log_prob + jnp.sum(jnp.where(reveal, seen.log_prob, 0.0), axis=-1),
            refused=state.refused | jnp.any(lawless & read & view.open, axis=-1),
            nfe=state.nfe + denoiser.passes * row_read.astype(jnp.int32),
            batch_nfe=state.batch_nfe + denoiser.passes * jnp.any(row_read).astype(jnp.int32),
            block=block,
            clock=clock,
            memory=memory,
            kept=kept,
            taken=taken,
            trajectory=trajectory,
        )

    none = jnp.zeros(rows, jnp.int32)
    score = None if rule.reads == "chosen" else jnp.zeros((rows, length), jnp.float32)
    start = _State(
        step=jnp.zeros((), jnp.int32),
        tokens=canvas,
        reveal_step=jnp.where(present(canvas), jnp.int32(GIVEN), jnp.int32(MISSING)),
        log_prob=jnp.zeros(rows, jnp.float32),
        refused=jnp.zeros(rows, bool),
        nfe=none,
        batch_nfe=jnp.zeros((), jnp.int32),
        block=jnp.min(block_of, axis=-1),
        clock=none,
        memory=None if rule.begin is None else rule.begin(free),
        kept=nothing_kept(denoiser, params, rows, length, context),
        taken=~present(canvas),
        trajectory=begin(record, Frame(none[0], canvas, score), length if frames is None else frames),
    )
    blocks = 1 + jnp.max(jnp.where(free, block_of, 0))
    each = 0 if rule.steps is None else jnp.max(jnp.asarray(rule.steps))
    limit = length + blocks * each  # a rule that never gets on must not run for ever
    final = jax.lax.while_loop(lambda s: jnp.any(s.block < NEVER) & (s.step < limit), one_step, start)
    wanted = "one whose order looks at the model's predictions alone: others have no path to be forced, and are judged "
    wanted += "by samples (evaluation.evaluate)"
    looking = verbatim("one that looks at what was drawn, masks again or writes tokens of its own")
    require(defined or forced is None, "rule", looking, wanted)
    remaining = jnp.sum((final.tokens == denoiser.mask_id) & free, axis=-1, dtype=jnp.int32)
    never = final.refused & (remaining > 0)  # it was to be drawn, and could not be
    sampled = Sampled(
        tokens=final.tokens,
        nfe=final.nfe,
        batch_nfe=final.batch_nfe,
        remaining=remaining,
        reveal_step=final.reveal_step,
        log_prob=jnp.where(never, np.float32(np.nan), final.log_prob),
        steps=final.step,
        trajectory=final.trajectory,
    )
    return sampled, None if defined else jnp.any(free, axis=-1)
