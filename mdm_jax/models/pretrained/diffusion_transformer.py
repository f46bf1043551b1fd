"""The network of MDLM, SEDD and BD3-LM: a transformer whose norms are modulated by a vector of the noise level (DiT).

The vector is made of sigma, the noise level, and gives each block a shift, a scale and a gate for attention and for
the feed-forward layer. MDLM was trained with sigma 0 always. SEDD was trained with the true sigma, which is told by how
much of a row is masked: so it is derived from the tokens, row by row, and no context is needed. SEDD's scores are, up
to a factor that all tokens share, the probabilities of the tokens at a masked position; so its outputs are logits.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.pretrained.layers import (
    Embedding,
    Kept,
    LayerNorm,
    Linear,
    attend,
    check_length,
    rotated,
    safe_ids,
    there,
)
from mdm_jax.support.ragged import present

_WAVES = 256  # cosines and sines of sigma, half each
_LONGEST_PERIOD = 10000.0
_ROTARY_BASE = 10000.0
_EPSILON = 1e-5
_SMALLEST_MOVE = 1e-3  # sigma is -log(1 - (1 - 1e-3) t), so that it is finite where all is masked


class NoiseLevel(nn.Module):
    """The vector that modulates the norms: of cosines and sines of sigma, in float32."""

    features: int

    def setup(self) -> None:
        self.input, self.output = Linear(self.features, bias=True), Linear(self.features, bias=True)

    def __call__(self, sigma: Float[Array, " levels"]) -> Float[Array, "levels features"]:
        half = jnp.arange(_WAVES // 2, dtype=jnp.float32)
        frequencies = jnp.exp(-math.log(_LONGEST_PERIOD) / (_WAVES // 2) * half)
        angles = sigma[:, None] * frequencies[None]
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        return jax.nn.silu(self.output(jax.nn.silu(self.input(waves))))


class Attention(nn.Module):
    """Attention with rotary positions and without biases."""

    width: int
    heads: int

    def setup(self) -> None:
        self.query, self.key = Linear(self.width), Linear(self.width)
        self.value, self.output = Linear(self.width), Linear(self.width)

    def __call__(
        self,
        inputs: Float[Array, "rows length width"],
        visible: Bool[Array, "some queries_or_one keys"],
        places: Int[Array, "places length"] | None,
        kept: Kept | None,
    ) -> tuple[Float[Array, "rows length width"], Kept]:
        """What each position finds, and the keys and values it made; arguments are those of :class:`Layer`."""
        shape = (*inputs.shape[:2], self.heads, self.width // self.heads)
        query, key, value = (part(inputs).reshape(shape) for part in (self.query, self.key, self.value))
        query, key = (rotated(part, _ROTARY_BASE, places) for part in (query, key))
        made = Kept(key, value)
        mixed = attend(query, *(made if kept is None else kept.before(made)), visible)
        return self.output(mixed.reshape(inputs.shape)), made


class FeedForward(nn.Module):
    """Two layers with biases and GELU (by tanh) between them."""

    width: int
    hidden: int

    def setup(self) -> None:
        self.expand, self.contract = Linear(self.hidden, bias=True), Linear(self.width, bias=True)

    def __call__(self, inputs: Float[Array, "rows length width"]) -> Float[Array, "rows length width"]:
        return self.contract(jax.nn.gelu(self.expand(inputs), approximate=True))


class Layer(nn.Module):
    """One block of a :class:`DiffusionTransformer`, as a step of a scan; the fields are its.

    It is called with the residual stream, the vector of the noise level, and what the decoder's is called with
    (:class:`mdm_jax.models.pretrained.decoder.Layer`); it returns the same.
    """

    width: int
    hidden: int
    heads: int

    def setup(self) -> None:
        self.attention_norm = LayerNorm(_EPSILON, bias=False)
        self.feed_forward_norm = LayerNorm(_EPSILON, bias=False)
        self.attention = Attention(self.width, self.heads)
        self.feed_forward = FeedForward(self.width, self.hidden)
        self.modulation = Linear(6 * self.width, bias=True)

    def __call__(
        self,
        inputs: Float[Array, "rows length width"],
        level: Float[Array, "levels features"],
        visible: Bool[Array, "some queries_or_one keys"],
        places: Int[Array, "places length"] | None,
        kept: Kept | None,
    ) -> tuple[Float[Array, "rows length width"], Kept | None]:
        parts = modulations(self.modulation(level), inputs)
        normed = modulated(self.attention_norm(inputs), parts[0], parts[1])
        found, made = self.attention(normed, visible, places, kept)
        inputs = inputs + parts[2] * found
        normed = modulated(self.feed_forward_norm(inputs), parts[3], parts[4])
        return inputs + parts[5] * self.feed_forward(normed), None if kept is None else made


class DiffusionTransformer(nn.Module):
    """A bidirectional DiT over tokens; :func:`~mdm_jax.models.from_linen` makes a denoiser of it.

    Ids are as in the checkpoint, the mask's too. Positions that hold -1 are not there.

    Attributes:
        vocab_size: ids that are embedded and rows of the head, the mask among them.
        length: the longest sequence.
        width: of the residual stream.
        depth: number of blocks.
        hidden: width inside a feed-forward layer.
        heads: of attention; ``width`` is an even multiple of it.
        level_features: of the vector that modulates the norms.
        mask_id: the mask's id, from which sigma is told.
        timed: whether sigma follows the masked fraction t of each row, as -log(1 - .999 t) (SEDD); else it is 0 (MDLM).

    Source: MDLM (arXiv 2406.07524), SEDD (arXiv 2310.16834), BD3-LM (arXiv 2503.09573); equal to the network of
    ``d3_dna.models.transformer`` (``tests/models/pretrained``).

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
        >>> sizes = {"width": 16, "depth": 2, "hidden": 64, "heads": 4, "level_features": 8}
        >>> module = DiffusionTransformer(vocab_size=10, length=8, mask_id=9, timed=True, **sizes)
        >>> model = mdm.models.from_linen(module, 10, mask_id=9)
        >>> params = model.init(mdm.key(0), length=8)
        >>> mdm.models.logits(model, params, jnp.full((1, 8), 9)).shape
        (1, 8, 10)
    """

    vocab_size: int
    length: int
    width: int
    depth: int
    hidden: int
    heads: int
    level_features: int
    mask_id: int
    timed: bool

    ragged = True  # no field: it always takes positions that are not there

    def setup(self) -> None:
        self.embedding = Embedding(self.vocab_size, self.width)
        self.noise_level = NoiseLevel(self.level_features)
        stacked = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, nn.broadcast, 0),  # pyright: ignore[reportArgumentType]
            length=self.depth,
        )
        self.layers = stacked(self.width, self.hidden, self.heads)
        self.norm = LayerNorm(_EPSILON, bias=False)
        self.modulation = Linear(2 * self.width, bias=True)
        self.head = Linear(self.vocab_size, bias=True, wide=True)

    def encode(self, tokens: Int[Array, "rows length"]) -> Float[Array, "rows length width"]:
        """Hidden vectors; any length up to the model's."""
        check_length(tokens, self.length)
        sigma = noise_of(tokens, self.mask_id) if self.timed else None
        return self.through(safe_ids(tokens), there(tokens), sigma=sigma)[0]

    def through(
        self,
        ids: Int[Array, "rows positions"],
        visible: Bool[Array, "some queries_or_one keys"],
        places: Int[Array, "places positions"] | None = None,
        kept: Kept | None = None,
        sigma: Float[Array, " levels"] | None = None,
    ) -> tuple[Float[Array, "rows positions width"], Kept | None]:
        """Hidden vectors of ids that see what is ``visible``, as the decoder's; sigma is 0 if left out."""
        level = self.noise_level(jnp.zeros(1, jnp.float32) if sigma is None else sigma)
        hidden, made = self.layers(self.embedding(ids), level, visible, places, kept)
        shift, scale = modulations(self.modulation(level), hidden)
        return modulated(self.norm(hidden), shift, scale), made

    def readout(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any vocab_size"]:
        """Logits over all ids, in float32."""
        return self.head(hidden)


def noise_of(tokens: Int[Array, "rows length"], mask_id: int) -> Float[Array, " rows"]:
    """Sigma of each row by the masked fraction t of what is there: -log(1 - .999 t), SEDD's log-linear noise at time t.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.diffusion_transformer import noise_of
        >>> print(noise_of(jnp.asarray([[9, 9, 9, 9], [9, 2, -1, -1], [-1, -1, -1, -1]]), mask_id=9).round(3))
        [6.908 0.692 0.   ]
    """
    masked = jnp.sum(tokens == mask_id, axis=1, dtype=jnp.float32)
    fraction = masked / jnp.maximum(jnp.sum(present(tokens), axis=1, dtype=jnp.float32), 1.0)
    return -jnp.log1p(-(1.0 - _SMALLEST_MOVE) * fraction)


def modulations(made: Float[Array, "levels parts"], like: Float[Array, "rows length width"]) -> list[Array]:
    """Parts of the width of ``like`` and in its type, each [levels, 1, width]."""
    return [part[:, None] for part in jnp.split(made.astype(like.dtype), made.shape[-1] // like.shape[-1], axis=-1)]


def modulated(
    normed: Float[Array, "rows length width"],
    shift: Float[Array, "levels 1 width"],
    scale: Float[Array, "levels 1 width"],
) -> Float[Array, "rows length width"]:
    """``normed (1 + scale) + shift``."""
    return normed * (1.0 + scale) + shift
