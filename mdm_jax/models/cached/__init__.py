"""Models with a cache: what a revealed token becomes is kept, so that many steps cost as much as few."""

from mdm_jax.models.cached.block_network import BlockCausalTransformer
from mdm_jax.models.cached.blocks import BlockCausalDenoiser, block_causal
from mdm_jax.models.cached.network import AnyOrderTransformer
from mdm_jax.models.cached.orders import AnyOrderDenoiser, any_order

__all__ = [
    "AnyOrderDenoiser",
    "AnyOrderTransformer",
    "BlockCausalDenoiser",
    "BlockCausalTransformer",
    "any_order",
    "block_causal",
]
