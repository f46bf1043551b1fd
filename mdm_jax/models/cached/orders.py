"""Any-order models: revealed tokens never look at later ones, so that each passes twice, whatever the steps."""

import dataclasses

from jaxtyping import Array, Float, Int

from mdm_jax.models.adapters import LinenDenoiser, Whole, fields_of
from mdm_jax.models.cached.network import AnyOrderTransformer, OrderCache
from mdm_jax.models.denoiser import Context, Params
from mdm_jax.models.transformers import transformer

SLOTS = 2, 8, 32
"""Slots for each row: few where a step reveals few tokens, for which many alone take five times as long; and as many
as matrix products need to be quick (``experiments/any_order.py``)."""


@dataclasses.dataclass(frozen=True)
class AnyOrderDenoiser(LinenDenoiser):
    """An :class:`AnyOrderTransformer` as a denoiser that goes by ranks (:class:`~mdm_jax.models.Ranked`)."""

    module: AnyOrderTransformer

    @property
    def slots(self) -> tuple[int, ...]:
        """Slots for each row, in which it works."""
        return SLOTS

    def empty(self, params: Params, rows: int, length: int, slots: int, context: Context = None) -> OrderCache:
        """A cache of nothing: see :class:`~mdm_jax.models.Extendable`."""
        del context
        return self.module.apply(params, rows, length, slots, method="empty")  # pyright: ignore[reportReturnType]

    def extend(
        self,
        params: Params,
        cache: OrderCache,
        positions: Int[Array, "rows slots"],
        tokens: Int[Array, "rows slots"],
        revealed: Int[Array, " rows"],
        context: Context = None,
    ) -> tuple[OrderCache, Float[Array, "rows slots d"]]:
        """Absorb, then ask: see :class:`~mdm_jax.models.Extendable`."""
        return self._apply(params, cache, positions, tokens, revealed, method="extend", context=context)

    def encode_ranked(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        rank: Int[Array, "rows length"],
        bound: Int[Array, "rows length"],
        context: Context = None,
    ) -> Float[Array, "rows length d"]:
        """A question at every position: see :class:`~mdm_jax.models.Ranked`.

        Example:
            >>> import jax.numpy as jnp
            >>> import mdm_jax as mdm
            >>> model = mdm.models.any_order(4, length=8, width=16, depth=1, heads=2)
            >>> params, tokens = model.init(mdm.key(0), length=8), jnp.ones((2, 8), jnp.int32)
            >>> rank = jnp.broadcast_to(jnp.arange(8), (2, 8))  # from left to right
            >>> hidden = model.encode_ranked(params, tokens, rank, rank)  # each after all to its left
            >>> model.readout(params, hidden).shape
            (2, 8, 4)
        """
        return self._apply(params, tokens, rank, bound, method="encode_ranked", context=context)


def any_order(
    vocab_size: Whole,
    length: Whole = 128,
    width: Whole = 128,
    depth: Whole = 3,
    heads: Whole = 4,
    expansion: float | int = 4,
    reach: Whole = 2,
    rotary_base: float = 1000.0,
    embedding_scale: float = 0.3,
    classes: Whole = 0,
) -> AnyOrderDenoiser:
    """A transformer whose revealed tokens see those revealed before them, and no others.

    What a revealed token becomes never changes, and is kept: sampling passes each token through the network once as a
    question and once as content, in any order and in any number of steps. In training one pass asks at every position
    (``training.AnyOrderNelbo``). Its parameters are those of :func:`~mdm_jax.models.transformer` with equal settings.

    A question sees no masks, and so no ends: where it stands is told by sines that are added to its embedding.

    A prediction depends on the order in which the tokens before it were revealed, a little. Tokens that are given are
    taken from left to right, and those of one step in random order.

    Args:
        vocab_size: as for :func:`~mdm_jax.models.transformer`.
        length: likewise.
        width: likewise.
        depth: likewise.
        heads: likewise.
        expansion: likewise.
        reach: likewise: of the neighbours the local mixing takes those that are seen.
        rotary_base: likewise.
        embedding_scale: likewise.
        classes: likewise.

    Raises:
        InputError: a size that cannot be.

    Source: two streams from XLNet (arXiv 1906.08237); strictly causal masked diffusion from arXiv 2601.16971.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.any_order(4, length=8, width=16, depth=1, heads=2)
        >>> params = model.init(mdm.key(0), length=8)
        >>> out = mdm.sample(model, params, mdm.plans.uniform(8, 4), rows=2, key=mdm.key(1))
        >>> out.tokens.shape, out.nfe.tolist()
        ((2, 8), [4, 4])
    """
    sizes = vocab_size, length, width, depth, heads, expansion, reach, rotary_base, embedding_scale
    plain = transformer(*sizes, classes=classes)
    return AnyOrderDenoiser(AnyOrderTransformer(**fields_of(plain.module)), plain.vocab_size, plain.mask_id)
