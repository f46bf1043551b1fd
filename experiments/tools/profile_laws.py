"""Five exact laws whose measured profiles are made at once: thousands of seeds cost seconds, and the truth is known.

A measured profile is the mean over sequences of what each costs where the first tokens of a random order are revealed
(``evaluation.estimate_profile``). Here the model is the law's own conditional, in closed form, so that a row takes no
model call: :meth:`Law.rows` are independent draws of such rows, and their mean is exactly :attr:`Law.profile`.

The profiles are closed forms or sums over all states, never simulations; tests hold them, and the cost of each
sequence, against :mod:`mdm_jax.oracles`. A sixth law, ``rare``, is in :func:`every_law` alone.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Float, Int

from mdm_jax import oracles
from mdm_jax.evaluation.measuring import chosen_counts
from mdm_jax.theory import profiles
from mdm_jax.theory.profiles import Profile

AT_ONCE = 2**22
"""Most numbers of one array: more rows are made in turn."""
SEQUENCES = 1024
"""Held-out sequences that a measurement has unless told otherwise."""
Tokens = Int[np.ndarray, "rows length"]
Orders = Int[np.ndarray, "rows length"]
Costs = Float[np.ndarray, "rows m"]


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """An exact law of sequences, and what its own conditionals cost.

    Attributes:
        name: what it is.
        length: number of positions.
        profile: float64[length], ``g(0) .. g(length - 1)``, nats per token, exact.
        sample: ``(rng, rows) -> tokens``, independent sequences.
        costs: ``(tokens, orders, counts) -> float64[rows, m]``, the mean cross-entropy of the tokens that are hidden
            when the first so many positions of each row's order are revealed.
    """

    name: str
    length: int
    profile: Float[np.ndarray, " length"]
    sample: Callable[[np.random.Generator, int], Tokens]
    costs: Callable[[Tokens, Orders, Int[np.ndarray, " m"]], Costs]

    def rows(self, rng: np.random.Generator, rows: int, counts: Int[np.ndarray, " m"], orders: int = 1) -> Costs:
        """What independent sequences say at ``counts``, each along ``orders`` nested random orders, averaged.

        Returns:
            float64[rows, m], nats per token; the mean of each row's law is ``profile[counts]``.
        """
        counts = np.asarray(counts)
        together = max(1, AT_ONCE // (self.length * len(counts)))
        found = np.empty((rows, len(counts)))
        for start in range(0, rows, together):
            tokens = self.sample(rng, min(together, rows - start))
            made = [self.costs(tokens, _orders(rng, tokens.shape), counts) for _ in range(orders)]
            found[start : start + len(tokens)] = np.mean(made, axis=0)
        return found

    def measured(self, rng: np.random.Generator, passes: int, sequences: int = SEQUENCES) -> Profile:
        """A measured profile, of as many counts, rows and orders as ``estimate_profile`` takes.

        Args:
            rng: draws the sequences and the orders.
            passes: encodings in all (rows x orders x counts).
            sequences: held-out sequences that there are; with few passes some of them are used.
        """
        counts = chosen_counts(passes, self.length)
        rows = min(sequences, passes // len(counts))
        orders = max(1, passes // (len(counts) * rows))
        about = {"law": self.name, "rows": rows, "orders_per_row": orders}
        return profiles.from_rows(self.length, counts, self.rows(rng, rows, counts, orders), about)


@functools.cache
def laws() -> dict[str, Law]:
    """The five laws by name."""
    return {law.name: law for law in (urn(), chain(), mixture(), checksums(), random_table())}


@functools.cache
def every_law() -> dict[str, Law]:
    """The five, and ``rare``: what it costs comes in few dear tokens, so that few sequences say little."""
    return {**laws(), "rare": rare()}


def _orders(rng: np.random.Generator, shape: tuple[int, ...]) -> Orders:
    """A random order for each row: ``orders[r, t]`` is revealed after ``t`` others."""
    return np.argsort(rng.random(shape), axis=1)


def _before(values: np.ndarray, counts: Int[np.ndarray, " m"]) -> np.ndarray:
    """Sums over the first so many of axis 1: ``[rows, length, ...] -> [rows, m, ...]``."""
    sums = np.cumsum(values, axis=1, dtype=np.int64)
    return np.where((counts > 0).reshape(-1, *[1] * (values.ndim - 2)), sums[:, np.maximum(counts - 1, 0)], 0)


def _in_order(tokens: Tokens, orders: Orders) -> Tokens:
    return np.take_along_axis(tokens, orders, axis=1)


def urn(length: int = 128, weight: float = 0.5) -> Law:
    """Bits that are independent given a hidden ``P(1) ~ Beta(weight, weight)``: only the number of ones counts."""

    def sample(rng: np.random.Generator, rows: int) -> Tokens:
        return (rng.random((rows, length)) < rng.beta(weight, weight, (rows, 1))).astype(np.int64)

    def costs(tokens: Tokens, orders: Orders, counts: Int[np.ndarray, " m"]) -> Costs:
        ones = _before(_in_order(tokens, orders), counts)
        hidden_ones = tokens.sum(axis=1, keepdims=True) - ones
        hidden, seen = length - counts, counts + 2 * weight
        log_one, log_zero = np.log((ones + weight) / seen), np.log((counts - ones + weight) / seen)
        return -(hidden_ones * log_one + (hidden - hidden_ones) * log_zero) / hidden

    return Law("urn", length, oracles.polya(length, weight).entropies(), sample, costs)


TRANSITION = np.array([[0.9, 0.06, 0.02, 0.02], [0.05, 0.8, 0.15, 0.0], [0.1, 0.1, 0.7, 0.1], [0.3, 0.0, 0.2, 0.5]])
"""Of the chain: one sticky token, some steps that never happen."""


def chain(length: int = 64) -> Law:
    """A stationary Markov chain of four tokens: the nearest revealed token on either side counts."""
    law = oracles.markov(TRANSITION, length)
    start, powers = law.stationary, [np.eye(4)]
    for _ in range(length - 1):
        powers.append(powers[-1] @ law.transition)
    # powers[a][u, v] = P(v a places after u); `length` places away, and beyond, is nobody
    with np.errstate(divide="ignore"):
        table = np.log(np.stack([*powers, np.broadcast_to(start, (4, 4))])).ravel()
    cumulative = np.cumsum(law.transition, axis=1)
    cumulative[:, -1] = 1.0

    def sample(rng: np.random.Generator, rows: int) -> Tokens:
        draws, tokens = rng.random((length, rows)), np.empty((rows, length), np.int64)
        tokens[:, 0] = np.minimum(np.searchsorted(np.cumsum(start), draws[0]), 3)
        for place in range(1, length):
            tokens[:, place] = (draws[place][:, None] > cumulative[tokens[:, place - 1]]).sum(axis=1)
        return tokens

    def costs(tokens: Tokens, orders: Orders, counts: Int[np.ndarray, " m"]) -> Costs:
        hidden = np.argsort(orders, axis=1)[:, None, :] >= counts[:, None]
        place, here = np.arange(length, dtype=np.int32), tokens[:, None, :].astype(np.int32)
        # the place and the token of the nearest one seen, in one number
        both = 4 * place + here
        left = np.maximum.accumulate(np.where(hidden, np.int32(-1), both), axis=-1)
        right = np.minimum.accumulate(np.where(hidden, np.int32(4 * length), both)[..., ::-1], axis=-1)[..., ::-1]
        before, after = left & 3, right & 3
        gap_left = np.where(left < 0, length, place - (left >> 2))
        gap_right = np.where(right == 4 * length, length, (right >> 2) - place)
        log_prob = table.take(16 * gap_left + 4 * before + here)
        # P(after | here), over P(after | before); where nobody is there, both are the stationary law of token 0
        log_prob += table.take(16 * gap_right + 4 * here + after)
        log_prob -= table.take(16 * np.minimum(gap_left + gap_right, length) + 4 * before + after)
        return -np.where(hidden, log_prob, 0.0).sum(axis=-1) / (length - counts)

    return Law("chain", length, law.entropies(), sample, costs)


WEIGHTS = np.array([0.6, 0.3, 0.1])
BIASES = np.array([[0.1, 0.45], [0.6, 0.5], [0.95, 0.7]])
"""Of the mixture: the probability of a one in each component, at even positions and at odd ones."""


def mixture(length: int = 64) -> Law:
    """Bits that are independent given one of three components; even positions tell more of it than odd ones."""
    of_kind = (length + 1) // 2, length // 2
    kinds = np.arange(length) % 2
    evidence = np.log(np.stack([1 - BIASES, BIASES], axis=-1))  # [component, kind, bit]

    def predicted(ones: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """``P(1)`` at an even and at an odd position, after so many ones among so many seen: ``[..., kind]``."""
        weights = np.log(WEIGHTS) + sum(
            ones[..., kind, None] * evidence[:, kind, 1] + (seen - ones)[..., kind, None] * evidence[:, kind, 0]
            for kind in (0, 1)
        )
        return scipy.special.softmax(weights, axis=-1) @ BIASES

    def sample(rng: np.random.Generator, rows: int) -> Tokens:
        component = rng.choice(len(WEIGHTS), rows, p=WEIGHTS)
        return (rng.random((rows, length)) < BIASES[component][:, kinds]).astype(np.int64)

    def costs(tokens: Tokens, orders: Orders, counts: Int[np.ndarray, " m"]) -> Costs:
        there = np.stack([kinds[orders] == kind for kind in (0, 1)], axis=-1)
        ordered = there * _in_order(tokens, orders)[..., None]
        seen, ones = _before(there, counts), _before(ordered, counts)
        one = predicted(ones, seen)
        hidden, hidden_ones = np.array(of_kind) - seen, ordered.sum(axis=1)[:, None] - ones
        total = hidden_ones * np.log(one) + (hidden - hidden_ones) * np.log1p(-one)
        return -total.sum(axis=-1) / (length - counts)

    def entropies() -> np.ndarray:
        """Sums over how many of each kind are seen, and how many of these are ones."""
        total = np.zeros(length)
        for even, odd in itertools.product(range(of_kind[0] + 1), range(of_kind[1] + 1)):
            if even + odd == length:
                continue
            ones = np.stack(np.meshgrid(np.arange(even + 1), np.arange(odd + 1), indexing="ij"), axis=-1)
            law = [scipy.stats.binom.pmf(np.arange(n + 1)[:, None], n, BIASES[:, k]) for k, n in enumerate((even, odd))]
            chance = np.einsum("ek,ok,k->eo", *law, WEIGHTS)
            one = predicted(ones, np.array([even, odd]))
            cost = np.einsum("eo,eok->k", chance, scipy.special.entr(one) + scipy.special.entr(1 - one))
            for kind in (0, 1):
                rest = of_kind[0] - (kind == 0), of_kind[1] - (kind == 1)
                if even <= rest[0] and odd <= rest[1]:
                    ways = scipy.stats.hypergeom.pmf(even, length - 1, rest[0], even + odd)
                    total[even + odd] += of_kind[kind] / length * ways * cost[kind]
        return total

    return Law("mixture", length, entropies(), sample, costs)


def checksums(length: int = 64, group: int = 8, one: float = 0.15) -> Law:
    """Groups of bits with an even number of ones each, ones being rare: the last bit of a group is known, late."""
    if length % group:
        raise ValueError(f"length must be a multiple of group = {group}; got {length}.")

    def even(n: np.ndarray | int, ones: np.ndarray | int) -> np.ndarray:
        """The chance that ``n`` free bits bring ``ones`` to an even number."""
        return (1 + (1 - 2 * (np.asarray(ones) % 2)) * (1 - 2 * one) ** np.asarray(n, float)) / 2

    def next_one(hidden: np.ndarray | int, ones: np.ndarray | int) -> np.ndarray:
        """``P(1)`` of a hidden bit of a group, where so many are hidden and the others have so many ones."""
        return one * even(np.asarray(hidden) - 1, np.asarray(ones) + 1) / even(hidden, ones)

    def sample(rng: np.random.Generator, rows: int) -> Tokens:
        shape = rows, length // group
        tokens, ones = np.zeros((*shape, group), np.int64), np.zeros(shape, np.int64)
        for place in range(group):
            tokens[..., place] = rng.random(shape) < next_one(group - place, ones)
            ones += tokens[..., place]
        return tokens.reshape(rows, length)

    def costs(tokens: Tokens, orders: Orders, counts: Int[np.ndarray, " m"]) -> Costs:
        there = orders[..., None] // group == np.arange(length // group)  # [rows, length, groups]
        ordered = there * _in_order(tokens, orders)[..., None]
        hidden, ones = group - _before(there, counts), _before(ordered, counts)
        hidden_ones = ordered.sum(axis=1)[:, None] - ones
        chance = next_one(np.maximum(hidden, 1), ones)
        total = scipy.special.xlogy(hidden_ones, chance) + scipy.special.xlog1py(hidden - hidden_ones, -chance)
        return -np.where(hidden > 0, total, 0.0).sum(axis=-1) / (length - counts)

    within = []
    for seen in range(group):
        ones = np.arange(seen + 1)
        chance = scipy.stats.binom.pmf(ones, seen, one) * even(group - seen, ones) / even(group, 0)
        following = next_one(group - seen, ones)
        within.append(chance @ (scipy.special.entr(following) + scipy.special.entr(np.clip(1 - following, 0, 1))))
    i, k = np.arange(length), np.arange(group)
    profile = scipy.stats.hypergeom.pmf(k, length - 1, group - 1, i[:, None]) @ np.array(within)
    return Law("checksums", length, profile, sample, costs)


def random_table(length: int = 12, spread: float = 0.05, seed: int = 0) -> Law:
    """Bits of any joint law: a table drawn from a Dirichlet law, so that most states are rare."""
    law = oracles.table(np.random.default_rng(seed).dirichlet(np.full(2**length, spread)), 2)
    marginals = law.probabilities
    for axis in range(length):  # a third value of every position: not looked at
        marginals = np.concatenate([marginals, marginals.sum(axis=axis, keepdims=True)], axis=axis)
    with np.errstate(divide="ignore"):
        logs = np.log(marginals).ravel()
    strides = 3 ** np.arange(length)[::-1]
    cumulative = np.cumsum(law.probabilities.ravel())
    places = np.arange(length)[::-1]

    def sample(rng: np.random.Generator, rows: int) -> Tokens:
        states = np.minimum(np.searchsorted(cumulative, rng.random(rows), side="right"), 2**length - 1)
        return (states[:, None] >> places) & 1

    def costs(tokens: Tokens, orders: Orders, counts: Int[np.ndarray, " m"]) -> Costs:
        hidden = np.argsort(orders, axis=1)[:, None, :] >= counts[:, None]
        here = tokens[:, None, :]
        known = (np.where(hidden, 2, here) * strides).sum(axis=-1)
        with_it = known[..., None] + (here - 2) * strides
        log_prob = logs[np.where(hidden, with_it, 0)] - logs[known][..., None]
        return -np.where(hidden, log_prob, 0.0).sum(axis=-1) / (length - counts)

    return Law("table", length, law.entropies(), sample, costs)


def rare(length: int = 64, one: float = 0.02) -> Law:
    """Pairs of equal bits, nearly all 0: what it costs comes in few dear tokens, the first of a pair of ones."""
    if length % 2:
        raise ValueError(f"length must be even; got {length}.")

    def sample(rng: np.random.Generator, rows: int) -> Tokens:
        return np.repeat(rng.random((rows, length // 2)) < one, 2, axis=1).astype(np.int64)

    def costs(tokens: Tokens, orders: Orders, counts: Int[np.ndarray, " m"]) -> Costs:
        hidden = np.argsort(orders, axis=1)[:, None, :] >= counts[:, None]
        unknown = hidden & hidden[..., np.arange(length) ^ 1]  # the other of the pair tells
        cost = np.where(tokens == 1, -np.log(one), -np.log1p(-one))
        return np.where(unknown, cost[:, None, :], 0.0).sum(axis=-1) / (length - counts)

    entropy = scipy.special.entr(one) + scipy.special.entr(1 - one)
    return Law("rare", length, entropy * (1 - np.arange(length) / (length - 1)), sample, costs)
