"""What the theorem of arXiv 2509.13866 says and does not say, by enumeration; `THEOREM.md` cites these tests."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from worlds import random_table

from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import enumeration, least_flows


def law_on(*sentences: str) -> np.ndarray:
    """The uniform law on sentences of the letters a and b."""
    table = np.zeros((2,) * len(sentences[0]))
    for sentence in sentences:
        table[tuple("ab".index(letter) for letter in sentence)] = 1 / len(sentences)
    return table


def one_sentence(length: int) -> np.ndarray:
    return law_on("a" * length)


FIVE_LETTERS = ("".join(letters) for letters in itertools.product("ab", repeat=5))
TWO_OR_THREE = [sentence for sentence in FIVE_LETTERS if sentence.count("a") in (2, 3)]
WORLDS = {
    "1 token of 3": (random_table(1, 3, 0), (1, 1, 1)),
    "2 tokens of 2": (random_table(2, 2, 1), (6, 4, 2)),
    "2 tokens of 4": (random_table(2, 4, 2), (10, 4, 2)),
    "3 tokens of 2": (random_table(3, 2, 3), (27, 12, 3)),
    "3 tokens of 3": (random_table(3, 3, 4), (48, 12, 3)),
    "5 tokens of 2": (random_table(5, 2, 5), (405, 80, 5)),
    "aaa, bbb": (law_on("aaa", "bbb"), (21, 12, 3)),
    "aaaaa, bbbbb": (law_on("aaaaa", "bbbbb"), (155, 80, 5)),
    "two or three a's": (law_on(*TWO_OR_THREE), (395, 80, 5)),
}
every_world = pytest.mark.parametrize(("target", "constants"), WORLDS.values(), ids=WORLDS)


def one_token(alpha, alpha_rate):
    return alpha_rate**2 / (alpha * (1 - alpha))


@pytest.mark.core
@every_world
def test_constants(target, constants):
    assert enumeration.constants(target) == constants
    for alpha, rate in [(0.03, 0.2), (0.4, 1.0), (0.97, 3.0)]:
        found = enumeration.instantaneous(target, alpha, rate)
        expected = np.array([*constants, target.ndim]) * one_token(alpha, rate)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.core
@pytest.mark.parametrize(("length", "vocab_size"), [(1, 1), (1, 6), (2, 3), (3, 2), (4, 2), (4, 3), (6, 1)])
def test_constants_of_full_support(length, vocab_size):
    full = enumeration.constants(random_table(length, vocab_size, 0))
    assert full == (length * (vocab_size + 1) ** (length - 1), length * 2 ** (length - 1), length)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(1, 2), (1, 5), (2, 2), (2, 3), (3, 2), (3, 3), (4, 2)]),
    seed=st.integers(0, 10**6),
    kept=st.floats(0.2, 1.0),
    alpha=st.floats(0.001, 0.999),
    rate=st.floats(0.001, 1000.0),
)
def test_any_target_at_any_time(shape, seed, kept, alpha, rate):
    target = random_table(*shape, seed)
    target = np.where(np.random.default_rng(seed).random(target.shape) < kept, target, 0)
    target = target / target.sum() if target.sum() > 0 else one_sentence(shape[0])
    found = enumeration.instantaneous(target, alpha, rate)
    expected = np.array([*enumeration.constants(target), target.ndim]) * one_token(alpha, rate)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.core
@every_world
def test_fisher_information_is_linear_in_the_length(target, constants):
    for alpha in (0.1, 0.6):
        law, law_rate = enumeration.path(target, alpha, 1.0)
        h = 1e-5
        later, earlier = (enumeration.path(target, alpha + x, 1.0)[0] for x in (h, -h))
        np.testing.assert_allclose(law_rate, (later - earlier) / (2 * h), atol=1e-8)
        fisher = np.sum(law_rate[law > 0] ** 2 / law[law > 0])
        np.testing.assert_allclose(fisher, target.ndim * one_token(alpha, 1.0), rtol=1e-9)
        np.testing.assert_allclose(enumeration.instantaneous(target, alpha, 1.0).fisher, fisher, rtol=1e-12)


@pytest.mark.core
@every_world
def test_rates_generate_the_path(target, constants):
    law, law_rate = enumeration.path(target, 0.3, 1.7)
    rates = enumeration.marginal_rates(target, 0.3, 1.7)
    np.testing.assert_allclose(law.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(rates.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(law @ rates, law_rate, atol=1e-9)
    moves = ~np.eye(len(law), dtype=bool)
    assert (rates[moves] >= 0).all()
    assert not (rates * moves)[~enumeration.unmaskings(target.ndim, target.shape[0])].any()
    z, x = np.nonzero(rates * moves)  # the sum in (5), from the matrix
    kinetic = np.sum(law[z] / law[x] * rates[z, x] ** 2)
    np.testing.assert_allclose(kinetic, constants[0] * one_token(0.3, 1.7), rtol=1e-9)


def test_rates_are_the_conditionals_of_the_target():
    target = random_table(2, 2, 7)
    states = enumeration.all_states(2, 2).tolist()
    rates = enumeration.marginal_rates(target, 0.25, 3.0) * (1 - 0.25) / 3.0
    from_masks, from_b = states.index([2, 2]), states.index([1, 2])
    np.testing.assert_allclose(rates[from_masks, states.index([2, 0])], target[:, 0].sum())
    np.testing.assert_allclose(rates[from_masks, states.index([0, 2])], target[0].sum())
    np.testing.assert_allclose(rates[from_b, states.index([1, 0])], target[1, 0] / target[1].sum())


def nnls_energy(law, law_rate, allowed):
    """The least energy by a primal solve: non-negative least squares with continuity as a heavy penalty."""
    z, x = np.nonzero(allowed & (np.outer(law, law) > 0))
    root = np.sqrt(law[z] * law[x])
    continuity = np.zeros((len(law), len(z)))
    continuity[x, np.arange(len(z))] += root
    continuity[z, np.arange(len(z))] -= root
    penalty = 1e4
    system = np.concatenate([penalty * continuity, np.eye(len(z))])
    found, _ = optimize.nnls(system, np.concatenate([penalty * law_rate, np.zeros(len(z))]))
    assert np.max(np.abs(continuity @ found - law_rate)) <= 1e-5
    return np.sum(found**2)


def check(least, law, law_rate, allowed):
    """A flow that continuity, signs and the allowed moves permit, of the energy claimed, and no lower one exists."""
    flows = least.flows
    assert (flows >= 0).all()
    assert not flows[~allowed].any()
    np.testing.assert_allclose(flows.sum(axis=0) - flows.sum(axis=1), law_rate, atol=1e-9)
    z, x = np.nonzero(flows)
    np.testing.assert_allclose(np.sum(flows[z, x] ** 2 / (law[z] * law[x])), least.value, rtol=1e-12)
    rise = np.maximum(least.potential[None, :] - least.potential[:, None], 0)
    bound = 2 * least.potential @ law_rate - np.sum(np.outer(law, law)[allowed] * rise[allowed] ** 2)
    np.testing.assert_allclose([least.bound, least.value], bound, rtol=1e-9)


def least(target, allowed):
    law, law_rate = enumeration.path(target, 0.4, 1.0)
    allowed = allowed & ~np.eye(len(law), dtype=bool)
    found = least_flows.least_energy(law, law_rate, allowed)
    check(found, law, law_rate, allowed)
    return found.value


def any_move(length, vocab_size):
    return np.ones(((vocab_size + 1) ** length,) * 2, dtype=bool)


@pytest.mark.core
@pytest.mark.parametrize(
    ("length", "by_flips", "by_any"),
    [(1, 4.16667, 4.16667), (2, 16.6667, 8.33333), (3, 50, 12.5), (4, 133.333, 16.6667)],
)
def test_conditional_rates_are_best_among_one_token_changes_only(length, by_flips, by_any):
    target = one_sentence(length)
    found = enumeration.instantaneous(target, 0.4, 1.0)
    np.testing.assert_allclose([found.kinetic, found.conditional_kinetic], by_flips, rtol=1e-5)
    for moves in (enumeration.one_token_changes, enumeration.unmaskings):
        np.testing.assert_allclose(least(target, moves(length, 2)), found.conditional_kinetic, rtol=1e-9)
    np.testing.assert_allclose(least(target, any_move(length, 2)), by_any, rtol=1e-5)
    np.testing.assert_allclose(found.conditional_kinetic / found.fisher, 2 ** (length - 1), rtol=1e-9)


@pytest.mark.core
def test_marginal_rates_are_not_best():
    moves = (enumeration.unmaskings, enumeration.one_token_changes, any_move)
    for seed in range(3):
        target = random_table(2, 2, seed)
        np.testing.assert_allclose(enumeration.instantaneous(target, 0.4, 1.0).kinetic, 25, rtol=1e-9)
        by_unmasking, by_flips, by_any = (least(target, allowed(2, 2)) for allowed in moves)
        assert 25 > by_unmasking + 0.2 > by_flips + 0.3 > by_any
        np.testing.assert_allclose(by_any, 2 / 0.24, rtol=1e-9)
        law, law_rate = enumeration.path(target, 0.4, 1.0)
        for allowed, value in ((moves[0](2, 2), by_unmasking), (moves[1](2, 2), by_flips)):
            np.testing.assert_allclose(nnls_energy(law, law_rate, allowed), value, rtol=1e-4)
    for target, values in (
        (random_table(2, 2, 0), [22.1004, 21.7924, 8.33333]),
        (law_on("aa", "ab"), [19.7619, 19.7619, 8.33333]),  # 20.8333 by masked diffusion
    ):
        np.testing.assert_allclose([least(target, allowed(2, 2)) for allowed in moves], values, rtol=1e-5)


@pytest.mark.core
def test_marginal_rates_are_best_for_the_uniform_law():
    for length, vocab_size in [(2, 2), (2, 3), (3, 2)]:
        uniform = np.full((vocab_size,) * length, 1.0 / vocab_size**length)
        kinetic = enumeration.instantaneous(uniform, 0.4, 1.0).kinetic
        for moves in (enumeration.unmaskings, enumeration.one_token_changes):
            np.testing.assert_allclose(least(uniform, moves(length, vocab_size)), kinetic, rtol=1e-9)
    np.testing.assert_allclose(enumeration.instantaneous(np.full((2, 2), 0.25), 0.4, 1.0).kinetic, 25)


def siblings_agree(target):
    """Whether states that lie between the same two states, each one reveal away, are always equally likely."""
    law, _ = enumeration.path(target, 0.4, 1.0)
    steps = enumeration.unmaskings(target.ndim, target.shape[0])
    pairs = (
        np.nonzero(steps[z] & steps[:, w])[0] for z, w in itertools.product(range(len(law)), repeat=2) if law[w] > 0
    )
    return all(np.ptp(law[between]) < 1e-12 for between in pairs if len(between))


@pytest.mark.parametrize(
    ("target", "best"),
    [
        (np.diag([0.2, 0.8]), True),
        (np.array([[0.4, 0.1], [0.1, 0.4]]), True),
        (np.outer([0.2, 0.8], [0.5, 0.5]), False),
        (random_table(2, 3, 0), False),
        (random_table(3, 2, 0), False),
        (law_on("aaa", "bbb"), True),
        (law_on("aab", "aba", "baa"), False),
        (law_on("aa", "ab"), False),
        (one_sentence(3), True),
    ],
)
def test_when_marginal_rates_are_best_among_unmaskings(target, best):
    assert siblings_agree(target) == best
    kinetic = enumeration.instantaneous(target, 0.4, 1.0).kinetic
    excess = kinetic / least(target, enumeration.unmaskings(target.ndim, target.shape[0])) - 1
    assert abs(excess) < 1e-9 if best else excess > 1e-3


@settings(max_examples=25, deadline=None)
@given(shape=st.sampled_from([(1, 3), (2, 2), (2, 3), (3, 2)]), seed=st.integers(0, 10**6), alpha=st.floats(0.02, 0.98))
def test_least_energies_are_ordered(shape, seed, alpha):
    target = random_table(*shape, seed)
    law, law_rate = enumeration.path(target, alpha, 1.0)
    found = []
    for moves in (any_move, enumeration.one_token_changes, enumeration.unmaskings):
        answer = least_flows.least_energy(law, law_rate, moves(*shape))
        assert abs(answer.value - answer.bound) <= 1e-8 * answer.value
        found.append(answer.value)
    found.append(enumeration.instantaneous(target, alpha, 1.0).kinetic)
    assert all(low <= high * (1 + 1e-8) for low, high in itertools.pairwise(found))
    np.testing.assert_allclose(found[0], shape[0] * one_token(alpha, 1.0), rtol=1e-7)


@pytest.fixture
def pair():
    return law_on("aa", "ab"), np.array([5, 4, 2])


@pytest.mark.core
def test_constants_times_pi_squared_at_the_optimum(pair):
    target, constants = pair
    assert enumeration.constants(target) == tuple(constants)
    found = enumeration.energies(target, schedules.sine_squared())
    np.testing.assert_allclose(found[:3], constants * np.pi**2, rtol=1e-12)
    assert found.change <= 1e-12


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1.0, 1.0), (1.3, 0.7), (0.8, 0.9), (2.0, 3.0)])
@pytest.mark.few(1)
def test_every_schedule_is_optimal_for_its_own_weight(pair, a, b):
    target, constants = pair
    own = schedules.beta(a, b)
    np.testing.assert_allclose(enumeration.energies(target, own, own)[:3], constants * np.pi**2, rtol=1e-7)


@pytest.mark.thorough
def test_the_papers_favourites_are_optimal_for_their_own_weights_too(pair):
    target, constants = pair
    for a, b in [(0.9, 0.3), (1.0, 0.2)]:  # whose energy sits at t = 1, where the rule converges slowly
        own = schedules.beta(a, b)
        found = enumeration.energies(target, own, own, nodes=96, tolerance=1e-2)
        np.testing.assert_allclose(found[:3], constants * np.pi**2, rtol=1e-3)


def test_another_schedule_costs_what_quadrature_says(pair):
    target, constants = pair
    own, other = schedules.beta(1.3, 0.9), schedules.beta(1.1, 0.8)
    p, q = (1.3, 0.9), (1.1, 0.8)
    rate, weight_rate = (lambda t, a=a, b=b: t ** (a - 1) * (1 - t) ** (b - 1) for a, b in (p, q))
    scale = integrate.quad(weight_rate, 0, 1)[0] / integrate.quad(rate, 0, 1)[0] ** 2
    excess = integrate.quad(lambda t: rate(t) ** 2 / weight_rate(t), 0, 1, epsabs=1e-12)[0] * scale
    found = enumeration.energies(target, own, other, tolerance=1e-5)
    np.testing.assert_allclose(found[:3], constants * np.pi**2 * excess, rtol=1e-5)
    assert excess > 1.001
    np.testing.assert_allclose(found[:3], constants * float(energies.kinetic(own, other)), rtol=2e-5)


class Bent(schedules.Schedule):
    """``theta(t) = t + amount sin(wave pi t) / (wave pi)``: uniform time with a perturbation that fades at the ends."""

    amount: float
    wave: int = 2

    def theta(self, t):
        return t + self.amount * jnp.sin(self.wave * np.pi * t) / (self.wave * np.pi)

    def alpha(self, t):
        return jnp.square(jnp.sin(0.5 * np.pi * self.theta(t)))

    def one_minus_alpha(self, t):
        return jnp.square(jnp.cos(0.5 * np.pi * self.theta(t)))


@pytest.mark.core
@pytest.mark.parametrize("wave", [1, 2, 3])
def test_bending_the_angle_raises_all_three_by_chi_squared(pair, wave):
    target, constants = pair
    for amount in (-0.6, -0.05, 0.02, 0.3):
        found = enumeration.energies(target, Bent(amount, wave))
        assert (np.array(found[:3]) > constants * np.pi**2 * (1 + 0.4 * amount**2)).all()
        # theta' = 1 + amount cos(wave pi t), so chi^2(theta' || 1) = amount^2 / 2
        np.testing.assert_allclose(found[:3], constants * np.pi**2 * (1 + amount**2 / 2), rtol=1e-6)


def test_energies_do_not_depend_on_the_default_precision(pair, double):
    found = enumeration.energies(pair[0], schedules.beta(1.3, 0.7), schedules.beta(1.3, 0.7))
    np.testing.assert_allclose(found[:3], pair[1] * np.pi**2, rtol=1e-8)


def chords(angles, weights):
    """Appendix D.5: ``4 |chord|^2 / step of gamma``, for steps of the angle that sum to ``pi / 2``."""
    return np.sum(8 * (1 - np.cos(angles)) / weights)


@pytest.mark.core
def test_chords_of_equal_steps_approach_pi_squared():
    for steps, value in [(2, 9.373), (4, 9.743), (8, 9.838), (16, 9.862)]:
        found = chords(np.full(steps, np.pi / 2 / steps), np.full(steps, 1 / steps))
        np.testing.assert_allclose(found, value, rtol=1e-4)
        np.testing.assert_allclose(found, 8 * steps**2 * (1 - np.cos(np.pi / 2 / steps)), rtol=1e-12)


def test_proportional_points_are_optimal_for_angles_not_for_chords():
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    proportional = np.pi / 2 * weights
    assert chords(proportional, weights) == pytest.approx(9.66882, abs=1e-5)
    # Stationary where sin(step) is proportional to the weight.
    factor = optimize.brentq(lambda x: np.arcsin(x * weights).sum() - np.pi / 2, 0.1, 2.5)
    best = np.arcsin(factor * weights)
    assert chords(best, weights) == pytest.approx(9.66345, abs=1e-5)
    searched = optimize.minimize(
        lambda free: chords(np.append(free, np.pi / 2 - free.sum()), weights), proportional[:-1] * 1.1, tol=1e-12
    )
    assert searched.fun == pytest.approx(chords(best, weights), abs=1e-7)
    # With squared angles in place of squared chords, Cauchy-Schwarz gives pi^2 at proportional points and no less.
    assert np.sum(4 * proportional**2 / weights) == pytest.approx(np.pi**2)
    assert np.sum(4 * best**2 / weights) > np.pi**2 + 1e-3


def at(alpha, alpha_rate):
    return enumeration.instantaneous(np.array([1.0]), alpha, alpha_rate)


def whole(schedule, weight=None, **options):
    return enumeration.energies(np.array([1.0]), schedule, weight, **options)


@pytest.mark.core
@pytest.mark.parametrize(
    ("call", "arguments", "sentence"),
    [
        (enumeration.constants, [np.full((2, 3), 1 / 6)], r"target must be of shape .*; got shape \(2, 3\)"),
        (enumeration.constants, [np.array(1.0)], r"target must be of shape .*; got shape \(\)"),
        (enumeration.constants, [np.zeros((0,))], r"target must be of shape .*; got shape \(0,\)"),
        (enumeration.constants, [np.array([0.5, 0.6])], "target must be a table of probabilities.* sum to 1.1"),
        (enumeration.constants, [np.array([1.5, -0.5])], "target must be a table .*; got entries from -0.5 to 1.5"),
        (enumeration.constants, [np.array([np.nan, 1.0])], "target must be a table of probabilities"),
        (enumeration.constants, [np.full((2,) * 8, 2.0**-8)], r"\^length at most 4096; got \(8, 2\)"),
        (enumeration.all_states, [0, 2], r"length and vocab_size must be at least 1 each.*; got \(0, 2\)"),
        (at, [0.0, 1.0], "alpha must be strictly between 0 and 1; got 0.0"),
        (at, [1.0, 1.0], "alpha must be strictly between 0 and 1; got 1.0"),
        (at, [float("nan"), 1.0], "alpha must be strictly between 0 and 1; got nan"),
        (at, [0.5, -1.0], "alpha_rate must be finite and not negative; got -1.0"),
        (at, [0.5, float("inf")], "alpha_rate must be finite and not negative; got inf"),
        (whole, [schedules.polynomial(np.ones(64))], "schedule must be one schedule, not a stack"),
        (whole, [schedules.linear(), schedules.polynomial(np.ones(3))], "weight must be one schedule, not a stack"),
        (whole, [schedules.linear(), Bent(1.5)], "weight must be a schedule whose alpha, .* rises from 0 .* to 1"),
    ],
)
def test_bad_input(call, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        call(*arguments)


@pytest.mark.core
def test_an_energy_that_does_not_settle_is_refused():
    assert np.isinf(energies.kinetic(schedules.linear()))
    with pytest.raises(InputError, match=r"settles to 0.0001 with 64 nodes; got a relative change of 0\.16"):
        whole(schedules.linear())
    with pytest.raises(InputError, match=r"nodes must be a whole number from 4 to 128; got 3"):
        whole(schedules.linear(), nodes=3)


@pytest.mark.core
def test_bad_flows():
    law, moving = np.array([0.5, 0.5, 0.0]), np.array([-1.0, 1.0, 0.0])
    none, every = np.zeros((3, 3), dtype=bool), np.ones((3, 3), dtype=bool)
    for given_law, rate, allowed, sentence in [
        (law, moving, none, "allowed must be moves by which the path can be made to move"),
        (law, np.array([1.0, 1.0, 0.0]), every, "probability_rates must be finite, zero where .* and sum to zero"),
        (law, np.array([-1.0, 0.0, 1.0]), every, "probability_rates must be"),
        (-law, moving, every, "probabilities must be finite and not negative"),
    ]:
        with pytest.raises(InputError, match=sentence):
            least_flows.least_energy(given_law, rate, allowed)
    still = least_flows.least_energy(law, 0 * moving, none)
    assert (still.value, still.residual) == (0.0, 0.0)
