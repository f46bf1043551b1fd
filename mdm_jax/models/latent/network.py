"""The network of a latent denoiser: the transformer, modulated by latents, and a recognition network beside it."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.transformers import Block, Norm, Transformer
from mdm_jax.support.errors import require, verbatim

_ZEROS = nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_NARROW = nn.initializers.constant(-1.0)
"""Logarithm of first standard deviations: of the recognition, so that a latent tells something from the beginning, and
of a learned prior's components, so that they lie apart."""
HIDDEN = 4
"""Width of the layer between a latent and what modulates the norms, in latent sizes."""


class LatentTransformer(Transformer):
    """The network of :func:`mdm_jax.models.latent_transformer`, whose arguments are its fields."""

    latent_size: int
    block: int | None
    prior: int
    recognition_depth: int
    share: bool

    @property
    def latents(self) -> int:
        """Latents of a sequence: one, or one for each block."""
        return 1 if self.block is None else -(-self.length // self.block)

    def setup(self) -> None:
        super().setup()
        self.latent_expand = nn.Dense(HIDDEN * self.latent_size, kernel_init=_FAN_IN)
        self.latent_contract = nn.Dense(self.latent_size, use_bias=False, kernel_init=_ZEROS)
        if not self.share:
            settings = (self.width, self.heads, self.expansion, self.reach, self.rotary_base, self.length)
            self.recognition_blocks = [Block(*settings) for _ in range(self.recognition_depth)]
        self.recognition_norm = Norm()
        # Zero here as well as in the norms' modulation would be a saddle: neither half would have a gradient.
        self.recognition_mean = nn.Dense(self.latent_size, kernel_init=_FAN_IN)
        self.recognition_log_scale = nn.Dense(self.latent_size, kernel_init=_ZEROS, bias_init=_NARROW)
        self.told = self.param("told", nn.initializers.normal(1.0), (self.latent_size,), jnp.float32)
        if self.prior > 0:
            shape = (self.latents, self.prior, self.latent_size)
            self.prior_weight = self.param("prior_weight", _ZEROS, shape[:2], jnp.float32)
            self.prior_mean = self.param("prior_mean", nn.initializers.normal(1.0), shape, jnp.float32)
            self.prior_log_scale = self.param("prior_log_scale", _NARROW, shape, jnp.float32)

    def encode(
        self, tokens: Int[Array, "rows length"], context: Float[Array, "rows latents size"] | None = None
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors, every norm of position ``i`` modulated by latent ``i // block``."""
        wanted = (tokens.shape[0], self.latents, self.latent_size)
        given = None if context is None else verbatim(f"shape {jnp.shape(context)}")
        good = context is not None and jnp.shape(context) == wanted
        told = "as draw_latents or posterior(...).sample make them (fit does, with an objective for latents, as "
        told += "training.LatentSurrogate(), and models.marginal needs none)"
        require(good, "context", given, f"latents of shape {wanted}, {told}")
        assert context is not None
        context = context.astype(self.told.dtype)  # that of the parameters: bfloat16 where training computes in it
        inner = jnp.square(nn.relu(self.latent_expand(context)))
        modulating = context + self.latent_contract(inner)
        return super().encode(tokens, self._along(modulating, tokens.shape[1]))

    def recognise(
        self, tokens: Int[Array, "rows length"], told: Bool[Array, "rows length"]
    ) -> tuple[Float[Array, "rows latents size"], Float[Array, "rows latents size"]]:
        """Mean and logarithm of the scale of ``q(latent | tokens, told)``; those of the prior N(0, 1) where a block
        tells nothing.
        """
        length = tokens.shape[1]
        marks = told[..., None].astype(self.told.dtype) * self.told[None, None, :]
        hidden = self.embedding(tokens)
        for block in self.blocks[: self.recognition_depth] if self.share else self.recognition_blocks:
            hidden = block(hidden, marks)
        hidden = self.recognition_norm(hidden, marks)
        block_of = jnp.arange(length, dtype=jnp.int32) // (length if self.block is None else self.block)
        mine = block_of[None, :] == jnp.arange(self.latents, dtype=jnp.int32)[:, None]
        counted = (mine[None] & told[:, None, :]).astype(hidden.dtype)
        many = jnp.sum(counted, axis=-1, keepdims=True)
        pooled = jnp.einsum("rbl,rlw->rbw", counted, hidden) / jnp.maximum(many, 1)
        some = many > 0
        mean, log_scale = self.recognition_mean(pooled), self.recognition_log_scale(pooled)
        mean, log_scale = (jnp.where(some, one, 0.0).astype(jnp.float32) for one in (mean, log_scale))
        return mean, log_scale

    def learned_prior(self) -> tuple[Array, Array, Array]:
        """Logarithms of the weights (not normalised), means and logarithms of the scales of the prior's components."""
        return self.prior_weight, self.prior_mean, self.prior_log_scale

    def whole(self, tokens: Array, told: Array, latents: Array) -> None:
        """Everything once, to make the parameters."""
        self.readout(self.encode(tokens, latents))
        self.recognise(tokens, told)

    def _along(self, latents: Array, length: int) -> Array:
        if self.block is None:
            return latents[:, 0]
        return jnp.repeat(latents, self.block, axis=1, total_repeat_length=self.latents * self.block)[:, :length]
