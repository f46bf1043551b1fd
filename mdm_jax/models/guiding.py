"""Classifier-free guidance by the prompt alone: a denoiser that looks twice, with what is given and without it."""

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens, layers
from mdm_jax.models.wrappers import Hidden, Tokens, Wrapper
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_whole, verbatim

STRONGEST = 1e30
"""The largest size of a guidance weight: what float32 takes for infinity, or would exceed it times a logit, is none."""


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

    Example:
        >>> import mdm_jax as mdm
        >>> canvas = mdm.sampling.canvas_of([[1, 1]], length=4, mask_id=2)
        >>> how = mdm.models.guidance(canvas, 2, weight=1.5)
        >>> how.given.tolist(), how.weight.tolist()
        ([[True, True, False, False]], [1.5])
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

    def __post_init__(self) -> None:
        super().__post_init__()
        anew = any(getattr(layer, "draws_by_tokens", False) for layer in layers(self.denoiser))
        shown, wanted = (
            verbatim("one whose inputs have latents of their own"),
            "redrawn around guided: redrawn(guided(model))",
        )
        require(not anew, "denoiser", shown, wanted)

    @property
    def passes(self) -> int:
        return 2 * self.denoiser.passes

    def begin(self, params: Params, keys: Any, context: Context = None) -> Context:
        """The wrapped denoiser's own part of the context; both inputs see the same one."""
        if not isinstance(context, Guidance):
            return context  # encode refuses it
        return context._replace(context=begun(self.denoiser, params, keys, context.context))

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

    Args:
        denoiser: the model.

    Raises:
        InputError: what is no denoiser, or one that draws its latent at each step (guide inside of ``redrawn``); in
            ``encode``, a context that is no Guidance or does not fit the tokens.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(4, 0.5)  # after 1, 1 the next is 1 with probability 5/6
        >>> model, canvas = mdm.models.guided(world.denoiser), mdm.sampling.canvas_of([[1, 1]], length=4, mask_id=2)
        >>> how = mdm.models.guidance(canvas, model, weight=1.0)
        >>> logits = mdm.models.logits(model, world.params, jnp.asarray(canvas), how)
        >>> print(jax.nn.softmax(logits)[0, 3])  # (1/6)^2 to (5/6)^2, since both are 1/2 without the prompt
        [0.03846154 0.9615385 ]
        >>> model.passes
        2
    """
    return Guided(denoiser)
