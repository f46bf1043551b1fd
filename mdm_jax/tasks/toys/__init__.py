"""Toys: small tasks whose law is known exactly, so that what a sampler gets wrong can be counted in nats."""

from mdm_jax.tasks.toys.saws import BinsawTask, binsaw
from mdm_jax.tasks.toys.small_laws import LawTask, law_from_spec, pairs, two_blocks

__all__ = ["BinsawTask", "LawTask", "binsaw", "law_from_spec", "pairs", "two_blocks"]
