"""Denoisers from denoisers: guidance, Dream's shift, banned tokens, temperature, top-k, top-p, hooks.

A wrapper is a denoiser again, so wrappers nest in any order; the outermost has the last word on the logits:
``top_p(tempered(banned(guided(model), (0,)), 0.7), 0.9)`` guides, bans, cools and then cuts. Ban before you cut: a ban
of all that a cut has left leaves nothing to draw, and such positions stay masked. Each is made from settings
alone: two of equal settings are equal, and compiled samplers are shared between them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.denoiser import Context, Denoiser, Params, checked_logits, checked_tokens
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import is_number, require, require_whole, verbatim

STRONGEST = 1e30
"""The largest size of a guidance weight: what float32 takes for infinity, or would exceed it times a logit, is none."""

Tokens = Int[Array, "rows length"]
Hidden = Float[Array, "rows length d"]


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

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        return self.denoiser.encode(params, tokens, context)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        """The wrapped denoiser's logits, in float32 as the contract has it, whatever its parameters are kept in."""
        return self.denoiser.readout(params, hidden).astype(jnp.float32)


class Guidance(NamedTuple):
    """The context of a :func:`guided` denoiser; :func:`guidance` makes it from a canvas.

    Attributes:
        given: bool[rows, length], the positions that the unconditional input does not see.
        weight: float32[rows]; 0 is the plain model, -1 the model without what is given.
        context: the wrapped denoiser's own context.
    """

    given: Bool[Array, "rows length"]
    weight: Float[Array, " rows"]
    context: Context = None


def guidance(
    canvas: ArrayLike, denoiser: Denoiser | int, weight: ArrayLike, context: Context = None, rows: int | None = None
) -> Guidance:
    """The context of a :func:`guided` denoiser for the canvas that is to be filled.

    Args:
        canvas: int32[length] or int32[rows, length]: what is given, the mask elsewhere, as a sampler takes it.
        denoiser: its ``mask_id`` counts; that number itself will do.
        weight: float[] or float[rows], of any sign, up to 1e30 in size; see :func:`guided`.
        context: the wrapped denoiser's own context, leading axis ``rows``.
        rows: number of sequences; may be left out where another argument has rows, or where there is one.

    Raises:
        InputError: a canvas that is no array of ids, weights that are not finite, inconsistent row counts.
    """
    canvas, weight = (x if isinstance(x, jax.Array) else as_array(x) for x in (canvas, weight))
    good = canvas.ndim in (1, 2) and canvas.dtype.kind in "iu"
    shown = verbatim(f"{canvas.dtype}, shape {canvas.shape}")
    require(good, "canvas", shown, "token ids of shape [length] or [rows, length]")
    good = weight.ndim <= 1 and (weight.dtype.kind in "iuf" or jnp.issubdtype(weight.dtype, jnp.floating))
    if good and not isinstance(weight, jax.core.Tracer):
        good = bool(np.all(np.abs(np.asarray(weight, np.float64)) <= STRONGEST))
    require(good, "weight", weight, "finite numbers of shape [] or [rows], up to 1e30 in size")
    if rows is not None:
        rows = require_whole("rows", rows, 1, 2**31 - 1)
    leaves = [jnp.shape(leaf) for leaf in jax.tree.leaves(context)]
    require(all(leaves), "context", verbatim(f"leaves of shapes {leaves}"), "of leaves with a leading axis of rows")
    asked = [count for shape in ((rows,), canvas.shape[:-1], weight.shape, *leaves) for count in shape[:1]]
    known = {count for count in asked if count is not None} or {1}
    require(len(known) == 1, "rows", sorted(known), "the same in rows, canvas, weight and context")
    rows = known.pop()
    if isinstance(denoiser, Denoiser):
        checked_tokens(denoiser, canvas, "canvas", masks=True)
        mask_id = denoiser.mask_id
    else:
        mask_id = require_whole("denoiser", denoiser, 0, 2**31 - 1)
    # Compared before any cast: of 2^32 + mask_id, int32 would make a mask.
    given = jnp.asarray(canvas != mask_id)
    given = jnp.broadcast_to(given.reshape(-1, canvas.shape[-1]), (rows, canvas.shape[-1]))
    return Guidance(given, jnp.broadcast_to(jnp.asarray(weight, jnp.float32), (rows,)), context)


class Guided(Wrapper):
    """What :func:`guided` makes. Hidden: the conditional ``d``, the unconditional ``d``, the weight in two numbers."""

    @property
    def passes(self) -> int:
        return 2 * self.denoiser.passes

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        made, kind = "a Guidance, as models.guidance makes it", verbatim(type(context).__name__)
        require(isinstance(context, Guidance), "context", kind, made)
        (rows, length), shapes = tokens.shape, (jnp.shape(context.given), jnp.shape(context.weight))
        shown = verbatim(f"one for given {shapes[0]}, weight {shapes[1]}")
        require(shapes == ((rows, length), (rows,)), "context", shown, f"{made}, for tokens {(rows, length)}")
        # A row's two inputs lie side by side: where rows are split over devices, each keeps its own.
        both = jnp.stack([tokens, jnp.where(context.given, self.mask_id, tokens)], axis=1).reshape(2 * rows, length)
        inner = jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), context.context)
        hidden = self.denoiser.encode(params, both, inner).reshape(rows, 2, length, -1)
        # reduce_precision, since XLA may drop a rounding that is written as two conversions.
        bits, weight = jnp.finfo(hidden.dtype), jnp.asarray(context.weight, jnp.float32)
        rounded = jax.lax.reduce_precision(weight, min(int(bits.nexp), 8), min(int(bits.nmant), 23))
        numbers = jnp.stack([rounded, weight - rounded], axis=-1).astype(hidden.dtype)
        numbers = jnp.broadcast_to(numbers[:, None, :], (rows, length, 2))
        return jnp.concatenate([hidden[:, 0], hidden[:, 1], numbers], axis=-1)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        width = (hidden.shape[-1] - 2) // 2
        halves = jnp.stack([hidden[..., :width], hidden[..., width:-2]])
        conditional, unconditional = super().readout(params, halves)
        weight = jnp.sum(hidden[..., -2:].astype(jnp.float32), axis=-1, keepdims=True)
        without = unconditional == -jnp.inf
        # The difference of two logits whose probabilities are equal.
        level = jax.nn.logsumexp(conditional, -1, keepdims=True) - jax.nn.logsumexp(unconditional, -1, keepdims=True)
        push = jnp.where(without | (conditional == -jnp.inf), level, conditional - unconditional)
        return jnp.where(without & (weight < 0), -jnp.inf, conditional + weight * push)


def guided(denoiser: Denoiser) -> Guided:
    """Unsupervised classifier-free guidance (LLaDA's ``generate.py``, arXiv 2502.09992).

    ``logits = l_u + (w + 1) (l_c - l_u)``, where ``l_c`` sees the canvas as it is and ``l_u`` has the given tokens (the
    prompt) replaced by the mask and keeps what was generated. At each position this is the law proportional to
    ``p_c^(1 + w) p_u^(-w)``.

    The context of ``encode`` is a :class:`Guidance`: which positions are given and each row's weight are data, so that
    changing them compiles nothing. One ``encode`` sends twice the rows through the wrapped denoiser, so ``passes`` is
    twice its. What the conditional rules out (``-inf``) stays ruled out; where only the unconditional does, and
    ``w >= 0``, the formula has no finite value and the two probabilities count as equal.

    Raises:
        InputError: in ``encode``, a context that is no Guidance or does not fit the tokens.
    """
    return Guided(denoiser)


class Shifted(Wrapper):
    """What :func:`shifted` makes."""

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        hidden = self.denoiser.encode(params, tokens, context)
        return jnp.concatenate([hidden[:, :1], hidden[:, :-1]], axis=1)


def shifted(denoiser: Denoiser) -> Shifted:
    """Dream's convention (arXiv 2508.15487), that of models made from autoregressive ones.

    The wrapped denoiser's hidden vector at position ``i - 1`` predicts token ``i``; position 0 keeps its own.
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

    Raises:
        InputError: an id outside ``0 .. vocab_size - 1``, or no token left to predict.
    """
    size = Wrapper(denoiser).vocab_size
    require(np.iterable(ids), "ids", ids, "a sequence of token ids")
    out = {require_whole("ids", token, 0, size - 1) for token in ids}
    left = set(range(size)) - {denoiser.mask_id} - out
    require(bool(left), "ids", ids, "fewer than all tokens that the denoiser predicts")
    return Ruled(denoiser, _without, tuple(sorted(out)))


def _without(logits: Array, ids: tuple[int, ...]) -> Array:
    out = np.isin(np.arange(logits.shape[-1]), ids)
    return jnp.where(jnp.broadcast_to(out, logits.shape), -jnp.inf, logits)


def tempered(denoiser: Denoiser, temperature: float | int) -> Ruled:
    """``logits / temperature``; at 0 the argmax (the first among ties) is at 0 and the rest at ``-inf``.

    A sampler has a ``temperature`` of its own, which divides the logits as tokens are drawn: it is traced, so that all
    values share one executable, and whatever scores positions (confidence, entropy) sees the untempered law, as in
    LLaDA. Wrap the denoiser where scores should see the tempered law, as in Dream, or where a :func:`top_p` outside
    should cut it. A wrapper's temperature is static: one executable per value.

    Raises:
        InputError: a temperature that is neither 0 nor from 1e-6 to 1e6 (beyond, float32 logits overflow).
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

    Raises:
        InputError: ``k`` is not from 1 to ``vocab_size``.
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

    Raises:
        InputError: ``p`` is not above 0 and at most 1.
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
    """
    require(on_logits is not None or on_tokens is not None, "on_logits", None, "given, unless on_tokens is")
    for name, hook in {"on_logits": on_logits, "on_tokens": on_tokens}.items():
        require(hook is None or callable(hook), name, hook, "a function")
    return Hooked(denoiser, on_logits, on_tokens)
