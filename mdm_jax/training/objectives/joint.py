"""The objective of tokens and latents that are denoised jointly (LADD's joint form), as a bound.

``DERIVATIONS.md``, "Tokens and latents denoised jointly".
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, layers
from mdm_jax.models.latent import JointDenoiser
from mdm_jax.support.errors import require, require_number, require_whole, verbatim
from mdm_jax.training.corruption import mask_steps
from mdm_jax.training.objective import Examples, Losses
from mdm_jax.training.objectives.latents import warm


class Between(NamedTuple):
    """Examples as they are before a step of the sampler.

    Attributes:
        tokens: int32[rows, length], what is revealed, and masks.
        revealed: bool[rows, length], what the step is to reveal.
        step: int32[rows].
        kl_weight: float32[rows], of the latents' divergences: 1, less while they warm up.
        noise: float32[rows, latents, size], standard normal.
    """

    tokens: Int[Array, "rows length"]
    revealed: Bool[Array, "rows length"]
    step: Int[Array, " rows"]
    kl_weight: Float[Array, " rows"]
    noise: Float[Array, "rows latents size"]


@dataclasses.dataclass(frozen=True)
class JointLatentBound:
    """A bound of ``-log p(tokens)`` for ``steps`` equal steps in random order, in each of which latents move as well.

    ``KL(q(y_0 | x) || N(0, I)) + sum_k E[- sum over U_k log p(token | x_k, y_k) + KL(q(y_{k+1} | y_k, x) || p(y_{k+1} |
    y_k, x_k))]``: step ``k`` reveals ``U_k`` to the tokens ``x_k``, given latents ``y_k`` that are clean at the last
    step. One step is a variational autoencoder. A row is seen at one step of them; the latents are drawn from the
    recognition network, which sees the whole row.

    Attributes:
        steps: of the sampler: those of ``plans.uniform(length, steps)``. At most the length.
        warmup: fraction of the training over which the weight of the latents' divergences rises from 0 to 1, in a
            straight line (LADD's warm-up of the latent loss). The training loss is below the bound until then;
            held-out rows are scored by the bound.

    Source: LADD (arXiv 2510.18114), whose loss weighs tokens and latents freely and is no bound;
    ``training/DERIVATIONS.md``, "Tokens and latents denoised jointly" (ours).

    Example:
        >>> import mdm_jax as mdm
        >>> objective = mdm.training.JointLatentBound(steps=8)
        >>> objective.is_bound, objective.describe()
        (True, {'name': 'joint latent bound', 'steps': 8, 'warmup': 0.3})
    """

    steps: int = 8
    warmup: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", require_whole("steps", self.steps, 1, 2**31 - 1))
        require_number("warmup", self.warmup, 0.0, 1.0, "from 0 to 1")
        object.__setattr__(self, "warmup", float(self.warmup))

    @property
    def is_bound(self) -> bool:
        return True

    @property
    def terms(self) -> tuple[str, ...]:
        return ("kl",)

    def describe(self) -> dict[str, Any]:
        return {"name": "joint latent bound", **dataclasses.asdict(self)}

    def context(self, given: Context) -> Context:
        """None: the denoiser's context is the noisy latent, and its parameters are made without one."""
        require(given is None, "context", verbatim(type(given).__name__), "left out: the noisy latent has its place")
        return None

    def corrupt(self, key: PRNGKeyArray, denoiser: Denoiser, examples: Examples, progress: Float[Array, ""]) -> Between:
        step_key, order_key, noise_key = jax.random.split(key, 3)
        known = jnp.asarray(examples.tokens, jnp.int32)
        rows = len(known)
        step, masked, later = mask_steps(step_key, order_key, len(known), known.shape[1], self.steps)
        weight = jnp.broadcast_to(warm(self.warmup, progress), (rows,))
        noise = jax.random.normal(noise_key, (rows, *joint_model(denoiser).latent_shape), jnp.float32)
        seen = jnp.where(masked, denoiser.mask_id, known)
        return Between(seen, masked & ~later, step, weight, noise)

    def losses(self, denoiser: Denoiser, params: Params, examples: Examples, corrupted: Between) -> Losses:
        model = joint_model(denoiser)
        tokens = jnp.asarray(examples.tokens, jnp.int32)
        steps = jnp.full_like(corrupted.step, self.steps)
        posterior = model.posterior(params, tokens)
        latent = model.noised(posterior, corrupted.step, steps, corrupted.noise)
        hidden = model.encode(params, corrupted.tokens, latent)
        log_probs = jax.nn.log_softmax(denoiser.readout(params, hidden), axis=-1)
        # A gather's gradient is a scatter; a comparison with the vocabulary fuses on every backend.
        hit = tokens[:, :, None] == jnp.arange(denoiser.vocab_size, dtype=jnp.int32)[None, None, :]
        chosen = corrupted.revealed[:, :, None] & hit
        cost = -jnp.sum(jnp.where(chosen, log_probs, 0.0), axis=(-2, -1))
        moves = model.kl_of_move(params, hidden, latent, posterior)
        kl = model.kl_of_start(posterior, steps) + self.steps * moves
        return Losses(self.steps * cost + corrupted.kl_weight * kl, {"kl": kl})


def joint_model(denoiser: Denoiser) -> JointDenoiser:
    """The joint denoiser that a denoiser is.

    Raises:
        InputError: it is none, or wrapped in one that changes what it predicts.
    """
    found = next((layer for layer in layers(denoiser) if isinstance(layer, JointDenoiser)), None)
    shown = verbatim(type(denoiser).__name__)
    require(found is denoiser and found is not None, "denoiser", shown, "what models.joint_diffusion makes, unwrapped")
    assert found is not None
    return found
