"""Latent denoisers (VMD, VADD): what tokens revealed together share is carried by a latent."""

from mdm_jax.models.latent.denoiser import LatentDenoiser, LatentModel, Posterior, latent_model, latent_transformer
from mdm_jax.models.latent.diffusion import (
    DiffusionPrior,
    DiffusionPriorTransformer,
    diffusion_prior,
    diffusion_prior_transformer,
)
from mdm_jax.models.latent.joint import (
    JointDenoiser,
    JointTransformer,
    NoisyLatent,
    joint_diffusion,
    joint_transformer,
)
from mdm_jax.models.latent.network import LatentTransformer
from mdm_jax.models.latent.wrappers import Marginal, Redrawn, marginal, redrawn

__all__ = [
    "DiffusionPrior",
    "DiffusionPriorTransformer",
    "JointDenoiser",
    "JointTransformer",
    "LatentDenoiser",
    "LatentModel",
    "LatentTransformer",
    "Marginal",
    "NoisyLatent",
    "Posterior",
    "Redrawn",
    "diffusion_prior",
    "diffusion_prior_transformer",
    "joint_diffusion",
    "joint_transformer",
    "latent_model",
    "latent_transformer",
    "marginal",
    "redrawn",
]
