"""A bidirectional transformer for masked diffusion, small and quick to train.

RMSNorm, rotary positions, normalised queries and keys, squared-ReLU feed-forward layers, no biases, outputs that start
at zero, and a depthwise mixing of neighbouring positions in front of every attention and feed-forward layer, which lets
a shallow model see local patterns at once. No time input: an MDM's optimal prediction does not depend on it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdm_jax.models.adapters import LinenDenoiser, Whole, from_linen
from mdm_jax.support.errors import require, require_number, require_whole, verbatim

_ZEROS = nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


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
        modulation = nn.Dense(2 * width, use_bias=False, kernel_init=_ZEROS, name="modulation")(
            context.astype(inputs.dtype)
        )
        modulation = modulation if modulation.ndim == inputs.ndim else modulation[:, None, :]
        gain, shift = jnp.split(modulation, 2, axis=-1)
        return normed * (1.0 + gain) + shift


class LocalMixing(nn.Module):
    """Each position plus a learned, per-channel mixture of its ``2 reach + 1`` neighbours (zero-init).

    Written as a sum of shifts: XLA fuses those on every backend, where a depthwise convolution is slow on CPU.
    """

    reach: int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        length, width = inputs.shape[1:]
        taps = self.param("taps", _ZEROS, (2 * self.reach + 1, width), jnp.float32)
        padded = jnp.pad(inputs, ((0, 0), (self.reach, self.reach), (0, 0)))
        for k in range(2 * self.reach + 1):
            inputs = inputs + _along_last(taps[k], inputs) * padded[:, k : k + length]
        return inputs


class Attention(nn.Module):
    """Bidirectional multi-head attention with normalised, rotated queries and keys; zero-init output."""

    heads: int
    rotary_base: float

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        rows, length, width = inputs.shape
        features = width // self.heads
        projected = nn.Dense(3 * width, use_bias=False, kernel_init=_FAN_IN, name="query_key_value")(inputs)
        query, key, value = (
            part.reshape(rows, length, self.heads, features) for part in jnp.split(projected, 3, axis=-1)
        )
        query = rotate(Norm(name="query_norm")(query), self.rotary_base) * features**-0.5
        key = rotate(Norm(name="key_norm")(key), self.rotary_base)
        scores = jnp.einsum("rqhf,rkhf->rhqk", query, key).astype(jnp.float32)
        attention = jax.nn.softmax(scores).astype(value.dtype)
        mixed = jnp.einsum("rhqk,rkhf->rqhf", attention, value).reshape(rows, length, width)
        return nn.Dense(width, use_bias=False, kernel_init=_ZEROS, name="output")(mixed)


class FeedForward(nn.Module):
    """Squared-ReLU feed-forward layer; zero-init output."""

    expansion: float | int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        width = inputs.shape[-1]
        hidden = nn.Dense(round(self.expansion * width), use_bias=False, kernel_init=_FAN_IN, name="expand")(inputs)
        hidden = jnp.square(jax.nn.relu(hidden))
        return nn.Dense(width, use_bias=False, kernel_init=_ZEROS, name="contract")(hidden)


class Block(nn.Module):
    """Pre-norm residual block: attention, then feed-forward, each after a local mixing."""

    heads: int
    expansion: float | int
    reach: int
    rotary_base: float

    @nn.compact
    def __call__(self, inputs: Array, context: Array | None = None) -> Array:
        normed = Norm(name="attention_norm")(inputs, context)
        normed = LocalMixing(self.reach, name="attention_mixing")(normed)
        inputs = inputs + Attention(self.heads, self.rotary_base, name="attention")(normed)
        normed = Norm(name="feed_forward_norm")(inputs, context)
        normed = LocalMixing(self.reach, name="feed_forward_mixing")(normed)
        return inputs + FeedForward(self.expansion, name="feed_forward")(normed)


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

    def setup(self) -> None:
        scale = nn.initializers.normal(self.embedding_scale)
        self.embedding = nn.Embed(self.vocab_size + 1, self.width, embedding_init=scale)
        self.blocks = [Block(self.heads, self.expansion, self.reach, self.rotary_base) for _ in range(self.depth)]
        self.final_norm = Norm()
        self.head = nn.Dense(self.vocab_size, use_bias=False, kernel_init=_ZEROS)

    def encode(
        self, tokens: Int[Array, "rows length"], context: Float[Array, "rows *length context"] | None = None
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors; the mask's id is ``vocab_size``. Any length up to the model's.

        The context is a vector for each row, or one for each position.
        """
        require(
            tokens.shape[1] <= self.length, "tokens", tokens.shape[1], f"at most {self.length} long, as the model is"
        )
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden, context)
        return self.final_norm(hidden, context)

    def readout(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any vocab_size"]:
        """Logits over the real tokens: one linear map."""
        return self.head(hidden)


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

    A context, ``float32[rows, context]``, modulates every norm; its weights exist if ``init(key, length, context)`` was
    given one.

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
    vocab_size, length, width, depth, heads, reach = (require_whole(*size) for size in sizes)
    for name, value in (("rotary_base", rotary_base), ("embedding_scale", embedding_scale)):
        require_number(name, value, 1e-30, 1e30, "a positive number, from 1e-30 to 1e30")
    require(width >= 2 * heads and width % (2 * heads) == 0, "width", width, f"a multiple of 2 * heads = {2 * heads}")
    require_number("expansion", expansion, 0, 2**20, "positive and finite")
    require(round(expansion * width) >= 1, "expansion", expansion, "positive and finite")
    # One model, one description: 4.0 is 4.
    expansion = int(expansion) if expansion == int(expansion) else expansion
    module = Transformer(vocab_size, length, width, depth, heads, expansion, reach, rotary_base, embedding_scale)
    return from_linen(module, vocab_size)


def rotate(
    inputs: Float[Array, "rows length heads features"], base: float
) -> Float[Array, "rows length heads features"]:
    """Rotary position embedding (arXiv 2104.09864) in half-split form, wavelengths from 2 pi to 2 pi ``base``."""
    length, half = inputs.shape[1], inputs.shape[-1] // 2
    # float32 by name: no promotion of whole numbers, and the same angles under jax_enable_x64.
    frequencies = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = (jnp.arange(length, dtype=jnp.float32)[:, None] * frequencies[None, :])[None, :, None, :]
    first, second = inputs[..., :half], inputs[..., half:]
    cosine, sine = jnp.cos(angles).astype(inputs.dtype), jnp.sin(angles).astype(inputs.dtype)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _along_last(vector: Array, like: Array) -> Array:
    """``vector[width]`` with leading axes of one, to multiply ``like[..., width]``."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)
