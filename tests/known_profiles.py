"""Profiles in closed form, and small tables whose profile and sampler can be enumerated."""

import itertools
import math

import numpy as np
from scipy import special

from mdm_jax.theory import profiles

D = 4


def compositions(total):
    """Every way to write ``total`` as an ordered sum of positive whole numbers."""
    for bits in itertools.product([0, 1], repeat=total - 1):
        cuts = [i + 1 for i, bit in enumerate(bits) if bit]
        yield tuple(np.diff([0, *cuts, total]).tolist())


def ordered_partitions(positions, sizes):
    """Every ordered partition of ``positions`` into blocks of these sizes; all are equally likely."""
    if not sizes:
        yield ()
        return
    for block in itertools.combinations(sorted(positions), sizes[0]):
        for rest in ordered_partitions(positions - set(block), sizes[1:]):
            yield (block, *rest)


class Table:
    """A joint law of ``D`` bits, and a model of its conditionals: exact, or as wrong as can be."""

    def __init__(self, seed, exact):
        generator = np.random.default_rng(seed)
        self.states = list(itertools.product([0, 1], repeat=D))
        self.law = dict(zip(self.states, generator.dirichlet(np.full(2**D, 0.4))))
        self.guess = {}
        for j in range(D):
            for shown in itertools.product([None, 0, 1], repeat=D):
                if shown[j] is None:
                    self.guess[j, shown] = self.conditional(j, shown) if exact else generator.uniform(0.05, 0.95)

    def conditional(self, j, shown):
        def mass(bit):
            return sum(p for x, p in self.law.items() if x[j] == bit and all(s in (None, v) for s, v in zip(shown, x)))

        return mass(1) / (mass(0) + mass(1))

    def log_q(self, x, j, revealed):
        """The model's log-probability of bit ``j`` of ``x`` given the bits at ``revealed``."""
        p = self.guess[j, tuple(v if i in revealed else None for i, v in enumerate(x))]
        return math.log(p if x[j] else 1 - p)

    def profile(self):
        values = []
        for i in range(D):
            pairs = [(s, j) for s in itertools.combinations(range(D), i) for j in range(D) if j not in s]
            values.append(-np.mean([sum(p * self.log_q(x, j, s) for x, p in self.law.items()) for s, j in pairs]))
        return profiles.from_values(np.array(values))

    def entropy(self):
        return -sum(p * math.log(p) for p in self.law.values())

    def divergence(self, sizes):
        """``E_S KL(law || q(. | S))`` by enumeration of every ordered partition S and every state."""
        total, count = 0.0, 0
        for partition in ordered_partitions(set(range(D)), sizes):
            count += 1
            for x, p in self.law.items():
                revealed, log_q = set(), 0.0
                for block in partition:
                    log_q += sum(self.log_q(x, j, revealed) for j in block)
                    revealed |= set(block)
                total += p * (math.log(p) - log_q)
        assert count == math.factorial(D) // math.prod(math.factorial(n) for n in sizes)
        return total / count


def polya(b, length):
    """``h(i)`` of the Beta(b, b) mixture of coins, by the number of ones (oracles/DERIVATIONS.md, "Urns")."""
    values = []
    for i in range(length):
        ones = np.arange(i + 1)
        weight = np.exp(special.gammaln(i + 1) - special.gammaln(ones + 1) - special.gammaln(i - ones + 1)
                        + special.betaln(ones + b, i - ones + b) - special.betaln(b, b))  # fmt: skip
        p = (ones + b) / (i + 2 * b)
        values.append(weight @ (special.entr(p) + special.entr(1 - p)))
    return profiles.from_values(np.array(values))


def bit_entropy(p):
    return special.entr(p) + special.entr(1 - p)


def markov(flip, length):
    """``h(i)`` of the stationary symmetric chain of bits, by the gaps to the nearest revealed bits.

    (oracles/DERIVATIONS.md, "Chains".)
    """

    def ways(m, r):  # C(m, r) / C(length - 1, i), 0 where m < r
        return special.comb(m, r) / special.comb(length - 1, i)

    gap = np.arange(length + 1)
    single = bit_entropy((1 - (1 - 2 * flip) ** gap) / 2)
    left, right = (x.ravel() for x in np.meshgrid(gap[1:], gap[1:], indexing="ij"))
    inside = left + right < length
    left, right = left[inside], right[inside]
    both = single[left] + single[right] - single[left + right]
    values = [math.log(2)]
    for i in range(1, length):
        value = 0.0
        if i >= 2:
            value += np.sum((length - left - right) * ways(length - 1 - left - right, i - 2) * both)
        value += 2 * sum(single[a] * np.sum(ways(np.arange(length - a), i - 1)) for a in range(1, length))
        values.append(value / length)
    return profiles.from_values(np.array(values))


def random_falling(seed, length):
    """A profile that falls at random: a few large falls, many small ones."""
    generator = np.random.default_rng(seed)
    falls = generator.gamma(0.3, size=length - 1)
    return profiles.from_values(np.append(0.0, np.cumsum(falls))[::-1] + generator.random())


def random_composition(generator, length, steps):
    cuts = np.sort(generator.choice(np.arange(1, length), size=steps - 1, replace=False))
    return np.diff([0, *cuts.tolist(), length])
