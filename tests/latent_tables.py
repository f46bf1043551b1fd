"""Latent models that are tables: a latent of finitely many values, every law known by enumeration, in NumPy."""

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Chances(NamedTuple):
    """A law of finitely many values in the place of a normal one: probabilities[rows, values]."""

    chance: Any

    @property
    def mean(self):
        return jnp.sum(self.chance * jnp.arange(self.chance.shape[-1], dtype=jnp.float32)[None], axis=-1)[:, None, None]

    def sample(self, noise):
        """The value whose share of the normal law the noise falls into."""
        share = jax.scipy.stats.norm.cdf(noise[:, 0, 0])
        above = share[:, None] > jnp.cumsum(self.chance, axis=-1)[:, :-1]
        return jnp.sum(above, axis=-1).astype(jnp.float32)[:, None, None]

    def log_prob(self, latent):
        return jnp.log(_at(self.chance, latent))


@dataclasses.dataclass(frozen=True)
class FiniteLatent:
    """A latent model by its tables; the latent, float32[rows, 1, 1], is the number of a value.

    Params: "logits" [values, states, length, vocab_size], "prior" [values], and "posterior" [states, subsets, values],
    by the tokens that the recognition network sees and the positions it is told of. States and subsets are numbered
    with the first position leading.
    """

    vocab_size: int
    length: int
    passes = 1
    latent_shape = (1, 1)

    @property
    def mask_id(self):
        return self.vocab_size

    def begin(self, params, keys, context=None):
        if context is not None:
            return context
        drawn = jax.vmap(lambda key: jax.random.categorical(key, jnp.log(params["prior"])))(keys)
        return drawn.astype(jnp.float32)[:, None, None]

    def encode(self, params, tokens, context=None):
        return params["logits"][_whole(context), _number(tokens, self.vocab_size + 1)]

    def readout(self, params, hidden):
        return hidden

    def posterior(self, params, tokens, told):
        return Chances(params["posterior"][_number(tokens, self.vocab_size + 1), _number(told, 2)])

    def log_prior(self, params, latent):
        return jnp.log(params["prior"])[_whole(latent)]

    def kl(self, params, posterior, latent):
        q = posterior.chance
        some = q > 0
        return jnp.sum(jnp.where(some, q * jnp.log(jnp.where(some, q, 1.0) / params["prior"][None]), 0.0), axis=-1)

    def init(self, key, length, context=None):
        raise NotImplementedError("tables are made by random_tables")


def _whole(latent):
    return latent[:, 0, 0].astype(jnp.int32)


def _at(chance, latent):
    return jnp.take_along_axis(chance, _whole(latent)[:, None], axis=-1)[:, 0]


def _number(digits, base):
    powers = base ** np.arange(digits.shape[1] - 1, -1, -1)
    return jnp.sum(digits.astype(jnp.int32) * jnp.asarray(powers, jnp.int32)[None], axis=-1, dtype=jnp.int32)


@dataclasses.dataclass(frozen=True)
class World:
    """A :class:`FiniteLatent` and its laws in float64: ``chance[value][state][position, token]``, ``prior[value]``."""

    model: FiniteLatent
    chance: np.ndarray
    prior: np.ndarray
    posterior: np.ndarray

    @property
    def values(self):
        return len(self.prior)

    @property
    def params(self):
        tables = {"logits": np.log(self.chance), "prior": self.prior, "posterior": self.posterior}
        return jax.tree.map(lambda table: jnp.asarray(table, jnp.float32), tables)

    @property
    def sequences(self):
        return list(itertools.product(range(self.model.vocab_size), repeat=self.model.length))

    def state(self, tokens, masked):
        """The number of what is seen of ``tokens`` where the positions ``masked`` are hidden."""
        seen = [self.model.vocab_size if j in masked else token for j, token in enumerate(tokens)]
        return int(np.ravel_multi_index(seen, (self.model.vocab_size + 1,) * self.model.length))

    def subset(self, positions):
        return sum(2 ** (self.model.length - 1 - j) for j in positions)

    def step(self, tokens, masked, revealed):
        """``log p(tokens at revealed | what is seen, value)`` of every value of the latent."""
        law = self.chance[:, self.state(tokens, masked)]
        return sum(np.log(law[:, j, tokens[j]]) for j in revealed) + np.zeros(self.values)

    def paths(self, sizes):
        """Every order's path: pairs of (what is masked, what is revealed), all equally likely."""
        for order in itertools.permutations(range(self.model.length)):
            ends = np.cumsum([0, *sizes])
            yield [(frozenset(order[a:]), frozenset(order[a:b])) for a, b in itertools.pairwise(ends)]

    def nll(self, tokens, sizes, anew=False):
        """``-log q(tokens)`` of the sampler with one latent, or with one at each step: the sum over all paths."""
        chances = []
        for path in self.paths(sizes):
            steps = np.stack([self.step(tokens, *pair) for pair in path])
            if anew:
                chances.append(np.prod(np.exp(steps) @ self.prior))
            else:
                chances.append(np.exp(steps.sum(0)) @ self.prior)
        return -math.log(np.mean(chances))

    def with_true_posterior(self):
        """The same, its recognition network being ``p(value | what is seen, the tokens told of)`` in one step."""
        posterior = np.zeros_like(self.posterior)
        base, length = self.model.vocab_size + 1, self.model.length
        for code, known in enumerate(itertools.product(range(base), repeat=length)):
            for bits, told in enumerate(itertools.product((0, 1), repeat=length)):
                told = [j for j in range(length) if told[j] and known[j] < base - 1]
                hidden = set(told) | {j for j in range(length) if known[j] == base - 1}
                weight = self.prior * np.exp(self.step(known, hidden, told))
                posterior[code, bits] = weight / weight.sum()
        return dataclasses.replace(self, posterior=posterior)


def random_world(length=3, vocab_size=2, values=3, seed=0):
    """Every table drawn at random: nothing fits anything."""
    generator = np.random.default_rng(seed)
    states = (vocab_size + 1) ** length
    chance = generator.dirichlet(np.full(vocab_size, 1.0), (values, states, length)) * 0.9 + 0.1 / vocab_size
    posterior = generator.dirichlet(np.full(values, 2.0), (states, 2**length)) * 0.9 + 0.1 / values
    prior = generator.dirichlet(np.full(values, 3.0)) * 0.9 + 0.1 / values
    return World(FiniteLatent(vocab_size, length), chance, prior, posterior)


def equal_tokens(symbols=4, wrong=1e-6):
    """Two equal tokens: the latent says which, and is looked at only where neither is seen (or else there is nothing
    left to tell). The recognition network is exact.
    """
    chance = np.full((symbols, symbols + 1, symbols + 1, 2, symbols), wrong / (symbols - 1))
    for symbol in range(symbols):
        chance[symbol, symbols, symbols, :, symbol] = 1 - wrong
        chance[:, symbol, :, 1, symbol] = 1 - wrong
        chance[:, :, symbol, 0, symbol] = 1 - wrong
    chance = chance.reshape(symbols, (symbols + 1) ** 2, 2, symbols)
    nothing = np.full(((symbols + 1) ** 2, 4, symbols), 1 / symbols)
    return World(FiniteLatent(symbols, 2), chance, np.full(symbols, 1 / symbols), nothing).with_true_posterior()


def without_effect(length=3, vocab_size=2, values=3, seed=0):
    """A collapsed latent: the model predicts the same under every value, and the recognition network knows nothing."""
    world = random_world(length, vocab_size, values, seed)
    chance = np.broadcast_to(world.chance[:1], world.chance.shape)
    return dataclasses.replace(world, chance=chance, posterior=np.broadcast_to(world.prior, world.posterior.shape))


def perturbed(model, length, seed=0):
    """Parameters of which none is left at zero: vectors about 1, all else random."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: model.init(jax.random.key(0), length)))
    generator = np.random.default_rng(seed)
    noise = [0.3 * generator.normal(size=leaf.shape) + (leaf.ndim == 1) for leaf in leaves]
    return jax.tree.unflatten(tree, [jnp.asarray(leaf, jnp.float32) for leaf in noise])
