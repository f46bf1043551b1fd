"""Sampling as a user asks for it: a model, how to go on, a number of rows, perhaps a prompt."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax
import jax.core
import jax.dtypes
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Int32, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.sampling import orders
from mdm_jax.sampling.result import Sampled
from mdm_jax.sampling.reveal import reveal
from mdm_jax.sampling.rule import Rule
from mdm_jax.sampling.trajectory import Record
from mdm_jax.sampling.unmask import unmask
from mdm_jax.support.errors import require, require_choice, verbatim
from mdm_jax.theory.grids import Grid
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.schedule import Schedule


@dataclasses.dataclass(frozen=True, eq=False)
class Blind:
    """An order that does not look at the tokens: fixed before the loop, and exact for what it is.

    Attributes:
        plan: one plan for every row, or a sequence of plans, one per row (any mixture of schedules and budgets), scaled
            to each row's free positions; or a grid, or one per row: ancestral sampling.
        order: ``"random"``, ``"left_to_right"``, or a permutation of the positions, int[length] or int[rows, length],
            the first to be revealed first. Grids have no other order than random.
        block: length of blocks, counted from each row's first free position and done from left to right, each by the
            plan and in random order; ``None``: no blocks.
    """

    plan: Plan | Grid | Sequence[Plan] | Sequence[Grid]
    order: Literal["random", "left_to_right"] | ArrayLike = "random"
    block: int | None = None

    def __post_init__(self) -> None:
        wanted = "a Plan or a Grid, or a non-empty sequence of one of them"
        if isinstance(self.plan, Schedule):
            wanted += " (plans.from_schedule makes a plan of a schedule)"
        require(isinstance(self.plan, Plan | Grid | Sequence), "plan", self.plan, wanted)
        plans = self.plans
        good = len(plans) > 0 and (all(isinstance(p, Plan) for p in plans) or all(isinstance(p, Grid) for p in plans))
        require(good, "plan", self.plan, wanted)
        if isinstance(self.order, str):
            require_choice("order", self.order, ("random", "left_to_right"))
        plain = self._is_random
        require(self.block is None or self.block >= 1, "block", self.block, "at least 1")
        require(plain or self.block is None, "order", self.order, "'random' where block is given")
        is_grid = isinstance(plans[0], Grid)
        require(not is_grid or (plain and self.block is None), "order", self.order, "'random', no blocks, for a Grid")

    @property
    def rows(self) -> int | None:
        """How many rows there are plans or permutations for; ``None`` where one serves all."""
        counts = {len(self.plans)} - {1}
        if not isinstance(self.order, str) and np.ndim(self.order) == 2:
            counts |= {len(np.asarray(self.order))}
        require(len(counts) < 2, "plan", verbatim(f"{sorted(counts)} rows"), "for as many rows as order")
        return counts.pop() if counts else None

    def repeated(self, samples: int) -> "Blind":
        """The order for ``samples`` rows in place of each."""
        if self.rows is None or samples == 1:
            return self
        plans = self.plans
        order = self.order
        if not isinstance(order, str) and np.ndim(order) == 2:
            order = np.repeat(np.asarray(order), samples, axis=0)
        many = plans if len(plans) == 1 else [plan for plan in plans for _ in range(samples)]
        return dataclasses.replace(self, plan=many, order=order)  # pyright: ignore[reportArgumentType]

    @property
    def _is_random(self) -> bool:
        return isinstance(self.order, str) and self.order == "random"

    @property
    def plans(self) -> list[Plan] | list[Grid]:
        """The plans or grids as a list."""
        return [self.plan] if isinstance(self.plan, Plan | Grid) else list(self.plan)  # pyright: ignore[reportReturnType]

    def reveal_step(
        self, key: PRNGKeyArray, free: Bool[Array, "rows length"], row_ids: Int[Array, " rows"] | None = None
    ) -> Int[Array, "rows length"]:
        """The step of each free position, -1 elsewhere: see :mod:`mdm_jax.sampling.orders`."""
        rows, length = free.shape
        chosen = self.plans
        if isinstance(chosen[0], Grid):
            return orders.ancestral_order(key, jnp.asarray(orders.grid_fractions(chosen, rows)), free, row_ids)  # pyright: ignore[reportArgumentType]
        knots = jnp.asarray(orders.plan_knots(chosen, rows))  # pyright: ignore[reportArgumentType]
        if self.block is not None:
            return orders.in_blocks(key, knots, free, self.block, row_ids)
        if self._is_random:
            return orders.random_order(key, knots, free, row_ids)
        if isinstance(self.order, str):
            return orders.left_to_right(knots, free)
        order = np.asarray(self.order)
        good = order.shape in ((length,), (rows, length)) and np.array_equal(
            np.sort(np.atleast_2d(order), axis=-1), np.broadcast_to(np.arange(length), np.atleast_2d(order).shape)
        )
        require(
            good, "order", self.order, f"a permutation of 0 .. {length - 1}, one for all {rows} rows or one for each"
        )
        return orders.in_order(jnp.asarray(np.broadcast_to(order, (rows, length)), jnp.int32), knots, free)


How = Plan | Grid | Sequence[Plan] | Sequence[Grid] | Blind | Rule


def sample(
    denoiser: Denoiser,
    params: Params,
    how: How,
    rows: int | None = None,
    *,
    key: PRNGKeyArray,
    canvas: ArrayLike | None = None,
    length: int | None = None,
    samples: int = 1,
    temperature: float | ArrayLike = 1.0,
    context: Context = None,
    row_ids: ArrayLike | Sequence[int] | None = None,
    record: Record | None = None,
    frames: int | None = None,
) -> Sampled:
    """Draw sequences.

    Args:
        denoiser: the model.
        params: its parameters.
        how: a plan (random order, as many tokens per step as it says), a grid (ancestral sampling), a sequence of
            either, one per row; a :class:`Blind` order; or a :class:`~mdm_jax.sampling.rule.Rule` of the adaptive
            loop (:mod:`mdm_jax.sampling.rules`). :mod:`mdm_jax.sampling.presets` has the usual ones by name.
        rows: number of sequences; may be left out where plans, grids or a canvas have rows.
        key: a PRNG key. Row ``r`` of the result depends on the key, on ``r`` and on what row ``r`` is asked to be, not
            on the other rows, but for the rounding of the network in batches of other shapes (measured: 4e-6 of a
            hidden vector in float32 on CPU, which hardly ever changes a token; in bfloat16 it may).
        canvas: int32[length] or int32[rows, length]: what is given, with ``denoiser.mask_id`` where tokens are to be
            drawn (infilling; a prompt is a canvas whose first tokens are given, see :func:`canvas_of`). All masked if
            left out. Rows may have different numbers of free positions; plans are scaled to them.
        length: of the sequences where neither a canvas nor plans tell it.
        samples: sequences for each row; they follow each other in the result, which has ``rows * samples``.
        temperature: divides the logits of the draws; 0 is the argmax. One number, finite.
        context: passed to the denoiser, leading axis ``rows``.
        row_ids: int32[rows * samples], what identifies each row in the random streams, so that rows can be drawn in
            several calls; ``0, 1, 2, ...`` if left out.
        record: called after every step; see :mod:`mdm_jax.sampling.trajectory`.
        frames: steps that the trajectory has room for; ``length`` if left out.

    Returns:
        :class:`~mdm_jax.sampling.result.Sampled`: tokens, nfe, passes, remaining, reveal_step, log_prob, trajectory.

    Raises:
        InputError: a canvas of the wrong shape or with unknown ids, inconsistent row counts, a negative temperature.
    """
    chosen = how if isinstance(how, Blind | Rule) else Blind(how)
    if canvas is None:
        length = _length_of(chosen) if length is None else length
        require(length >= 1, "length", length, "at least 1")
        canvas = np.full(length, denoiser.mask_id, np.int32)
    canvas = canvas if isinstance(canvas, jax.Array) else np.asarray(canvas)
    require(canvas.ndim in (1, 2), "canvas", verbatim(f"shape {canvas.shape}"), "of shape [length] or [rows, length]")
    require(length in (None, canvas.shape[-1]), "length", length, f"that of the canvas, {canvas.shape[-1]}")
    require(canvas.shape[-1] >= 1, "length", canvas.shape[-1], "at least 1")
    if not isinstance(canvas, jax.core.Tracer):
        _check_ids(np.asarray(canvas), denoiser)
    require(frames is None or frames >= 1, "frames", frames, "at least 1")

    asked = [rows, chosen.rows, len(canvas) if canvas.ndim == 2 else None]
    known = {count for count in asked if count is not None} or {1}
    require(len(known) == 1, "rows", rows, "the same in rows, plan and canvas")
    rows = known.pop()
    require(rows >= 1, "rows", rows, "at least 1")
    require(samples >= 1, "samples", samples, "at least 1")
    require(np.ndim(temperature) == 0, "temperature", verbatim(f"shape {np.shape(temperature)}"), "one number")
    if not isinstance(temperature, jax.core.Tracer):
        finite = 0 <= float(np.asarray(temperature)) <= float(np.finfo(np.float32).max)
        require(finite, "temperature", temperature, "0 or more, and finite")

    filled = jnp.asarray(jnp.broadcast_to(canvas, (rows, canvas.shape[-1])), jnp.int32)
    filled = jnp.repeat(filled, samples, axis=0)
    fits = row_ids is None or np.shape(row_ids) == (len(filled),)
    require(fits, "row_ids", row_ids, f"one for each of {len(filled)} rows")
    ids = None if row_ids is None else jnp.asarray(row_ids, jnp.int32)
    key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
    if samples > 1:
        context = jax.tree.map(lambda leaf: jnp.repeat(leaf, samples, axis=0), context)
    temperature = jnp.asarray(temperature, jnp.float32)  # one type, one executable
    order_key, token_key = jax.random.split(key)
    chosen = chosen.repeated(samples)
    more = {"record": record, "frames": frames}
    if isinstance(chosen, Rule):
        _check_end(chosen, denoiser)
        return unmask(denoiser, params, filled, chosen, token_key, temperature, context, ids, **more)
    steps = chosen.reveal_step(order_key, filled == denoiser.mask_id, ids)
    return reveal(denoiser, params, filled, steps, token_key, temperature, context, ids, **more)


def canvas_of(prompts: Sequence[ArrayLike], length: int, mask_id: int) -> Int32[np.ndarray, "rows length"]:
    """Prompts of different lengths as one canvas: each row begins with its prompt and is masked behind it.

    Args:
        prompts: token ids, each int[at most length].
        length: of the sequences.
        mask_id: the denoiser's.

    Raises:
        InputError: no prompt, or one that is too long or not one row of token ids.
    """
    require(len(prompts) >= 1, "prompts", prompts, "at least one")
    canvas = np.full((len(prompts), length), mask_id, np.int32)
    for i, prompt in enumerate(prompts):
        tokens = np.asarray(prompt)
        good = tokens.ndim == 1 and (tokens.size == 0 or tokens.dtype.kind in "iu")
        require(good, f"prompts[{i}]", verbatim(f"{tokens.dtype} of shape {tokens.shape}"), "one row of token ids")
        require(len(tokens) <= length, f"prompts[{i}]", verbatim(f"{len(tokens)} tokens"), f"at most {length} long")
        canvas[i, : len(tokens)] = tokens
    return canvas


def _length_of(how: Blind | Rule) -> int:
    """The length that plans tell: those of a whole row, not of a block or of a rule."""
    plans = how.plans if isinstance(how, Blind) and how.block is None else []
    lengths = {plan.length for plan in plans if isinstance(plan, Plan)}
    require(len(lengths) > 0, "length", None, "given, or else a canvas: grids, blocks and rules do not tell it")
    require(len(lengths) == 1, "plan", sorted(lengths), "plans of one length, unless a canvas is given")
    return lengths.pop()


def _check_end(rule: Rule, denoiser: Denoiser) -> None:
    if not isinstance(rule.end, jax.core.Tracer):
        end, most = int(rule.end), denoiser.vocab_size - 1  # pyright: ignore[reportArgumentType]
        require(end <= most and end != denoiser.mask_id, "end", end, f"a real token, from 0 to {most}")


def _check_ids(canvas: np.ndarray, denoiser: Denoiser) -> None:
    require(canvas.dtype.kind in "iu", "canvas", verbatim(f"dtype {canvas.dtype}"), "an array of token ids")
    bad = (canvas != denoiser.mask_id) & ((canvas < 0) | (canvas >= denoiser.vocab_size))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        wanted = f"token ids from 0 to {denoiser.vocab_size - 1}, or mask_id {denoiser.mask_id}"
        require(False, "canvas", verbatim(f"{canvas[where]} at {where}"), wanted)
