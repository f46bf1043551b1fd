"""Objectives of latent denoisers: the surrogate of VMD and VADD, and two that are bounds.

Each draws mask counts as the masked NELBO does, a latent from the recognition network, and adds the KL of that from
the prior. They differ in what the latent is to tell, and so in which sampler's likelihood they bound, if any
(``DERIVATIONS.md``, "A latent for the whole sequence", "A latent for each step" and "The surrogate is no bound").
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, layers
from mdm_jax.models.latent import LatentModel, Marginal, Redrawn, latent_model
from mdm_jax.support.errors import require, require_number, require_whole, verbatim
from mdm_jax.training.corruption import mask_counts, mask_steps
from mdm_jax.training.losses import masked_cross_entropy
from mdm_jax.training.objective import Examples, Losses
from mdm_jax.training.objectives.collapse import collapse

_NATS_PER_BIT = 0.6931471805599453


class Told(NamedTuple):
    """Masked examples, and what their latents are to tell.

    Attributes:
        tokens: int32[rows, length], what the denoiser sees.
        known: int32[rows, length], what the recognition network sees.
        scored: bool[rows, length], what the denoiser is to predict.
        told: bool[rows, length], what the latent is to tell of.
        weight: float32[rows], of the scored cross-entropies.
        kl_weight: float32[rows], of the KL, the warm-up included.
        noise: float32[rows, draws, latents, size], standard normal.
    """

    tokens: Int[Array, "rows length"]
    known: Int[Array, "rows length"]
    scored: Bool[Array, "rows length"]
    told: Bool[Array, "rows length"]
    weight: Float[Array, " rows"]
    kl_weight: Float[Array, " rows"]
    noise: Float[Array, "rows draws latents size"]


@dataclasses.dataclass(frozen=True)
class LatentObjective:
    """What the three have in common.

    Attributes:
        warmup: fraction of the training over which the weight of the KL rises from 0 to 1, in a straight line (KL
            annealing). Held-out rows are scored at 1. After a short one the latent may collapse.
        free_bits: bits of the KL of a whole sequence that cost nothing, and of a part of one in proportion: the loss
            counts ``max(KL, free bits)``, so a bound stays one (arXiv 1606.04934). What is free may depend on what is
            seen already, and a latent drawn from the prior then contradicts it: prefer a slow ``warmup``.
    """

    warmup: float = 1.0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        for name, least, most in (("warmup", 0.0, 1.0), ("free_bits", 0.0, 1e6)):
            require_number(name, getattr(self, name), least, most, f"from {least:g} to {most:g}")
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def terms(self) -> tuple[str, ...]:
        return ("kl",)

    def describe(self) -> dict[str, Any]:
        return {"name": NAMES[type(self)], **dataclasses.asdict(self)}

    def context(self, given: Context) -> Context:
        """None: the denoiser's context is the latent, and its parameters are made without one."""
        require(given is None, "context", verbatim(type(given).__name__), "left out: the latent has its place")
        return None

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Told) -> Losses:
        model = trained_model(denoiser)
        posterior = model.posterior(params, corrupted.known, corrupted.told)
        seen = corrupted.tokens, corrupted.scored

        def cost(latent: Array) -> Array:
            return jnp.sum(masked_cross_entropy(denoiser, params, examples.tokens, *seen, latent), axis=-1)

        draws = corrupted.noise.shape[1]
        if draws == 1:
            latent = posterior.sample(corrupted.noise[:, 0])
            kl = model.kl(params, posterior, latent)
            # Without free bits nothing is cut off: an estimate of a KL may be negative, and its mean is what counts.
            share = jnp.mean(corrupted.told, axis=-1, dtype=jnp.float32)
            least = self.free_bits * jnp.float32(_NATS_PER_BIT) * share
            counted = kl if self.free_bits == 0 else jnp.maximum(kl, least)
            return Losses(corrupted.weight * cost(latent) + corrupted.kl_weight * counted, {"kl": kl})

        def both(noise: Array) -> tuple[Array, Array]:
            latent = posterior.sample(noise)
            return cost(latent), posterior.log_prob(latent) - model.log_prior(params, latent)

        costs, ratios = jax.vmap(both, in_axes=1)(corrupted.noise)
        # The mean over draws is inside the logarithm, and the weight of the step outside of it.
        scale = corrupted.weight[None]
        weighted = scale * costs + corrupted.kl_weight[None] * ratios
        inside = jax.nn.logsumexp(-weighted / scale, axis=0) - jnp.log(jnp.float32(draws))
        return Losses(-corrupted.weight * inside, {"kl": jnp.mean(ratios, axis=0)})

    def monitor(
        self, denoiser: Denoiser, params: Params, examples: Examples, key: PRNGKeyArray
    ) -> dict[str, Float[Array, ""]]:
        """Whether the latent has collapsed: :func:`~mdm_jax.training.objectives.collapse.collapse`."""
        return collapse(denoiser, trained_model(denoiser), params, jnp.asarray(examples.tokens), key)


@dataclasses.dataclass(frozen=True)
class _Drawing(LatentObjective):
    """One latent for what a step reveals: its likelihood may be bounded more tightly by several draws.

    Attributes:
        draws: latents of the recognition network for each example. More than one: the importance-weighted bound
            (arXiv 1509.00519; ``training/DERIVATIONS.md``, "Several latents for each example") of what the step
            reveals, which is tighter and costs as many passes of the denoiser.
    """

    draws: int = dataclasses.field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "draws", require_whole("draws", self.draws, 1, 2**16))
        alone = self.draws == 1 or self.free_bits == 0
        require(alone, "free_bits", self.free_bits, "0 where there are several draws, whose KL is not counted apart")


@dataclasses.dataclass(frozen=True)
class LatentSurrogate(_Drawing):
    """The objective of VMD and VADD ("DELBO"): good for samplers of few steps, and **no bound** of the likelihood.

    ``E_n[length / n (- sum over masked log p(token | masked, z) + KL(q(z | tokens, mask) || p(z)))]``, ``n`` tokens
    being masked. It values every mask as if one step revealed all of it; a sampler that draws its latent anew does not
    reveal it so, and may cost more than this says (for two equal tokens it is half of their entropy).

    Source: arXiv 2510.23606 (VMD), arXiv 2505.17384 (VADD, equation 9); ``training/DERIVATIONS.md``, "The surrogate is
    no bound".

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.LatentSurrogate(warmup=0.5)
        >>> objective.is_bound, objective.describe()
        (False, {'name': 'latent surrogate', 'warmup': 0.5, 'free_bits': 0.0, 'draws': 1})
    """

    @property
    def is_bound(self) -> bool:
        return False

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Told:
        mask_key, noise_key = jax.random.split(key)
        tokens, masked, weight, _ = mask_counts(mask_key, examples.tokens, denoiser.mask_id)
        known = jnp.asarray(examples.tokens, jnp.int32)
        noise = _noise(noise_key, len(known), self.draws, trained_model(denoiser).latent_shape)
        return Told(tokens, known, masked, masked, weight, weight * warm(self.warmup, progress), noise)


@dataclasses.dataclass(frozen=True)
class FixedLatentBound(LatentObjective):
    """A bound of ``-log p(tokens)`` for sampling with one latent, drawn before the first step and kept.

    ``E_{z ~ q(z | tokens)}[E_n[length / n (- sum over masked log p(token | masked, z))]] + KL(q(z | tokens) || p(z))``:
    one KL for the whole sequence. It is the masked NELBO of a mixture: of one token at a time in random order, and so
    of ancestral sampling in the limit of many steps; ``estimate_profile`` with latents of the posterior tells what a
    plan of fewer costs. Held-out rows are scored by it; while the KL warms up, the training loss is below it.

    Source: ``training/DERIVATIONS.md``, "A latent for the whole sequence" (ours); what it does to the latent, "Why the
    fixed-latent bound collapses the latent".

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.training.FixedLatentBound().is_bound
        True
    """

    @property
    def is_bound(self) -> bool:
        return True

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Told:
        mask_key, noise_key = jax.random.split(key)
        tokens, masked, weight, _ = mask_counts(mask_key, examples.tokens, denoiser.mask_id)
        known = jnp.asarray(examples.tokens, jnp.int32)
        noise = _noise(noise_key, len(known), 1, trained_model(denoiser).latent_shape)
        once = jnp.ones_like(weight) * warm(self.warmup, progress)
        return Told(tokens, known, masked, jnp.ones_like(masked), weight, once, noise)


@dataclasses.dataclass(frozen=True)
class StepwiseLatentBound(_Drawing):
    """A bound of ``-log p(tokens)`` for ``steps`` equal steps in random order, the latent drawn anew at each.

    ``sum_k E_{z ~ q(z | U_k, seen)}[- sum over U_k log p(token | seen, z)] + KL(q || p(z))``, where step ``k`` reveals
    the tokens ``U_k`` to those seen before. One step is a variational autoencoder; as many steps as tokens have no use
    of a latent.

    Attributes:
        steps: of the sampler, whose sizes are those of ``plans.uniform(length, steps)``. At most the length.

    Source: ``training/DERIVATIONS.md``, "A latent for each step" (ours).

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.training.StepwiseLatentBound(steps=4).describe()["steps"]
        4
    """

    steps: int = dataclasses.field(default=4, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", require_whole("steps", self.steps, 1, 2**31 - 1))

    @property
    def is_bound(self) -> bool:
        return True

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Told:
        step_key, order_key, noise_key = jax.random.split(key, 3)
        known = jnp.asarray(examples.tokens, jnp.int32)
        _, masked, later = mask_steps(step_key, order_key, len(known), known.shape[1], self.steps)
        told = masked & ~later
        weight = jnp.full(len(known), self.steps, jnp.float32)
        noise = _noise(noise_key, len(known), self.draws, trained_model(denoiser).latent_shape)
        seen, both = (jnp.where(hidden, denoiser.mask_id, known) for hidden in (masked, later))
        return Told(seen, both, told, told, weight, weight * warm(self.warmup, progress), noise)


NAMES: dict[type, str] = {
    LatentSurrogate: "latent surrogate",
    FixedLatentBound: "fixed-latent bound",
    StepwiseLatentBound: "stepwise latent bound",
}
"""What a run's configuration calls them."""


def trained_model(denoiser: Denoiser) -> LatentModel:
    """The latent model that a denoiser is, or that it wraps.

    Raises:
        InputError: there is none, or the denoiser does not take the latent that it is trained with.
    """
    model = latent_model(denoiser)
    wrapped = next((layer for layer in layers(denoiser) if isinstance(layer, Redrawn | Marginal)), None)
    shown = None if wrapped is None else verbatim(type(wrapped).__name__)
    require(
        wrapped is None, "denoiser", shown, "the latent model: redrawn and marginal are for what is trained already"
    )
    return model


def warm(warmup: float, progress: Float[Array, ""]) -> Float[Array, ""]:
    """The weight of a KL that rises in a straight line, from 0 to 1 over the fraction ``warmup`` of the training."""
    if warmup == 0:
        return jnp.ones((), jnp.float32)
    return jnp.minimum(jnp.asarray(progress, jnp.float32) / warmup, 1.0)


def _noise(key: PRNGKeyArray, rows: int, draws: int, shape: tuple[int, int]) -> Array:
    return jax.random.normal(key, (rows, draws, *shape), jnp.float32)
