"""The incomplete beta function against SciPy and mpmath, which share no code with it.

References are taken at exactly the numbers the function was given: float32 values, read as float64 or mpmath numbers.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from selecting import thorough_but

from mdm_jax.theory.numerics import special as special_functions
from mdm_jax.theory.numerics.beta_function import density, incomplete_beta, incomplete_beta_inverse
from mdm_jax.theory.numerics.special import log_beta

mpmath = pytest.importorskip("mpmath")

VALUE, SLOPE = 2e-6, 1e-5  # promised in float32, for a, b in [0.05, 50] and every t
SHAPES = (0.05, 0.5, 1.0, 2.0, 50.0)


def low(x):
    """``I_t(a, b)`` of one point ``x = (a, b, t)``."""
    return incomplete_beta(x[0], x[1], x[2])[0]


value = jax.jit(incomplete_beta)
inverse = jax.jit(incomplete_beta_inverse)
gradient = jax.jit(jax.vmap(jax.grad(low)))
_ROWS = 200  # every set of points is padded to one shape: compiling is what takes time here


def _padded(f):
    f = jax.jit(jax.vmap(f))

    def call(x):
        x = np.asarray(x)
        return np.asarray(f(np.concatenate([x, np.broadcast_to(x[-1:], (_ROWS - len(x), 3))])))[: len(x)]

    return call


HESSIANS = {
    "forward over reverse": _padded(jax.jacfwd(jax.grad(low))),
    "reverse over reverse": _padded(jax.jacrev(jax.grad(low))),
    "forward over forward": _padded(jax.jacfwd(jax.jacfwd(low))),
}
FEW = ("forward over reverse",)  # in float64


@jax.jit
def by_parameters(a, b, t):
    """The derivatives in ``a`` and ``b`` by forward mode."""
    one, zero = jnp.ones_like(t), jnp.zeros_like(t)
    along = [jax.jvp(lambda a, b: incomplete_beta(a, b, t)[0], (a, b), d)[1] for d in ((one, zero), (zero, one))]
    return jnp.stack(along)


def as_numpy(xs):
    return [np.asarray(x, np.float64) for x in xs]


def log_uniform(rng, least, most, shape):
    return np.exp(rng.uniform(np.log(least), np.log(most), shape))


def random_points(seed, count, dtype, lengths=(0.05, 50)):
    """A fifth each: quantiles, uniform t, t down to the smallest number, t up to 1, t within 1e-7 of 1."""
    rng = np.random.default_rng(seed)
    a, b = log_uniform(rng, *lengths, (2, count)).astype(dtype)
    kind = np.arange(count) % 5
    quantile = special.betaincinv(a.astype(np.float64), b.astype(np.float64), rng.uniform(size=count))
    tiny = float(np.finfo(dtype).smallest_subnormal)
    t = np.select(
        [kind == 0, kind == 1, kind == 2, kind == 3],
        [
            quantile,
            rng.uniform(size=count),
            log_uniform(rng, max(tiny, 1e-60), 1, count),
            1 - log_uniform(rng, 1e-7, 1, count),
        ],
        1 - rng.uniform(0, 1e-7, count),
    )
    return a, b, t.astype(dtype)


def dense_grid():
    """float32 points: t uniform, dense at both ends, subnormal, and the ends themselves."""
    shapes = np.geomspace(0.05, 50, 25)
    odds = np.geomspace(1e-7, 0.5, 60)
    t = np.concatenate([[0, 1e-45, 1e-42, 1e-38, 1e-30, 1e-20, 1e-12], odds, 1 - odds, [1 - 2**-23, 1 - 2**-24, 1]])
    t = np.concatenate([t, np.linspace(0, 1, 101)])
    return [x.ravel().astype(np.float32) for x in np.meshgrid(shapes, shapes, t, indexing="ij")]


def exact(a, b, t, complement=None):
    """I, 1 - I, dI/da, dI/db by mpmath."""
    rows = []
    with mpmath.workdps(75):
        h = mpmath.mpf(10) ** -20
        for i in range(len(a)):
            p, q, x = (mpmath.mpf(float(v[i])) for v in (a, b, t))
            y = 1 - x if complement is None else mpmath.mpf(float(complement[i]))
            right = y < 0.5  # from the nearer end

            def tail(p, q, x=x, y=y, right=right):
                return (
                    mpmath.betainc(q, p, 0, y, regularized=True)
                    if right
                    else mpmath.betainc(p, q, 0, x, regularized=True)
                )

            main = tail(p, q)
            slopes = [(tail(p + h, q) - tail(p - h, q)) / (2 * h), (tail(p, q + h) - tail(p, q - h)) / (2 * h)]
            if right:
                rows.append([1 - main, main, -slopes[0], -slopes[1]])
            else:
                rows.append([main, 1 - main, *slopes])
    return np.array(rows, np.float64).T


def nasty(dtype):
    held = np.finfo(dtype)
    t = [0, held.smallest_subnormal, 1000 * held.smallest_subnormal, held.tiny, 1e-20, 0.5, 1 - 2.0**-24, 1]
    return np.array(list(itertools.product(SHAPES, SHAPES, t)), dtype)


# Values


@pytest.mark.core
def test_value_and_complement_on_a_dense_grid(strict_types):
    a, b, t = dense_grid()
    got = as_numpy(value(a, b, t))
    a, b, t = as_numpy((a, b, t))
    truth = special.betainc(a, b, t), special.betaincc(a, b, t)
    for ours, true in zip(got, truth):
        np.testing.assert_allclose(ours, true, rtol=0, atol=VALUE)
        small = true > 1e-30
        np.testing.assert_allclose(ours[small], true[small], rtol=1e-4)
        assert ours.min() >= 0
        assert ours.max() <= 1


@pytest.mark.core
@pytest.mark.thorough
def test_two_thousand_random_points(strict_types):
    a, b, t = random_points(1, 2000, np.float32)
    true = exact(a, b, t)
    got = as_numpy([*value(a, b, t), *by_parameters(a, b, t)])
    for ours, truth, limit in zip(got, true, (VALUE, VALUE, SLOPE, SLOPE)):
        np.testing.assert_allclose(ours, truth, rtol=0, atol=limit)
    reverse = np.asarray(gradient(np.stack([a, b, t], axis=1)), np.float64)
    np.testing.assert_allclose(reverse[:, :2].T, true[2:], rtol=0, atol=SLOPE)


@pytest.mark.thorough
def test_two_thousand_random_points_in_float64(double, strict_types):
    a, b, t = random_points(2, 2000, np.float64)
    true = exact(a, b, t)
    got = as_numpy([*value(a, b, t), *by_parameters(a, b, t)])
    for ours, truth in zip(got, true):
        np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-12)
    for ours, truth in zip(got[:2], true):
        small = truth > 1e-290
        np.testing.assert_allclose(ours[small], truth[small], rtol=1e-11)


def test_beyond_the_promised_range():
    for least, most, limit in ((0.05, 1000, 3e-5), (1e-3, 0.05, VALUE), (1e-3, 50, VALUE)):
        a, b, t = random_points(3, 4000, np.float32, (least, most))
        for ours, true in zip(value(a, b, t), (special.betainc, special.betaincc)):
            np.testing.assert_allclose(ours, true(*as_numpy((a, b, t))), rtol=0, atol=limit)


@settings(deadline=None, max_examples=200)
@given(*[st.floats(np.float32(0.05), 50, width=32)] * 2, st.floats(0, 1, width=32))
@pytest.mark.thorough
def test_any_point(a, b, t):
    a, b, t = (np.full(1, x, np.float32) for x in (a, b, t))
    for ours, truth in zip(value(a, b, t), (special.betainc, special.betaincc)):
        np.testing.assert_allclose(ours, truth(*as_numpy((a, b, t))), rtol=0, atol=VALUE)
    slopes = np.asarray(gradient(np.stack([a, b, t], axis=1)))[0]
    assert np.isfinite(slopes[:2]).all()
    assert slopes[2] >= 0


@pytest.mark.core
def test_value_at_the_ends():
    a, b = (x.ravel() for x in np.meshgrid(np.float32(SHAPES), np.float32(SHAPES)))
    for t in (0.0, 1.0):
        ours = value(a, b, np.full_like(a, t))
        np.testing.assert_array_equal(ours[0], t)
        np.testing.assert_array_equal(ours[1], 1 - t)


@pytest.mark.core
def test_mirror_image():
    a, b, t = random_points(4, 3000, np.float32)
    complement = np.float32(1) - t
    left, right = value(a, b, t, complement), value(b, a, complement, t)
    np.testing.assert_array_equal(left[0], right[1])
    np.testing.assert_array_equal(left[1], right[0])
    np.testing.assert_allclose(left[0] + left[1], 1, rtol=0, atol=1.2e-7)


def test_rises_with_t():
    # also across the line where the two ends take turns
    t = np.linspace(0, 1, 4001, dtype=np.float32)
    for a, b in itertools.product(SHAPES, SHAPES):
        rise = np.diff(np.asarray(value(np.full_like(t, a), np.full_like(t, b), t)[0], np.float64))
        assert rise.min() >= -1e-6


@pytest.mark.core
@pytest.mark.thorough
def test_complement_keeps_digits_next_to_one():
    rng = np.random.default_rng(5)
    a, b = log_uniform(rng, 0.05, 50, (2, 200)).astype(np.float32)
    complement = log_uniform(rng, 1e-37, 1e-8, 200).astype(np.float32)
    t = np.ones_like(a)
    true = exact(a, b, t, complement)
    got = as_numpy([*value(a, b, t, complement), density(a, b, t, complement)])
    np.testing.assert_allclose(got[0], true[0], rtol=0, atol=VALUE)
    kept = true[1] > 1e-36
    assert kept.sum() > 50
    np.testing.assert_allclose(got[1][kept], true[1][kept], rtol=1e-4)
    _, slope = jax.jvp(lambda b: incomplete_beta(a, b, t, complement)[1], (b,), (jnp.ones_like(b),))
    np.testing.assert_allclose(slope, -true[3], rtol=0, atol=SLOPE)
    far = (true[1] > 1e-36) & (got[2] < 1e37)
    truth = np.exp(special.xlogy(b - 1.0, complement.astype(np.float64)) - special.betaln(*as_numpy((a, b))))
    np.testing.assert_allclose(got[2][far], truth[far], rtol=2e-4)


def test_subnormal_t():
    # XLA takes these for zero
    a = np.float32([0.05, 0.1, 0.3, 1.0])
    for t in np.float32([1e-45, 1e-42, 1e-39]):
        ours = value(a, np.full_like(a, 2.0), np.full_like(a, t))
        truth = special.betainc(a.astype(np.float64), 2.0, np.float64(t))
        np.testing.assert_allclose(ours[0][:3], truth[:3], rtol=1e-4)
        np.testing.assert_allclose(ours[1], 1 - truth, rtol=0, atol=VALUE)
        slopes = np.asarray(gradient(np.stack([a, np.full_like(a, 2.0), np.full_like(a, t)], axis=1)))
        true_slope = np.exp((a - 1.0) * np.log(np.float64(t)) - special.betaln(a.astype(np.float64), 2.0))
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(slopes[:, 2], true_slope.astype(np.float32), rtol=1e-4)


@pytest.mark.core
def test_one_executable_for_all_values():
    f = jax.jit(lambda a, b, t: incomplete_beta(a, b, t))
    g = jax.jit(lambda a, b, v: incomplete_beta_inverse(a, b, v))
    points = [random_points(seed, 10, np.float32) for seed in range(3)]
    f(*points[0]), g(*points[0])
    with programs() as made:
        for a, b, t in points:
            f(a, b, t), g(a, b, t)
    assert made == []


@pytest.mark.core
def test_shapes_and_types(double):
    for x64, kind in ((False, jnp.float32), (True, jnp.float64)):
        with jax.enable_x64(x64):
            t = jnp.linspace(0, 1, 7)
            for pair in (jax.eval_shape(f, 2, 3.0, t) for f in (incomplete_beta, incomplete_beta_inverse)):
                for part in pair:
                    assert part.shape == (7,)
                    assert part.dtype == kind
            ints = jax.eval_shape(incomplete_beta, 2, 3, 1)[0]
            assert ints.shape == ()
            assert ints.dtype == kind


# Derivatives


@pytest.mark.thorough
def test_every_mode_agrees(double):
    a, b, t = random_points(6, 40, np.float64)
    t = np.clip(t, 1e-3, 1 - 1e-3)
    x = np.stack([a, b, t], axis=1)
    reverse = np.asarray(gradient(x))
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.jacfwd(low)))(x), reverse, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(jax.grad(low)(x[0]), reverse[0], rtol=1e-10, atol=1e-13)  # neither jit nor vmap
    both = jax.jit(jax.vmap(jax.jacfwd(lambda x: jnp.stack(incomplete_beta(x[0], x[1], x[2])))))(x)
    np.testing.assert_array_equal(both[:, 0], -both[:, 1])
    for mode in FEW:
        got = HESSIANS[mode](x)
        np.testing.assert_allclose(got, HESSIANS[FEW[0]](x), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(got, got.swapaxes(1, 2), rtol=1e-7, atol=1e-10)


def _hessians(a, b, t):
    """Second derivatives by mpmath."""

    def differences(p, q, x):
        def f(*orders):
            return mpmath.diff(lambda p, q, x: mpmath.betainc(p, q, 0, x, regularized=True), (p, q, x), orders, h=h)

        h = mpmath.mpf(10) ** -20
        aa, ab, at, bb, bt, tt = (f(*n) for n in ((2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 2, 0), (0, 1, 1), (0, 0, 2)))
        return [[aa, ab, at], [ab, bb, bt], [at, bt, tt]]

    with mpmath.workdps(75):
        rows = [differences(*(mpmath.mpf(float(v[i])) for v in (a, b, t))) for i in range(len(a))]
    return np.array(rows, np.float64)


@pytest.mark.thorough
def test_second_derivatives(double):
    rng = np.random.default_rng(7)
    a, b = log_uniform(rng, 0.05, 50, (2, 40)).astype(np.float32)
    t = np.clip(special.betaincinv(a, b, rng.uniform(0.02, 0.98, 40)), 1e-3, 1 - 1e-3).astype(np.float32)
    x, true = np.stack([a, b, t], axis=1), _hessians(a, b, t)
    scale = np.maximum(1, np.abs(true))
    for mode in FEW:
        np.testing.assert_array_less(np.abs(HESSIANS[mode](x.astype(np.float64)) - true) / scale, 1e-9)
    with jax.enable_x64(False):
        for mode, hessian in HESSIANS.items():
            np.testing.assert_array_less(np.abs(hessian(x) - true) / scale, 1e-4, err_msg=mode)


@pytest.mark.core
def test_derivative_in_t_is_the_density():
    a, b, t = random_points(8, 3000, np.float32)
    t = np.clip(t, 1e-30, 1 - 2**-24).astype(np.float32)
    slope = np.asarray(gradient(np.stack([a, b, t], axis=1)))[:, 2]
    p, q, x = as_numpy((a, b, t))
    truth = np.exp(special.xlogy(p - 1, x) + special.xlog1py(q - 1, -x) - special.betaln(p, q))
    held = (truth > 1e-30) & (truth < 1e37)
    assert held.sum() > 2000
    np.testing.assert_allclose(slope[held], truth[held], rtol=2e-4)
    np.testing.assert_allclose(density(a, b, t)[held], truth[held], rtol=2e-4)


@pytest.mark.core
@pytest.mark.parametrize("mode", thorough_but([jax.jacfwd], [jax.jacrev, jax.jacfwd]))
def test_one_sided_derivatives_at_the_ends(mode):
    derivative = jax.jit(jax.vmap(mode(low)))
    a, b = (x.ravel() for x in np.meshgrid(np.float32(SHAPES), np.float32(SHAPES)))
    limit = np.select([a < 1, a == 1], [np.inf, b], 0.0)
    at_0 = np.asarray(derivative(np.stack([a, b, np.zeros_like(a)], axis=1)))
    np.testing.assert_allclose(at_0[:, 2], limit, rtol=1e-6)
    np.testing.assert_array_equal(at_0[:, :2], 0)
    at_1 = np.asarray(derivative(np.stack([b, a, np.ones_like(a)], axis=1)))
    np.testing.assert_allclose(at_1[:, 2], limit, rtol=1e-6)
    np.testing.assert_array_equal(at_1[:, :2], 0)
    np.testing.assert_allclose(density(a, b, np.zeros_like(a)), limit, rtol=1e-6)


@pytest.mark.thorough
def test_second_derivatives_at_the_ends():
    cases = {(1.0, 3.0): -6.0, (2.0, 3.0): 12.0, (3.0, 2.0): 0.0, (1.0, 1.0): 0.0}  # by (a, b): of the density at 0
    for (a, b), true in cases.items():
        for hessian in HESSIANS.values():
            at_0, tiny, at_1 = hessian(np.float32([[a, b, 0.0], [a, b, 1e-40], [b, a, 1.0]]))
            np.testing.assert_allclose(at_0[2, 2], true, rtol=1e-6)
            np.testing.assert_allclose(tiny[2, 2], true, rtol=1e-4)
            np.testing.assert_allclose(at_1[2, 2], -true, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.thorough
def test_never_not_a_number(kind, double):
    x = nasty(kind)
    with jax.enable_x64(kind is np.float64):
        assert np.isfinite(value(*x.T)).all()
        a, b, t = x.T
        endless = ((a < 1) & (t < 1e-30)) | ((b < 1) & (t == 1))
        for first in (gradient, jax.jit(jax.vmap(jax.jacfwd(low)))):
            slopes = np.asarray(first(x))
            assert np.isfinite(slopes[:, :2]).all()
            assert not np.isnan(slopes).any()
            assert np.isfinite(slopes[~endless]).all()
            assert (slopes[:, 2] >= 0).all()
        for mode in HESSIANS if kind is np.float32 else FEW:
            assert not np.isnan(HESSIANS[mode](x)).any(), mode
        for result in (*inverse(*x.T), *(density(*x.T),)):
            assert not np.isnan(result).any()


@pytest.mark.core
def test_a_constant_t_at_an_end_with_an_infinite_slope():
    # forward mode multiplies the infinite slope by a zero tangent
    for t in (0.0, 1.0):
        _, slope = jax.jvp(lambda a, t=t: low((a, 0.5, t)), (0.5,), (1.0,))
        assert slope == 0
        both = jax.jvp(lambda a, t: low((a, 0.5, t)), (0.5, t), (1.0, 0.0))[1]
        assert both == 0


# The inverse


def _inverse_points(seed, count, dtype):
    rng = np.random.default_rng(seed)
    a, b = log_uniform(rng, 0.05, 50, (2, count)).astype(dtype)
    kind = np.arange(count) % 3
    v = np.select(
        [kind == 0, kind == 1],
        [rng.uniform(size=count), log_uniform(rng, 1e-30, 1, count)],
        1 - log_uniform(rng, 1e-7, 1, count),
    )
    return a, b, v.astype(dtype)


@pytest.mark.core
@pytest.mark.parametrize(("kind", "near", "relative"), [(np.float32, 2e-6, 3e-5), (np.float64, 1e-13, 3e-12)])
@pytest.mark.thorough
def test_inverse_against_scipy(kind, near, relative, double):
    a, b, v = _inverse_points(9, 3000, kind)
    with jax.enable_x64(kind is np.float64):
        t, rest = inverse(a, b, v)
        # there and back
        again = value(a, b, t, rest)
        held = (np.asarray(t) > 0) & (np.asarray(rest) > 0)
        np.testing.assert_allclose(np.asarray(again[0])[held], v[held], rtol=0, atol=2 * near)
    t, rest, p, q, v = as_numpy((t, rest, a, b, v))
    true = special.betaincinv(p, q, v), special.betainccinv(q, p, v)
    # what an error of the value amounts to in t
    slope = np.asarray(jax.vmap(density)(p, q, true[0], true[1]))
    tiny = 10 * np.finfo(kind).tiny
    for ours, truth in zip((t, rest), true):
        inside = (truth > tiny) & (slope > 1e-3)
        assert inside.sum() > 1000
        allowed = near / slope[inside] + 4 * np.finfo(kind).eps
        np.testing.assert_array_less(np.abs(ours - truth)[inside], allowed)
        np.testing.assert_allclose(ours[truth > tiny], truth[truth > tiny], rtol=relative)  # all digits of both
    np.testing.assert_allclose(t + rest, 1, rtol=0, atol=2 * np.finfo(kind).eps)


@pytest.mark.core
def test_inverse_underflows_to_the_end_it_belongs_to():
    for a, b, v, t, rest in (
        (0.05, 1.0, 1e-3, 0.0, 1.0),
        (1.0, 0.05, 0.999, 1.0, 0.0),
        (0.05, 0.05, 1e-3, 0.0, 1.0),
        (0.05, 0.05, 0.999, 1.0, 0.0),
    ):
        assert tuple(map(float, inverse(a, b, v))) == (t, rest)
    for a, b in itertools.product(SHAPES, SHAPES):
        assert tuple(map(float, inverse(a, b, 0.0))) == (0.0, 1.0)
        assert tuple(map(float, inverse(a, b, 1.0))) == (1.0, 0.0)


@pytest.mark.core
def test_inverse_complement_keeps_digits_next_to_one():
    a, b = np.float32(3.0), np.float32([0.3, 1.0, 2.0, 7.0])
    v, over = np.ones(4, np.float32), np.float32([1e-9, 1e-20, 1e-20, 1e-30])
    t, rest = inverse(np.full_like(b, a), b, v, over)
    np.testing.assert_array_less(np.float32(0.95), t)
    truth = special.betaincinv(b.astype(np.float64), 3.0, over.astype(np.float64))
    np.testing.assert_allclose(rest, truth, rtol=1e-5)


def test_inverse_is_in_order():
    v = np.linspace(0, 1, 2001, dtype=np.float32)
    for a, b in itertools.product(SHAPES, SHAPES):
        t, rest = as_numpy(inverse(np.full_like(v, a), np.full_like(v, b), v))
        assert np.diff(t).min() >= -1e-5
        assert np.diff(rest).max() <= 1e-5


def test_inverse_derivatives(double):
    rng = np.random.default_rng(10)
    a, b = log_uniform(rng, 0.05, 50, (2, 60))
    v = rng.uniform(0.05, 0.95, 60)
    t = special.betaincinv(a, b, v)
    kept = np.minimum(t, 1 - t) > 1e-6
    a, b, v, t = a[kept], b[kept], v[kept], t[kept]
    slopes = np.asarray(
        jax.jit(jax.vmap(jax.jacrev(lambda x: jnp.stack(incomplete_beta_inverse(x[0], x[1], x[2])))))(
            np.stack([a, b, v], axis=1)
        )
    )
    rest = special.betainccinv(b, a, v)
    by_a, by_b = exact(a, b, t, rest)[2:]
    steep = np.exp(special.xlogy(a - 1, t) + special.xlogy(b - 1, rest) - special.betaln(a, b))
    truth = np.stack([-by_a / steep, -by_b / steep, 1 / steep], axis=1)
    np.testing.assert_allclose(slopes[:, 0], truth, rtol=1e-9)
    np.testing.assert_allclose(slopes[:, 0], -slopes[:, 1], rtol=1e-14)


@pytest.mark.thorough
def test_inverse_second_derivatives(double):
    x = np.array([[2.0, 3.0, 0.3], [0.5, 0.7, 0.6], [8.0, 1.0, 0.9], [1.0, 0.25, 0.5]])

    def t(x):
        return incomplete_beta_inverse(x[0], x[1], x[2])[0]

    first = jax.jit(jax.vmap(jax.grad(t)))
    h = 1e-5
    true = np.stack([(first(x + h * e) - first(x - h * e)) / (2 * h) for e in np.eye(3)], axis=1)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.hessian(t)))(x), true, rtol=1e-6, atol=1e-7)


@pytest.mark.thorough
def test_inverse_derivatives_are_numbers_everywhere():
    v = np.float32([0, 1e-45, 1e-40, 1e-38, 1e-30, 1e-10, 0.001, 0.5, 0.999, 1 - 2**-24, 1])
    x = np.array(list(itertools.product(SHAPES, SHAPES, v)), np.float32)
    for mode in (jax.jacrev, jax.jacfwd):
        slopes = np.asarray(jax.jit(jax.vmap(mode(lambda x: incomplete_beta_inverse(x[0], x[1], x[2])[0])))(x))
        assert not np.isnan(slopes).any()
        assert np.isfinite(slopes[:, :2]).all()


# What it is made of


@pytest.mark.core
def test_log_beta(strict_types):
    a, b = log_uniform(np.random.default_rng(11), 0.05, 1000, (2, 4000)).astype(np.float32)
    p, q = as_numpy((a, b))
    truth = special.betaln(p, q)
    ours = np.asarray(jax.jit(log_beta)(a, b), np.float64)
    ulp = np.finfo(np.float32).eps * np.maximum(1, np.abs(truth))
    assert (np.abs(ours - truth) / ulp).max() < 10  # near log B = 0 terms of 7 cancel
    slopes = jax.jit(jax.vmap(jax.grad(log_beta, (0, 1))))(a, b)
    total = special.digamma(p + q)
    for got, own in zip(slopes, (p, q)):
        true = special.digamma(own) - total
        np.testing.assert_allclose(got, true, rtol=1e-6, atol=2e-6)


def test_log_beta_in_float64(double, strict_types):
    a, b = log_uniform(np.random.default_rng(12), 0.05, 1000, (2, 300))
    with mpmath.workdps(40):
        truth = np.array([float(mpmath.log(mpmath.beta(*map(mpmath.mpf, ab)))) for ab in zip(a, b)])
    np.testing.assert_allclose(log_beta(a, b), truth, rtol=1e-13, atol=5e-12)  # at a = b = 1000 terms of 7000 cancel
    x = np.stack([a, b], axis=1)[:50]
    second = jax.jit(jax.vmap(jax.hessian(lambda x: log_beta(x[0], x[1]))))(x)
    total = special.polygamma(1, x.sum(1))
    np.testing.assert_allclose(second[:, 0, 1], -total, rtol=1e-11)
    np.testing.assert_allclose(second[:, 0, 0], special.polygamma(1, x[:, 0]) - total, rtol=1e-9)


def test_digamma_of_next(double, strict_types):
    x = np.concatenate([[0], np.geomspace(1e-6, 2000, 4000)])
    truth = special.digamma(1 + x)
    np.testing.assert_allclose(special_functions.digamma_of_next(jnp.asarray(x)), truth, rtol=1e-13, atol=1e-14)
    with jax.enable_x64(False):
        single = x.astype(np.float32)
        truth = special.digamma(1 + single.astype(np.float64))
        np.testing.assert_allclose(special_functions.digamma_of_next(jnp.asarray(single)), truth, rtol=3e-7, atol=2e-7)
        slope = jax.vmap(jax.grad(special_functions.digamma_of_next))(jnp.asarray(single))
        np.testing.assert_allclose(slope, special.polygamma(1, 1 + single.astype(np.float64)), rtol=2e-6)


def test_entropy_excess(double, strict_types):
    sizes = np.geomspace(1e-12, 0.999, 300)
    shift = np.concatenate([-sizes, sizes, [-0.4, 0.4, 3.0, 50.0]])
    with mpmath.workdps(50):
        truth = np.array([float(mpmath.mpf(s) - mpmath.log1p(mpmath.mpf(s))) for s in shift])
    ours = special_functions.entropy_excess(jnp.ones(len(shift)), jnp.asarray(shift), jnp.log1p(shift))
    np.testing.assert_allclose(ours, truth, rtol=1e-13)
    with jax.enable_x64(False):
        single = shift.astype(np.float32)
        with mpmath.workdps(50):
            truth = np.array([float(mpmath.mpf(float(s)) - mpmath.log1p(mpmath.mpf(float(s)))) for s in single])
        ours = special_functions.entropy_excess(jnp.full(len(single), 2.0), jnp.asarray(single), jnp.log1p(single))
        np.testing.assert_allclose(ours, 2 * truth, rtol=2e-6)
