"""What becomes of the latent: drawn anew at each step, or averaged over."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt32

from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, layers
from mdm_jax.models.guiding import Guidance
from mdm_jax.models.latent.denoiser import latent_model
from mdm_jax.models.wrappers import Hidden, Tokens, Wrapper
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.keys import key_of, threefry

_SPREAD, _START = 0x9E3779B1, 0x85EBCA6B  # odd, their bits well mixed


class Redrawing(NamedTuple):
    """The context of a :func:`redrawn` denoiser, which samplers make.

    Attributes:
        keys: uint32[rows, 2], a key for each row.
        context: what the wrapped denoiser is given beside its latent: a Guidance, or ``None``.
    """

    keys: UInt32[Array, "rows 2"]
    context: Context = None


class Redrawn(Wrapper):
    """What :func:`redrawn` makes. Its context is a :class:`Redrawing`."""

    @property
    def draws_by_tokens(self) -> bool:
        """That the latent is another for another input."""
        return True

    def begin(self, params: Params, keys: Any, context: Context = None) -> Context:
        """The rows' keys, as numbers."""
        given = context.context if isinstance(context, Guidance) else context
        require(given is None, "context", verbatim(type(given).__name__), "left out: latents are drawn at each step")
        return Redrawing(jax.random.key_data(keys), context)

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        wanted = f"keys for {tokens.shape[0]} rows, as samplers make them (models.begun)"
        require(isinstance(context, Redrawing), "context", verbatim(type(context).__name__), wanted)
        shape = jnp.shape(context.keys)
        require(shape == (tokens.shape[0], 2), "context", verbatim(f"keys of shape {shape}"), wanted)
        keys = jax.random.wrap_key_data(context.keys, impl="threefry2x32")
        keys = jax.vmap(jax.random.fold_in)(keys, _number_of(tokens))
        return self.denoiser.encode(params, tokens, begun(self.denoiser, params, keys, context.context))


def redrawn(denoiser: Denoiser) -> Redrawn:
    """A latent denoiser that draws its latents anew at each step of a sampler, as VADD does (Algorithm 2).

    The latents of a row are a function of the row's key and of the tokens that it holds: as soon as a step has changed
    anything they are others. Put other wrappers around this one, but :func:`~mdm_jax.models.guided` inside:
    ``redrawn(guided(model))``, so that both of its inputs see the same latent.

    Raises:
        InputError: a denoiser without latents, or one that is redrawn or averaged over already.

    Source: arXiv 2505.17384 (VADD).

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2)
        >>> params = model.init(mdm.key(0), length=8)
        >>> anew = mdm.models.redrawn(model)
        >>> out = mdm.sample(anew, params, mdm.plans.uniform(8, 4), rows=2, key=mdm.key(1))
        >>> out.nfe.tolist()
        [4, 4]
    """
    latent_model(denoiser)
    _require_latents_left(denoiser)
    return Redrawn(denoiser)


@dataclasses.dataclass(frozen=True)
class Marginal(Wrapper):
    """What :func:`marginal` makes. Hidden: those of all latents, one behind the other."""

    latents: int
    seed: int

    @property
    def passes(self) -> int:
        return self.latents * self.denoiser.passes

    def begin(self, params: Params, keys: Any, context: Context = None) -> Context:
        """Nothing: the latents are the same for every row and step."""
        return context

    def encode(self, params: Params, tokens: Tokens, context: Context = None) -> Hidden:
        require(context is None, "context", verbatim(type(context).__name__), "left out: latents are averaged over")
        rows, length = tokens.shape
        keys = jax.random.split(threefry(key_of(self.seed)), self.latents)
        drawn = begun(self.denoiser, params, keys)
        # A row's inputs lie side by side: where rows are split over devices, each keeps its own.
        every = jnp.broadcast_to(tokens[:, None], (rows, self.latents, length)).reshape(-1, length)
        latents = jax.tree.map(lambda leaf: jnp.tile(leaf, (rows, *(1,) * (leaf.ndim - 1))), drawn)
        hidden = self.denoiser.encode(params, every, latents).reshape(rows, self.latents, length, -1)
        return jnp.moveaxis(hidden, 1, 2).reshape(rows, length, -1)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        each = hidden.reshape(*hidden.shape[:-1], self.latents, hidden.shape[-1] // self.latents)
        log_probs = jax.nn.log_softmax(super().readout(params, each), axis=-1)
        return jax.nn.logsumexp(log_probs, axis=-2) - jnp.log(jnp.float32(self.latents))


def marginal(denoiser: Denoiser, latents: int = 16, seed: int = 0) -> Marginal:
    """A denoiser that predicts with the average over latents: ``mean over z of p(token | masked, z)``.

    It needs no context, so everything that takes a denoiser takes it: profiles, plans, exact laws. The latents are so
    many draws of the prior, the same for every row and step, which makes it one definite model. It costs ``latents``
    encodings. It is the right predictor, up to the number of draws, of a model whose latent does not depend on what is
    revealed already: one trained on ``LatentSurrogate`` or ``StepwiseLatentBound``.

    Args:
        denoiser: with latents.
        latents: how many draws of the prior.
        seed: of them.

    Raises:
        InputError: a denoiser without latents, or one that is redrawn or averaged over already; numbers that cannot be.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2)
        >>> params, average = model.init(mdm.key(0), length=8), mdm.models.marginal(model, latents=8)
        >>> mdm.models.logits(average, params, jnp.full((1, 8), model.mask_id)).shape, average.passes
        ((1, 8, 4), 8)
    """
    latent_model(denoiser)
    _require_latents_left(denoiser)
    return Marginal(denoiser, require_whole("latents", latents, 1, 2**16), require_whole("seed", seed, 0, 2**31 - 1))


def _require_latents_left(denoiser: Denoiser) -> None:
    """Refuse a model whose latents a wrapper deals with already: a second one would change nothing, or mislead."""
    done = next((layer for layer in layers(denoiser) if isinstance(layer, Redrawn | Marginal)), None)
    wanted = "the model without models.redrawn and models.marginal, which deal with its latents already"
    require(done is None, "denoiser", verbatim(type(done).__name__), wanted)


def _number_of(tokens: Int[Array, "rows length"]) -> UInt32[Array, " rows"]:
    """A number of each row's tokens, mixed well enough that two states of one row hardly ever share it."""
    place = jnp.arange(tokens.shape[1], dtype=jnp.uint32)
    factor = (place * jnp.uint32(_SPREAD) + jnp.uint32(_START)) | jnp.uint32(1)
    mixed = (tokens.astype(jnp.uint32) + jnp.uint32(1)) * factor[None, :]
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(_SPREAD)
    return jnp.sum(mixed ^ (mixed >> 13), axis=-1, dtype=jnp.uint32)
