"""What an adaptive sampler is told: what to read, how sure the denoiser is of it, what to reveal and what to mask.

A :class:`Rule` is a pytree of numbers and small pure functions: changing a number (a threshold, a plan, a block length)
compiles nothing anew, and every function can be replaced by one's own. :mod:`mdm_jax.sampling.rules` makes the common
ones.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import flax.struct
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from mdm_jax.models.denoiser import Denoiser
from mdm_jax.models.extending import block_length
from mdm_jax.sampling.knots import require_fitting
from mdm_jax.sampling.readings import Measure, max_probability
from mdm_jax.sampling.view import Choice, View
from mdm_jax.support.arrays import described
from mdm_jax.support.errors import require, require_choice, require_number, require_whole, verbatim

ONE_BLOCK = 1 << 30
"""The block length that means: no blocks."""
NO_END = -1
"""The end token that never comes."""
HOTTEST = 1e36
"""The largest order temperature: Gumbel noise times more could exceed float32."""


@flax.struct.dataclass
class Rule:
    """How an adaptive sampler goes on.

    Attributes:
        choose: ``choose(view) -> Choice``, pure.
        score: a measure; the surest positions first.
        measures: further measures that ``choose`` or ``remember`` wants.
        reads: ``"open"``: masked positions of the current block; ``"all"``: its settled ones too; ``"chosen"``: what
            ``choose`` reveals, and nothing else (it then decides without scores).
        order_temperature: above 0, Gumbel noise times this is added to the score: positions are then drawn without
            replacement with probability proportional to ``exp(score / order_temperature)``.
        block: length of the blocks, counted from each row's first free position and done from left to right. With a
            model that goes by blocks they are the model's own, whether they are named or not.
        end: the token that ends a sequence; once one was drawn and all before it is settled, the row is done and what
            is still masked behind it is filled with it. -1: none.
        steps: int32[rows] or [1], steps that each block takes at least, for rules that mask again; else ``None``.
        begin: ``begin(free) -> memory``, or ``None``.
        remember: ``remember(view, choice) -> memory`` after a step, or ``None``.
        second_temperature: of a second proposal for everything that is read, drawn independently of the first, for
            rules that want one (``view.second``); it divides the logits that the scores see. ``None``: there is none.
        planned: int32[rows] or [1], how many tokens each row's plan is for, which is checked against the canvas (see
            :func:`~mdm_jax.sampling.knots.require_fitting`); ``None`` where there is no plan. Data, like the plan.
        rows: how many rows the rule has numbers for: arrays whose leading axis is so long are one entry per row.
            ``None``: it serves any rows.

    Example:
        >>> import mdm_jax as mdm
        >>> def all_at_once(view):
        ...     return mdm.sampling.Choice(reveal=view.open)
        >>> world, rule = mdm.oracles.polya(8, 0.5), mdm.sampling.Rule(choose=all_at_once)
        >>> mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, key=mdm.key(0)).nfe.tolist()
        [1, 1]
    """

    choose: Callable[[View], Choice]
    score: Measure = Partial(max_probability)
    measures: tuple[Measure, ...] = ()
    reads: Literal["open", "all", "chosen"] = flax.struct.field(pytree_node=False, default="open")
    order_temperature: ArrayLike = 0.0
    block: ArrayLike = ONE_BLOCK
    end: ArrayLike = NO_END
    steps: ArrayLike | None = None
    begin: Callable[[Array], Any] | None = None
    remember: Callable[[View, Choice], Any] | None = None
    second_temperature: ArrayLike | None = None
    planned: ArrayLike | None = None
    rows: int | None = flax.struct.field(pytree_node=False, default=None)

    def __repr__(self) -> str:
        """What is not as usual; functions by their names, arrays by their shapes."""
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        changed = {name: _shown(getattr(self, name)) for name, value in usual.items()}
        changed = {name: text for name, text in changed.items() if text != _shown(usual[name])}
        return f"Rule({', '.join(f'{name}={text}' for name, text in changed.items())})"

    def repeated(self, samples: int) -> "Rule":
        """The rule for ``samples`` rows in place of each."""
        rows = self.rows
        if rows is None or samples == 1:
            return self

        def leaf(value: Any) -> Any:
            per_row = isinstance(value, jax.Array | np.ndarray) and value.shape[:1] == (rows,)
            return jnp.repeat(value, samples, axis=0) if per_row else value

        return jax.tree.map(leaf, self).replace(rows=samples * rows)


def _shown(value: Any) -> str:
    """A field of a rule in a word or two."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, functools.partial):
        given = [*value.args, *value.keywords.values()]
        return _shown(value.func) + (f"({', '.join(map(_shown, given))})" if given else "")
    if callable(value):
        return getattr(value, "__name__", type(value).__name__).lstrip("_")
    return described(np.asarray(value) if type(value) in (int, float) else value)


def joined(rules: Sequence[Rule]) -> Rule:
    """One rule for as many rows, each row under a rule of its own: of plans, thresholds for each row, or the like.

    What has one entry per row (every array whose leading axis is 1) is put one after the other; all else must be the
    same in all of them (see :func:`alike`).

    Args:
        rules: each for any rows or for one (``rows`` is ``None`` or 1).

    Raises:
        InputError: no rules, rules for several rows, or rules that are not alike.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> rule = mdm.sampling.joined([mdm.rules.surest(mdm.plans.uniform(8, steps)) for steps in (4, 2)])
        >>> mdm.sample(world.denoiser, world.params, rule, length=8, key=mdm.key(0)).nfe.tolist()
        [4, 2]
    """
    require(len(rules) >= 1, "rules", verbatim("none"), "at least one")
    same = {alike(rule) for rule in rules}
    wanted = "alike: of the same functions, blocks, ends and scalar numbers"
    require(len(same) == 1, "rules", verbatim(f"{len(same)} kinds of them"), wanted)

    def leaf(*values: Any) -> Any:
        per_row = not callable(values[0]) and np.shape(values[0])[:1] == (1,)
        return np.concatenate([np.asarray(value) for value in values]) if per_row else values[0]

    return jax.tree.map(leaf, *(_for_any(rule) for rule in rules)).replace(rows=len(rules))


def alike(rule: Rule) -> Hashable:
    """What two rules must have in common to be :func:`joined`: their functions, and every number that is not per row.

    Raises:
        InputError: a rule for several rows.
    """
    leaves, tree = jax.tree.flatten(_for_any(rule))
    return tree, tuple(map(_kind, leaves))


def _for_any(rule: Rule) -> Rule:
    require(rule.rows in (None, 1), "rules", verbatim(f"one for {rule.rows} rows"), "for any rows or for one")
    return rule.replace(rows=None)  # pyright: ignore[reportAttributeAccessIssue]


def _kind(leaf: Any) -> Hashable:
    """A function itself; the shape of what is per row; the value of what is not."""
    if callable(leaf):
        return leaf
    value = np.asarray(leaf)
    per_row = value.shape[:1] == (1,)
    return (value.shape, value.dtype, None if per_row else value.tobytes())


def ready(rule: Rule) -> Rule:
    """The rule with its numbers as arrays of one type and its functions as parts of the tree: one executable.

    Raises:
        InputError: a block, an end or an order temperature that cannot be (seen only where it is not traced).
    """
    noise = rule.order_temperature
    for name, value in {"block": rule.block, "end": rule.end, "order_temperature": noise}.items():
        require(np.ndim(value) == 0, name, verbatim(f"shape {np.shape(value)}"), "one number for all rows")
    if not isinstance(rule.block, jax.core.Tracer):
        require_whole("block", rule.block, 1, 2**31 - 1)
    if not isinstance(rule.end, jax.core.Tracer):
        require_whole("end", rule.end, NO_END, 2**31 - 1)
    if not isinstance(noise, jax.core.Tracer):
        require_number("order_temperature", noise, 0, HOTTEST, f"0 or more, and at most {HOTTEST:g}")
    unread = rule.reads == "chosen" and not isinstance(noise, jax.core.Tracer) and float(noise) != 0  # pyright: ignore[reportArgumentType]
    require(not unread, "order_temperature", noise, "0 for a rule that chooses before it reads: it has no scores")
    second = rule.second_temperature
    if second is not None:
        require(rule.reads != "chosen", "second_temperature", second, "None for a rule that chooses before it reads")
        require(np.ndim(second) == 0, "second_temperature", verbatim(f"shape {np.shape(second)}"), "one number")
    if second is not None and not isinstance(second, jax.core.Tracer):
        require_number("second_temperature", second, 0, HOTTEST, f"0 or more, and at most {HOTTEST:g}")

    require_choice("reads", rule.reads, ("open", "all", "chosen"))
    wanted = {"choose": rule.choose, "score": rule.score, **{f"measures[{i}]": m for i, m in enumerate(rule.measures)}}
    wanted |= {name: f for name, f in {"begin": rule.begin, "remember": rule.remember}.items() if f is not None}
    for name, value in wanted.items():
        require(callable(value), name, value, "a function")

    def function(value: Any) -> Any:
        return value if value is None or isinstance(value, Partial) else Partial(value)

    return rule.replace(  # pyright: ignore[reportAttributeAccessIssue]
        choose=function(rule.choose),
        score=function(rule.score),
        measures=tuple(map(function, rule.measures)),
        order_temperature=jnp.asarray(rule.order_temperature, jnp.float32),
        block=jnp.asarray(rule.block, jnp.int32),
        end=jnp.asarray(rule.end, jnp.int32),
        steps=None if rule.steps is None else jnp.asarray(rule.steps, jnp.int32),
        begin=function(rule.begin),
        remember=function(rule.remember),
        second_temperature=None if second is None else jnp.asarray(second, jnp.float32),
        planned=None if rule.planned is None else jnp.asarray(rule.planned, jnp.int32),
    )


def require_end(end: object, denoiser: Denoiser, argument: str = "end") -> None:
    """Refuse an end that is no real token of the denoiser's; :data:`NO_END` and traced ones pass.

    Raises:
        InputError: no whole number, an id outside the vocabulary, or the mask's.
    """
    if not isinstance(end, jax.core.Tracer):
        value, most = require_whole(argument, end, NO_END), denoiser.vocab_size - 1
        require(value <= most and value != denoiser.mask_id, argument, value, f"a real token, from 0 to {most}")


def require_fit(rule: Rule, denoiser: Denoiser, free: Bool[Array | np.ndarray, "rows length"]) -> None:
    """Refuse a rule whose blocks, plans or end do not fit what is to be sampled; traced numbers pass.

    Where ``free`` is traced, its shape is all that is seen.

    Args:
        rule: for as many rows, or for any.
        denoiser: whose vocabulary the end belongs to, and whose blocks the rule goes by if it has any.
        free: what is to be revealed.

    Raises:
        InputError: a plan for another number of tokens, other blocks than the model's, or an end that is no token.
    """
    require_end(rule.end, denoiser)
    own = block_length(denoiser)
    if (own is None and rule.planned is None) or isinstance(rule.block, jax.core.Tracer):
        return
    block = int(rule.block)  # pyright: ignore[reportArgumentType]
    named = None if block >= ONE_BLOCK else block
    require_same_blocks(denoiser, named)
    if rule.planned is not None and not isinstance(rule.planned, jax.core.Tracer):
        require_fitting(np.asarray(rule.planned), free, own or named, aligned=own is not None)


def require_same_blocks(denoiser: Denoiser, block: int | None) -> None:
    """Refuse other blocks than those of a model that goes by blocks; ``None``: those that it has, if any.

    Raises:
        InputError: they are others.
    """
    own = block_length(denoiser)
    require(own is None or block in (None, own), "block", block, f"left out, or {own} as the model's blocks are")
