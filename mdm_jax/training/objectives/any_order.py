"""The objective of models that go by ranks: all positions are predicted at each step, from what is ranked before."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import by_rank, ranked
from mdm_jax.support.errors import require, require_number, require_whole, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.training.corruption import spread
from mdm_jax.training.losses import cross_entropy
from mdm_jax.training.objective import Examples, Losses


@dataclasses.dataclass(frozen=True)
class AnyOrderNelbo:
    """The NELBO of one token at a time, in orders that are drawn: ``-sum_i log p(token i | tokens ranked before it)``.

    Under uniformly random orders, the default, its mean is that of the masked NELBO of an MDM: what sampling one token
    at a time costs, and the mean of the profile. One pass asks at all positions.

    Attributes:
        ordered: the share of the rows whose orders go from left to right; the others' are uniformly random. With any,
            the loss is that of the mixture of orders, and a run has no training profile: that is one of random orders.
        block: positions of a block: blocks go from left to right, and inside each the order is random. 1: strictly from
            left to right.
        progressive: whether that share rises from 0 over the training, in a straight line. Held-out rows are scored at
            its end.

    Source: XLNet (arXiv 1906.08237); ARDM (arXiv 2110.02037) for uniform orders; arXiv 2601.16971 for orders that
    become left to right.

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.AnyOrderNelbo()
        >>> objective.is_bound, objective.describe()
        (True, {'name': 'any-order NELBO', 'ordered': 0.0, 'block': 1, 'progressive': False})
    """

    ordered: float | int = 0.0
    block: int = 1
    progressive: bool = False

    partial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number("ordered", self.ordered, 0.0, 1.0, "a share of the rows, from 0 to 1")
        object.__setattr__(self, "ordered", float(self.ordered))
        object.__setattr__(self, "block", require_whole("block", self.block, 1, 2**31 - 1))
        require(isinstance(self.progressive, bool), "progressive", self.progressive, "True or False")
        for name, plain in (("block", 1), ("progressive", False)):
            value = getattr(self, name)
            require(self.ordered > 0 or value == plain, name, value, f"{plain} where no rows are ordered")

    @property
    def is_bound(self) -> bool:
        return True

    @property
    def terms(self) -> tuple[str, ...]:
        return ()

    def describe(self) -> dict[str, Any]:
        return {"name": "any-order NELBO", **dataclasses.asdict(self)}

    def context(self, given: Context) -> Context:
        return given

    def corrupt(
        self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]
    ) -> "Orders":
        shown = verbatim(type(denoiser).__name__)
        require(by_rank(denoiser), "denoiser", shown, "one that goes by ranks, as models.any_order makes it")
        rows, length = examples.tokens.shape
        key, which = jax.random.split(key)
        bits = jax.random.bits(key, (rows, length), jnp.uint32)
        within = jax.random.uniform(jax.random.fold_in(which, 1), (rows,), jnp.float32)
        place = jnp.arange(length, dtype=jnp.int32)[None]
        classes = jnp.where(present(examples.tokens), 0, length)  # what is not there comes last
        if self.ordered > 0:
            share = self.ordered * (jnp.asarray(progress, jnp.float32) if self.progressive else jnp.float32(1.0))
            chosen = spread(which, rows) < share
            classes = classes + jnp.where(chosen[:, None], place // self.block, 0)
        if examples.given is not None:  # first, and from left to right
            classes = jnp.where(examples.given, -1, classes)
            bits = jnp.where(examples.given, place.astype(jnp.uint32), bits)
        order = jnp.lexsort((bits, classes), axis=-1)
        return Orders(jnp.argsort(order, axis=-1).astype(jnp.int32), within)

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: "Orders") -> Losses:
        tokens, rank, free = jnp.asarray(examples.tokens, jnp.int32), corrupted.rank, examples.free
        hidden = ranked(denoiser).encode_ranked(params, tokens, rank, rank, examples.context)
        cost = jnp.where(free, cross_entropy(denoiser.readout(params, hidden), tokens), 0.0)
        if self.ordered > 0:
            return Losses(jnp.sum(cost, axis=-1), {})
        length, many = tokens.shape[1], jnp.sum(free, axis=-1, keepdims=True, dtype=jnp.float32)
        before = 0 if examples.given is None else jnp.sum(examples.given, axis=-1, keepdims=True, dtype=jnp.int32)
        share = ((rank - before).astype(jnp.float32) + corrupted.within[:, None]) / jnp.maximum(many, 1)
        scaled = jnp.clip(jnp.floor(share * length), 0, length - 1).astype(jnp.int32)
        # Of a whole row the share says where it stands, but for rounding.
        revealed = jnp.where(many == length, rank, scaled)
        return Losses(jnp.sum(cost, axis=-1), {}, revealed, cost, free.astype(jnp.float32))


class Orders(NamedTuple):
    """Orders of rows.

    Attributes:
        rank: int32[rows, length], each position's place in its row's order: what is given first, from left to right,
            and what is not there last.
        within: float32[rows], a number in [0, 1): where in its share of a row each rank counts for the profile.
    """

    rank: Int[Array, "rows length"]
    within: Float[Array, " rows"]
