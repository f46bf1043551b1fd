"""A bidirectional transformer for masked diffusion, small and quick to train.

RMSNorm, rotary positions, normalised queries and keys, squared-ReLU feed-forward layers, no biases, outputs that start
at zero, and a depthwise mixing of neighbouring positions in front of every attention and feed-forward layer, which lets
a shallow model see local patterns at once. No time input: an MDM's optimal prediction does not depend on it.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdm_jax.models.adapters import LinenDenoiser, Whole, from_linen
from mdm_jax.models.classes import check_labels, labels_of
from mdm_jax.models.denoiser import Context
from mdm_jax.models.rotary import rotate, rotations
from mdm_jax.support.errors import require, require_number, require_whole, verbatim
from mdm_jax.support.ragged import present

_ZEROS = nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


def _over_rows(inputs: Array, kernel: Array, dimension_numbers: Any, **settings: Any) -> Array:
    """A dense layer's product, with rows and positions as one axis.

    It is the same product. For its gradient by the kernel XLA on CPU transposes a copy where there are two axes, which
    took a fifth of forward and backward pass (``experiments/step_floor.py``).
    """
    del dimension_numbers  # the last axis of the inputs with the first of the kernel
    flat = inputs.reshape(-1, inputs.shape[-1])
    made = jax.lax.dot_general(flat, kernel, (((1,), (0,)), ((), ())), **settings)
    return made.reshape(*inputs.shape[:-1], kernel.shape[-1])


_Dense = functools.partial(nn.Dense, use_bias=False, dot_general=_over_rows)


class Norm(nn.Module):
    """RMSNorm with a learned gain; a context, if given, adds its own gain and shift (AdaLN, zero-init).

    The context is a vector for each row, or one for each position: [rows, context] or [rows, length, context].
    """

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, inputs: Array, context: Array | None = None) -> Array:
        width = inputs.shape[-1]
        # In bfloat16 the mean square alone is kept in float32; the same holds for attention's weights.
        mean_square = jnp.mean(jnp.square(inputs.astype(jnp.float32)), axis=-1, keepdims=True)
        normed = inputs * jax.lax.rsqrt(mean_square + self.epsilon).astype(inputs.dtype)
        normed = normed * _along_last(self.param("gain", nn.initializers.ones, (width,), jnp.float32), inputs)
        if context is None:
            made_for_one = self.has_variable("params", "modulation")
            require(not made_for_one, "context", None, "given, as this model's parameters were made for one")
            return normed
        with_one = self.is_initializing() or self.has_variable("params", "modulation")
        require(with_one, "context", verbatim(f"shape {context.shape}"), "left out: this model was made without one")
        modulation = _Dense(2 * width, kernel_init=_ZEROS, name="modulation")(context.astype(inputs.dtype))
        modulation = modulation if modulation.ndim == inputs.ndim else modulation[:, None, :]
        gain, shift = jnp.split(modulation, 2, axis=-1)
        return normed * (1.0 + gain) + shift


class LocalMixing(nn.Module):
    """Each position plus a learned, per-channel mixture of its ``2 reach + 1`` neighbours (zero-init).

    Written as a sum of shifts: XLA fuses those on every backend, where a depthwise convolution is slow on CPU.
    """

    width: int
    reach: int

    def setup(self) -> None:
        self.taps = self.param("taps", _ZEROS, (2 * self.reach + 1, self.width), jnp.float32)

    def __call__(self, inputs: Array) -> Array:
        length = inputs.shape[1]
        padded = jnp.pad(inputs, ((0, 0), (self.reach, self.reach), (0, 0)))
        for k in range(2 * self.reach + 1):
            inputs = inputs + _along_last(self.taps[k], inputs) * padded[:, k : k + length]
        return inputs

    def around(self, inputs: Array, neighbours: Mapping[int, Array]) -> Array:
        """The same with neighbours that are told: by their offset, each of the shape of ``inputs``, 0 where unseen."""
        mixed = inputs + _along_last(self.taps[self.reach], inputs) * inputs
        for offset, neighbour in neighbours.items():
            mixed = mixed + _along_last(self.taps[self.reach + offset], inputs) * neighbour
        return mixed


class Attention(nn.Module):
    """Multi-head attention with normalised, rotated queries and keys; zero-init output."""

    width: int
    heads: int
    rotary_base: float
    length: int

    def setup(self) -> None:
        self.query_key_value = _Dense(3 * self.width, kernel_init=_FAN_IN)
        self.query_norm, self.key_norm = Norm(), Norm()
        self.output = _Dense(self.width, kernel_init=_ZEROS)

    def __call__(self, inputs: Array, there: Array | None = None) -> Array:
        """Everything sees everything that is there: bool[rows, length], all of it if left out."""
        return self.mixed(*self.projected(inputs), None if there is None else there[:, None])

    def projected(self, inputs: Array, positions: Array | None = None) -> tuple[Array, Array, Array]:
        """Queries, keys and values, each [rows, length, heads, features].

        Args:
            inputs: [rows, length, width].
            positions: int32[rows, length], where the inputs stand; 0, 1, 2, ... if left out. One row does for all, and
                those behind the model's length mean nothing.
        """
        turns = rotations(self.length, self.width // self.heads, self.rotary_base)
        shape = (*inputs.shape[:2], self.heads, self.width // self.heads)
        query, key, value = (part.reshape(shape) for part in jnp.split(self.query_key_value(inputs), 3, axis=-1))
        query = rotate(self.query_norm(query), turns, positions) * shape[-1] ** -0.5
        return query, rotate(self.key_norm(key), turns, positions), value

    def mixed(
        self,
        query: Array,
        key: Array,
        value: Array,
        visible: Array | None = None,
        own: tuple[Array, Array] | None = None,
    ) -> Array:
        """What the queries find.

        Args:
            query: [rows, queries, heads, features].
            key: [rows, keys, heads, features].
            value: likewise.
            visible: bool[rows, queries, keys], which keys a query sees; all of them if left out.
            own: key and value of each query's own, which it sees besides, each of the shape of ``query``.
        """
        scores = jnp.einsum("rqhf,rkhf->rhqk", query, key).astype(jnp.float32)
        if visible is not None:
            scores = jnp.where(visible[:, None], scores, -jnp.inf)
        if own is None:
            mixed = jnp.einsum("rhqk,rkhf->rqhf", jax.nn.softmax(scores).astype(value.dtype), value)
        else:
            alone = jnp.einsum("rqhf,rqhf->rhq", query, own[0]).astype(jnp.float32)[..., None]
            top = jax.lax.stop_gradient(jnp.maximum(jnp.max(scores, axis=-1, keepdims=True), alone))
            others, alone = jnp.exp(scores - top), jnp.exp(alone - top)
            total = jnp.sum(others, axis=-1, keepdims=True) + alone
            mixed = jnp.einsum("rhqk,rkhf->rqhf", (others / total).astype(value.dtype), value)
            mixed = mixed + jnp.einsum("rhq,rqhf->rqhf", (alone / total)[..., 0].astype(value.dtype), own[1])
        return self.output(mixed.reshape(*mixed.shape[:2], self.width))


class FeedForward(nn.Module):
    """Squared-ReLU feed-forward layer; zero-init output."""

    expansion: float | int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        width = inputs.shape[-1]
        hidden = _Dense(round(self.expansion * width), kernel_init=_FAN_IN, name="expand")(inputs)
        hidden = jnp.square(jax.nn.relu(hidden))
        return _Dense(width, kernel_init=_ZEROS, name="contract")(hidden)


class Block(nn.Module):
    """Pre-norm residual block: attention, then feed-forward, each after a local mixing."""

    width: int
    heads: int
    expansion: float | int
    reach: int
    rotary_base: float
    length: int

    def setup(self) -> None:
        self.attention_norm, self.feed_forward_norm = Norm(), Norm()
        self.attention_mixing = LocalMixing(self.width, self.reach)
        self.feed_forward_mixing = LocalMixing(self.width, self.reach)
        self.attention = Attention(self.width, self.heads, self.rotary_base, self.length)
        self.feed_forward = FeedForward(self.expansion)

    def __call__(self, inputs: Array, context: Array | None = None, there: Array | None = None) -> Array:
        normed = _only(there, self.attention_norm(inputs, context))
        inputs = inputs + self.attention(self.attention_mixing(normed), there)
        normed = _only(there, self.feed_forward_norm(inputs, context))
        return inputs + self.feed_forward(self.feed_forward_mixing(normed))


class Transformer(nn.Module):
    """The network of :func:`transformer`, whose arguments are its fields."""

    vocab_size: int
    length: int
    width: int
    depth: int
    heads: int
    expansion: float | int
    reach: int
    rotary_base: float
    embedding_scale: float
    classes: int

    ragged = False  # no field: a class of its own says so
    unsaid = (("classes", 0),)  # what later versions added, where it is off: descriptions and fingerprints leave it out

    def setup(self) -> None:
        scale = nn.initializers.normal(self.embedding_scale)
        self.embedding = nn.Embed(self.vocab_size + 1, self.width, embedding_init=scale)
        settings = (self.width, self.heads, self.expansion, self.reach, self.rotary_base, self.length)
        self.blocks = [Block(*settings) for _ in range(self.depth)]
        self.final_norm = Norm()
        self.head = _Dense(self.vocab_size, kernel_init=_ZEROS)
        if self.classes > 0:
            self.label_embedding = nn.Embed(self.classes + 1, self.width, embedding_init=scale)

    @property
    def label_classes(self) -> int:
        """How many classes the labels are of, which are its context then; 0: it takes none."""
        return self.classes

    def modulating(self, context: Context, rows: int) -> Any:
        """What modulates the norms: the context, or the vectors of the rows' labels."""
        if self.classes > 0:
            return self.label_embedding(labels_of(context, self.classes, rows))
        check_labels(self, context)
        return context

    def encode(self, tokens: Int[Array, "rows length"], context: Context = None) -> Float[Array, "rows length width"]:
        """Hidden vectors; the mask's id is ``vocab_size``. Any length up to the model's.

        The context is a vector for each row, or one for each position; labels where the model has classes.
        """
        require(
            tokens.shape[1] <= self.length, "tokens", tokens.shape[1], f"at most {self.length} long, as the model is"
        )
        context = self.modulating(context, len(tokens))
        hidden, there = self.embedding(tokens), None
        if self.ragged:
            there = present(tokens)
            there = there | ~jnp.any(there, axis=1, keepdims=True)  # a row of nothing has no law, and must not be NaN
        for block in self.blocks:
            hidden = block(hidden, context, there)
        return self.final_norm(hidden, context)

    def readout(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any vocab_size"]:
        """Logits over the real tokens: one linear map."""
        return self.head(hidden)


class RaggedTransformer(Transformer):
    """The network of :func:`transformer` with ``ragged=True``: positions that are not there are seen by nobody."""

    ragged = True


def transformer(
    vocab_size: Whole,
    length: Whole = 128,
    width: Whole = 128,
    depth: Whole = 3,
    heads: Whole = 4,
    expansion: float | int = 4,
    reach: Whole = 2,
    rotary_base: float = 1000.0,
    embedding_scale: float = 0.3,
    ragged: bool | Whole = False,
    classes: Whole = 0,
) -> LinenDenoiser:
    """A bidirectional transformer as a denoiser; the mask's id is ``vocab_size``.

    Args:
        vocab_size: number of real tokens.
        length: the longest sequence.
        width: of the residual stream; a multiple of ``2 * heads``.
        depth: number of blocks.
        heads: of attention.
        expansion: width of a feed-forward layer's hidden part, as a multiple of ``width``; rounded to a whole width.
        reach: how many neighbours on each side the local mixing sees.
        rotary_base: of the rotary positions' wavelengths.
        embedding_scale: standard deviation of the initial embeddings.
        ragged: whether rows may have different lengths: positions that hold -1 are not there. A row is then worth
            exactly what it is worth alone, up to rounding. The parameters are the same.
        classes: how many classes rows may be of. The context is then ``{"label": int32[rows]}``, from 0 to
            ``classes``, which stands for no label (:func:`~mdm_jax.models.label_context` makes it); without a context
            no row has one. The label's vector modulates every norm.

    Where there are no classes a context, ``float32[rows, context]``, modulates every norm; its weights exist if
    ``init(key, length, context)`` was given one.

    Raises:
        InputError: a size that cannot be, such as a width that is no multiple of ``2 * heads``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> params = model.init(mdm.key(0), length=8)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        3440
        >>> mdm.models.logits(model, params, jnp.full((2, 8), model.mask_id)).shape
        (2, 8, 4)
    """
    # Before anything is made: a number in an edited file must not take all memory, nor trace for hours.
    sizes = (("vocab_size", vocab_size, 2, 2**31 - 2), ("length", length, 2, 2**31 - 1), ("width", width, 1, 2**20))
    sizes += (("depth", depth, 1, 2**12), ("heads", heads, 1, 2**20), ("reach", reach, 0, 2**20))
    sizes += (("classes", classes, 0, 2**24),)
    vocab_size, length, width, depth, heads, reach, classes = (require_whole(*size) for size in sizes)
    for name, value in (("rotary_base", rotary_base), ("embedding_scale", embedding_scale)):
        require_number(name, value, 1e-30, 1e30, "a positive number, from 1e-30 to 1e30")
    require(width >= 2 * heads and width % (2 * heads) == 0, "width", width, f"a multiple of 2 * heads = {2 * heads}")
    require_number("expansion", expansion, 0, 2**20, "positive and finite")
    require(round(expansion * width) >= 1, "expansion", expansion, "positive and finite")
    # One model, one description: 4.0 is 4.
    expansion = int(expansion) if expansion == int(expansion) else expansion
    require(isinstance(ragged, bool), "ragged", ragged, "True or False")
    network = RaggedTransformer if ragged else Transformer
    module = network(vocab_size, length, width, depth, heads, expansion, reach, rotary_base, embedding_scale, classes)
    return from_linen(module, vocab_size)


def _only(there: Array | None, values: Array) -> Array:
    """Values where there is anything, 0 elsewhere, as beyond the ends."""
    return values if there is None else jnp.where(there[..., None], values, 0)


def _along_last(vector: Array, like: Array) -> Array:
    """``vector[width]`` with leading axes of one, to multiply ``like[..., width]``."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)
