"""Layers that published models are made of, with parameters named and laid out as PyTorch stores them.

A matrix is [outputs, inputs], so that a checkpoint's bytes are taken as they lie. Parameters stay in the type they are
stored in, and layers work in the type of their inputs, which is that of the embedding; norms, the softmax of attention
and rotary positions are worked out in float32. Positions that are not there hold -1: :func:`there` says which are.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models import rotary
from mdm_jax.support.errors import require
from mdm_jax.support.ragged import present

_ONES, _ZEROS = nn.initializers.ones, nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=-1, out_axis=-2)
_SMALL = nn.initializers.normal(0.02)


class Kept(NamedTuple):
    """Keys, turned by their positions, and values: each [rows, positions, heads, features]."""

    key: Array
    value: Array

    def before(self, made: "Kept") -> "Kept":
        """These, and then those."""
        return Kept(*(jnp.concatenate([old, new], axis=1) for old, new in zip(self, made, strict=True)))


class Linear(nn.Module):
    """``inputs @ weight.T``, plus a bias where there is one.

    Attributes:
        features: of the outputs.
        bias: whether there is one.
        wide: whether outputs are float32 whatever the inputs are, as logits should be; else they have their type.
    """

    features: int
    bias: bool = False
    wide: bool = False

    @nn.compact
    def __call__(self, inputs: Float[Array, "*any width"]) -> Float[Array, "*any features"]:
        weight = self.param("weight", _FAN_IN, (self.features, inputs.shape[-1]), jnp.float32)
        kind = jnp.float32 if self.wide else inputs.dtype
        outputs = jnp.einsum("...i,oi->...o", inputs, weight.astype(inputs.dtype), preferred_element_type=kind)
        if not self.bias:
            return outputs
        return outputs + along_last(self.param("bias", _ZEROS, (self.features,), jnp.float32), outputs)


class RMSNorm(nn.Module):
    """Inputs over their root mean square, times a weight: statistics in float32, cast back, then the weight."""

    epsilon: float

    @nn.compact
    def __call__(self, inputs: Float[Array, "*any width"]) -> Float[Array, "*any width"]:
        weight = self.param("weight", _ONES, (inputs.shape[-1],), jnp.float32)
        wide = inputs.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = (wide * jax.lax.rsqrt(mean_square + self.epsilon)).astype(inputs.dtype)
        return normed * along_last(weight, normed)


class LayerNorm(nn.Module):
    """Inputs less their mean, over their standard deviation, times a weight, plus a bias where there is one.

    All of it in float32; the result has the type of the inputs.
    """

    epsilon: float
    bias: bool = True

    @nn.compact
    def __call__(self, inputs: Float[Array, "*any width"]) -> Float[Array, "*any width"]:
        width = inputs.shape[-1]
        wide = inputs.astype(jnp.float32)
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(variance + self.epsilon)
        normed = normed * along_last(self.param("weight", _ONES, (width,), jnp.float32), normed)
        if self.bias:
            normed = normed + along_last(self.param("bias", _ZEROS, (width,), jnp.float32), normed)
        return normed.astype(inputs.dtype)


class Embedding(nn.Module):
    """A vector for each id, in the type it is stored in."""

    rows: int
    width: int

    def setup(self) -> None:
        self.weight = self.param("weight", _SMALL, (self.rows, self.width), jnp.float32)

    def __call__(self, ids: Int[Array, "*any"]) -> Float[Array, "*any width"]:
        """Vectors of ids. An id behind the last one gives NaN; so does none below 0: see :func:`safe_ids`."""
        return jnp.take(self.weight, ids, axis=0)

    def scores(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any rows"]:
        """Products of hidden vectors with every id's vector, in float32: the head of a model that ties both."""
        weight = self.weight.astype(hidden.dtype)
        return jnp.einsum("...i,oi->...o", hidden, weight, preferred_element_type=jnp.float32)


def attend(
    query: Float[Array, "rows queries heads features"],
    key: Float[Array, "rows keys groups features"],
    value: Float[Array, "rows keys groups features"],
    visible: Bool[Array, "some queries_or_one keys"] | None = None,
) -> Float[Array, "rows queries heads features"]:
    """Attention with the scale ``features ** -0.5``; the softmax is in float32.

    Args:
        query: of every head.
        key: of every head, or of fewer: head ``h`` of the queries then uses head ``h // (heads / groups)``.
        value: likewise.
        visible: which keys a query sees, for all rows and queries or for each; all of them if left out. A query that
            sees nothing becomes NaN.

    Raises:
        InputError: the heads of the queries are no multiple of those of the keys.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.layers import attend
        >>> value = jnp.asarray([1.0, 3.0, 9.0]).reshape(1, 3, 1, 1)
        >>> query, key = jnp.zeros((1, 1, 2, 1)), jnp.zeros((1, 3, 1, 1))  # two heads, which share keys and values
        >>> attend(query, key, value, jnp.asarray([[[True, True, False]]])).tolist()
        [[[[2.0], [2.0]]]]
    """
    rows, queries, heads, features = query.shape
    groups = key.shape[2]
    require(heads % groups == 0, "query", heads, f"of a number of heads that is a multiple of the keys' {groups}")
    grouped = query.reshape(rows, queries, groups, heads // groups, features)
    scores = jnp.einsum("rqghf,rkgf->rghqk", grouped, key, preferred_element_type=jnp.float32) * features**-0.5
    if visible is not None:
        scores = jnp.where(visible[:, None, None], scores, -jnp.inf)
    mixed = jnp.einsum("rghqk,rkgf->rqghf", jax.nn.softmax(scores).astype(value.dtype), value)
    return mixed.reshape(query.shape)


def rotated(
    inputs: Float[Array, "rows length heads features"],
    base: float,
    positions: Int[Array, "some length"] | None = None,
    scales: tuple[float, ...] = (),
    gain: float = 1.0,
) -> Float[Array, "rows length heads features"]:
    """Queries or keys turned by their positions (:mod:`mdm_jax.models.rotary`), in float32 and cast back.

    Args:
        inputs: with an even number of features, of which the first half is turned with the second.
        base: of the wavelengths.
        positions: of the inputs; 0, 1, 2, ... if left out, which are constants then.
        scales: what the frequency of each pair of features is multiplied by; 1 if left out.
        gain: what the outputs are multiplied by besides.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.layers import rotated
        >>> turned = rotated(jnp.ones((1, 2, 1, 2)), base=10000.0)
        >>> print(turned[0, :, 0].round(3))  # position 1 is turned by one radian
        [[ 1.     1.   ]
         [-0.301  1.382]]
    """
    features = inputs.shape[-1]
    wide, half = inputs.astype(jnp.float32) * gain, features // 2
    if positions is None:
        return rotary.rotate(wide, rotary.rotations(inputs.shape[1], features, base, scales)).astype(inputs.dtype)
    frequencies = rotary.frequencies(features, base, scales)
    angles = (positions.astype(jnp.float32)[..., None] * frequencies[None, None])[:, :, None]
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    first, second = wide[..., :half], wide[..., half:]
    turned = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(inputs.dtype)


def safe_ids(tokens: Int[Array, "rows length"]) -> Int[Array, "rows length"]:
    """Tokens as ids of an embedding: 0 where nothing is there.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.layers import safe_ids
        >>> safe_ids(jnp.asarray([[5, -1]])).tolist()
        [[5, 0]]
    """
    return jnp.where(present(tokens), tokens, 0)


def there(tokens: Int[Array, "rows length"]) -> Bool[Array, "rows 1 length"]:
    """Which positions are there, as :func:`attend` takes it. Of a row of nothing all are, so that it is not NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.layers import there
        >>> there(jnp.asarray([[5, -1], [-1, -1]])).tolist()
        [[[True, False]], [[True, True]]]
    """
    seen = present(tokens)
    return (seen | ~jnp.any(seen, axis=1, keepdims=True))[:, None]


def check_length(tokens: Int[Array, "rows length"], length: int) -> None:
    """Refuse rows that are longer than the model.

    Raises:
        InputError: they are.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.layers import check_length
        >>> check_length(jnp.zeros((1, 9), jnp.int32), length=8)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: tokens must be at most 8 long, as the model is; got 9.
    """
    require(tokens.shape[1] <= length, "tokens", tokens.shape[1], f"at most {length} long, as the model is")


def along_last(vector: Float[Array, " width"], like: Float[Array, "*any width"]) -> Float[Array, "*ones width"]:
    """A vector in the type of ``like``, with leading axes of one, to stand beside it.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.layers import along_last
        >>> along_last(jnp.ones(3), jnp.ones((2, 5, 3), jnp.bfloat16)).shape
        (1, 1, 3)
    """
    return vector.astype(like.dtype).reshape((1,) * (like.ndim - 1) + vector.shape)
