"""Exact laws of samplers that mask again, remember, or look at what was drawn: by moving the mass of whole histories.

Written from the published descriptions in float64, one state after the other; see ``references`` for the simpler ones.
"""

import itertools

import numpy as np
from references import max_probability, sigma_max, sure_first


def law_of_process(world, steps, step):
    """The law after ``steps`` steps: ``step(world, k, state, memory) -> [(chance, state, memory)]``."""
    mass = {((world.mask,) * world.length, None): 1.0}
    for k in range(steps):
        after = {}
        for (state, memory), weight in mass.items():
            for chance, *new in step(world, k, state, memory):
                if chance > 0:
                    after[tuple(new)] = after.get(tuple(new), 0.0) + weight * chance
        mass = after
    law = np.zeros((world.vocab_size,) * world.length)
    for (state, _), weight in mass.items():
        law[state] += weight
    return law


def drawn(world, state, positions):
    """Every way to draw tokens for ``positions``: ``(chance, {position: token})``."""
    for tokens in itertools.product(range(world.vocab_size), repeat=len(positions)):
        chance = np.exp(sum(world.log_p[state][j, token] for j, token in zip(positions, tokens)))
        yield chance, dict(zip(positions, tokens))


def changed(state, tokens):
    return tuple(tokens.get(j, token) for j, token in enumerate(state))


def best_of(score, count):
    """The ``count`` positions with the largest score, the first of equals first."""
    return sorted(score, key=lambda j: (-score[j], j))[:count]


def quotas(shares):
    """LLaDA: draw everywhere, keep the most probable of what was drawn."""

    def step(world, k, state, memory):
        free = world.free(state)
        for chance, tokens in drawn(world, state, free):
            kept = best_of({j: world.log_p[state][j, tokens[j]] for j in free}, shares[k])
            yield chance, changed(state, {j: tokens[j] for j in kept}), memory

    return step


def self_planned(sizes, strength, by_proposal=False):
    """P2: after each step the surest of all positions are the revealed ones."""
    keep = np.cumsum(sizes)

    def step(world, k, state, memory):
        free = world.free(state)
        sure = max_probability(world.logits[state])
        held = {j: strength * world.log_p[state][j, state[j]] for j in range(world.length) if j not in free}
        for chance, tokens in drawn(world, state, free):
            of_masks = {j: world.log_p[state][j, tokens[j]] if by_proposal else sure[j] for j in free}
            kept = best_of(held | of_masks, keep[k])
            new = {j: world.mask for j in held if j not in kept} | {j: tokens[j] for j in free if j in kept}
            yield chance, changed(state, new), memory

    return step


def self_corrected(sizes, most):
    """FreeCorrection: late steps mask again what had the least mean confidence since it was revealed."""
    knots, steps = np.cumsum(sizes), len(sizes)

    def step(world, k, state, memory):
        free = world.free(state)
        sums, counts = (np.array(part) for part in memory or (np.zeros(world.length), np.zeros(world.length)))
        held = [j for j in range(world.length) if j not in free]
        for j in held:
            sums[j] += np.exp(world.log_p[state][j, state[j]])
            counts[j] += 1
        part = most[2] if k / steps >= 0.8 else most[1] if k / steps >= 0.6 else most[0]
        left = world.length - knots[k]
        again = min(part, left, len(held)) if k / steps > 0.4 and k < steps - 1 else 0
        lost = best_of({j: -sums[j] / counts[j] for j in held}, again)
        sums[lost] = counts[lost] = 0
        chosen = sure_first(world, state, max_probability)[: len(free) + again - left]
        for chance, tokens in drawn(world, state, chosen):
            new = tokens | dict.fromkeys(lost, world.mask)
            yield chance, changed(state, new), (tuple(sums.tolist()), tuple(counts.tolist()))

    return step


def by_confidence(fractions, strength):
    """ReMDM-conf: eta sigma_max is shared among the settled by softmax(-p), p a token's probability when drawn."""

    def step(world, k, state, memory):
        a, b = fractions[k], fractions[k + 1]
        p = memory or (0.0,) * world.length
        free = world.free(state)
        weight = {j: np.exp(-p[j]) for j in range(world.length) if j not in free}
        chance_of = {j: strength * sigma_max(a, b) * weight[j] / sum(weight.values()) for j in weight}
        chance_of |= dict.fromkeys(free, (b - a) / (1 - a))
        for coins in itertools.product([False, True], repeat=world.length):
            thrown = np.prod([chance_of[j] if coin else 1 - chance_of[j] for j, coin in enumerate(coins)])
            if thrown == 0:
                continue
            shown = [j for j in free if coins[j]]
            for chance, tokens in drawn(world, state, shown):
                new = tokens | {j: world.mask for j in weight if coins[j]}
                now = {j: float(np.exp(world.log_p[state][j, tokens[j]])) for j in shown}
                yield (
                    thrown * chance,
                    changed(state, new),
                    tuple(now.get(j, p[j] * (j in weight)) for j in range(len(p))),
                )

    return step


def noisy(sizes, temperature):
    """Positions without replacement, each chosen with probability proportional to ``exp(score / temperature)``."""

    def step(world, k, state, memory):
        free = world.free(state)
        weight = dict(zip(range(world.length), np.exp(max_probability(world.logits[state]) / temperature)))
        for order in itertools.permutations(free, sizes[k]):
            chosen, left = 1.0, sum(weight[j] for j in free)
            for j in order:
                chosen *= weight[j] / left
                left -= weight[j]
            for chance, tokens in drawn(world, state, order):
                yield chosen * chance, changed(state, tokens), memory

    return step
