"""Published models: checkpoint folders of others as denoisers of ours, read without running anything in them."""

from mdm_jax.models.pretrained.by_blocks import (
    BlockCausalDecoder,
    BlockCausalDiffusionTransformer,
    ByBlocksDenoiser,
    as_denoiser,
)
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.models.pretrained.encoder import Encoder
from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary
from mdm_jax.models.pretrained.loading import Pretrained, load_pretrained
from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
from mdm_jax.models.pretrained.outlining import Outline, outline_pretrained
from mdm_jax.models.pretrained.published import Published, Source

NETWORKS = {
    "pretrained decoder": Decoder,
    "pretrained encoder": Encoder,
    "pretrained modern encoder": ModernEncoder,
    "pretrained diffusion transformer": DiffusionTransformer,
    "pretrained decoder by blocks": BlockCausalDecoder,
    "pretrained diffusion transformer by blocks": BlockCausalDiffusionTransformer,
}
"""What a network is called where a run's configuration describes it."""

__all__ = [
    "NETWORKS",
    "ByBlocksDenoiser",
    "Outline",
    "Pretrained",
    "Published",
    "Source",
    "as_denoiser",
    "load_pretrained",
    "outline_pretrained",
    "read_vocabulary",
]
