"""Classifier-free guidance: a denoiser that looks twice, with a prompt or a label and without it."""

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from mdm_jax.models.classes import LABEL, check_labels, classes_of, label_context, no_label, require_classes
from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens, layers
from mdm_jax.models.extending import Cache, blockwise, extending, ranked
from mdm_jax.models.wrappers import Hidden, Slots, Tokens, Wrapper
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.ragged import present

_LAST = jnp.iinfo(jnp.int32).max
STRONGEST = 1e30
"""The largest size of a guidance weight: what float32 takes for infinity, or would exceed it times a logit, is none."""
BY = ("prompt", "label", "both")
"""What guidance may strengthen."""


class Guidance(NamedTuple):
    """The context of a :func:`guided` denoiser; :func:`guidance` makes it from a canvas.

    Attributes:
        given: bool[rows, length], the positions that the unconditional input does not see.
        weight: float32[rows]; 0 is the plain model, -1 the model without what is given.
        context: the wrapped denoiser's own context.
        without: its context for the unconditional input; ``None``: the same.
    """

    given: Bool[Array, "rows length"]
    weight: Float[Array, " rows"]
    context: Context = None
    without: Context = None


def guidance(
    canvas: ArrayLike,
    denoiser: Denoiser | int,
    weight: ArrayLike,
    context: Context = None,
    rows: int | None = None,
    by: str | None = None,
) -> Guidance:
    """The context of a :func:`guided` denoiser for the canvas that is to be filled.

    Args:
        canvas: int32[length] or int32[rows, length]: what is given, the mask elsewhere, as a sampler takes it. A whole
            number is a length of which nothing is given.
        denoiser: its ``mask_id`` and its classes count; the mask's id will do where labels play no part.
        weight: float[] or float[rows], of any sign, up to 1e30 in size; see :func:`guided`.
        context: the wrapped denoiser's own context, leading axis ``rows``.
        rows: number of sequences; may be left out where another argument has rows, or where there is one.
        by: what is strengthened. "prompt": the unconditional input does not see what the canvas gives. "label": it has
            no label, and sees what is given. "both": neither. If left out, "label" where ``denoiser`` is a model with
            classes and ``context`` holds labels, else "prompt".

    Raises:
        InputError: a canvas that is no array of ids, weights that are not finite, inconsistent row counts; guidance by
            labels of a model without classes, or without any.

    Example:
        >>> import mdm_jax as mdm
        >>> canvas = mdm.sampling.canvas_of([[1, 1]], length=4, mask_id=2)
        >>> how = mdm.models.guidance(canvas, 2, weight=1.5)
        >>> how.given.tolist(), how.weight.tolist()
        ([[True, True, False, False]], [1.5])
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2, classes=3)
        >>> how = mdm.models.guidance(8, model, 2.0, mdm.models.label_context(model, [0, 1]))
        >>> how.context["label"].tolist(), how.without["label"].tolist()  # 3 is no label
        ([0, 1], [3, 3])
    """
    canvas, weight = (x if isinstance(x, jax.Array) else as_array(x) for x in (canvas, weight))
    by = _strengthened(by, denoiser, context)
    mask_id = denoiser.mask_id if isinstance(denoiser, Denoiser) else require_whole("denoiser", denoiser, 0, 2**31 - 1)
    if canvas.ndim == 0 and canvas.dtype.kind in "iu":
        canvas = np.full(require_whole("canvas", canvas, 1, 2**31 - 1), mask_id)
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
    # Compared before any cast: of 2^32 + mask_id, int32 would make a mask.
    given = jnp.asarray((canvas != mask_id) & present(canvas))
    given = jnp.broadcast_to(given.reshape(-1, canvas.shape[-1]), (rows, canvas.shape[-1]))
    given, without = (jnp.zeros_like(given) if by == "label" else given), None
    if by != "prompt":
        context, without = label_context(denoiser, context[LABEL]), no_label(denoiser, len(given))
    return Guidance(given, jnp.broadcast_to(jnp.asarray(weight, jnp.float32), (rows,)), context, without)


def _strengthened(by: str | None, denoiser: Any, context: Context) -> str:
    """What is strengthened, of what may be."""
    check_labels(denoiser, context)
    if by is None:
        return "label" if isinstance(context, dict) and LABEL in context and classes_of(denoiser) > 0 else "prompt"
    require(by in BY, "by", by, f"one of {', '.join(BY)}")
    if by != "prompt":
        require_classes(denoiser)
        require(context is not None, "context", context, "labels, as models.label_context makes them, to go by them")
    return by


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
        without = None if context.without is None else begun(self.denoiser, params, keys, context.without)
        return context._replace(context=begun(self.denoiser, params, keys, context.context), without=without)

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        how = self._checked(context, *tokens.shape)
        both = _twice(tokens, jnp.where(how.given & present(tokens), self.mask_id, tokens))
        return _side_by_side(self.denoiser.encode(params, both, _inner(how)), how)

    def empty(self, params: Params, rows: int, length: int, slots: int, context: Context = None) -> Cache:
        """Two caches for each row, and how many tokens each of its two inputs has absorbed."""
        how = self._checked(context, rows, length)
        return extending(self.denoiser).empty(params, 2 * rows, length, slots, _inner(how))

    def extend(
        self, params: Params, cache: Cache, positions: Slots, tokens: Slots, revealed: Array, context: Context = None
    ) -> tuple[Cache, Hidden]:
        """The unconditional input absorbs nothing that is given: its other slots move up, and its answers back."""
        (rows, slots), how = positions.shape, self._checked(context)
        length = how.given.shape[1]
        slot = jnp.arange(slots, dtype=jnp.int32)[None]
        given = jnp.take_along_axis(how.given, jnp.minimum(positions, length - 1), axis=1) & (slot < revealed[:, None])
        order = jnp.argsort(given, axis=1).astype(jnp.int32)  # stable
        place = jnp.argsort(order, axis=1).astype(jnp.int32)
        fewer = jnp.sum(given, axis=1, dtype=jnp.int32)
        moved = jnp.take_along_axis(jnp.where(given, length, positions), order, axis=1)
        both = _twice(positions, moved), _twice(tokens, jnp.take_along_axis(tokens, order, axis=1))
        counts = jnp.stack([revealed, revealed - fewer], axis=1).reshape(2 * rows)
        cache, hidden = extending(self.denoiser).extend(params, cache, *both, counts, _inner(how))
        straight = jnp.broadcast_to(slot, place.shape)
        hidden = jnp.take_along_axis(hidden, _twice(straight, place)[..., None], axis=1)
        return cache, _side_by_side(hidden, how)

    def encode_ranked(
        self, params: Params, tokens: Tokens, rank: Tokens, bound: Tokens, context: Context = None
    ) -> Hidden:
        """The unconditional input sees nothing that is given: it ranks behind everything."""
        how = self._checked(context, *tokens.shape)
        both = _twice(tokens, tokens), _twice(rank, jnp.where(how.given, _LAST, rank)), _twice(bound, bound)
        return _side_by_side(ranked(self.denoiser).encode_ranked(params, *both, _inner(how)), how)

    def encode_blocks(self, params: Params, tokens: Tokens, noisy: Tokens, context: Context = None) -> Hidden:
        """The unconditional input sees nothing that is given: a block that holds any is not finished there."""
        how = self._checked(context, *tokens.shape)
        both, noisy_both = (_twice(one, jnp.where(how.given, self.mask_id, one)) for one in (tokens, noisy))
        return _side_by_side(blockwise(self.denoiser).encode_blocks(params, both, noisy_both, _inner(how)), how)

    def _checked(self, context: Context, *shape: int) -> Guidance:
        """The context as what it must be, for tokens of ``shape`` where that is known."""
        made, kind = "a Guidance, as models.guidance makes it", verbatim(type(context).__name__)
        require(isinstance(context, Guidance), "context", kind, made)
        shapes = jnp.shape(context.given), jnp.shape(context.weight)
        shown = verbatim(f"one for given {shapes[0]}, weight {shapes[1]}")
        good = not shape or shapes == (shape, shape[:1])
        require(good, "context", shown, f"{made}, for tokens {shape}")
        return context

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


def _inner(how: Guidance) -> Context:
    """The wrapped denoiser's own context, for both inputs of each row."""
    if how.without is None:
        return jax.tree.map(lambda leaf: jnp.repeat(leaf, 2, axis=0), how.context)
    kinds = [
        jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), one) for one in (how.context, how.without)
    ]
    shown = verbatim(f"one of {kinds[1]}")
    require(kinds[0] == kinds[1], "Guidance.without", shown, f"of the structure, shapes and types of {kinds[0]}")
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), how.context, how.without)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), both)


def _twice(conditional: Array, unconditional: Array) -> Array:
    """A row's two inputs side by side: where rows are split over devices, each keeps its own."""
    rows, length = conditional.shape
    return jnp.stack([conditional, unconditional], axis=1).reshape(2 * rows, length)


def _side_by_side(hidden: Array, how: Guidance) -> Hidden:
    """The hidden vectors of both inputs and the weight as one."""
    rows, length = hidden.shape[0] // 2, hidden.shape[1]
    hidden = hidden.reshape(rows, 2, length, -1)
    # reduce_precision, since XLA may drop a rounding that is written as two conversions.
    bits, weight = jnp.finfo(hidden.dtype), jnp.asarray(how.weight, jnp.float32)
    rounded = jax.lax.reduce_precision(weight, min(int(bits.nexp), 8), min(int(bits.nmant), 23))
    numbers = jnp.stack([rounded, weight - rounded], axis=-1).astype(hidden.dtype)
    numbers = jnp.broadcast_to(numbers[:, None, :], (rows, length, 2))
    return jnp.concatenate([hidden[:, 0], hidden[:, 1], numbers], axis=-1)


def guided(denoiser: Denoiser) -> Guided:
    """Classifier-free guidance, by the prompt (LLaDA's ``generate.py``, arXiv 2502.09992) or by a label.

    ``logits = l_u + (w + 1) (l_c - l_u)``. By the prompt, ``l_c`` sees the canvas as it is and ``l_u`` has the given
    tokens (the prompt) replaced by the mask and keeps what was generated. By a label, both see the same tokens and
    ``l_u`` has no label. At each position this is the law proportional to ``p_c^(1 + w) p_u^(-w)``: the conditional
    model at ``w = 0``, the unconditional one at ``w = -1``.

    The context of ``encode`` is a :class:`Guidance`: which positions are given, labels and each row's weight are data,
    so that changing them compiles nothing. One ``encode`` sends twice the rows through the wrapped denoiser, so
    ``passes`` is twice its. What the conditional rules out (``-inf``) stays ruled out; where only the unconditional
    does, and ``w >= 0``, the formula has no finite value and the two probabilities count as equal.

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

    Source: arXiv 2207.12598 for guidance without a classifier; arXiv 2412.10193 for that of discrete diffusion.
    """
    return Guided(denoiser)
