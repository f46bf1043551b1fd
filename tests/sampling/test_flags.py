"""Global flags that change what JAX does: keys of another kind, NaN as a fault, strict types, keys used once.

Samples are the same under each of them. (64 bits: ``test_double`` and ``test_laws_of_every_rule``.)
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from everything import CANVAS, EVERY, MODEL, PARAMS, PLAN, ROWS, sampled
from selecting import thorough_but

from mdm_jax import models, sampling
from mdm_jax.sampling import presets, rules
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(7)
QUICK = ["plan", "grid", "llada", "remdm confidence", "guided"]


def cases(quick):
    return [one if one[1] in quick else pytest.param(*one, marks=pytest.mark.thorough) for one in EVERY]


def the_same(one, other):
    for name, a, b in zip(one._fields, one, other):
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)


# ---------------------------------------------------------------------------------------------- keys of another kind


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
@pytest.mark.parametrize("name", thorough_but(["plan"], ["plan", "noisy", "remdm"]))
@pytest.mark.thorough
def test_rows_do_not_depend_on_their_batch_whatever_the_key(kind, name):
    """Rows asked for in reverse, and alone, are the same rows; and those of the threefry key of that seed."""
    key = jax.random.key(7, impl=kind)
    out = sampled("sampler", name, key)
    the_same(sampled("sampler", name, KEY), out)
    back = sampled("sampler", name, key, canvas=CANVAS[::-1], row_ids=list(range(ROWS))[::-1])
    np.testing.assert_array_equal(out.tokens, back.tokens[::-1])
    alone = sampled("sampler", name, key, canvas=CANVAS[2:3], row_ids=[2])
    np.testing.assert_array_equal(out.tokens[2:3], alone.tokens)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "name"), cases(QUICK))
def test_the_default_kind_of_keys_changes_no_sample(kind, name):
    wanted = sampled(kind, name, KEY)
    with jax.default_prng_impl("rbg"):
        the_same(wanted, sampled(kind, name, jax.random.key(7)))


@pytest.mark.core
@pytest.mark.thorough
def test_orders_take_keys_of_any_kind():
    free = jnp.asarray(CANVAS == 3)
    knots = jnp.asarray(sampling.plan_knots(PLAN, ROWS))
    fractions = jnp.asarray(sampling.grid_fractions(grids.uniform(5), ROWS))
    makers = [
        lambda key: sampling.random_order(key, knots, free),
        lambda key: sampling.ancestral_order(key, fractions, free),
        lambda key: sampling.first_hitting(key, free),
        lambda key: sampling.in_blocks(key, knots, free, 2),
    ]
    other = jax.random.key(7, impl="rbg")
    for make in makers:
        np.testing.assert_array_equal(make(KEY), make(other))
        with pytest.raises(InputError, match=r"of this raw one, jax\.random\.wrap_key_data\("):
            make(jax.random.key_data(KEY))


@pytest.mark.thorough
def test_both_loops_take_keys_of_any_kind():
    blank, other = jnp.full((ROWS, 4), 3, jnp.int32), jax.random.key(7, impl="rbg")
    steps = sampling.random_order(KEY, jnp.asarray(sampling.plan_knots(PLAN, ROWS)), blank == 3)
    for draw in (
        lambda key: sampling.blind_loop(MODEL, PARAMS, blank, steps, key=key).tokens,
        lambda key: sampling.adaptive_loop(MODEL, PARAMS, blank, rules.surest(PLAN), key=key).tokens,
    ):
        np.testing.assert_array_equal(draw(KEY), draw(other))


# --------------------------------------------------------------------------------------------- NaN and inf as faults


@pytest.mark.parametrize(("kind", "name"), cases(["plan"]))
def test_samplers_run_where_nan_infinity_and_a_key_used_twice_are_faults(kind, name):
    """An undefined log-probability is NaN all the same."""
    wanted = sampled(kind, name, KEY)
    assert np.isnan(wanted.log_prob).tolist() == [name in UNDEFINED] * 5 + [False]
    with jax.debug_nans(True), jax.debug_infs(True), jax.debug_key_reuse(True):
        the_same(wanted, sampled(kind, name, jax.random.key(7)))


UNDEFINED = {"quota", "llada", "remdm", "remdm rescale", "remdm confidence", "self-corrected"}
UNDEFINED |= {"self-planned", "self-planned, published", "hybrid"}


@pytest.mark.thorough
def test_sampling_inside_compiled_code_of_one_s_own():
    """NaN inside is no fault; what comes out of ``jit`` and ``vmap`` is what comes without."""
    rule = presets.llada(4, 4, 2)
    inside = jax.jit(lambda key: sampling.sample(MODEL, PARAMS, rule, ROWS, key=key, length=4))
    out = inside(KEY)
    assert np.all(np.isnan(out.log_prob))
    plain = sampling.sample(MODEL, PARAMS, rule, ROWS, key=KEY, length=4)
    np.testing.assert_array_equal(out.tokens, plain.tokens)
    keys = jax.random.split(KEY, 3)
    many = jax.vmap(lambda key: sampling.sample(MODEL, PARAMS, rule, ROWS, key=key, length=4).tokens)
    with jax.debug_nans(True):
        np.testing.assert_array_equal(jax.jit(lambda key: inside(key).tokens)(KEY), plain.tokens)
        several = np.asarray(many(keys))
    for key, tokens in zip(keys, several):
        np.testing.assert_array_equal(tokens, sampling.sample(MODEL, PARAMS, rule, ROWS, key=key, length=4).tokens)


@pytest.mark.core
def test_a_threshold_of_nought_is_no_fault():
    with jax.debug_infs(True), jax.debug_nans(True):
        assert np.isneginf(np.asarray(rules.confident(0.0).choose.args[0]))
        assert np.isfinite(np.asarray(rules.entropy_bounded(float("inf")).choose.args[0]))


# --------------------------------------------------------------------------------------------------------- the others


@pytest.mark.thorough
def test_the_transformer_under_strict_promotion_and_64_bits():
    """The same parameters, logits, gradients and samples, bit for bit."""
    model = models.transformer(5, length=8, width=16, depth=1, heads=2)
    tokens, context = jnp.asarray([[0, 5, 2, 5], [5, 5, 1, 4]], jnp.int32), jnp.ones((2, 3), jnp.float32)

    def loss(params):
        logits = models.logits(model, params, tokens, context)
        return jnp.sum(jax.nn.logsumexp(logits, axis=-1)), logits

    def begun():
        return jax.tree.map(lambda leaf: leaf + jnp.float32(0.1), model.init(jax.random.key(0), 8, context[:1]))

    def everything_about_it():
        params = jax.jit(begun)()
        out = sampling.sample(model, params, plans.uniform(8, 3), 2, key=KEY, context=context)
        return jax.tree.map(np.asarray, (params, jax.jit(jax.grad(loss, has_aux=True))(params), out))

    with jax.numpy_dtype_promotion("standard"):
        usual = everything_about_it()
    with jax.numpy_dtype_promotion("strict"):
        jax.tree.map(np.testing.assert_array_equal, usual, everything_about_it())
        with jax.enable_x64(True):
            double = everything_about_it()
    jax.tree.map(np.testing.assert_array_equal, usual, double)
    assert jax.tree.map(lambda a: a.dtype, usual) == jax.tree.map(lambda a: a.dtype, double)
