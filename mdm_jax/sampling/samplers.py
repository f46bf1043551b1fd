"""Sampling as a user asks for it: a model, a sampler, a number of rows, perhaps a prompt."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from mdm_jax.models.calling import asking_for_context
from mdm_jax.models.classes import check_labels
from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens, require_model
from mdm_jax.models.extending import block_length
from mdm_jax.sampling import orders
from mdm_jax.sampling.adaptive import adaptive_loop
from mdm_jax.sampling.blind import blind_loop
from mdm_jax.sampling.knots import grid_fractions, plan_knots, require_fitting, require_rows
from mdm_jax.sampling.requests import checked_row_ids, require_temperature
from mdm_jax.sampling.result import Sampled
from mdm_jax.sampling.rule import Rule, ready, require_fit, require_same_blocks
from mdm_jax.sampling.trajectory import Record
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_choice, require_whole, uncalled, verbatim
from mdm_jax.support.flags import loose, usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.grids import Grid
from mdm_jax.theory.schedules import Schedule


@dataclasses.dataclass(frozen=True, eq=False)
class Blind:
    """An order that does not look at the tokens: fixed before the loop, and exact for what it is.

    Attributes:
        plan: one plan for every row, or a sequence of plans, one per row (any mixture of schedules and budgets); or a
            grid, or one per row: ancestral sampling. A plan is for the canvas's length, and scaled to each row's free
            positions, or for exactly as many tokens as are free in the rows it serves (a plan made for a prompt).
        order: ``"random"``, ``"left_to_right"``, or a permutation of the positions, int[length] or int[rows, length],
            the first to be revealed first. Grids have no other order than random.
        block: length of blocks, done from left to right, each by the plan or grid and in random order; ``None``: no
            blocks. The plan is then for one block: for its length, or for as many tokens as are free where these are
            fewer. With a model that goes by blocks they are the model's own, whether they are named or not.
        origin: the position that blocks are counted from; each row's first free one if left out. With one, a plan is
            for a block's length alone.

    Raises:
        InputError: no plan or grid, an order that there is not, or one that does not go with grids or blocks.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.sampling.Blind(mdm.plans.uniform(8, 4), order="left_to_right")
        Blind(plan=uniform, 4 steps, order=left_to_right)
    """

    plan: Plan | Grid | Sequence[Plan] | Sequence[Grid]
    order: Literal["random", "left_to_right"] | ArrayLike = "random"
    block: int | None = None
    origin: int | None = None

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
        if self.block is not None:
            require_whole("block", self.block, 1, 2**31 - 1)
        require(plain or self.block is None, "order", self.order, "'random' where block is given")
        is_grid = isinstance(plans[0], Grid)
        require(not is_grid or plain, "order", self.order, "'random' for a Grid")
        if self.origin is not None:
            require(self.block is not None, "origin", self.origin, "left out where no block is named")
            require_whole("origin", self.origin, 0, 2**31 - 1)

    def __repr__(self) -> str:
        plans, order = (
            self.plans,
            self.order if isinstance(self.order, str) else f"a permutation {np.shape(self.order)}",
        )
        first = f"{plans[0].name}, {plans[0].steps} steps"
        told = {"plan": first if len(plans) == 1 else f"{len(plans)} of them, {first} first", "order": order}
        told |= {} if self.block is None else {"block": self.block}
        told |= {} if self.origin is None else {"origin": self.origin}
        return f"Blind({', '.join(f'{name}={value}' for name, value in told.items())})"

    @property
    def rows(self) -> int | None:
        """How many rows there are plans or permutations for; ``None`` where one serves all."""
        counts = {len(self.plans)} - {1}
        if not isinstance(self.order, str) and as_array(self.order).ndim == 2:
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

    def require_fit(self, free: Any) -> None:
        """Refuse plans that do not fit ``free``, bool[rows, length]; of a traced one the shape is all that is seen.

        Raises:
            InputError: plans for other rows, or for another number of tokens.
        """
        require_rows(len(self.plans), free.shape[0])
        planned = np.array([plan.length for plan in self.plans if isinstance(plan, Plan)])
        if len(planned) > 0:
            traced = isinstance(free, jax.core.Tracer)
            aligned = self.origin is not None
            require_fitting(planned, free if traced else np.asarray(free), self.block, aligned)

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
        """The step of each free position, -1 elsewhere: see :mod:`mdm_jax.sampling.orders`.

        Raises:
            InputError: a plan that does not fit (where ``free`` is not traced), an order that is no permutation.
        """
        rows, length = free.shape
        chosen = self.plans
        self.require_fit(free)
        if isinstance(chosen[0], Grid):
            fractions = jnp.asarray(grid_fractions(chosen, rows))  # pyright: ignore[reportArgumentType]
            return orders.ancestral_order(key, fractions, free, row_ids, self.block, self.origin)
        knots = jnp.asarray(plan_knots(chosen, rows))  # pyright: ignore[reportArgumentType]
        if self.block is not None:
            return orders.in_blocks(key, knots, free, self.block, row_ids, self.origin)
        if self._is_random:
            return orders.random_order(key, knots, free, row_ids)
        if isinstance(self.order, str):
            return orders.left_to_right(knots, free)
        order = as_array(self.order)
        fits = order.dtype.kind in "iu" and order.shape in ((length,), (rows, length))
        good = fits and np.array_equal(
            np.sort(np.atleast_2d(order), axis=-1), np.broadcast_to(np.arange(length), np.atleast_2d(order).shape)
        )
        require(
            good, "order", self.order, f"a permutation of 0 .. {length - 1}, one for all {rows} rows or one for each"
        )
        return orders.in_order(jnp.asarray(np.broadcast_to(order, (rows, length)), jnp.int32), knots, free)


Sampler = Plan | Grid | Blind | Rule
"""What tokens are sampled by: a plan (in random order), a grid (ancestral sampling), any blind order, or a rule."""


def sample(
    denoiser: Denoiser,
    params: Params,
    sampler: Sampler | Sequence[Plan] | Sequence[Grid],
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
        params: its parameters, a pytree of arrays.
        sampler: a plan (random order, as many tokens per step as it says), a grid (ancestral sampling), a sequence of
            either, one per row; a :class:`Blind` order; or a :class:`~mdm_jax.sampling.rule.Rule` of the adaptive
            loop (:mod:`mdm_jax.sampling.rules`). :mod:`mdm_jax.sampling.presets` has the usual ones by name. Plans are
            for the canvas's length, or for exactly as many tokens as are free in the rows they serve; with blocks for
            one block's. A plan for any other number of tokens is refused. A model that goes by blocks is sampled block
            by block, from left to right: each by the plan (of one block), the grid or the rule.
        rows: number of sequences; may be left out where plans, grids or a canvas have rows.
        key: a PRNG key. Row ``r`` of the result depends on the key, on ``r`` and on what row ``r`` is asked to be, not
            on the other rows, but for the rounding of the network in batches of other shapes (measured: 4e-6 of a
            hidden vector in float32 on CPU, which hardly ever changes a token; in bfloat16 it may).
        canvas: int32[length] or int32[rows, length]: what is given, with ``denoiser.mask_id`` where tokens are to be
            drawn (infilling; a prompt is a canvas whose first tokens are given, see
            :func:`~mdm_jax.sampling.requests.canvas_of`). All masked if left out. Rows may have different
            numbers of free positions; plans are scaled to them.
        length: of the sequences where neither a canvas nor plans tell it.
        samples: sequences for each row; they follow each other in the result, which has ``rows * samples``.
        temperature: divides the logits of the draws; 0 is the argmax. One number that float32 holds.
        context: passed to the denoiser, leading axis ``rows``.
        row_ids: int32[rows * samples], what identifies each row in the random streams, so that rows can be drawn in
            several calls; ``0, 1, 2, ...`` if left out. From 0 to 2^31 - 2.
        record: called after every step; see :mod:`mdm_jax.sampling.trajectory`.
        frames: steps that the trajectory has room for; ``length`` if left out.

    Returns:
        :class:`~mdm_jax.sampling.result.Sampled`: tokens, nfe, batch_nfe, remaining, reveal_step, log_prob, trajectory.

    Raises:
        InputError: no denoiser, no parameters, no key; a canvas of the wrong shape or with unknown ids, a plan for
            another length, inconsistent row counts, a negative temperature, numbers that are no whole ones.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)  # a model that is exact: .denoiser and .params
        >>> out = mdm.sample(world.denoiser, world.params, mdm.plans.uniform(8, 4), rows=2, key=mdm.key(0))
        >>> out.tokens.shape, out.nfe.tolist()
        ((2, 8), [4, 4])
        >>> canvas = mdm.sampling.canvas_of([[1, 1]], length=8, mask_id=2)  # a prompt of two tokens
        >>> out = mdm.sample(world.denoiser, world.params, mdm.plans.uniform(6, 3), canvas=canvas, key=mdm.key(0))
        >>> out.tokens[0, :2].tolist(), out.nfe.tolist()
        ([1, 1], [3])
    """
    with usual(params, sampler, key, canvas, temperature, context, row_ids):
        sampler, key, canvas, temperature, context, row_ids = loose(
            (sampler, key, canvas, temperature, context, row_ids)
        )
        return _sample(
            denoiser, params, sampler, rows, key, canvas, length, samples, temperature, context, row_ids, record, frames
        )


def _sample(
    denoiser: Denoiser,
    params: Params,
    sampler: Sampler | Sequence[Plan] | Sequence[Grid],
    rows: int | None,
    key: PRNGKeyArray,
    canvas: Any,
    length: int | None,
    samples: int,
    temperature: Any,
    context: Context,
    row_ids: Any,
    record: Record | None,
    frames: int | None,
) -> Sampled:
    require_model(denoiser, params)
    key = threefry(key)
    chosen = _chosen(sampler)
    chosen = chosen if isinstance(chosen, Rule) else in_blocks_of(denoiser, chosen)
    samples = require_whole("samples", samples, 1, 2**31 - 1)
    rows, length, frames = (
        None if value is None else require_whole(name, value, 1, 2**31 - 1)
        for name, value in {"rows": rows, "length": length, "frames": frames}.items()
    )
    require(record is None or callable(record), "record", record, "a function of a Frame")
    if canvas is None:
        canvas = np.full(_length_of(chosen) if length is None else length, denoiser.mask_id, np.int32)
    given: Any = checked_tokens(denoiser, canvas, "canvas", masks=True)
    require(given.dtype.kind in "iu", "canvas", verbatim(str(given.dtype)), "an array of token ids (whole numbers)")
    require(given.ndim in (1, 2), "canvas", verbatim(f"shape {given.shape}"), "of shape [length] or [rows, length]")
    require(length in (None, given.shape[-1]), "length", length, f"that of the canvas, {given.shape[-1]}")
    require(given.shape[-1] >= 1, "length", given.shape[-1], "at least 1")

    asked = [rows, chosen.rows, len(given) if given.ndim == 2 else None]
    known = {count for count in asked if count is not None} or {1}
    require(len(known) == 1, "rows", rows, "the same in rows, plan and canvas")
    rows = known.pop()
    require(rows >= 1, "rows", rows, "at least 1")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(context)]
    good = all(shape[:1] == (rows,) for shape in shapes)
    require(good, "context", verbatim(f"leaves of shapes {shapes}"), f"of leaves whose leading axis is rows, {rows}")
    check_labels(denoiser, context)
    require_temperature(temperature)

    filled = jnp.asarray(jnp.broadcast_to(given, (rows, given.shape[-1])), jnp.int32)
    if isinstance(filled, jax.core.Tracer) and not isinstance(given, jax.core.Tracer):
        # Under jit all that is made here is traced, and what is known is looked at here or nowhere.
        free = np.broadcast_to(np.asarray(given) == denoiser.mask_id, filled.shape)
        if isinstance(chosen, Rule):
            ready(chosen)
            require_fit(chosen, denoiser, free)
        else:
            chosen.require_fit(free)
    filled = jnp.repeat(filled, samples, axis=0)
    ids = None if row_ids is None else checked_row_ids(row_ids, len(filled))
    if samples > 1:
        context = jax.tree.map(lambda leaf: jnp.repeat(leaf, samples, axis=0), context)
    temperature = jnp.asarray(temperature, jnp.float32)  # one type, one executable
    chosen = chosen.repeated(samples)
    order_key, token_key = jax.random.split(key)
    more: dict[str, Any] = {"key": token_key, "temperature": temperature, "context": context, "row_ids": ids}
    more |= {"record": record, "frames": frames}

    def encode(params: Params) -> Array:
        own = begun(denoiser, params, jax.random.split(token_key, len(filled)))
        return denoiser.encode(params, filled, own)

    with asking_for_context(context, lambda: jax.eval_shape(encode, params)):
        if isinstance(chosen, Rule):
            return adaptive_loop(denoiser, params, filled, chosen, **more)
        steps = chosen.reveal_step(order_key, filled == denoiser.mask_id, ids)
        return blind_loop(denoiser, params, filled, steps, **more)


def _chosen(sampler: Any) -> Blind | Rule:
    """A sampler as an order or a rule.

    Raises:
        InputError: it is none.
    """
    if isinstance(sampler, Blind | Rule):
        return sampler
    several = isinstance(sampler, Sequence) and len(sampler) > 0 and all(isinstance(p, Plan | Grid) for p in sampler)
    wanted = "a plan, a grid, one of them for each row, a sampling.Blind, a rule (rules) or a preset (presets)"
    if isinstance(sampler, Schedule | str):
        wanted += "; of a schedule plans.from_schedule makes a plan, as of schedules.sine()"
    require(isinstance(sampler, Plan | Grid) or several, "sampler", uncalled(sampler), wanted)
    return Blind(sampler)  # pyright: ignore[reportArgumentType]


def in_blocks_of(denoiser: Denoiser, sampler: Blind) -> Blind:
    """A blind order in the blocks of a model that goes by blocks; for any other model as it is.

    Raises:
        InputError: another order than a random one, other blocks than the model's, a plan for more than one of them.
    """
    block = block_length(denoiser)
    if block is None:
        return sampler
    random = isinstance(sampler.order, str) and sampler.order == "random"
    require(random, "order", sampler.order, "'random' in each block, for a model that goes by blocks")
    require_same_blocks(denoiser, sampler.block)
    require(sampler.origin in (None, 0), "origin", sampler.origin, "left out, or 0 as the model's blocks are")
    wanted = f"one for a block, of {block} tokens, as this model goes block by block"
    for plan in sampler.plans:
        if isinstance(plan, Plan):
            require(plan.length <= block, "plan", verbatim(f"one for {plan.length} tokens"), wanted)
    return dataclasses.replace(sampler, block=block, origin=0)


def _length_of(sampler: Blind | Rule) -> int:
    """The length that plans tell: those of a whole row, not of a block or of a rule."""
    plans = sampler.plans if isinstance(sampler, Blind) and sampler.block is None else []
    lengths = {plan.length for plan in plans if isinstance(plan, Plan)}
    require(len(lengths) > 0, "length", None, "given, or else a canvas: grids, blocks and rules do not tell it")
    require(len(lengths) == 1, "plan", sorted(lengths), "plans of one length, unless a canvas is given")
    return lengths.pop()
