"""Published models: checkpoint folders of others as denoisers of ours, read without running anything in them."""

from mdm_jax.models.pretrained.loading import Pretrained, load_pretrained
from mdm_jax.models.pretrained.published import Published, Source

__all__ = ["Pretrained", "Published", "Source", "load_pretrained"]
