"""Denoisers from denoisers: Dream's shift, banned tokens, temperature, top-k, top-p, hooks (guidance: ``guiding``).

A wrapper is a denoiser again, so wrappers nest in any order; the outermost has the last word on the logits:
``top_p(tempered(banned(guided(model), (0,)), 0.7), 0.9)`` guides, bans, cools and then cuts. Ban before you cut: a ban
of all that a cut has left leaves nothing to draw, and such positions stay masked. Each is made from settings
alone: two of equal settings are equal, and compiled samplers are shared between them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_logits
from mdm_jax.models.extending import Cache, blockwise, extending, ranked
from mdm_jax.support.errors import is_number, require, require_whole, verbatim
from mdm_jax.support.ragged import present

Tokens = Int[Array, "rows length"]
Hidden = Float[Array, "rows length d"]
Slots = Int[Array, "rows slots"]


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """A denoiser that does what the wrapped one does; each kind changes one thing."""

    denoiser: Denoiser

    def __post_init__(self) -> None:
        require(isinstance(self.denoiser, Denoiser), "denoiser", self.denoiser, "a denoiser (a run's is run.denoiser)")

    @property
    def vocab_size(self) -> int:
        return self.denoiser.vocab_size

    @property
    def mask_id(self) -> int:
        return self.denoiser.mask_id

    @property
    def passes(self) -> int:
        return self.denoiser.passes

    def begin(self, params: Params, keys: Any, context: Context = None) -> Context:
        return begun(self.denoiser, params, keys, context)

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        return self.denoiser.encode(params, tokens, context)

    @property
    def extends(self) -> bool:
        """Whether it has the further half of the contract where the wrapped denoiser does: see ``extending``."""
        return True

    @property
    def slots(self) -> tuple[int, ...]:
        return extending(self.denoiser).slots

    def empty(self, params: Params, rows: int, length: int, slots: int, context: Context = None) -> Cache:
        return extending(self.denoiser).empty(params, rows, length, slots, context)

    def extend(
        self, params: Params, cache: Cache, positions: Slots, tokens: Slots, revealed: Array, context: Context = None
    ) -> tuple[Cache, Hidden]:
        return extending(self.denoiser).extend(params, cache, positions, tokens, revealed, context)

    def encode_ranked(
        self, params: Params, tokens: Tokens, rank: Tokens, bound: Tokens, context: Context = None
    ) -> Hidden:
        return ranked(self.denoiser).encode_ranked(params, tokens, rank, bound, context)

    def encode_blocks(self, params: Params, tokens: Tokens, noisy: Tokens, context: Context = None) -> Hidden:
        wanted = "one whose blocks can be predicted in one pass: not shifted, hooked on tokens, or without its cache"
        require(self.extends, "denoiser", verbatim(type(self).__name__), wanted)
        return blockwise(self.denoiser).encode_blocks(params, tokens, noisy, context)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        """The wrapped denoiser's logits, in float32 as the contract has it, whatever its parameters are kept in."""
        return self.denoiser.readout(params, hidden).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class WithoutCache(Wrapper):
    """What :func:`without_cache` makes.

    Attributes:
        block: it goes by no blocks, whatever it wraps.
    """

    block: ClassVar[None] = None

    @property
    def extends(self) -> bool:
        return False


def without_cache(denoiser: Denoiser) -> WithoutCache:
    """A denoiser that is encoded anew at each step, whatever it could keep.

    An any-order model then sees all revealed tokens in order from left to right, whenever they were revealed: its law
    is another one, a function of what is revealed alone, which exact laws and remasking need. A block-causal model
    keeps its predictions, but goes by blocks no longer: it is sampled, measured and trained in any order.

    Raises:
        InputError: what is no denoiser.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.any_order(4, length=8, width=16, depth=1, heads=2)
        >>> mdm.models.can_extend(mdm.models.without_cache(model))
        False
    """
    return WithoutCache(denoiser)


@dataclasses.dataclass(frozen=True)
class Padded(Wrapper):
    """What :func:`padded` makes."""

    token: int
    ragged: ClassVar[bool] = True

    @property
    def extends(self) -> bool:
        return False

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        return self.denoiser.encode(params, jnp.where(present(tokens), tokens, self.token), context)


def padded(denoiser: Denoiser, token: int) -> Padded:
    """A model of one's own that takes rows of different lengths: what is not there is shown to it as ``token``.

    Nothing is predicted there and nothing is counted. What the model makes of the padding is its own affair: one that
    was trained so, or that hides such positions by the token, is right. The library's own models need none of this.

    Args:
        denoiser: the model.
        token: any id that it embeds.

    Raises:
        InputError: what is no denoiser, or no id.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(3, 0.5)
        >>> model = mdm.models.padded(world.denoiser, 0)
        >>> mdm.models.logits(model, world.params, jnp.asarray([[2, 2, -1]])).shape
        (1, 3, 2)
    """
    return Padded(denoiser, require_whole("token", token, 0, 2**31 - 2))


class Shifted(Wrapper):
    """What :func:`shifted` makes."""

    @property
    def extends(self) -> bool:
        return False

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        hidden = self.denoiser.encode(params, tokens, context)
        return jnp.concatenate([hidden[:, :1], hidden[:, :-1]], axis=1)


def shifted(denoiser: Denoiser) -> Shifted:
    """Dream's convention (arXiv 2508.15487), that of models made from autoregressive ones.

    The wrapped denoiser's hidden vector at position ``i - 1`` predicts token ``i``; position 0 keeps its own.

    Raises:
        InputError: what is no denoiser.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def by_position(params, tokens):  # logits that tell the position
        ...     return params + jnp.broadcast_to(jnp.arange(4.0)[None, :, None], (*tokens.shape, 2))
        >>> model = mdm.models.shifted(mdm.models.from_function(by_position, 2))
        >>> print(mdm.models.logits(model, jnp.zeros(2), jnp.full((1, 4), 2))[0, :, 0])
        [0. 0. 1. 2.]
    """
    return Shifted(denoiser)


@dataclasses.dataclass(frozen=True)
class Ruled(Wrapper):
    """A denoiser whose logits go through ``rule(logits, setting)``: what ``banned`` and those after it make."""

    rule: Callable[[Array, Any], Array]
    setting: Any

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        return self.rule(super().readout(params, hidden), self.setting)


def banned(denoiser: Denoiser, ids: Sequence[int]) -> Ruled:
    """A denoiser that never predicts the tokens ``ids`` (any order, duplicates count once): their logits are ``-inf``.

    Args:
        denoiser: the model.
        ids: of the tokens, from 0 to ``vocab_size - 1``.

    Raises:
        InputError: an id outside ``0 .. vocab_size - 1``, or no token left to predict.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def biased(params, tokens):  # logits 0, 1, 2 everywhere
        ...     return jnp.broadcast_to(params, (*tokens.shape, 3))
        >>> model = mdm.models.banned(mdm.models.from_function(biased, 3), [2])
        >>> print(mdm.models.logits(model, jnp.arange(3.0), jnp.asarray([[3]])))
        [[[  0.   1. -inf]]]
    """
    size = Wrapper(denoiser).vocab_size
    require(np.iterable(ids), "ids", ids, "a sequence of token ids")
    out = {require_whole("ids", token, 0, size - 1) for token in ids}
    left = set(range(size)) - {denoiser.mask_id} - out
    require(bool(left), "ids", ids, "fewer than all tokens that the denoiser predicts")
    return Ruled(denoiser, _without, tuple(sorted(out)))


def is_ban(denoiser: object) -> bool:
    """Whether it is what :func:`banned` makes; its ``setting`` is the ids.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.wrappers import is_ban
        >>> is_ban(mdm.models.banned(mdm.models.transformer(4), [0]))
        True
    """
    return type(denoiser) is Ruled and denoiser.rule is _without


def _without(logits: Array, ids: tuple[int, ...]) -> Array:
    out = np.isin(np.arange(logits.shape[-1]), ids)
    return jnp.where(jnp.broadcast_to(out, logits.shape), -jnp.inf, logits)


def tempered(denoiser: Denoiser, temperature: float | int) -> Ruled:
    """``logits / temperature``; at 0 the argmax (the first among ties) is at 0 and the rest at ``-inf``.

    A sampler has a ``temperature`` of its own, which divides the logits as tokens are drawn: it is traced, so that all
    values share one executable, and whatever scores positions (confidence, entropy) sees the untempered law, as in
    LLaDA. Wrap the denoiser where scores should see the tempered law, as in Dream, or where a :func:`top_p` outside
    should cut it. A wrapper's temperature is static: one executable per value.

    Args:
        denoiser: the model.
        temperature: one number for all positions.

    Raises:
        InputError: a temperature that is neither 0 nor from 1e-6 to 1e6 (beyond, float32 logits overflow).

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def biased(params, tokens):  # logits 0, 1, 2 everywhere
        ...     return jnp.broadcast_to(params, (*tokens.shape, 3))
        >>> model = mdm.models.tempered(mdm.models.from_function(biased, 3), 0.5)
        >>> print(mdm.models.logits(model, jnp.arange(3.0), jnp.asarray([[3]])))
        [[[0. 2. 4.]]]
    """
    good = is_number(temperature) and (temperature == 0 or 1e-6 <= temperature <= 1e6)
    require(good, "temperature", temperature, "0 (the argmax) or from 1e-6 to 1e6")
    return Ruled(denoiser, _over, float(temperature))


def _over(logits: Array, temperature: float) -> Array:
    if temperature > 0:
        return logits / temperature
    best = jnp.argmax(logits, axis=-1, keepdims=True).astype(jnp.int32)
    return jnp.where(_ids_like(logits) == best, jnp.zeros_like(logits), -jnp.inf)


def top_k(denoiser: Denoiser, k: int) -> Ruled:
    """Only the ``k`` most probable tokens, exactly: among ties the earliest ids stay. The rest are at ``-inf``.

    Args:
        denoiser: the model.
        k: how many, of every position.

    Raises:
        InputError: ``k`` is not from 1 to ``vocab_size``.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def biased(params, tokens):  # logits 0, 1, 2 everywhere
        ...     return jnp.broadcast_to(params, (*tokens.shape, 3))
        >>> model = mdm.models.top_k(mdm.models.from_function(biased, 3), 2)
        >>> print(mdm.models.logits(model, jnp.arange(3.0), jnp.asarray([[3]])))
        [[[-inf   1.   2.]]]
    """
    wrapped = Wrapper(denoiser)
    return Ruled(denoiser, _most_probable, require_whole("k", k, 1, wrapped.vocab_size))


def _most_probable(logits: Array, k: int) -> Array:
    # lax.top_k puts the lower id first among ties, but 0.0 before -0.0, though the two are equal.
    values, ids = jax.lax.top_k(jnp.where(logits == 0, 0.0, logits), k)
    return _down_to(logits, values[..., -1:], ids[..., -1:])


def top_p(denoiser: Denoiser, p: float | int) -> Ruled:
    """Only the nucleus (arXiv 1904.09751): the fewest, most probable tokens whose total is at least ``p``.

    At least one token stays; among ties the earliest ids do. The rest are at ``-inf``. Totals are float32 sums.

    Args:
        denoiser: the model.
        p: a probability; 1 keeps every token.

    Raises:
        InputError: ``p`` is not above 0 and at most 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def biased(params, tokens):  # logits 0, 1, 2 everywhere
        ...     return jnp.broadcast_to(params, (*tokens.shape, 3))
        >>> model = mdm.models.top_p(mdm.models.from_function(biased, 3), 0.6)  # the last has .67
        >>> print(mdm.models.logits(model, jnp.arange(3.0), jnp.asarray([[3]])))
        [[[-inf -inf   2.]]]
    """
    require(is_number(p) and 0 < p <= 1, "p", p, "above 0 and at most 1")
    return Ruled(denoiser, _nucleus, float(p))


def _nucleus(logits: Array, p: float) -> Array:
    if p == 1:
        return logits  # every token, though float32 sums reach 1 sooner
    # Sorted by falling logit; the sort is stable, so ties stay in the order of their ids.
    negated, ids = jax.lax.sort((-logits, _ids_like(logits)), num_keys=1, is_stable=True)
    # A token stays if those before it fall short of p, that is if the others (summed from the rarest) exceed 1 - p.
    others = jax.lax.cumsum(jax.nn.softmax(-negated, axis=-1), axis=logits.ndim - 1, reverse=True)
    last = jnp.maximum(jnp.sum(others > 1 - p, axis=-1, keepdims=True, dtype=jnp.int32) - 1, 0)
    value, token = (jnp.take_along_axis(x, last, axis=-1) for x in (-negated, ids))
    return _down_to(logits, value, token)


def _down_to(logits: Array, value: Array, token: Array) -> Array:
    """``logits`` where they stand above ``value``, or at it with an id up to ``token``; ``-inf`` elsewhere."""
    stays = (logits > value) | ((logits == value) & (_ids_like(logits) <= token))
    return jnp.where(stays, logits, -jnp.inf)


def _ids_like(logits: Array) -> Array:
    """The token id of every logit: int32, of the shape of ``logits``."""
    return jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)


@dataclasses.dataclass(frozen=True)
class Hooked(Wrapper):
    """What :func:`hooked` makes."""

    on_logits: Callable[[Array], Array] | None
    on_tokens: Callable[[Array], Array] | None

    @property
    def extends(self) -> bool:
        """A hook on tokens is a function of whole rows."""
        return self.on_tokens is None

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        changed = tokens if self.on_tokens is None else self.on_tokens(tokens)
        same = (changed.shape, changed.dtype) == (tokens.shape, tokens.dtype)
        wanted = f"a function that keeps {tokens.dtype}, shape {tokens.shape}"
        require(same, "on_tokens", verbatim(f"{changed.dtype}, shape {changed.shape}"), wanted)
        return self.denoiser.encode(params, changed, context)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        logits = super().readout(params, hidden)
        changed = logits if self.on_logits is None else self.on_logits(logits)
        wanted = f"a function that keeps the shape {logits.shape}"
        require(jnp.shape(changed) == logits.shape, "on_logits", verbatim(f"shape {jnp.shape(changed)}"), wanted)
        return checked_logits(changed, self.vocab_size, self.mask_id, logits.shape[:-1])


def hooked(
    denoiser: Denoiser,
    on_logits: Callable[[Array], Array] | None = None,
    on_tokens: Callable[[Array], Array] | None = None,
) -> Hooked:
    """A user's own functions around a denoiser; both must be pure and traceable.

    Define them once, as functions of a module: two denoisers are equal if their hooks are the same *objects*, so a
    lambda made anew for each call is compiled anew for each call.

    Args:
        denoiser: the model.
        on_logits: after ``readout``, ``float32[*any, vocab_size]`` to the same shape. The vectors belong to positions
            gathered from anywhere, so it can go by logits alone. A mask among them is ruled out again afterwards.
        on_tokens: before ``encode``, ``int32[rows, length]`` to the same shape and type: what the model is shown.

    Raises:
        InputError: no hook at all; at trace time, a hook that changes the shape, or the tokens' type.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def prefer_ones(logits):
        ...     return logits.at[..., 1].add(jnp.log(9.0))
        >>> world = mdm.oracles.polya(3, 0.5)
        >>> model = mdm.models.hooked(world.denoiser, on_logits=prefer_ones)
        >>> print(jnp.exp(mdm.models.logits(model, world.params, jnp.asarray([[2, 2, 2]])))[0, 0])  # 1/2, 9/2
        [0.5 4.5]
    """
    require(on_logits is not None or on_tokens is not None, "on_logits", None, "given, unless on_tokens is")
    for name, hook in {"on_logits": on_logits, "on_tokens": on_tokens}.items():
        require(hook is None or callable(hook), name, hook, "a function")
    return Hooked(denoiser, on_logits, on_tokens)
