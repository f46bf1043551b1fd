"""A diffusion as the prior of the latent: latents first, then tokens given them (sequential LADD)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.adapters import Whole, fields_of
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.models.latent.denoiser import LatentDenoiser, Latents, Posterior, latent_transformer
from mdm_jax.models.latent.network import LatentTransformer
from mdm_jax.models.latent.noising import (
    Level,
    Normal,
    cleaner,
    given_copy,
    kl,
    levels,
    log_density,
    noisy,
    signal_gained,
    thought,
)
from mdm_jax.models.transformers import Norm
from mdm_jax.support.errors import require, require_whole, verbatim

_ZEROS = nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_LAYERS = 2
"""Residual layers of the prior's network."""


class Reversal(nn.Module):
    """What a noisy copy of all latents of a row, and its step, tell of the latents: two residual layers."""

    steps: int
    width: int

    @nn.compact
    def __call__(self, copy: Float[Array, "*any latents size"], step: Int[Array, "*any"]) -> tuple[Array, Array]:
        latents, size = copy.shape[-2:]
        hidden = nn.Dense(self.width, kernel_init=_FAN_IN, name="copy")(copy.reshape(*copy.shape[:-2], -1))
        hidden = hidden + nn.Embed(self.steps, self.width, name="step")(step)
        for i in range(_LAYERS):
            inner = nn.Dense(2 * self.width, kernel_init=_FAN_IN, name=f"expand_{i}")(Norm(name=f"norm_{i}")(hidden))
            hidden = hidden + nn.Dense(self.width, kernel_init=_ZEROS, name=f"contract_{i}")(nn.silu(inner))
        made = nn.Dense(2 * latents * size, kernel_init=_ZEROS, name="law")(hidden).astype(jnp.float32)
        shift, log_ratio = jnp.split(made, 2, axis=-1)
        return shift.reshape(copy.shape), log_ratio.reshape(copy.shape)


class DiffusionPriorTransformer(LatentTransformer):
    """The network of :func:`mdm_jax.models.diffusion_prior`: a latent transformer, and the network of its prior."""

    prior_steps: int
    prior_width: int

    def setup(self) -> None:
        super().setup()
        self.reversal = Reversal(self.prior_steps, self.prior_width)

    def encode(
        self, tokens: Int[Array, "rows length"], context: Float[Array, "rows latents numbers"] | None = None
    ) -> Float[Array, "rows length width"]:
        """Hidden vectors. Of the context the first ``latent_size`` numbers are seen: the noise behind them is not."""
        wanted = (tokens.shape[0], self.latents, (1 + self.prior_steps) * self.latent_size)
        given = None if context is None else verbatim(f"shape {jnp.shape(context)}")
        good = context is not None and jnp.shape(context) == wanted
        require(good, "context", given, f"latents of shape {wanted}, with the noise of each step, as draw_latents does")
        assert context is not None
        return super().encode(tokens, context[..., : self.latent_size])

    def reverse(self, copy: Array, step: Array) -> tuple[Array, Array]:
        """Of copies [*any, latents, size] at steps [*any]: where the latent is thought to be, and how surely."""
        return self.reversal(copy, step)

    def whole(self, tokens: Array, told: Array, latents: Array) -> None:
        super().whole(tokens, told, latents)
        self.reverse(latents[..., : self.latent_size], jnp.zeros(latents.shape[:1], jnp.int32))


@dataclasses.dataclass(frozen=True)
class DiffusionPrior(LatentDenoiser):
    """What :func:`diffusion_prior` makes.

    Its latent is the whole chain: for each latent the ``latent_size`` numbers that the denoiser sees, and behind them
    the standard normal noise of each step. Given the tokens these are independent normal numbers, and the prior has a
    density of them all. So a chain is a latent like any other, and every latent objective serves it.
    """

    module: DiffusionPriorTransformer

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Latents of a sequence, and numbers of each: what the denoiser sees, and the noise of every step."""
        return self.module.latents, (1 + self.module.prior_steps) * self.module.latent_size

    def draw_latents(self, params: Params, keys: Any) -> Latents:
        """Latents from the prior: the chain from pure noise to the latent.

        Args:
            params: the model's.
            keys: typed keys[rows].

        Returns:
            float32[rows, latents, (1 + steps) * latent_size].

        Example:
            >>> import jax, mdm_jax as mdm
            >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
            >>> model = mdm.models.diffusion_prior(model, steps=4, width=16)
            >>> params = model.init(mdm.key(0), length=8)
            >>> model.draw_latents(params, jax.random.split(mdm.key(1), 5)).shape
            (5, 1, 15)
        """
        module = self.module
        shape = (1 + module.prior_steps, module.latents, module.latent_size)
        normal = jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32), out_axes=1)(keys)
        level, towards = self._steps

        def move(copy: Array, given: tuple[Level, Level, Array, Array]) -> tuple[Array, Array]:
            level, towards, step, noise = given
            law = self._move(params, copy, jnp.broadcast_to(step, copy.shape[:1]), level, towards)
            after = law.mean + jnp.sqrt(law.variance) * noise
            share = towards.signal / jnp.sqrt(signal_gained(level, towards))
            return after, share * (copy - level.signal / towards.signal * after)

        each = jnp.arange(module.prior_steps, dtype=jnp.int32)
        arrays = jax.tree.map(jnp.asarray, (level, towards))
        clean, noise = jax.lax.scan(move, normal[0], (*arrays, each, normal[1:]))
        parts = jnp.concatenate([clean[None], noise])
        return jnp.moveaxis(parts, 0, 2).reshape(clean.shape[0], *self.latent_shape)

    def posterior(
        self, params: Params, tokens: Int[Array, "rows length"], told: Bool[Array, "rows length"]
    ) -> Posterior:
        """The recognition network's law of what the denoiser sees; of the noise, N(0, 1)."""
        seen = super().posterior(params, tokens, told)
        width = ((0, 0), (0, 0), (0, self.module.prior_steps * self.module.latent_size))
        return Posterior(jnp.pad(seen.mean, width), jnp.pad(seen.log_scale, width))

    def log_prior(self, params: Params, latent: Latents) -> Float[Array, " rows"]:
        """Log-density of the prior, of latent and noise, nats per row."""
        clean, copies = self._chain(latent)
        level, towards = (_along_steps(one) for one in self._steps)
        after = jnp.concatenate([copies[:, 1:], clean[:, None]], axis=1)
        first = log_density(Normal(jnp.zeros_like(clean), jnp.ones_like(clean)), copies[:, 0])
        moves = log_density(self._moves(params, copies), after)
        # From the copies to the noise that makes them: what a copy moves by, for a number of its noise.
        stretch = 0.5 * jnp.log(signal_gained(level, towards)) - jnp.log(towards.signal)
        return jnp.sum(first, axis=(1, 2)) + jnp.sum(moves + stretch, axis=(1, 2, 3))

    def kl(self, params: Params, posterior: Posterior, latent: Latents) -> Float[Array, " rows"]:
        """Of the posterior from the prior, nats per row: an unbiased estimate by ``latent``, drawn from the posterior.

        The sum over the chain of the divergences, each in closed form and none negative, of what a copy is in truth
        from what the prior says of it, given the noisier copy before it. Only those copies are drawn.
        """
        size = self.module.latent_size
        mean, log_scale = (one[:, None, :, :size] for one in posterior)
        law = Normal(mean, jnp.exp(2 * log_scale))
        _, copies = self._chain(latent)
        level, towards = (_along_steps(one) for one in self._steps)
        first = noisy(law, Level(*(one[:, :1] for one in level)))
        start = kl(first, Normal(jnp.zeros_like(first.mean), jnp.ones_like(first.variance)))
        truth = cleaner(given_copy(law, level, copies), level, copies, towards)
        return jnp.sum(start, axis=(1, 2, 3)) + jnp.sum(kl(truth, self._moves(params, copies)), axis=(1, 2, 3))

    @property
    def _steps(self) -> tuple[Level, Level]:
        """The levels before and after each step."""
        every = levels(1 + self.module.prior_steps)
        return Level(*(one[:-1] for one in every)), Level(*(one[1:] for one in every))

    def _chain(self, latent: Latents) -> tuple[Array, Array]:
        """The latent that the denoiser sees, [rows, latents, latent_size], and its noisy copies, the noisiest first:
        [rows, steps, latents, latent_size].
        """
        rows, many, _ = latent.shape
        each = jnp.moveaxis(latent.reshape(rows, many, -1, self.module.latent_size), 2, 1)
        clean, noise = each[:, 0], each[:, 1:]
        level, towards = (_along_steps(one) for one in self._steps)
        # Divided by its signal, a copy is the latent with the noise of every later step added to it.
        added = jnp.sqrt(signal_gained(level, towards)) / (level.signal * towards.signal) * noise
        return clean, level.signal * (clean[:, None] + jnp.cumsum(added[:, ::-1], axis=1)[:, ::-1])

    def _moves(self, params: Params, copies: Array) -> Normal:
        """The prior's laws of the copy after each step, [rows, steps, latents, size]."""
        step = jnp.broadcast_to(jnp.arange(copies.shape[1], dtype=jnp.int32)[None], copies.shape[:2])
        level, towards = (_along_steps(one) for one in self._steps)
        return self._move(params, copies, step, level, towards)

    def _move(self, params: Params, copy: Array, step: Array, level: Level, towards: Level) -> Normal:
        shift, log_ratio = self._apply(params, copy, step, method="reverse")
        return cleaner(thought(level, copy, shift, log_ratio), level, copy, towards)


def diffusion_prior(model: Denoiser, steps: Whole = 16, width: Whole = 128) -> DiffusionPrior:
    """A latent transformer whose latents are drawn by a diffusion of their own, before the first token.

    A chain of so many normal laws leads from noise to the latent; a small network, of the copy before it and the step,
    says each. It sees all latents of a row, so that those of blocks may depend on each other. Before it is trained the
    chain's law is the standard normal. The KL of the latent objectives is that of the whole chain: with
    ``training.FixedLatentBound`` the loss is the sequential bound of LADD, for this chain of ``steps`` and exactly so.
    A latent costs ``steps`` passes of the small network when it is drawn; ``nfe`` does not count them.

    Args:
        model: a :func:`latent_transformer` with the standard normal prior, which this one takes the place of.
        steps: of the chain.
        width: of the network.

    Raises:
        InputError: another model, a learned prior, or numbers that cannot be.

    Source: LADD (arXiv 2510.18114), the sequential form, with a bound in place of its loss;
    ``training/DERIVATIONS.md``, "A diffusion as the prior of the latent".

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
        >>> first = mdm.models.diffusion_prior(model, steps=4, width=16)
        >>> params = first.init(mdm.key(0), length=8)
        >>> out = mdm.sample(first, params, mdm.plans.uniform(8, 2), rows=3, key=mdm.key(1))
        >>> out.tokens.shape, out.nfe.tolist()
        ((3, 8), [2, 2, 2])
    """
    plain = model if type(model) is LatentDenoiser else None
    require(plain is not None, "model", verbatim(type(model).__name__), "what models.latent_transformer makes")
    assert plain is not None
    module = plain.module
    require(module.prior == 0, "model", verbatim(f"one with prior={module.prior}"), "one with prior=0, left out")
    steps, width = require_whole("steps", steps, 1, 2**12), require_whole("width", width, 1, 2**20)
    network = DiffusionPriorTransformer(**fields_of(module), prior_steps=steps, prior_width=width)
    return DiffusionPrior(network, model.vocab_size, model.mask_id)


def diffusion_prior_transformer(prior_steps: Whole = 16, prior_width: Whole = 128, **settings: Any) -> DiffusionPrior:
    """A :func:`latent_transformer` with a :func:`diffusion_prior`, from all settings at once, as files keep them."""
    return diffusion_prior(latent_transformer(**settings), prior_steps, prior_width)


def _along_steps(level: Level) -> Level:
    """Levels of all steps, to go with [rows, steps, latents, size]."""
    return Level(*(jnp.asarray(one)[None, :, None, None] for one in level))
