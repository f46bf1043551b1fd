"""Noisy copies of a latent, from pure noise to the latent itself, and the normal laws between them.

A copy at a level is ``signal * latent + noise * normal`` with ``signal^2 + noise^2 = 1``. Time runs with generation:
the first level is the noisiest, the last one is clean. The copies are a Markov chain: each is the next, cleaner one
with noise added. Everything is number by number, so every law here is normal and has a variance for each number.

The functions take arrays and levels that broadcast, of JAX or of the host.

Source: variational diffusion models (arXiv 2107.00630), Appendix A; ``training/DERIVATIONS.md``, "A diffusion as the
prior of the latent".
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np


class Level(NamedTuple):
    """How much of a copy is the latent, and how much is noise: arrays of one shape, float32."""

    signal: Any
    noise: Any


class Normal(NamedTuple):
    """A normal law for each number: arrays of one shape, float32."""

    mean: Any
    variance: Any


def levels(count: int) -> Level:
    """So many levels, ``signal = sin(pi / 2 * k / count)`` for ``k = 1 .. count``: float32[count], on the host.

    The first still has some signal, so that no chain has a link that tells nothing; the last is exactly clean.

    Example:
        >>> from mdm_jax.models.latent.noising import levels
        >>> print(levels(3).signal, levels(3).noise)
        [0.5       0.8660254 1.       ] [0.8660254 0.5       0.       ]
    """
    angle = np.pi / 2 * np.arange(1, count + 1) / count
    signal, noise = np.sin(angle), np.cos(angle)
    signal[-1], noise[-1] = 1.0, 0.0
    return Level(signal.astype(np.float32), noise.astype(np.float32))


def noisy(latent: Normal, level: Level) -> Normal:
    """The law of a copy, if this is the law of the latent."""
    return Normal(level.signal * latent.mean, jnp.square(level.signal) * latent.variance + jnp.square(level.noise))


def given_copy(latent: Normal, level: Level, copy: Any) -> Normal:
    """The law of the latent, once a copy of it at ``level`` is known; before that it was ``latent``."""
    before = noisy(latent, level)
    gain = level.signal * latent.variance / before.variance
    variance = latent.variance * jnp.square(level.noise) / before.variance
    return Normal(latent.mean + gain * (copy - before.mean), variance)


def cleaner(latent: Normal, level: Level, copy: Any, towards: Level) -> Normal:
    """The law of the copy at the cleaner level ``towards``, given the copy at ``level`` and a law of the latent.

    The average, over that law, of the normal law that the cleaner copy has given both: normal again.
    """
    gained = signal_gained(level, towards)
    of_latent = gained / (towards.signal * jnp.square(level.noise))
    of_copy = level.signal * jnp.square(towards.noise) / (towards.signal * jnp.square(level.noise))
    own = jnp.square(towards.noise) * gained / jnp.square(towards.signal * level.noise)
    return Normal(of_latent * latent.mean + of_copy * copy, own + jnp.square(of_latent) * latent.variance)


def signal_gained(level: Level, towards: Level) -> Any:
    """``towards.signal^2 - level.signal^2``, as a product that keeps its digits where the two are close."""
    one, other = towards.signal * level.noise, level.signal * towards.noise
    return (one - other) * (one + other)


def thought(level: Level, copy: Any, shift: Any, log_ratio: Any) -> Normal:
    """The law of the latent that a network says, given a copy.

    ``shift`` and ``log_ratio`` of 0 mean what is right for a latent whose law is N(0, 1).
    """
    mean = level.signal * copy + level.noise * shift
    return Normal(mean, jnp.square(level.noise * jnp.exp(log_ratio)))


def kl(one: Normal, other: Normal) -> Any:
    """``KL(one || other)`` number by number, in nats."""
    ratio = one.variance / other.variance
    return 0.5 * (ratio - 1 - jnp.log(ratio) + jnp.square(one.mean - other.mean) / other.variance)


def log_density(law: Normal, value: Any) -> Any:
    """Log-density number by number, in nats."""
    return -0.5 * (jnp.square(value - law.mean) / law.variance + jnp.log(law.variance) + np.float32(np.log(2 * np.pi)))
