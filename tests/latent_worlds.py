"""Small models with a latent whose every law is known: by quadrature, or in closed form."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from worlds import lookup_logits

from mdm_jax import models
from mdm_jax.evaluation import exact

LENGTH, VOCAB = 3, 2
SEQUENCES = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), np.int32)


@dataclasses.dataclass(frozen=True)
class Scalar:
    """A latent of one standard normal number, for ``LENGTH`` tokens."""

    vocab_size = VOCAB
    mask_id = VOCAB
    passes = 1
    latent_shape = (1, 1)

    def begin(self, params: Any, keys: Any, context: Any = None) -> Any:
        if context is not None:
            return context
        return jax.vmap(lambda key: jax.random.normal(key, (1, 1), jnp.float32))(keys)

    def readout(self, params: Any, hidden: Any) -> Any:
        return hidden

    def log_prior(self, params: Any, latent: Any) -> Any:
        return -0.5 * (latent[:, 0, 0] ** 2 + np.float32(np.log(2 * np.pi)))


class Table(Scalar):
    """Logits of each partial state, linear in the latent; mean and scale of the posterior of each, at random."""

    def encode(self, params: Any, tokens: Any, context: Any = None) -> Any:
        assert context is not None
        level, slope = (lookup_logits(params[name], tokens) for name in ("level", "slope"))
        return level + context[:, :, :1] * slope

    def posterior(self, params: Any, tokens: Any, told: Any) -> models.Posterior:
        law = lookup_logits(params["law"], tokens)[:, :1]
        return models.Posterior(law[:, :, :1], law[:, :, 1:])

    def kl(self, params: Any, posterior: models.Posterior, latent: Any) -> Any:
        mean, log_scale = posterior
        return jnp.sum(0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale), axis=(1, 2))


class Half(NamedTuple):
    """The half of the standard normal law on one side."""

    side: Any

    def sample(self, noise: Any) -> Any:
        return self.side * jnp.abs(noise)

    def log_prob(self, latent: Any) -> Any:
        return np.float32(np.log(2)) - 0.5 * (latent[:, 0, 0] ** 2 + np.float32(np.log(2 * np.pi)))


class Sign(Scalar):
    """All tokens are 1 where the latent is positive and 0 where it is not, and the posterior is exact."""

    def encode(self, params: Any, tokens: Any, context: Any = None) -> Any:
        assert context is not None
        one = jnp.where(context[:, :, 0] > 0, 60.0, -60.0)[:, :, None]
        return jnp.broadcast_to(jnp.concatenate([-one, one], axis=-1), (*tokens.shape, 2))

    def posterior(self, params: Any, tokens: Any, told: Any) -> Any:
        return Half(jnp.where(tokens[:, :1, None] > 0, 1.0, -1.0))

    def kl(self, params: Any, posterior: Half, latent: Any) -> Any:
        return jnp.full(len(latent), np.float32(np.log(2)))


def table_world(seed: int = 0) -> tuple[Table, dict[str, jax.Array]]:
    """A :class:`Table` and its parameters."""
    shape = ((VOCAB + 1) ** LENGTH, LENGTH, VOCAB)
    draws = np.random.default_rng(seed).normal(size=(3, *shape))
    # Wide posteriors: the weights of importance sampling then have a variance.
    names = {"level": draws[0], "slope": 1.5 * draws[1], "law": draws[2] * np.array([0.7, 0.1])}
    return Table(), {name: jnp.asarray(one, jnp.float32) for name, one in names.items()}


def quadrature(points: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights for means over the standard normal law (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return nodes, weights / weights.sum()


def logits_at(model: Any, params: Any, latents: np.ndarray) -> np.ndarray:
    """Log-probabilities of every partial state under each latent: float32[latents, states, length, vocab_size]."""
    contexts = jnp.asarray(latents, jnp.float32)[:, None, None, None]
    return np.stack([exact.conditionals(model, params, LENGTH, context=one) for one in contexts])
