"""Tokens and latents that are denoised jointly (LADD's joint form): a noisy latent, less so at each step."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdm_jax.models.adapters import fields_of
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.latent.denoiser import LatentDenoiser, Latents, Posterior, Recognising, latent_transformer
from mdm_jax.models.latent.network import LatentTransformer
from mdm_jax.models.latent.noising import Level, Normal, cleaner, given_copy, kl, noisy, thought
from mdm_jax.models.transformers import Transformer
from mdm_jax.support.errors import require, verbatim

_ZEROS = nn.initializers.zeros
_FAN_IN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_HALF = float(np.sqrt(0.5))


class NoisyLatent(NamedTuple):
    """The context of a :class:`JointDenoiser`: noisy copies of a row's latents at a step.

    At step ``k`` of ``steps`` a copy is ``signal * latent + noise * normal``, ``signal = sin(pi / 2 (k + 1) / steps)``,
    ``noise = cos(the same)``: clean at the last step.

    Attributes:
        copy: float32[rows, latents, size].
        step: int32[rows].
        steps: int32[rows], of the sampler, at least 1.
    """

    copy: Latents
    step: Int[Array, " rows"]
    steps: Int[Array, " rows"]


class JointTransformer(LatentTransformer):
    """The network of :func:`mdm_jax.models.joint_diffusion`: it sees noisy latents, and predicts latents as well."""

    def setup(self) -> None:
        super().setup()
        self.law_expand = nn.Dense(self.width, kernel_init=_FAN_IN)
        self.law_contract = nn.Dense(2 * self.latent_size, kernel_init=_ZEROS)

    def encode(self, tokens: Int[Array, "rows length"], context: Context = None) -> Float[Array, "rows length width"]:
        """Hidden vectors, every norm of position ``i`` modulated by noisy latent ``i // block`` and its level.

        The context is a :class:`NoisyLatent`.
        """
        wanted = (tokens.shape[0], self.latents, self.latent_size)
        fits = isinstance(context, NoisyLatent) and jnp.shape(context.copy) == wanted
        given = None if context is None else verbatim(type(context).__name__)
        require(fits, "context", given, f"a NoisyLatent of shape {wanted}; sampling.sample_jointly samples with one")
        assert isinstance(context, NoisyLatent)
        inner = jnp.square(nn.relu(self.latent_expand(_with_level(context))))
        modulating = context.copy + self.latent_contract(inner)
        return Transformer.encode(self, tokens, self._along(modulating, tokens.shape[1]))

    def latent_law(self, hidden: Float[Array, "rows length width"], context: NoisyLatent) -> tuple[Array, Array]:
        """Of hidden vectors and noisy latents: where the latent is thought to be, and how surely."""
        length = hidden.shape[1]
        block_of = np.arange(length) // (length if self.block is None else self.block)
        mine = (block_of[None, :] == np.arange(self.latents)[:, None]).astype(np.float32)
        share = mine / np.maximum(mine.sum(axis=1, keepdims=True), 1)
        pooled = jnp.einsum("bl,rlw->rbw", share.astype(hidden.dtype), hidden)
        seen = jnp.concatenate([pooled.astype(jnp.float32), _with_level(context)], axis=-1)
        made = self.law_contract(nn.silu(self.law_expand(seen))).astype(jnp.float32)
        shift, log_ratio = jnp.split(made, 2, axis=-1)
        return shift, log_ratio

    def whole(self, tokens: Array, told: Array, latents: Array) -> None:
        first = NoisyLatent(latents, jnp.zeros(len(latents), jnp.int32), jnp.ones(len(latents), jnp.int32))
        hidden = self.encode(tokens, first)
        self.readout(hidden)
        self.latent_law(hidden, first)
        self.recognise(tokens, told)


@dataclasses.dataclass(frozen=True)
class JointDenoiser(Recognising):
    """What :func:`joint_diffusion` makes: a denoiser whose context is a :class:`NoisyLatent`.

    One encoding tells both what the masked tokens are and what the latent is (:meth:`moved`).
    """

    module: JointTransformer
    _its_context: ClassVar[str] = "a joint denoiser's context is its noisy latent"

    def posterior(self, params: Params, tokens: Int[Array, "rows length"]) -> Posterior:
        """The recognition network: the law of the latents of whole sequences."""
        told = jnp.ones(tokens.shape, bool)
        return Posterior(*self._apply(params, tokens, told, method="recognise"))

    def start(self, noise: Latents, steps: Int[Array, " rows"]) -> NoisyLatent:
        """What a sampler of so many steps begins with: standard normal ``noise``."""
        return NoisyLatent(noise, jnp.zeros_like(steps), steps)

    def noised(
        self, posterior: Posterior, step: Int[Array, " rows"], steps: Int[Array, " rows"], noise: Latents
    ) -> NoisyLatent:
        """Noisy copies of latents of the posterior, made of standard normal ``noise``."""
        law = noisy(_normal(posterior), _level(step, steps))
        return NoisyLatent(law.mean + jnp.sqrt(law.variance) * noise, step, steps)

    def moved(self, params: Params, hidden: Array, context: NoisyLatent, noise: Latents) -> NoisyLatent:
        """The latents a step later, less noisy, drawn by standard normal ``noise``; at the last step they stay."""
        law = self._move(params, hidden, context)
        copy = jnp.where(_is_last(context), context.copy, law.mean + jnp.sqrt(law.variance) * noise)
        return NoisyLatent(copy, jnp.minimum(context.step + 1, context.steps - 1), context.steps)

    def kl_of_start(self, posterior: Posterior, steps: Int[Array, " rows"]) -> Float[Array, " rows"]:
        """Of the first copy in truth from standard normal noise, nats per row."""
        first = noisy(_normal(posterior), _level(jnp.zeros_like(steps), steps))
        return jnp.sum(kl(first, Normal(jnp.zeros_like(first.mean), jnp.ones_like(first.variance))), axis=(-2, -1))

    def kl_of_move(
        self, params: Params, hidden: Array, context: NoisyLatent, posterior: Posterior
    ) -> Float[Array, " rows"]:
        """Of the next copy in truth from what the model says, given this one: nats per row, 0 at the last step."""
        level, towards = _levels_of_move(context)
        truth = cleaner(given_copy(_normal(posterior), level, context.copy), level, context.copy, towards)
        each = kl(truth, self._move(params, hidden, context))
        return jnp.sum(jnp.where(_is_last(context), 0.0, each), axis=(-2, -1))

    def _move(self, params: Params, hidden: Array, context: NoisyLatent) -> Normal:
        """The model's law of the next copy; at the last step, where there is none, any law that is finite."""
        shift, log_ratio = self._apply(params, hidden, context, method="latent_law")
        level, towards = _levels_of_move(context)
        return cleaner(thought(level, context.copy, shift, log_ratio), level, context.copy, towards)


def joint_diffusion(model: Denoiser) -> JointDenoiser:
    """A latent transformer that denoises tokens and latents jointly.

    The latents begin as pure noise; each step reveals some tokens, given the noisy latents, and makes the latents less
    noisy, given the tokens that were there. ``training.JointLatentBound`` trains it, ``sampling.sample_jointly``
    samples. (The usual loops keep a context as it is while a row is sampled, so they do not take it, nor does what
    stands on them: ``evaluate``, ``race``, profiles.) The first tokens know the latent least; under
    :func:`~mdm_jax.models.diffusion_prior` the whole latent is there before the first token.

    Args:
        model: a :func:`latent_transformer` with the standard normal prior.

    Raises:
        InputError: another model, or a learned prior.

    Source: LADD (arXiv 2510.18114), the joint form, with a bound in place of its loss; ``training/DERIVATIONS.md``,
    "Tokens and latents denoised jointly".

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
        >>> joint = mdm.models.joint_diffusion(model)
        >>> params = joint.init(mdm.key(0), length=8)
        >>> noise, steps = jnp.zeros((2, *joint.latent_shape)), jnp.full(2, 4)
        >>> mdm.models.logits(joint, params, jnp.full((2, 8), joint.mask_id), joint.start(noise, steps)).shape
        (2, 8, 4)
    """
    plain = model if type(model) is LatentDenoiser else None
    require(plain is not None, "model", verbatim(type(model).__name__), "what models.latent_transformer makes")
    assert plain is not None
    module = plain.module
    require(module.prior == 0, "model", verbatim(f"one with prior={module.prior}"), "one with prior=0, left out")
    return JointDenoiser(JointTransformer(**fields_of(module)), model.vocab_size, model.mask_id)


def joint_transformer(**settings: Any) -> JointDenoiser:
    """A :func:`joint_diffusion` of a :func:`latent_transformer`, from all settings at once, as files keep them."""
    return joint_diffusion(latent_transformer(**settings))


def _normal(posterior: Posterior) -> Normal:
    return Normal(posterior.mean, jnp.exp(2 * posterior.log_scale))


def _is_last(context: NoisyLatent) -> Array:
    return (context.step + 1 >= context.steps)[:, None, None]


def _level(step: Array, steps: Array) -> Level:
    """The level at a step, [rows, 1, 1]; exactly clean at the last."""
    share = (step + 1).astype(jnp.float32) / steps.astype(jnp.float32)
    angle = jnp.float32(np.pi / 2) * share
    last = step + 1 >= steps
    signal, noise = jnp.where(last, 1.0, jnp.sin(angle)), jnp.where(last, 0.0, jnp.cos(angle))
    return Level(*(one.astype(jnp.float32)[:, None, None] for one in (signal, noise)))


def _levels_of_move(context: NoisyLatent) -> tuple[Level, Level]:
    """The levels of a step and of the next; where there is none, some that can be computed with."""
    level, last = _level(context.step, context.steps), _is_last(context)
    after = _level(context.step + 1, context.steps)
    return Level(*(jnp.where(last, jnp.float32(_HALF), one) for one in level)), after


def _with_level(context: NoisyLatent) -> Array:
    """A noisy latent and its level, [rows, latents, size + 2]."""
    level = _level(context.step, context.steps)
    shape = (*context.copy.shape[:-1], 1)
    return jnp.concatenate([context.copy, *(jnp.broadcast_to(one, shape) for one in level)], axis=-1)
