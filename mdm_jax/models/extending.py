"""The further half of the denoiser contract: models whose revealed tokens never look at what is revealed later.

Such a model can be *extended*: what it made of a revealed token is kept, and each step works on what is new alone. Both
loops of :mod:`mdm_jax.sampling` do so where a denoiser allows it; nothing else need know.
"""

from typing import Any, Protocol, cast

from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Context, Denoiser, Params, layers
from mdm_jax.support.errors import require, verbatim

Cache = Any
"""A pytree of arrays with a leading axis of rows."""


class Extendable(Denoiser, Protocol):
    """A denoiser with a cache.

    Work comes in *slots*, so many for each row, in few fixed widths. A slot is a revealed token to be kept, a
    question about a masked position, or empty. The law at a position depends on what is kept, and on no other question.
    If it depends on the order in which that was kept, the denoiser must be :class:`Ranked`: any other is measured by
    ``encode``, which knows no order.

    Attributes:
        slots: the numbers of slots for each row that the model works in: the fewest that hold what is to be done.
    """

    @property
    def slots(self) -> tuple[int, ...]: ...

    def empty(self, params: Params, rows: int, length: int, slots: int, context: Context = None) -> Cache:
        """A cache of nothing.

        Args:
            params: the model's.
            rows: how many sequences.
            length: of each.
            slots: of the calls of ``extend`` to come, at most.
            context: as ``encode`` takes it.
        """
        ...

    def extend(
        self,
        params: Params,
        cache: Cache,
        positions: Int[Array, "rows slots"],
        tokens: Int[Array, "rows slots"],
        revealed: Int[Array, " rows"],
        context: Context = None,
    ) -> tuple[Cache, Float[Array, "rows slots d"]]:
        """Absorb tokens that were just revealed, then ask.

        Args:
            params: the model's.
            cache: of what was absorbed before.
            positions: int32[rows, slots]; the length itself in a slot that is empty.
            tokens: int32[rows, slots], read in the slots of tokens.
            revealed: int32[rows]: the first so many slots of a row are tokens, in the order in which they are to be
                absorbed; then come questions, then empty slots.
            context: as ``encode`` takes it.

        Returns:
            The cache with the tokens, and hidden vectors to read out; those of other slots than questions mean nothing.
        """
        ...


class Ranked(Extendable, Protocol):
    """An extendable denoiser that can be asked at every position in one pass, each after tokens of its own."""

    def encode_ranked(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        rank: Int[Array, "rows length"],
        bound: Int[Array, "rows length"],
        context: Context = None,
    ) -> Float[Array, "rows length d"]:
        """Hidden vectors of a question at every position: position ``i`` sees the tokens of rank below ``bound[i]``.

        Args:
            params: the model's.
            tokens: int32[rows, length].
            rank: int32[rows, length], when each token is absorbed: different from each other where they are seen.
            bound: int32[rows, length].
            context: as ``encode`` takes it.
        """
        ...


class Blockwise(Extendable, Protocol):
    """An extendable denoiser that goes block by block, and can be asked about all blocks in one pass.

    Blocks stand side by side from the first position on; the last one may be shorter. A block sees itself, and the
    *finished* blocks before it: those without a mask, all the way from the first block on. How long they are is told by
    :func:`block_length`.
    """

    def encode_blocks(
        self,
        params: Params,
        tokens: Int[Array, "rows length"],
        noisy: Int[Array, "rows length"],
        context: Context = None,
    ) -> Float[Array, "rows length d"]:
        """Hidden vectors of ``noisy``, each block after the finished blocks of ``tokens`` before it.

        Args:
            params: the model's.
            tokens: int32[rows, length], what stands before each block.
            noisy: int32[rows, length], each block as it is looked at: some of it masked.
            context: as ``encode`` takes it.
        """
        ...


def can_extend(denoiser: Any) -> bool:
    """Whether a denoiser is :class:`Extendable`; a wrapper is if what it wraps is, unless it says ``extends = False``.

    Example:
        >>> import mdm_jax as mdm
        >>> sizes = {"length": 8, "width": 16, "depth": 1, "heads": 2}
        >>> mdm.models.can_extend(mdm.models.any_order(4, **sizes)), mdm.models.can_extend(mdm.models.transformer(4))
        (True, False)
    """
    return all(getattr(layer, "extends", hasattr(layer, "extend")) for layer in layers(denoiser))


def by_rank(denoiser: Any) -> bool:
    """Whether what a denoiser predicts depends on the order of what was revealed, as with :class:`Ranked` models.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.by_rank(mdm.models.any_order(4, length=8, width=16, depth=1, heads=2))
        True
    """
    *_, innermost = layers(denoiser)
    return can_extend(denoiser) and hasattr(innermost, "encode_ranked")


def require_unordered(denoiser: Any, wanted: str) -> None:
    """Refuse a model that goes by ranks or by blocks where any set may be revealed: it is another law that is sampled.

    Args:
        denoiser: the model.
        wanted: what would be right, for the sentence.

    Raises:
        InputError: it is one.
    """
    require(not by_rank(denoiser), "denoiser", verbatim("one that goes by the order of what is revealed"), wanted)
    require(block_length(denoiser) is None, "denoiser", verbatim("one that goes block by block"), wanted)


def block_length(denoiser: Any) -> int | None:
    """Positions of a block of a model that goes block by block from left to right; ``None`` of every other model.

    Such a model (:class:`Blockwise`) has an attribute ``block``; its wrappers need none. It is trained, measured and
    sampled block by block, whether it is wrapped or not. ``without_cache`` alone makes an ordinary denoiser of it, with
    ``block`` None: it is encoded anew at each step, and its positions are revealed in any order.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.block_length(mdm.models.block_causal(4, length=8, block=4, width=16, depth=1, heads=2))
        4
    """
    return next((layer.block for layer in layers(denoiser) if hasattr(layer, "block")), None)


def require_blocks(denoiser: Any) -> int:
    """Positions of a block of a model that must go block by block.

    Raises:
        InputError: a model without blocks.
    """
    block, shown = block_length(denoiser), verbatim(type(denoiser).__name__)
    require(block is not None, "denoiser", shown, "one that goes by blocks, as models.block_causal makes it")
    assert block is not None
    return block


def extending(denoiser: Denoiser) -> Extendable:
    """A denoiser that :func:`can_extend`, with the members that say so."""
    return cast(Extendable, denoiser)


def ranked(denoiser: Denoiser) -> Ranked:
    """A denoiser that goes :func:`by_rank`, with the members of :class:`Ranked`."""
    return cast(Ranked, denoiser)


def blockwise(denoiser: Denoiser) -> Blockwise:
    """A denoiser with a :func:`block_length`, with the members of :class:`Blockwise`."""
    return cast(Blockwise, denoiser)
