"""The ELBO of hybrid noise (GIDD): masks and wrong tokens, so that a model learns to correct what stands there.

The process is that of :mod:`mdm_jax.theory.schedules.hybrid`; the formulas here are those of ``DERIVATIONS.md``, "The
ELBO of hybrid noise", written so that float32 holds them up to both ends of time. With ``h = c / (N t)``, the noise on
one of ``N`` real tokens relative to ``alpha``, one token's cost at time ``t`` is

    share(z) (t K / C + IS(z)) / (t (1 - t)),   share(z) = {1, g, g h / (1 + h)},   g = gamma / 2 + (1 - t) (1 - gamma)

for ``z`` the mask, another token and the token itself. ``x^`` is what the model predicts, ``t K / C`` the divergence
of ``q(z | x)`` from ``q(z | x^)``, and ``IS = r - log r - 1`` the Itakura-Saito divergence of ``r``, the ratio of the
two at ``z``.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, logits
from mdm_jax.support.errors import require_choice
from mdm_jax.theory.schedules.hybrid import require_hybrid, uniform_odds
from mdm_jax.training.corruption import spread
from mdm_jax.training.losses import require_maskable
from mdm_jax.training.objective import Examples, Losses

WEIGHTS = ("elbo", "dynamic", "clipped")
"""How a token's cost is weighted in training."""
_MOST = 2.0
"""The largest weight of the two that are not the ELBO's (the published code's)."""
_LEAST_NOISE, _LEAST_TIME = 1e-28, 2.0**-24
_SERIES = 0.05
"""Below this the Itakura-Saito divergence is summed as a series, since its terms cancel."""


class Noised(NamedTuple):
    """Examples under hybrid noise.

    Attributes:
        tokens: int32[rows, length], what the model sees: tokens, wrong ones, masks.
        noise: float32[rows], ``1 - t``, which is known to all digits near the data.
        density: float32[rows], that of ``noise`` among the times drawn: costs are divided by it.
        bound: float32[rows], 1 where the weights are to be the ELBO's, else 0.
    """

    tokens: Int[Array, "rows length"]
    noise: Float[Array, " rows"]
    density: Float[Array, " rows"]
    bound: Float[Array, " rows"]


@dataclasses.dataclass(frozen=True)
class HybridNoise:
    """Hybrid noise (GIDD): a bound of ``-log p(tokens)`` of the process that also replaces tokens by others.

    Held-out rows are always scored by the ELBO's weights, so that their figure is a bound, whatever the training's
    weights are. The model is told no time: the bound holds for any function of what it sees, and the share of masks
    tells the time. With ``uniform=0`` it is the masked NELBO at random times.

    Attributes:
        uniform: the share of uniform noise at ``t = 1/2``, from 0 to .99; the paper's are 0, .1 and .2.
        weights: of the training loss. ``"elbo"``: the bound itself. ``"dynamic"``: the paper's, 2 for a mask, 1 for a
            wrong token and ``h``, at most 2, for a right one; ``"clipped"``: the ELBO's, at most 2. With these two the
            training loss is a **surrogate**, and the ELBO estimate is logged beside it as ``nelbo``. The clipped one's
            best prediction is not the law of the data but a flatter one.
        gamma: how much uniform noise there is towards the ends of time; see
            :func:`~mdm_jax.theory.schedules.hybrid_shares`.

    Raises:
        InputError: a share or a gamma beyond its range, no such weights.

    Source: arXiv 2503.04482 (GIDD); ``training/DERIVATIONS.md``, "The ELBO of hybrid noise" and "Times for hybrid
    noise".

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.HybridNoise(uniform=0.1, weights="dynamic")
        >>> objective.is_bound, objective.terms
        (True, ('nelbo',))
        >>> objective.describe()
        {'name': 'hybrid noise', 'uniform': 0.1, 'weights': 'dynamic', 'gamma': 1.0}
    """

    uniform: float = 0.2
    weights: str = "elbo"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        require_hybrid(self.uniform, self.gamma)
        require_choice("weights", self.weights, WEIGHTS)
        for name in ("uniform", "gamma"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def is_bound(self) -> bool:
        return True

    @property
    def terms(self) -> tuple[str, ...]:
        return () if self.weights == "elbo" else ("nelbo",)

    def describe(self) -> dict[str, Any]:
        return {"name": "hybrid noise", **dataclasses.asdict(self)}

    def context(self, given: Context) -> Context:
        return given

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Noised:
        time_key, coin_key, token_key = jax.random.split(key, 3)
        tokens = jnp.asarray(examples.tokens, jnp.int32)
        noise, density = noise_levels(spread(time_key, len(tokens)))
        amount = uniform_odds(1 - noise, noise, self.uniform, self.gamma)
        coin = _full_range(coin_key, tokens.shape) * (1 + amount)[:, None]
        real = real_tokens(denoiser)
        drawn = jax.random.randint(token_key, tokens.shape, 0, real, jnp.int32)
        drawn = jnp.where(drawn >= denoiser.mask_id, drawn + 1, drawn)
        is_masked, is_replaced = coin < noise[:, None], coin < (noise + amount)[:, None]
        seen = jnp.where(is_masked, denoiser.mask_id, jnp.where(is_replaced, drawn, tokens))
        scored = jnp.full(noise.shape, self.weights == "elbo") | (progress >= 1)
        return Noised(seen, noise, density, scored.astype(jnp.float32))

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Noised) -> Losses:
        require_maskable(denoiser)
        log_probs = jax.nn.log_softmax(logits(denoiser, params, corrupted.tokens, examples.context), axis=-1)
        tokens = jnp.asarray(examples.tokens, jnp.int32)
        is_masked = corrupted.tokens == denoiser.mask_id
        noise = corrupted.noise[:, None]
        real = real_tokens(denoiser)
        costs = token_costs(log_probs, tokens, corrupted.tokens, is_masked, noise, real, self.uniform, self.gamma)
        nelbo = jnp.sum(costs.nelbo, axis=-1) / corrupted.density
        if self.weights == "elbo":
            return Losses(nelbo, {})
        ratio = _dynamic(costs, noise) if self.weights == "dynamic" else _clipped(costs, noise)
        surrogate = jnp.sum(ratio * costs.nelbo, axis=-1) / corrupted.density
        return Losses(jnp.where(corrupted.bound == 1, nelbo, surrogate), {"nelbo": nelbo})


def real_tokens(denoiser: Denoiser) -> int:
    """How many tokens uniform noise draws from: all but the mask, should it lie among them."""
    return denoiser.vocab_size - (denoiser.mask_id < denoiser.vocab_size)


def noise_levels(spread: Float[Array, " rows"]) -> tuple[Float[Array, " rows"], Float[Array, " rows"]]:
    """Noise levels ``1 - t`` from numbers in [0, 1), and their density: half of them uniform, half near the data.

    The second half are fourth powers: a token's cost there is as rare as ``(1 - t)^(1/2)`` and as large as
    ``1 / (1 - t)``, so that its variance over uniform times is infinite.
    """
    twice = 2 * spread
    noise = jnp.where(spread < 0.5, twice, (twice - 1) ** 4)
    noise = jnp.clip(noise, _LEAST_NOISE, 1 - _LEAST_TIME)
    return noise, 0.5 + 0.125 * noise**-0.75


class Costs(NamedTuple):
    """What each token costs at the time and the noise that were drawn; see the head of this module.

    Attributes:
        nelbo: float32[rows, length], nats.
        share: float32[rows, length], the ELBO's weight times ``t (1 - t)``.
        each: float32[rows, 1], ``h``.
        slope: float32[rows, 1], ``g``.
        is_masked: bool[rows, length].
        is_right: bool[rows, length], whether the token itself is seen.
    """

    nelbo: Float[Array, "rows length"]
    share: Float[Array, "rows length"]
    each: Float[Array, "rows 1"]
    slope: Float[Array, "rows 1"]
    is_masked: Bool[Array, "rows length"]
    is_right: Bool[Array, "rows length"]


def token_costs(
    log_probs: Float[Array, "rows length vocab_size"],
    tokens: Int[Array, "rows length"],
    seen: Int[Array, "rows length"],
    is_masked: Bool[Array, "rows length"],
    noise: Float[Array, "rows 1"],
    real: int,
    uniform: float,
    gamma: float,
) -> Costs:
    """What each token costs at the time and the noise that were drawn, nats: the integrand of the ELBO.

    Args:
        log_probs: what the model predicts of ``seen``, normalised.
        tokens: the truth.
        seen: under noise.
        is_masked: where ``seen`` is the mask.
        noise: ``1 - t``.
        real: ``N``, tokens that uniform noise draws from.
        uniform: as in :class:`HybridNoise`.
        gamma: likewise.
    """
    time = 1 - noise
    ids = jnp.arange(log_probs.shape[-1], dtype=jnp.int32)[None, None, :]
    is_truth = tokens[..., None] == ids
    # A gather's gradient is a scatter; a comparison with the vocabulary fuses on every backend.
    of_truth = jnp.sum(jnp.where(is_truth, log_probs, 0.0), axis=-1)
    is_right = seen == tokens
    slope = gamma / 2 + noise * (1 - gamma)
    if uniform == 0:
        masked = is_masked.astype(of_truth.dtype)
        cost = jnp.where(is_masked, -of_truth / noise, 0.0)  # no product: what is seen may be ruled out, at no cost
        return Costs(cost, masked, jnp.zeros_like(noise), slope, is_masked, is_right)

    log_amount = gamma * math.log(2) + math.log(uniform) - math.log1p(-uniform)
    log_each = log_amount + (gamma / 2 - 1) * jnp.log(time) + gamma / 2 * jnp.log(noise) - math.log(real)
    each, total = jnp.exp(log_each), 1 + uniform_odds(time, noise, uniform, gamma)
    excess = log_probs - log_each[..., None]  # log(x^ / h)
    others = jnp.sum(jnp.where(is_truth, 0.0, jax.nn.softplus(excess)), axis=-1)
    both = jnp.logaddexp(of_truth, log_each)
    above = -jnp.expm1(of_truth) * jnp.exp(jnp.minimum(-both, 80.0))  # r - 1 of the token itself
    log_right = jnp.where(above < 1, jnp.log1p(jnp.minimum(above, 1.0)), jnp.log1p(each) - both)
    divergence = ((1 + each) * log_right - each * others) / total  # K / C

    at_seen = jnp.sum(jnp.where(seen[..., None] == ids, excess, 0.0), axis=-1)
    wrong = _near_one(-jax.nn.softplus(at_seen), jax.nn.softplus(at_seen) - jax.nn.sigmoid(at_seen))
    # Of the token itself h IS, since r may be as large as 1 / h.
    step = -jnp.expm1(of_truth) * jax.nn.sigmoid(log_each - of_truth)  # h (r - 1)
    right = jnp.where(jnp.abs(log_right) < _SERIES, each * _series(log_right), step - each * log_right)
    spot = jnp.where(is_masked, 0.0, slope * jnp.where(is_right, right / (1 + each), wrong))
    share = jnp.where(is_masked, 1.0, slope * jnp.where(is_right, each / (1 + each), 1.0))
    return Costs((share * divergence + spot / time) / noise, share, each, slope, is_masked, is_right)


def _near_one(log_ratio: Array, itakura: Array) -> Array:
    """``r - log r - 1`` of ``log r``, by its series where the ratio is near 1."""
    return jnp.where(jnp.abs(log_ratio) < _SERIES, _series(log_ratio), itakura)


def _series(log_ratio: Array) -> Array:
    """``e^y - y - 1`` for small ``y``."""
    y = jnp.clip(log_ratio, -1, 1)  # where it is not taken its slope must be finite too
    return y**2 * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y / 720))))


def _dynamic(costs: Costs, noise: Array) -> Array:
    """The paper's weights over the ELBO's: 2, 1 and ``h`` (at most 2) for a mask, a wrong token and a right one."""
    both = noise * (1 - noise)
    most = jnp.minimum(1.0, _MOST / jnp.maximum(costs.each, 1.0))
    wrong = both / costs.slope
    return jnp.where(costs.is_masked, _MOST * both, jnp.where(costs.is_right, wrong * (1 + costs.each) * most, wrong))


def _clipped(costs: Costs, noise: Array) -> Array:
    """The ELBO's weights, none above 2, over the ELBO's weights."""
    both = noise * (1 - noise)
    return jnp.minimum(1.0, _MOST * both / jnp.maximum(costs.share, jnp.finfo(costs.share.dtype).tiny))


def _full_range(key: PRNGKeyArray, shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """Numbers in [0, 1] from 64 bits: small ones keep 24 digits down to 2^-40, so that rare noise is as rare as it is.

    The usual ones are 0 with probability 2^-23: near the data a mask would be drawn more often than its weight knows.
    """
    bits = jax.random.bits(key, (*shape, 2), jnp.uint32)
    high, low = bits[..., 0].astype(jnp.float32), bits[..., 1].astype(jnp.float32)
    return high * jnp.float32(2.0**-32) + (low + 1.0) * jnp.float32(2.0**-64)
