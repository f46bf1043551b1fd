"""Settings of a card's families: which are tried, what is chosen of them, and whose order plans are judged in."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from mdm_jax import models
from mdm_jax.app.options.cards import passes_of
from mdm_jax.evaluation.cards.decoders import Family, Setting, _in_blocks
from mdm_jax.evaluation.cards.families import JudgedFamily
from mdm_jax.evaluation.cards.forced_costs import Judge
from mdm_jax.evaluation.cards.making import _passes
from mdm_jax.evaluation.cards.mixing import Mixture
from mdm_jax.models.extending import blockwise
from mdm_jax.sampling import rules
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(3)


class Counting(Judge):
    """A judge for whom a rule takes the steps that its name tells; a row costs what is looked up for these, or 1."""

    def __init__(self, costs=None):
        self.costs = costs or {}

    def rule(self, rows, rule, name):
        steps = math.prod(int(number) for number in re.findall(r"[0-9]+", name.split(",", 1)[1]))
        return np.full(len(rows), self.costs.get(steps, 1.0)), np.full(len(rows), steps)


def passes_at(length):
    """The passes that are asked for by default, in Python and on the command line, and odd ones."""
    odd = ([1], [2, 3], [3], [2, 3, 6], [2, 3, 4, 5, 6, 7])
    return [_passes(None, length, 1), passes_of(None, length), *(passes for passes in odd if passes[-1] <= length)]


def test_blocks_have_a_point_wherever_they_can_be_told_and_no_other_place():
    """Lengths 8 to 40. Where each number of steps has one setting at most, they are those of that number."""
    row = np.zeros((2, 1), np.int32)
    lacking = set()
    for length in range(8, 41):
        for asked in passes_at(length):
            settings = _in_blocks(length, asked)
            if not settings:
                continue
            family = Family("blocks", "rule", *zip(*settings, strict=True))
            told = JudgedFamily(family, asked, 1, Counting(), row, row, None, False, lambda _: None)
            points = {point["asked"]: point for point in told.points(length)}
            assert all(point["passes"] == pytest.approx(wanted) for wanted, point in points.items())
            assert set(points) >= set(family.steps)
            if len(set(family.steps)) == len(family.steps):
                assert set(points) == set(family.steps)
                lacking |= {length} if set(points) < set(asked) else set()
            for wanted in asked:
                assert (told.main(wanted) is None) == (wanted not in points)
    assert lacking == set(range(8, 41))  # with [2, 3] at any length


def test_of_a_rule_settings_are_tried_until_one_takes_as_many_passes_as_are_asked_for():
    """Mixtures are of those; what the others would cost is not looked at."""
    row = np.zeros((2, 1), np.int32)
    costs = {1: 9.0, 3: 5.0, 5: 4.0, 6: 1.0, 7: 0.5}
    judge = Counting(costs)
    family = Family("made", "rule", [Setting(str(passes), rules.confident(0.5)) for passes in costs])
    told = JudgedFamily(family, [2, 4], 1, judge, row, row, None, False, lambda _: None)
    assert told.tried == [0, 1, 2]
    assert told.chosen == {2: Mixture(0, 1, 0.5), 4: Mixture(1, 2, 0.5)}


def test_plans_of_a_model_by_blocks_have_one_order():
    """Two steps or three: they differ in what the second token of each block costs before and after the first.

    By every pair of first and second tokens, looked up from the model: with orders of their own the other tokens'
    costs would differ too.
    """
    model = models.block_causal(3, length=8, block=4, width=8, depth=1, heads=2)
    params = model.init(jax.random.key(0), length=8)
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    params = jax.tree.unflatten(tree, [leaf + rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])
    rows = rng.integers(0, 3, (12, 8)).astype(np.int32)

    @jax.jit
    def logits_of(noisy):
        return model.readout(params, blockwise(model).encode_blocks(params, jnp.asarray(rows), noisy))

    def losses(shown):
        """Of each token, after all blocks before its own and what is shown of that."""
        noisy = np.where(shown, rows, model.mask_id).astype(np.int32)
        logits = np.asarray(logits_of(noisy), np.float64)
        return np.asarray(logsumexp(logits, axis=-1)) - np.take_along_axis(logits, rows[..., None], axis=-1)[..., 0]

    before, at = losses(np.zeros(8, bool)), np.arange(8)
    after = np.stack([losses(at % 4 == first) for first in range(4)])
    saved = [
        [before[:, place] - after[first, :, place] for first in range(4) for place in block if place % 4 != first]
        for block in (at[:4], at[4:])
    ]
    possible = np.array(saved[0])[:, None] + np.array(saved[1])[None]
    costs = Judge(model, params, KEY, None, 2).plans(rows, [plans.uniform(4, 2), Plan(np.array([1, 1, 2]), "made")])
    apart = np.abs(possible.reshape(-1, 12) - (costs[0] - costs[1])).min(axis=0)
    assert possible.std() > 0.1
    np.testing.assert_allclose(apart, 0.0, atol=2e-5)
