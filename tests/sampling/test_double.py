"""Under ``jax_enable_x64`` the same float32 denoiser gives the same tokens, steps, passes and log-probabilities, in the
same types: sampler by sampler, and by exact law in ``test_laws_of_samplers``.

(What failed: 64 random bits taken for 32, so that orders were silently wrong, and branches of two types.)
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from everything import CANVAS, EVERY, MODEL, PARAMS, PLAN, ROWS, sampled
from references import chi_square
from selecting import thorough_but
from worlds import lookup_logits

from mdm_jax import models, sampling
from mdm_jax.sampling import draws
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(7)
QUICK = ["grid", "noisy"]


def cases(quick):
    return [one if one[1] in quick else pytest.param(*one, marks=pytest.mark.thorough) for one in EVERY]


def the_same(one, other):
    for name, a, b in zip(one._fields, one, other):
        if a is not None:
            assert (a.dtype, a.shape) == (b.dtype, b.shape), name
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize(("kind", "name"), cases(QUICK))
@pytest.mark.few(1)
def test_every_sampler_draws_the_same_with_64_bits(kind, name):
    single = sampled(kind, name, KEY)
    assert [single.tokens.dtype, single.log_prob.dtype] == [np.int32, np.float32]
    with jax.enable_x64(True):
        the_same(single, sampled(kind, name, KEY))


@pytest.mark.core
@pytest.mark.thorough
def test_every_order_is_the_same_with_64_bits():
    """Also where a caller's arrays are 64 bits wide, as NumPy's are."""
    free = np.array(CANVAS == 3)
    wide = np.asarray(sampling.plan_knots(PLAN, ROWS), np.int64)
    fractions = np.asarray(sampling.grid_fractions(grids.uniform(5), ROWS), np.float64)
    order = np.tile(np.array([2, 0, 3, 1]), (ROWS, 1))
    makers = {
        "random": lambda knots: sampling.random_order(KEY, knots, jnp.asarray(free)),
        "ancestral": lambda _: sampling.ancestral_order(KEY, jnp.asarray(fractions), jnp.asarray(free)),
        "hitting": lambda _: sampling.first_hitting(KEY, jnp.asarray(free)),
        "left": lambda knots: sampling.left_to_right(knots, jnp.asarray(free)),
        "given": lambda knots: sampling.in_order(jnp.asarray(order), knots, jnp.asarray(free)),
        "blocks": lambda knots: sampling.in_blocks(KEY, knots, jnp.asarray(free), 2, jnp.arange(ROWS)[::-1]),
    }
    single = {name: np.asarray(make(jnp.asarray(wide))) for name, make in makers.items()}
    with jax.enable_x64(True):
        for name, make in makers.items():
            double = make(jnp.asarray(wide))
            assert double.dtype == jnp.int32, name
            np.testing.assert_array_equal(single[name], double, err_msg=name)


def test_ancestral_coins_have_their_chances_with_64_bits(double):
    """120,000 coins over four steps of a quarter each: chi-square below its mean + 4 s.d. (All fell behind the end.)"""
    quarters = jnp.tile(jnp.asarray([0, 0.25, 0.5, 0.75, 1.0], jnp.float32), (20_000, 1))
    steps = np.asarray(sampling.ancestral_order(jax.random.key(0), quarters, jnp.ones((20_000, 6), bool)))
    assert set(np.unique(steps)) == {0, 1, 2, 3}
    assert chi_square(np.bincount(steps.ravel()), np.full(4, 0.25)) < 4


def test_orders_keep_to_their_plan_with_64_bits(double):
    """Three of six positions are given, under 2, 2, 2: one in each of the steps 0, 1 and 2, each as often at each."""
    free = jnp.tile(jnp.asarray([False] * 3 + [True] * 3), (20_000, 1))
    knots = jnp.asarray(sampling.plan_knots(plans.uniform(6, 3), 20_000))
    steps = np.asarray(sampling.random_order(jax.random.key(0), knots, free))
    assert np.all(np.sort(steps, axis=1) == [-1, -1, -1, 0, 1, 2])
    assert (
        chi_square(np.bincount(steps[:, 3:] @ [9, 3, 1], minlength=27)[[5, 7, 11, 15, 19, 21]], np.full(6, 1 / 6)) < 4
    )


def wide_logits(params, tokens):
    return lookup_logits(params, tokens).astype(params.dtype)


class Wide(type(MODEL)):
    """A denoiser of one's own that does not keep to float32, though the contract asks for it."""

    def readout(self, params, hidden):
        return hidden.astype(jnp.float64)


@pytest.mark.parametrize("kind", ["function", pytest.param("own", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", thorough_but(["plan"], ["plan", "noisy", "remdm confidence"]))
def test_parameters_and_logits_in_float64(kind, name, double):
    """The same tokens as from the same numbers in float32: rounded once, where logits become float32."""
    model = models.from_function(wide_logits, 3)
    model = model if kind == "function" else Wide(model.function, False, 3, 3)
    out = sampled("sampler", name, KEY, model, jnp.asarray(PARAMS, jnp.float64))
    the_same(sampled("sampler", name, KEY), out)


@pytest.mark.thorough
@pytest.mark.parametrize("wrapper", ["guided", "all"])
def test_wrappers_around_float64(wrapper, double):
    model = models.from_function(wide_logits, 3)
    own = Wide(model.function, False, 3, 3)
    the_same(sampled("wrapper", wrapper, KEY), sampled("wrapper", wrapper, KEY, own, jnp.asarray(PARAMS, jnp.float64)))


@pytest.mark.core
def test_draws_are_the_same_with_64_bits():
    logits = np.random.default_rng(0).normal(size=(50, 300)).astype(np.float32)
    make = lambda: draws.categorical(jax.random.split(KEY, 50), jnp.asarray(logits), jnp.float32(0.7))  # noqa: E731
    single = jax.tree.map(np.asarray, make())
    with jax.enable_x64(True):
        double = make()
    for a, b in zip(single, double):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough
def test_forced_paths_and_row_ids_are_the_same_with_64_bits():
    out = sampled("sampler", "plan", KEY)
    ids = list(range(ROWS))[::-1]
    with jax.enable_x64(True):
        forced = sampling.path_log_prob(MODEL, PARAMS, jnp.asarray(out.tokens, jnp.int64), jnp.asarray(out.reveal_step))
        assert forced.dtype == jnp.float32
        np.testing.assert_allclose(forced, out.log_prob, atol=1e-5)
        back = sampled("sampler", "plan", KEY, canvas=CANVAS[::-1], row_ids=ids)
    np.testing.assert_array_equal(back.tokens[::-1], out.tokens)
