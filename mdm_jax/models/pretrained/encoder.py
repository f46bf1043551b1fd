"""The network of BERT, RoBERTa, ALBERT and ESM-2: a bidirectional encoder that was trained to fill in masks.

One form, and what differs between them is a setting: where positions come from, whether norms stand before or after a
sublayer, whether all layers are one. Sources: arXiv 1810.04805 (BERT), 1907.11692 (RoBERTa), 1909.11942 (ALBERT), ESM-2
(Science 379, 1123), whose weights DPLM (arXiv 2402.18567) starts from.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdm_jax.models.denoiser import Context
from mdm_jax.models.pretrained import layers
from mdm_jax.models.pretrained.layers import Embedding, LayerNorm, Linear
from mdm_jax.support.errors import require, require_choice
from mdm_jax.support.ragged import present

_TANH, _ERF = "gelu, by tanh", "gelu, by erf"
_KINDS = {
    "gelu": _ERF,
    "gelu_python": _ERF,
    "gelu_new": _TANH,
    "gelu_fast": _TANH,
    "gelu_pytorch_tanh": _TANH,
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
ACTIVATIONS = tuple(_KINDS)
"""Names of activations as published configurations have them: "gelu" is by erf, "gelu_new" by tanh."""
POSITIONS = ("learned", "after padding", "rotary")
"""Where positions come from: a table; a table whose first rows, up to the padding's id, stand for padding; rotation."""


class Attention(nn.Module):
    """What each position finds at all that are there: four maps with biases."""

    heads: int
    rotary_base: float | None

    @nn.compact
    def __call__(self, inputs: Array, visible: Array) -> Array:
        width = inputs.shape[-1]
        shape = (*inputs.shape[:2], self.heads, width // self.heads)
        parts = (Linear(width, bias=True, name=name)(inputs) for name in ("query", "key", "value"))
        query, key, value = (part.reshape(shape) for part in parts)
        if self.rotary_base is not None:
            query, key = (layers.rotated(part, self.rotary_base) for part in (query, key))
        mixed = layers.attend(query, key, value, visible)
        return Linear(width, bias=True, name="output")(mixed.reshape(inputs.shape))


class Layer(nn.Module):
    """Attention and feed-forward layer, each added to its input; norms before each, or after each sum."""

    heads: int
    inner: int
    activation: str
    epsilon: float
    norm_first: bool
    rotary_base: float | None

    @nn.compact
    def __call__(self, hidden: Array, visible: Array) -> tuple[Array, None]:
        attention_norm = LayerNorm(self.epsilon, name="attention_norm")
        feed_forward_norm = LayerNorm(self.epsilon, name="feed_forward_norm")
        attention = Attention(self.heads, self.rotary_base, name="attention")
        if self.norm_first:
            hidden = hidden + attention(attention_norm(hidden), visible)
            return hidden + self.feed_forward(feed_forward_norm(hidden)), None
        hidden = attention_norm(hidden + attention(hidden, visible))
        return feed_forward_norm(hidden + self.feed_forward(hidden)), None

    def feed_forward(self, hidden: Array) -> Array:
        """Up, the activation, and down again."""
        up, down = Linear(self.inner, bias=True, name="up"), Linear(hidden.shape[-1], bias=True, name="down")
        return down(activated(up(hidden), self.activation))


class Encoder(nn.Module):
    """A published masked language model of the BERT kind; ids are as in its checkpoint.

    Attributes:
        vocab_size: rows of its embedding and of its head.
        length: the longest sequence.
        width: of the residual stream, a multiple of ``heads``.
        depth: number of layers.
        heads: of attention.
        inner: width inside a feed-forward layer.
        epsilon: of the norms.
        activation: one of :data:`ACTIVATIONS`.
        positions: one of :data:`POSITIONS`.
        pad_id: the id of padding, for positions "after padding": the first token has row ``pad_id + 1``.
        rotary_base: of rotary positions.
        token_types: rows of the table of token types, of which the first is added everywhere; 0: there is none.
        embedding_width: of the embedding, where it is mapped to ``width`` (ALBERT); ``width`` otherwise.
        normed_embedding: whether embeddings are normed.
        norm_first: norms before each sublayer and after the last layer (ESM-2), not after each sum (BERT).
        shared: whether all layers are one (ALBERT).
        dropped_id: the mask's id, where masks are tokens dropped out (ESM-2, :func:`scaled_for_dropped`); ``None``:
            they are tokens like any other.
        tied: whether the head's matrix is the embedding's.

    Positions that hold -1 are not there: a row is worth what it is worth alone.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.pretrained.encoder import Encoder
        >>> network = Encoder(vocab_size=25, length=64, width=16, depth=2, heads=2, inner=32)
        >>> model = mdm.models.from_linen(network, vocab_size=25, mask_id=4)
        >>> params = model.init(mdm.key(0), length=8)
        >>> params["params"]["layers"]["attention"]["query"]["weight"].shape  # layer, outputs, inputs
        (2, 16, 16)
        >>> mdm.models.logits(model, params, jnp.full((1, 8), 4)).shape
        (1, 8, 25)
    """

    vocab_size: int
    length: int
    width: int
    depth: int
    heads: int
    inner: int
    epsilon: float = 1e-12
    activation: str = "gelu"
    positions: str = "learned"
    pad_id: int = 0
    rotary_base: float = 10000.0
    token_types: int = 2
    embedding_width: int | None = None
    normed_embedding: bool = True
    norm_first: bool = False
    shared: bool = False
    dropped_id: int | None = None
    tied: bool = True

    ragged = True  # no field: a class of its own says so

    def setup(self) -> None:
        require(self.width % self.heads == 0, "width", self.width, f"a multiple of heads = {self.heads}")
        require_choice("activation", self.activation, ACTIVATIONS)
        require_choice("positions", self.positions, POSITIONS)
        narrow = self.width if self.embedding_width is None else self.embedding_width
        self.embedding = Embedding(self.vocab_size, narrow)
        if self.positions != "rotary":
            self.position_embedding = Embedding(self.length + self._first_position, narrow)
        if self.token_types > 0:
            self.token_type_embedding = Embedding(self.token_types, narrow)
        if self.normed_embedding:
            self.embedding_norm = LayerNorm(self.epsilon)
        if self.embedding_width is not None:
            self.embedding_map = Linear(self.width, bias=True)
        base = self.rotary_base if self.positions == "rotary" else None
        settings = (self.heads, self.inner, self.activation, self.epsilon, self.norm_first, base)
        # One layer compiled, however many there are: its parameters have a leading axis, or are the same for all.
        scanned = nn.scan(
            Layer,
            variable_axes={} if self.shared else {"params": 0},
            variable_broadcast="params" if self.shared else False,
            split_rngs={"params": not self.shared},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]
            length=self.depth,
        )
        self.layers = scanned(*settings)
        if self.norm_first:
            self.norm = LayerNorm(self.epsilon)
        self.transform = Linear(narrow, bias=True)
        self.transform_norm = LayerNorm(self.epsilon)
        self.head_bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,), jnp.float32)
        if not self.tied:
            self.head = Linear(self.vocab_size, wide=True)

    @property
    def _first_position(self) -> int:
        """The row of the first token's position."""
        return self.pad_id + 1 if self.positions == "after padding" else 0

    def encode(self, tokens: Int[Array, "rows length"], context: Context = None) -> Float[Array, "rows length width"]:
        """Hidden vectors of every position; it takes no context."""
        require(context is None, "context", context, "left out: this model takes none")
        layers.check_length(tokens, self.length)
        hidden = self.embedding(layers.safe_ids(tokens))
        if self.dropped_id is not None:
            hidden = scaled_for_dropped(hidden, tokens, self.dropped_id)
        if self.token_types > 0:
            hidden = hidden + self.token_type_embedding(jnp.zeros_like(tokens))
        if self.positions != "rotary":
            hidden = hidden + self.position_embedding(self._positions_of(tokens))
        if self.normed_embedding:
            hidden = self.embedding_norm(hidden)
        if self.embedding_width is not None:
            hidden = self.embedding_map(hidden)
        hidden, _ = self.layers(hidden, layers.there(tokens))
        return self.norm(hidden) if self.norm_first else hidden

    def readout(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any vocab_size"]:
        """Logits: a map, the activation, a norm, and the head."""
        hidden = self.transform_norm(activated(self.transform(hidden), self.activation))
        scores = self.embedding.scores(hidden) if self.tied else self.head(hidden)
        return scores + layers.along_last(self.head_bias, scores)

    def _positions_of(self, tokens: Int[Array, "rows length"]) -> Int[Array, "some length"]:
        """Rows of the table of positions. Where padding has its own, a token of padding is not counted."""
        if self.positions == "learned":
            return jnp.arange(tokens.shape[1])[None]
        counted = present(tokens) & (tokens != self.pad_id)
        return jnp.where(counted, jnp.cumsum(counted, axis=1), 0) + self.pad_id


def activated(inputs: Float[Array, "*any width"], activation: str) -> Float[Array, "*any width"]:
    """An activation by its published name, one of :data:`ACTIVATIONS`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.encoder import activated
        >>> print(*(f"{activated(jnp.ones(1), name)[0]:.4f}" for name in ("gelu", "gelu_new", "relu", "silu")))
        0.8413 0.8412 1.0000 0.7311
    """
    kind = _KINDS[activation]
    if kind == "relu":
        return jax.nn.relu(inputs)
    return jax.nn.silu(inputs) if kind == "silu" else jax.nn.gelu(inputs, approximate=kind == _TANH)


_TRAINED_DROPPED = 0.15 * 0.8
"""Of the tokens that ESM-2 was trained on, the fraction whose vectors were 0: 15% chosen, 80% of them masked."""


def scaled_for_dropped(
    vectors: Float[Array, "rows length width"], tokens: Int[Array, "rows length"], dropped_id: int
) -> Float[Array, "rows length width"]:
    """ESM-2's embeddings: those of masks are 0, and all are multiplied by .88 over the fraction that is no mask.

    The fraction is that of the row, of what is there; what frames the row counts too.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.models.pretrained.encoder import scaled_for_dropped
        >>> tokens = jnp.asarray([[5, 32, 32, 6, -1]])  # two of four are masks
        >>> print(scaled_for_dropped(jnp.ones((1, 5, 1)), tokens, 32)[0, :, 0])
        [1.76 0.   0.   1.76 0.  ]
    """
    seen = present(tokens)
    kept = seen & (tokens != dropped_id)
    count = jnp.sum(seen, axis=1, dtype=jnp.float32)
    factor = (1.0 - _TRAINED_DROPPED) * count / jnp.maximum(jnp.sum(kept, axis=1, dtype=jnp.float32), 1.0)
    return jnp.where(kept[..., None], vectors * factor[:, None, None].astype(vectors.dtype), 0)
