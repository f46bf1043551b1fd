"""Published models: checkpoint folders of others as denoisers of ours, read without running anything in them."""

from mdm_jax.models.pretrained.published import Published, Source

__all__ = ["Published", "Source"]
