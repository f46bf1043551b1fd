"""Latent denoisers: the contract, and the library's own.

``p(tokens | masked) = integral of prod_i p(token_i | masked, latent) p(latent)``: given a latent the tokens that a step
reveals are independent, as in every denoiser; over all latents they are not. Source: arXiv 2510.23606 (VMD),
arXiv 2505.17384 (VADD); how a latent enters the network is VADD's (adaptive normalisation).
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.adapters import LinenDenoiser, Whole, fields_of
from mdm_jax.models.denoiser import Context, Denoiser, Params, layers
from mdm_jax.models.latent.network import LatentTransformer
from mdm_jax.models.transformers import transformer
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.keys import threefry

Latents = Float[Array, "rows latents size"]
_LOG_2_PI = 1.8378770664093453


class Posterior(NamedTuple):
    """A diagonal normal law of each row's latents, ``q(latent | tokens, told)``.

    Attributes:
        mean: float32[rows, latents, size].
        log_scale: float32[rows, latents, size], logarithm of the standard deviation.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> law = mdm.models.Posterior(jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 2)))
        >>> print(law.log_prob(jnp.zeros((1, 1, 2))))  # - log 2 pi
        [-1.837877]
    """

    mean: Latents
    log_scale: Latents

    def sample(self, noise: Latents) -> Latents:
        """Latents from standard normal ``noise`` (the reparameterisation)."""
        return self.mean + jnp.exp(self.log_scale) * noise

    def log_prob(self, latent: Latents) -> Float[Array, " rows"]:
        """Log-density, nats per row."""
        return jnp.sum(_normal(latent, self.mean, self.log_scale), axis=(-2, -1))


@runtime_checkable
class LatentModel(Denoiser, Protocol):
    """What the latent objectives need beside a denoiser; :func:`latent_transformer` makes one.

    The denoiser's context is the latent. Implement these for a network of your own.
    """

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Latents of a sequence, and numbers of each."""
        ...

    def begin(self, params: Params, keys: Any, context: Context = None) -> Context:
        """Draw a latent for each row, unless ``context`` is one."""
        ...

    def posterior(
        self, params: Params, tokens: Int[Array, "rows length"], told: Bool[Array, "rows length"]
    ) -> Posterior:
        """The recognition network: the law of the latent that explains the tokens at ``told``, given all others."""
        ...

    def log_prior(self, params: Params, latent: Latents) -> Float[Array, " rows"]:
        """Log-density of the prior, nats per row."""
        ...

    def kl(self, params: Params, posterior: Posterior, latent: Latents) -> Float[Array, " rows"]:
        """Of the posterior from the prior, nats per row; or an unbiased estimate of it by ``latent``, drawn from it."""
        ...


@dataclasses.dataclass(frozen=True)
class Recognising(LinenDenoiser):
    """A :class:`LatentTransformer` as a denoiser, whose context is a latent or made of one."""

    module: LatentTransformer
    _its_context: ClassVar[str] = "a latent denoiser's context is its latent"

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Latents of a sequence, and numbers of each."""
        return self.module.latents, self.module.latent_size

    def init(self, key: PRNGKeyArray, length: int, context: Context = None) -> Params:
        """Fresh parameters, of the recognition network and the prior as well.

        Raises:
            InputError: ``key`` is none; a context, whose place the latent has.
        """
        require(context is None, "context", context, f"left out: {self._its_context}")
        tokens, told = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
        latents = jnp.zeros((1, *self.latent_shape), jnp.float32)
        return self.module.init(threefry(key), tokens, told, latents, method="whole")


@dataclasses.dataclass(frozen=True)
class LatentDenoiser(Recognising):
    """A :class:`LatentTransformer` as a denoiser whose context is the latent, float32[rows, latents, size]."""

    def begin(self, params: Params, keys: Any, context: Context = None) -> Context:
        """Draw a latent for each row, unless ``context`` is one."""
        return self.draw_latents(params, keys) if context is None else context

    def draw_latents(self, params: Params, keys: Any) -> Latents:
        """Latents from the prior.

        Args:
            params: the model's.
            keys: typed keys[rows].

        Returns:
            float32[rows, latents, size].

        Example:
            >>> import jax, mdm_jax as mdm
            >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3, block=4)
            >>> params = model.init(mdm.key(0), length=8)
            >>> model.draw_latents(params, jax.random.split(mdm.key(1), 5)).shape
            (5, 2, 3)
        """
        shape = self.latent_shape

        def normal(key: Any) -> Array:
            return jax.random.normal(key, shape, jnp.float32)

        if self.module.prior == 0:
            return jax.vmap(normal)(keys)
        weight, mean, log_scale = self._prior(params)

        def mixed(key: Any) -> Array:
            which, noise = jax.random.split(key)
            chosen = jax.random.categorical(which, weight, axis=-1)
            at = jnp.arange(shape[0], dtype=chosen.dtype)
            return mean[at, chosen] + jnp.exp(log_scale[at, chosen]) * normal(noise)

        return jax.vmap(mixed)(keys)

    def posterior(
        self, params: Params, tokens: Int[Array, "rows length"], told: Bool[Array, "rows length"]
    ) -> Posterior:
        """The recognition network: the law of the latent that explains the tokens at ``told``, given all others.

        Args:
            params: the model's.
            tokens: int32[rows, length]: true ones at ``told``; elsewhere true ones or masks.
            told: bool[rows, length]. All of them: the law of a latent that serves the whole sequence. The masked
                ones, with true tokens everywhere: what is left to be told of a partly masked sequence.

        Example:
            >>> import jax.numpy as jnp
            >>> import mdm_jax as mdm
            >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
            >>> params = model.init(mdm.key(0), length=8)
            >>> model.posterior(params, jnp.ones((2, 8), int), jnp.ones((2, 8), bool)).mean.shape
            (2, 1, 3)
        """
        return Posterior(*self._apply(params, tokens, told, method="recognise"))

    def log_prior(self, params: Params, latent: Latents) -> Float[Array, " rows"]:
        """Log-density of the prior, nats per row."""
        if self.module.prior == 0:
            return jnp.sum(_normal(latent, 0.0, 0.0), axis=(-2, -1))
        weight, mean, log_scale = self._prior(params)
        each = jnp.sum(_normal(latent[:, :, None, :], mean[None], log_scale[None]), axis=-1)
        return jnp.sum(jax.nn.logsumexp(each + jax.nn.log_softmax(weight)[None], axis=-1), axis=-1)

    def kl(self, params: Params, posterior: Posterior, latent: Latents) -> Float[Array, " rows"]:
        """Of the posterior from the prior, nats per row: in closed form for the standard normal prior, else an
        unbiased estimate by ``latent``, which was drawn from the posterior.
        """
        if self.module.prior == 0:
            mean, log_scale = posterior
            each = 0.5 * (jnp.square(mean) + jnp.exp(2 * log_scale) - 1 - 2 * log_scale)
            return jnp.sum(each, axis=(-2, -1))
        return posterior.log_prob(latent) - self.log_prior(params, latent)

    def _prior(self, params: Params) -> tuple[Array, Array, Array]:
        made = self.module.apply(params, method="learned_prior")
        return tuple(jnp.asarray(one, jnp.float32) for one in made)  # pyright: ignore[reportReturnType]


def latent_transformer(
    vocab_size: Whole,
    length: Whole = 128,
    width: Whole = 128,
    depth: Whole = 2,
    heads: Whole = 4,
    expansion: float | int = 4,
    reach: Whole = 2,
    rotary_base: float = 1000.0,
    embedding_scale: float = 0.3,
    *,
    latent_size: Whole = 16,
    block: Whole | None = None,
    prior: Whole = 0,
    recognition_depth: Whole = 1,
    share: bool = False,
) -> LatentDenoiser:
    """A :func:`~mdm_jax.models.transformer` with latents, and the recognition network that it is trained with.

    Sampled from, it draws a latent for each row once, before the first step (VMD; VADD's consistency sampler):
    :func:`~mdm_jax.models.redrawn` draws one at each step instead (VADD). ``training.LatentSurrogate`` and its
    neighbours train it.

    Args:
        vocab_size: as for :func:`~mdm_jax.models.transformer`.
        length: likewise.
        width: likewise.
        depth: number of blocks of the denoiser, the recognition network's not counted.
        heads: likewise.
        expansion: likewise.
        reach: likewise.
        rotary_base: likewise.
        embedding_scale: likewise.
        latent_size: numbers of a latent.
        block: a latent for each so many positions, independent of each other; one for the whole sequence if left out.
        prior: 0 for the standard normal law; else a mixture of so many normal laws, learned with the model.
        recognition_depth: number of blocks of the recognition network.
        share: whether these are the first blocks of the denoiser, and not blocks of its own.

    Raises:
        InputError: a size that cannot be.

    Source: arXiv 2510.23606 (VMD), arXiv 2505.17384 (VADD): the recognition network sees the tokens and, by adaptive
    normalisation, which of them it is to tell of. Pooling (the mean over those) is ours.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
        >>> params = model.init(mdm.key(0), length=8)
        >>> latents = model.draw_latents(params, mdm.key(1)[None])
        >>> mdm.models.logits(model, params, jnp.full((1, 8), model.mask_id), latents).shape
        (1, 8, 4)
    """
    plain = transformer(vocab_size, length, width, depth, heads, expansion, reach, rotary_base, embedding_scale)
    base: Any = plain.module
    latent_size = require_whole("latent_size", latent_size, 1, 2**20)
    prior = require_whole("prior", prior, 0, 2**16)
    require(isinstance(share, bool), "share", share, "True or False")
    recognition_depth = require_whole("recognition_depth", recognition_depth, 1, 2**12)
    shares = f"at most the denoiser's depth, {base.depth}, where blocks are shared"
    require(not share or recognition_depth <= base.depth, "recognition_depth", recognition_depth, shares)
    if block is not None:
        block = require_whole("block", block, 1, 2**31 - 1)
        block = None if block >= base.length else block  # one model, one description
    module = LatentTransformer(
        **fields_of(base),
        latent_size=latent_size,
        block=block,
        prior=prior,
        recognition_depth=recognition_depth,
        share=share,
    )
    return LatentDenoiser(module, plain.vocab_size, plain.mask_id)


def latent_model(denoiser: Any, argument: str = "denoiser") -> Any:
    """The latent model that a denoiser is, or that it wraps.

    Raises:
        InputError: there is none.
    """
    found = next((layer for layer in layers(denoiser) if isinstance(layer, LatentModel)), None)
    shown = verbatim(type(denoiser).__name__)
    require(found is not None, argument, shown, "a model with latents, as models.latent_transformer makes it")
    return found


def _normal(value: Any, mean: Any, log_scale: Any) -> Array:
    """Log-density of normal laws, number by number."""
    return -0.5 * (jnp.square((value - mean) * jnp.exp(-jnp.asarray(log_scale))) + _LOG_2_PI) - log_scale
