"""Models: the denoiser contract, adapters to it, wrappers around it, and a transformer that meets it."""

from mdm_jax.models.adapters import from_function, from_linen, from_nnx
from mdm_jax.models.cached import (
    AnyOrderDenoiser,
    BlockCausalDenoiser,
    any_order,
    block_causal,
)
from mdm_jax.models.calibrating import calibrated
from mdm_jax.models.classes import check_labels, classes_of, label_context, no_label
from mdm_jax.models.denoiser import (
    Context,
    Denoiser,
    Initialisable,
    Params,
    begun,
    checked_tokens,
    logits,
    takes_absent,
)
from mdm_jax.models.describing import describe, from_description, is_pretrained
from mdm_jax.models.exporting import export_parameters, load_exported
from mdm_jax.models.extending import Blockwise, Cache, Extendable, Ranked, block_length, by_rank, can_extend
from mdm_jax.models.framing import framed
from mdm_jax.models.guiding import Guidance, guidance, guided
from mdm_jax.models.latent import (
    DiffusionPrior,
    JointDenoiser,
    LatentDenoiser,
    LatentModel,
    NoisyLatent,
    Posterior,
    diffusion_prior,
    joint_diffusion,
    latent_transformer,
    marginal,
    redrawn,
)
from mdm_jax.models.parameters import joined, parted
from mdm_jax.models.pretrained import Outline, Pretrained, load_pretrained, outline_pretrained
from mdm_jax.models.transformers import Transformer, transformer
from mdm_jax.models.wrappers import banned, hooked, padded, shifted, tempered, top_k, top_p, without_cache

__all__ = [
    "AnyOrderDenoiser",
    "BlockCausalDenoiser",
    "Blockwise",
    "Cache",
    "Context",
    "Denoiser",
    "DiffusionPrior",
    "Extendable",
    "Guidance",
    "Initialisable",
    "JointDenoiser",
    "LatentDenoiser",
    "LatentModel",
    "NoisyLatent",
    "Outline",
    "Params",
    "Posterior",
    "Pretrained",
    "Ranked",
    "Transformer",
    "any_order",
    "banned",
    "begun",
    "block_causal",
    "block_length",
    "by_rank",
    "calibrated",
    "can_extend",
    "check_labels",
    "checked_tokens",
    "classes_of",
    "describe",
    "diffusion_prior",
    "export_parameters",
    "framed",
    "from_description",
    "from_function",
    "from_linen",
    "from_nnx",
    "guidance",
    "guided",
    "hooked",
    "is_pretrained",
    "joined",
    "joint_diffusion",
    "label_context",
    "latent_transformer",
    "load_exported",
    "load_pretrained",
    "logits",
    "marginal",
    "no_label",
    "outline_pretrained",
    "padded",
    "parted",
    "redrawn",
    "shifted",
    "takes_absent",
    "tempered",
    "top_k",
    "top_p",
    "transformer",
    "without_cache",
]
