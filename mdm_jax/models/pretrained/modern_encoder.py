"""The network of ModernBERT (arXiv 2412.13663): rotary positions, gated feed-forward layers, local and full attention.

Norms stand before each sublayer and have no biases, nor has any map but the head. The first layer's attention has no
norm, as the embedding has one. Most layers see their neighbourhood alone, and turn positions by another base than those
that see everything.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Context
from mdm_jax.models.pretrained import layers
from mdm_jax.models.pretrained.encoder import ACTIVATIONS, activated
from mdm_jax.models.pretrained.layers import Embedding, LayerNorm, Linear
from mdm_jax.support.errors import require, require_choice


class Attention(nn.Module):
    """What each position finds: in its neighbourhood, or everywhere where the layer is ``full``."""

    heads: int
    full_base: float
    local_base: float

    @nn.compact
    def __call__(self, inputs: Array, full: Array, there: Array, near: Array) -> Array:
        width = inputs.shape[-1]
        shape = (*inputs.shape[:2], self.heads, width // self.heads)
        query, key, value = (Linear(width, name=name)(inputs).reshape(shape) for name in ("query", "key", "value"))
        query, key = (
            jnp.where(full, layers.rotated(part, self.full_base), layers.rotated(part, self.local_base))
            for part in (query, key)
        )
        own = jnp.eye(inputs.shape[1], dtype=bool)[None]  # what is not there, far from all that is, must not be NaN
        mixed = layers.attend(query, key, value, (there & (near | full)) | own)
        return Linear(width, name="output")(mixed.reshape(inputs.shape))


class Layer(nn.Module):
    """Attention and a gated feed-forward layer, each added to its input, with a norm before each."""

    heads: int
    inner: int
    epsilon: float
    activation: str
    full_base: float
    local_base: float

    @nn.compact
    def __call__(
        self, hidden: Array, first: Array, full: Array, norm_weight: Array, there: Array, near: Array
    ) -> tuple[Array, None]:
        """The first layer's attention has no norm, so that its weight comes from outside, where there is one."""
        unit = nn.LayerNorm(self.epsilon, use_bias=False, use_scale=False, use_fast_variance=False)
        normed = (unit(hidden.astype(jnp.float32)) * norm_weight[None, None]).astype(hidden.dtype)
        attention = Attention(self.heads, self.full_base, self.local_base, name="attention")
        hidden = hidden + attention(jnp.where(first, hidden, normed), full, there, near)
        normed = LayerNorm(self.epsilon, bias=False, name="feed_forward_norm")(hidden)
        inside, gate = (Linear(self.inner, name=name)(normed) for name in ("up", "gate"))
        gated = activated(inside, self.activation) * gate
        return hidden + Linear(hidden.shape[-1], name="down")(gated), None


class ModernEncoder(nn.Module):
    """A published masked language model of the ModernBERT kind; ids are as in its checkpoint.

    Attributes:
        vocab_size: rows of its embedding and of its head.
        length: the longest sequence.
        width: of the residual stream, a multiple of ``2 * heads``.
        heads: of attention.
        inner: width inside a feed-forward layer.
        full: of each layer, whether it sees everything; their number is the depth.
        reach: how far other layers see, on each side.
        full_base: of the rotary positions of layers that see everything.
        local_base: of the others.
        epsilon: of the norms.
        activation: one of :data:`mdm_jax.models.pretrained.encoder.ACTIVATIONS`.
        tied: whether the head's matrix is the embedding's.

    Positions that hold -1 are not there: a row is worth what it is worth alone.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
        >>> network = ModernEncoder(25, length=64, width=16, heads=2, inner=24, full=(True, False, False), reach=4)
        >>> model = mdm.models.from_linen(network, vocab_size=25, mask_id=4)
        >>> params = model.init(mdm.key(0), length=8)
        >>> params["params"]["layers"]["attention"]["query"]["weight"].shape  # layer, outputs, inputs
        (3, 16, 16)
        >>> mdm.models.logits(model, params, jnp.full((1, 8), 4)).shape
        (1, 8, 25)
    """

    vocab_size: int
    length: int
    width: int
    heads: int
    inner: int
    full: tuple[bool, ...]
    reach: int
    full_base: float = 160000.0
    local_base: float = 10000.0
    epsilon: float = 1e-5
    activation: str = "gelu"
    tied: bool = True

    ragged = True  # no field: a class of its own says so

    def setup(self) -> None:
        wanted = f"a multiple of 2 * heads = {2 * self.heads}"
        require(self.width % (2 * self.heads) == 0, "width", self.width, wanted)
        require_choice("activation", self.activation, ACTIVATIONS)
        self.embedding = Embedding(self.vocab_size, self.width)
        self.embedding_norm = LayerNorm(self.epsilon, bias=False)
        ones = nn.initializers.ones
        names = [f"attention_norm_{layer}" for layer in range(1, len(self.full))]
        self.attention_norms = [self.param(name, ones, (self.width,), jnp.float32) for name in names]
        scanned = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, 0, 0, nn.broadcast, nn.broadcast),  # pyright: ignore[reportArgumentType]
            length=len(self.full),
        )
        bases = (self.full_base, self.local_base)
        self.layers = scanned(self.heads, self.inner, self.epsilon, self.activation, *bases)
        self.norm = LayerNorm(self.epsilon, bias=False)
        self.transform = Linear(self.width)
        self.transform_norm = LayerNorm(self.epsilon, bias=False)
        self.head_bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,), jnp.float32)
        if not self.tied:
            self.head = Linear(self.vocab_size, wide=True)

    def encode(self, tokens: Int[Array, "rows length"], context: Context = None) -> Float[Array, "rows length width"]:
        """Hidden vectors of every position; it takes no context."""
        require(context is None, "context", context, "left out: this model takes none")
        layers.check_length(tokens, self.length)
        hidden = self.embedding_norm(self.embedding(layers.safe_ids(tokens)))
        place = jnp.arange(tokens.shape[1])
        near = jnp.abs(place[:, None] - place[None]) <= self.reach
        first = jnp.arange(len(self.full)) == 0
        norms = [jnp.ones(self.width, jnp.float32), *(one.astype(jnp.float32) for one in self.attention_norms)]
        there = layers.there(tokens)
        hidden, _ = self.layers(hidden, first, jnp.asarray(self.full), jnp.stack(norms), there, near[None])
        return self.norm(hidden)

    def readout(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any vocab_size"]:
        """Logits: a map, the activation, a norm, and the head."""
        hidden = self.transform_norm(activated(self.transform(hidden), self.activation))
        scores = self.embedding.scores(hidden) if self.tied else self.head(hidden)
        return scores + layers.along_last(self.head_bias, scores)
