"""The network of LLaDA, Dream and their like: a Llama or Qwen decoder in which every position sees every other one.

Blocks are pre-norm: RMSNorm, attention with rotary positions and perhaps fewer heads of keys and values than of
queries, RMSNorm, a gated feed-forward layer with SiLU. Llama has no biases; Qwen2 has them on queries, keys and values;
Qwen3 has none, and norms each head's queries and keys instead. All layers are one, scanned over stacked parameters, so
that 32 compile like one.
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.pretrained.layers import (
    Embedding,
    Kept,
    Linear,
    RMSNorm,
    attend,
    check_length,
    rotated,
    safe_ids,
    there,
)


class Attention(nn.Module):
    """Grouped attention with rotary positions; the fields are :class:`Decoder`'s."""

    width: int
    heads: int
    key_value_heads: int
    head_features: int
    biases: bool
    head_norms: bool
    epsilon: float
    rotary_base: float
    rotary_scales: tuple[float, ...]
    rotary_gain: float

    def setup(self) -> None:
        self.query = Linear(self.heads * self.head_features, self.biases)
        self.key = Linear(self.key_value_heads * self.head_features, self.biases)
        self.value = Linear(self.key_value_heads * self.head_features, self.biases)
        self.output = Linear(self.width)
        if self.head_norms:
            self.query_norm, self.key_norm = RMSNorm(self.epsilon), RMSNorm(self.epsilon)

    def __call__(
        self,
        inputs: Float[Array, "rows length width"],
        visible: Bool[Array, "some queries_or_one keys"],
        places: Int[Array, "places length"] | None = None,
        kept: Kept | None = None,
    ) -> tuple[Float[Array, "rows length width"], Kept]:
        """What each position finds, and the keys and values it made; arguments are those of :class:`Layer`."""
        query, key, value = (part(inputs) for part in (self.query, self.key, self.value))
        query, key, value = (part.reshape(*part.shape[:2], -1, self.head_features) for part in (query, key, value))
        if self.head_norms:
            query, key = self.query_norm(query), self.key_norm(key)
        turns = self.rotary_base, places, self.rotary_scales, self.rotary_gain
        query, key = (rotated(part, *turns) for part in (query, key))
        made = Kept(key, value)
        mixed = attend(query, *(made if kept is None else kept.before(made)), visible)
        return self.output(mixed.reshape(*mixed.shape[:2], -1)), made


class FeedForward(nn.Module):
    """``down(silu(gate(x)) * up(x))``."""

    width: int
    hidden: int

    def setup(self) -> None:
        self.gate, self.up, self.down = Linear(self.hidden), Linear(self.hidden), Linear(self.width)

    def __call__(self, inputs: Float[Array, "rows length width"]) -> Float[Array, "rows length width"]:
        return self.down(jax.nn.silu(self.gate(inputs)) * self.up(inputs))


class Layer(nn.Module):
    """One layer of a :class:`Decoder`, as a step of a scan; the fields are the decoder's.

    It is called with the residual stream, ``visible`` as :func:`~mdm_jax.models.pretrained.layers.attend` takes it, the
    places of the positions (0, 1, 2, ... if left out), and keys and values that stand before those of the inputs. It
    returns what it made of keys and values only where there are such.
    """

    width: int
    hidden: int
    heads: int
    key_value_heads: int
    head_features: int
    biases: bool
    head_norms: bool
    epsilon: float
    rotary_base: float
    rotary_scales: tuple[float, ...]
    rotary_gain: float

    def setup(self) -> None:
        self.attention_norm, self.feed_forward_norm = RMSNorm(self.epsilon), RMSNorm(self.epsilon)
        sizes = (self.width, self.heads, self.key_value_heads, self.head_features)
        turns = (self.rotary_base, self.rotary_scales, self.rotary_gain)
        self.attention = Attention(*sizes, self.biases, self.head_norms, self.epsilon, *turns)
        self.feed_forward = FeedForward(self.width, self.hidden)

    def __call__(
        self,
        inputs: Float[Array, "rows length width"],
        visible: Bool[Array, "some queries_or_one keys"],
        places: Int[Array, "places length"] | None,
        kept: Kept | None,
    ) -> tuple[Float[Array, "rows length width"], Kept | None]:
        found, made = self.attention(self.attention_norm(inputs), visible, places, kept)
        inputs = inputs + found
        return inputs + self.feed_forward(self.feed_forward_norm(inputs)), None if kept is None else made


class Decoder(nn.Module):
    """A bidirectional Llama, Qwen2 or Qwen3; :func:`~mdm_jax.models.from_linen` makes a denoiser of it.

    Ids are as in the checkpoint, the mask's too. Positions that hold -1 are not there.

    Attributes:
        vocab_size: rows of the head.
        embedding_rows: ids that are embedded; more than ``vocab_size`` where the mask is an input only.
        length: the longest sequence.
        width: of the residual stream.
        depth: number of layers.
        hidden: width inside a feed-forward layer.
        heads: of the queries.
        key_value_heads: of keys and values; ``heads`` is a multiple of it.
        head_features: of each head, an even number; ``heads * head_features`` need not be ``width``.
        biases: whether queries, keys and values have biases (Qwen2).
        head_norms: whether each head's queries and keys are normed before they are turned (Qwen3).
        tied: whether the embedding is the head.
        rotary_base: of the rotary positions' wavelengths.
        epsilon: of every norm.
        rotary_scales: what the frequency of each pair of features is multiplied by, for longer sequences than those of
            the first training; none is 1 for all.
        rotary_gain: what queries and keys are multiplied by besides (YaRN).

    Source: LLaDA (arXiv 2502.09992), Dream (arXiv 2508.15487); equal to ``transformers``' ``LlamaForCausalLM``,
    ``Qwen2ForCausalLM`` and ``Qwen3ForCausalLM`` under an attention mask of zeros (``tests/models/pretrained``).

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> from mdm_jax.models.pretrained.decoder import Decoder
        >>> sizes = {"width": 16, "depth": 2, "hidden": 24, "heads": 4, "key_value_heads": 2, "head_features": 4}
        >>> model = mdm.models.from_linen(Decoder(vocab_size=10, embedding_rows=10, length=8, **sizes), 10, mask_id=9)
        >>> params = model.init(mdm.key(0), length=8)
        >>> params["params"]["layers"]["attention"]["key"]["weight"].shape  # layers, outputs, inputs
        (2, 8, 16)
        >>> mdm.models.logits(model, params, jnp.full((1, 8), 9)).shape
        (1, 8, 10)
    """

    vocab_size: int
    embedding_rows: int
    length: int
    width: int
    depth: int
    hidden: int
    heads: int
    key_value_heads: int
    head_features: int
    biases: bool = False
    head_norms: bool = False
    tied: bool = False
    rotary_base: float = 10000.0
    epsilon: float = 1e-6
    rotary_scales: tuple[float, ...] = ()
    rotary_gain: float = 1.0

    ragged = True  # no field: it always takes positions that are not there

    def setup(self) -> None:
        self.embedding = Embedding(self.embedding_rows, self.width)
        stacked = nn.scan(
            Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, 0),  # pyright: ignore[reportArgumentType]
            length=self.depth,
        )
        sizes = (self.width, self.hidden, self.heads, self.key_value_heads, self.head_features)
        turns = (self.rotary_base, self.rotary_scales, self.rotary_gain)
        self.layers = stacked(*sizes, self.biases, self.head_norms, self.epsilon, *turns)
        self.norm = RMSNorm(self.epsilon)
        if not self.tied:
            self.head = Linear(self.vocab_size, wide=True)

    def encode(self, tokens: Int[Array, "rows length"]) -> Float[Array, "rows length width"]:
        """Hidden vectors; any length up to the model's."""
        check_length(tokens, self.length)
        return self.through(safe_ids(tokens), there(tokens))[0]

    def through(
        self,
        ids: Int[Array, "rows positions"],
        visible: Bool[Array, "some queries_or_one keys"],
        places: Int[Array, "places positions"] | None = None,
        kept: Kept | None = None,
    ) -> tuple[Float[Array, "rows positions width"], Kept | None]:
        """Hidden vectors of ids that see what is ``visible``; further arguments as for :class:`Layer`, layers first."""
        hidden, made = self.layers(self.embedding(ids), visible, places, kept)
        return self.norm(hidden), made

    def readout(self, hidden: Float[Array, "*any width"]) -> Float[Array, "*any vocab_size"]:
        """Logits over all ids, in float32."""
        return self.embedding.scores(hidden) if self.tied else self.head(hidden)
