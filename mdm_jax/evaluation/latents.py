"""Models with latents: latents of given sequences, and the profile that goes with them.

A sampler that draws a latent before its first step reveals tokens by a model that knows the latent; so the profile of a
plan is measured with a latent that belongs to each sequence, one of the recognition network's. What that latent told in
advance is added once: its KL from the prior (``exact/DERIVATIONS.md``, "A plan with one latent costs its profile and
the KL").
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import known_positions, reference_length, sequences
from mdm_jax.evaluation.measuring import Until, checked_until, chosen_counts, estimate_profile
from mdm_jax.models.denoiser import Denoiser, Params, require_model
from mdm_jax.models.latent import LatentModel, Posterior, latent_model, marginal
from mdm_jax.support.errors import require_choice
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.statistics import standard_error
from mdm_jax.theory.profiles import Profile
from mdm_jax.training.losses import in_chunks

PREDICTORS = ("fixed", "marginal")


class RowLatents(NamedTuple):
    """What :func:`posterior_latents` draws.

    Attributes:
        latents: float32[rows, latents, size], a context for each row.
        kl: float64[rows], nats: how much the recognition network told by it, measured from the prior.
    """

    latents: Float32[np.ndarray, "rows latents size"]
    kl: Float64[np.ndarray, " rows"]


@usual()
def posterior_latents(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    *,
    key: PRNGKeyArray,
    given: Bool[np.ndarray, "*rows length"] | None = None,
) -> RowLatents:
    """A latent for each sequence from the recognition network, which is told the whole of it.

    As ``context`` of ``estimate_profile`` and ``path_nelbo`` they measure what a sampler reveals that keeps one latent.

    Args:
        denoiser: a model with latents.
        params: its parameters.
        tokens: int32[rows, length].
        key: a typed PRNG key; the latent of row ``r`` depends on it and on ``r`` alone.
        given: bool[length] or bool[rows, length], positions that are known from the start: the latent is to tell of
            the others, the network sees all.

    Returns:
        :class:`RowLatents`: the latents, and the KL of each row. Where the prior is learned the KL is an unbiased
        estimate by the latent itself.

    Raises:
        InputError: a denoiser without latents, no rows, an id that is no token's, positions of another shape.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(2, length=4, width=16, depth=1, heads=2, latent_size=3)
        >>> params, rows = model.init(mdm.key(0), length=4), np.ones((2, 4), int)
        >>> latents, kl = mdm.evaluation.posterior_latents(model, params, rows, key=mdm.key(1))
        >>> latents.shape, kl.shape
        ((2, 1, 3), (2,))
        >>> profile = mdm.estimate_profile(model, params, rows, 16, key=mdm.key(2), context=latents)
        >>> profile.length
        4
    """
    require_model(denoiser, params)
    model = latent_model(denoiser)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    known, _ = known_positions(given, tokens)
    latents, kl = _drawn(model, params, jnp.asarray(tokens), jnp.asarray(~known), key)
    return RowLatents(np.asarray(latents), np.asarray(kl, np.float64))


@usual()
def latent_profile(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    encodings: int = 4096,
    *,
    key: PRNGKeyArray,
    predictor: str = "fixed",
    latents: int = 16,
    counts: Int[np.ndarray, " m"] | None = None,
    estimator: str = "loss",
    given: Bool[np.ndarray, "*rows length"] | None = None,
    until: float | int | Until | None = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """Measure the profile of a model with latents: of samplers that keep one, or of the mean over all.

    * ``"fixed"``: each sequence with a latent of its own (:func:`posterior_latents`). For a sampler that draws one
      latent from the prior and then follows a plan in random order, ``KL + sum_k n_k g(N_{k-1})`` bounds
      ``-log p(tokens)``. The KL is the same for every plan, so plans are compared, and tuned, without it. The profile's
      ``provenance`` has it: "kl_nats", "kl_standard_error".
    * ``"marginal"``: the mean over ``latents`` draws of the prior predicts (``models.marginal``), an ordinary denoiser:
      nothing is added. It does not see what a latent tells of tokens that are revealed together.

    Args:
        denoiser: a model with latents.
        params: its parameters.
        tokens: as for :func:`~mdm_jax.evaluation.estimate_profile`.
        encodings: likewise; those of the recognition network, one for each sequence, and of the ``latents`` of a
            marginal come on top.
        key: a typed PRNG key.
        predictor: "fixed" or "marginal".
        latents: of the marginal.
        counts: as for ``estimate_profile``.
        estimator: likewise. The falls of "increments" are exact if the model and its posterior are.
        given: likewise.
        until: likewise. The error is that of the tokens' cost, without the KL.
        progress: show a progress bar.
        provenance: JSON to store with the profile.

    Returns:
        A profile in nats per token; ``provenance["latent"]`` is the predictor.

    Raises:
        InputError: a denoiser without latents, another predictor, or what ``estimate_profile`` refuses.

    Source: ``exact/DERIVATIONS.md``, "A plan with one latent costs its profile and the KL" (ours).

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(2, length=4, width=16, depth=1, heads=2, latent_size=3)
        >>> params, rows = model.init(mdm.key(0), length=4), np.ones((4, 4), int)
        >>> profile = mdm.evaluation.latent_profile(model, params, rows, 32, key=mdm.key(1))
        >>> profile.provenance["latent"], profile.provenance["kl_nats"] > 0
        ('fixed', True)
        >>> average = mdm.evaluation.latent_profile(model, params, rows, 32, key=mdm.key(1), predictor="marginal")
        >>> average.provenance["latent"], average.provenance["latents"]
        ('marginal', 16)
    """
    require_model(denoiser, params)
    latent_model(denoiser)
    require_choice("predictor", predictor, PREDICTORS)
    asked: dict[str, Any] = {"counts": counts, "estimator": estimator, "until": until, "progress": progress}
    if predictor == "marginal":
        average, about = marginal(denoiser, latents), {"latent": "marginal", "latents": latents, **(provenance or {})}
        return estimate_profile(average, params, tokens, encodings, key=key, given=given, provenance=about, **asked)
    tokens = sequences(denoiser, tokens, least=2)
    known, left = known_positions(given, tokens)
    free, _ = reference_length(left, tokens.shape[1])
    latent_key, rows_key, key = jax.random.split(threefry(key), 3)
    enough = checked_until(until, free, encodings)
    looked_at = chosen_counts(encodings, free, counts, most=None if enough is None else enough.counts)
    rows = min(len(tokens), (encodings if enough is None else enough.most_encodings) // len(looked_at))
    if rows < len(tokens):  # the recognition network sees no more of them than the profile does
        chosen = np.sort(np.asarray(jax.random.permutation(rows_key, len(tokens)))[:rows])
        tokens, known = tokens[chosen], known[chosen]
    drawn = posterior_latents(denoiser, params, tokens, key=latent_key, given=known)
    about = {"latent": "fixed", "kl_nats": float(drawn.kl.mean()), "kl_standard_error": standard_error(drawn.kl)}
    return estimate_profile(
        denoiser,
        params,
        tokens,
        encodings,
        key=key,
        given=None if given is None else known,
        context=drawn.latents,
        provenance={**about, **(provenance or {})},
        **asked,
    )


def row_noise(
    key: PRNGKeyArray, rows: Int[Array, " rows"], shape: tuple[int, int]
) -> Float[Array, "rows latents size"]:
    """Standard normal numbers of each row, by its number alone."""
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)
    return jax.vmap(lambda one: jax.random.normal(one, shape, jnp.float32))(keys)


@functools.partial(jax.jit, static_argnames="model")
def _drawn(
    model: LatentModel, params: Params, tokens: Array, told: Array, key: PRNGKeyArray
) -> tuple[Float[Array, "rows latents size"], Float[Array, " rows"]]:
    noise = row_noise(key, jnp.arange(len(tokens), dtype=jnp.int32), model.latent_shape)

    def of_rows(tokens: Array, told: Array, noise: Array) -> tuple[Array, Array]:
        law: Posterior = model.posterior(params, tokens, told)
        latents = law.sample(noise)
        return latents, model.kl(params, law, latents)

    return in_chunks(of_rows, (tokens, told, noise))
