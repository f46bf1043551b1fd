"""Whether a latent has collapsed: figures of held-out rows for the live log."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.models.latent import LatentModel
from mdm_jax.training.losses import in_chunks

ACTIVE = 0.01
"""A latent's number is active if the variance of its mean over the data is above this (arXiv 1509.00519)."""
COLLAPSED = 0.1
"""Nats per sequence: of latents whose KL is less, or of which nothing differs, the model makes next to no use."""
_PAIRS = 16
"""Pairs of tokens whose mutual information is looked at."""
_LATENTS = 64
"""Draws of the prior that it is estimated by."""


def collapse(
    denoiser: Denoiser, model: LatentModel, params: Params, tokens: Int[Array, "rows length"], key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """Whether the latent has collapsed: each figure is near 0 where it has.

    Args:
        denoiser: what predicts.
        model: its latent model.
        params: its parameters.
        tokens: held-out rows.
        key: of the latents.

    Returns:
        "kl_nats": KL of ``q(latent | sequence)`` from the prior, a row's mean. "active_units": numbers of the latent
        whose posterior mean varies over the rows. "pair_information_nats": mutual information of two tokens, predicted
        of nothing but masks, over draws of the prior: what a step that reveals both can know of how they depend.
    """
    noise_key, latent_key, pair_key = jax.random.split(key, 3)
    posterior = in_chunks(lambda some: model.posterior(params, some, jnp.ones(some.shape, bool)), (tokens,))
    noise = jax.random.normal(noise_key, (len(tokens), *model.latent_shape), jnp.float32)
    kl = model.kl(params, posterior, posterior.sample(noise))
    return {
        "kl_nats": jnp.mean(kl),
        "active_units": jnp.sum(jnp.var(posterior.mean, axis=0) > ACTIVE).astype(jnp.float32),
        "pair_information_nats": pair_information(denoiser, model, params, tokens.shape[1], latent_key, pair_key),
    }


def has_collapsed(kl_nats: float | None, active_units: float | None) -> bool:
    """Whether a model makes next to no use of its latent; not of figures that are not there."""
    if kl_nats is None or active_units is None:
        return False
    return kl_nats < COLLAPSED or active_units == 0


def pair_information(
    denoiser: Denoiser,
    model: LatentModel,
    params: Params,
    length: int,
    latent_key: PRNGKeyArray,
    pair_key: PRNGKeyArray,
) -> Float[Array, ""]:
    """Mutual information of two tokens, predicted of a fully masked sequence, in nats: a mean over random pairs.

    Of the mixture over ``_LATENTS`` draws of the prior, estimated by a draw of both tokens for each latent. 0 where
    the latent changes nothing; a mixture of so few says at most their logarithm.
    """
    first = jax.random.randint(pair_key, (_PAIRS,), 0, length)
    second = (first + jax.random.randint(jax.random.fold_in(pair_key, 1), (_PAIRS,), 1, length)) % length
    draw_key, token_key = jax.random.split(latent_key)
    latents = model.begin(params, jax.random.split(draw_key, _LATENTS))
    masks = jnp.full((_LATENTS, length), denoiser.mask_id, jnp.int32)
    # Only what is looked at is read out: all positions of all latents are too much where the vocabulary is large.
    hidden = denoiser.encode(params, masks, latents)[:, jnp.concatenate([first, second])]
    law = jax.nn.log_softmax(denoiser.readout(params, hidden), axis=-1)
    drawn = jax.random.categorical(token_key, law, axis=-1)
    # [draw, latent, position]: how likely what one latent has drawn is under every other.
    crossed = jnp.take_along_axis(law[None], drawn[:, None, :, None], axis=-1)[..., 0]
    alone = jax.nn.logsumexp(crossed, axis=1)
    both = jax.nn.logsumexp(crossed[..., :_PAIRS] + crossed[..., _PAIRS:], axis=1)
    return jnp.mean(both - alone[:, :_PAIRS] - alone[:, _PAIRS:]) + jnp.log(jnp.float32(_LATENTS))
