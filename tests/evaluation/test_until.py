"""Measurements that go on until they are good enough: rounds on made-up sequences without a model, and with one."""

import math
import re

import jax
import numpy as np
import pytest
from compiled import programs
from worlds import draw_rows, exact_world, wrong_world

from mdm_jax import oracles
from mdm_jax.app.commands import profile as command
from mdm_jax.evaluation import Until, estimate_profile, told_of_until
from mdm_jax.evaluation.measuring import until as rounds
from mdm_jax.evaluation.measuring.until import measured
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.profiles import default_counts, from_rows, from_values, interpolated

COUNTS = np.arange(4)
BIT = math.log(2)


class Made:
    """Sequences whose losses are 5 nats, their own part and an order's: normal, of these standard deviations."""

    def __init__(self, seed, between, within, rows):
        self.own = 5 + between * np.random.default_rng(seed).standard_normal((rows, 1))
        self.within, self.asked = within, []

    def __call__(self, key, ids):
        number = int(jax.random.key_data(key)[-1])
        self.asked += [(number, int(one)) for one in ids]
        noise = [np.random.default_rng((number, one)).standard_normal() for one in ids.tolist()]
        return self.own[ids] + self.within * np.array(noise)[:, None] + 0.01 * COUNTS, None

    def why_infinite(self, row, at, keys):
        raise AssertionError("all is finite")


def went_on(look, bits, encodings=64, seed=0, batch=8, **more):
    def profile_of(found):
        about = {"rows": len(found.rows), "orders_per_row": found.orders}
        return from_rows(4, COUNTS, found.losses, about)

    ones, until = np.ones(len(look.own), int), None if bits is None else Until(bits, **more)
    return measured(look, jax.random.key(seed), ones, encodings, 4, batch, until, profile_of)


def error_of(profile):
    return float(profile.standard_error(np.ones(4, int))) / (4 * BIT)


def test_it_ends_when_the_error_is_as_small_as_asked():
    """0.7 nats a row and order, 0.05 bits asked: 408 rows, and no more than a quarter beyond."""
    profile = went_on(Made(0, 0.5, 0.5, 2_000), 0.05)
    came = profile.provenance["until"]
    assert came["ended"] == "enough"
    assert came["reached"] == pytest.approx(error_of(profile), rel=1e-12)
    assert came["reached"] <= 0.05
    assert came["encodings"] == 4 * profile.provenance["rows"]
    assert 300 < profile.provenance["rows"] < 1.25 * 0.5 / (0.05 * BIT) ** 2
    assert 3 <= came["rounds"] <= 6
    assert told_of_until(profile) == (
        f"NELBO ± {came['reached']:.2g} bits per token after {came['encodings']:,} encodings, as asked (at most 0.05)."
    )
    at_once = went_on(Made(0, 0.5, 0.5, 2_000), 1.0)
    assert at_once.provenance["until"]["rounds"] == 1


def test_a_longer_measurement_holds_the_shorter_one():
    """The same orders of the same rows, none asked twice."""
    short, long = Made(0, 0.5, 0.5, 400), Made(0, 0.5, 0.5, 400)
    went_on(short, 0.2)
    last = went_on(long, 0.06)
    assert last.provenance["until"]["rounds"] > 1
    assert set(short.asked) < set(long.asked)
    assert len(set(long.asked)) == len(long.asked)


def test_where_it_ends_it_is_what_one_measurement_of_as_many_encodings_says():
    grown = went_on(Made(0, 0.5, 2.0, 48), 0.2)
    rows, orders = (grown.provenance[name] for name in ("rows", "orders_per_row"))
    assert (rows, orders > 2) == (48, True)
    whole = went_on(Made(0, 0.5, 2.0, 48), None, encodings=4 * rows * orders)
    np.testing.assert_allclose(grown.means, whole.means, rtol=1e-12)
    np.testing.assert_allclose(grown.covariance, whole.covariance, rtol=1e-9)


def test_errors_hold_where_it_ended():
    """400 measurements that ended at 0.1 bits: the errors from the truth have the spread that was told, within 12 %
    (their own standard error is 4 %), and mean z within 3/sqrt(400) of 0."""
    z = []
    for seed in range(400):
        profile = went_on(Made(seed, 0.7, 0.0, 400), 0.1, encodings=128, seed=seed)
        z.append((profile.nelbo() / 4 - 5.015) / BIT / profile.provenance["until"]["reached"])
    assert np.std(z) == pytest.approx(1, abs=0.12)
    assert abs(np.mean(z)) < 3 / math.sqrt(400)


class Falling:
    """Sequences of 16 tokens whose losses at each count lie about a falling curve, each order by itself."""

    def __init__(self, rows, between=0.1, within=0.1):
        self.curve = np.exp(-np.arange(16) / 4)
        self.own = between * np.random.default_rng(0).standard_normal((rows, 16))
        self.within = within

    def __call__(self, key, ids):
        number = int(jax.random.key_data(key)[-1])
        noise = [np.random.default_rng((number, one)).standard_normal(16) for one in ids.tolist()]
        return self.curve + 1 + self.own[ids] + self.within * np.array(noise), None

    why_infinite = Made.why_infinite

    def known(self, until):
        def profile_of(found):
            about = {"rows": len(found.rows), "orders_per_row": found.orders}
            return from_rows(16, np.arange(16), found.losses, about)

        ones = np.ones(len(self.own), int)
        return measured(self, jax.random.key(0), ones, 256, 16, 8, until, profile_of)


def test_it_ends_when_the_plans_are_certified():
    """Of 2, 4 and 8 steps: the bound is as small as asked, and holds of the curve that the losses are about."""
    look = Falling(1_000)
    first = look.known(Until(1.0, steps=(2, 4, 8)))
    assert first.provenance["until"]["rounds"] == 1
    asked = first.provenance["until"]["reached"] / 4
    profile = look.known(Until(asked, steps=(2, 4, 8)))
    came = profile.provenance["until"]
    assert (came["ended"], came["steps"]) == ("enough", [2, 4, 8])
    assert came["rounds"] > 1
    assert told_of_until(profile).startswith(f"Plans of 2, 4 and 8 steps certified to {came['reached']:.2g} bits per")
    certificate, truth = plans.certify(profile, (2, 4, 8)), from_values(look.curve + 1)
    assert rounds.regret_bits(certificate) <= came["reached"] <= asked  # the last round's level is above .95
    for steps, plan, bound in zip((2, 4, 8), certificate.plans, certificate.uniform.regret_nats, strict=True):
        best = truth.expected_nelbo(plans.optimal(truth, steps).sizes)
        assert truth.expected_nelbo(plan.sizes) - best <= bound


def test_the_doubts_of_all_rounds_sum_to_a_twentieth():
    doubts = [rounds.doubt_of_round(number) for number in range(1, 11)]
    assert doubts[:5] == [0.02, 0.01, 0.01, 0.005, 0.0025]
    assert sum(doubts) <= 0.05
    assert all(doubt >= 1e-4 for doubt in doubts)  # of a level that certify knows


def test_few_rows_certify_no_more_by_more_orders():
    profile = Falling(24, between=0.3).known(Until(1e-6, steps=(4,)))
    came = profile.provenance["until"]
    assert (came["ended"], profile.provenance["rows"]) == ("rows", 24)
    assert profile.provenance["orders_per_row"] >= 2
    assert "more orders of the same 24 rows tell little more; it stopped above 1e-06." in told_of_until(profile)


def test_few_rows_are_told():
    """Of 40 rows no number of orders brings the error below that of their own parts; the rest is nearly taken away."""
    floors = []
    for seed in range(20):
        look = Made(seed, 0.5, 1.0, 40)
        profile = went_on(look, 0.01, seed=seed, most_encodings=2**14)
        came = profile.provenance["until"]
        floors.append(came["least"] / (look.own.std(ddof=1) / math.sqrt(40) / BIT))
        assert came["ended"] == "rows"
        assert came["least"] < came["reached"] <= 1.1 * came["least"]
    assert profile.provenance["orders_per_row"] > 10
    told = f": 40 rows cannot bring it below {came['least']:.2g}; it stopped above 0.01."
    assert told_of_until(profile).endswith(told)
    assert np.mean(floors) == pytest.approx(1, abs=0.05)
    assert np.std(floors) < 0.1


def test_it_ends_where_no_more_is_allowed():
    profile = went_on(Made(0, 0.5, 0.5, 400), 0.01, most_encodings=1_000)
    came = profile.provenance["until"]
    assert (came["ended"], came["encodings"]) == ("encodings", 992)  # whole batches of 8 rows at 4 counts
    assert told_of_until(profile).endswith("992 encodings, as many as are allowed (1,000): not yet 0.01.")
    few = went_on(Made(0, 0.5, 3.0, 40), 0.05, most_encodings=500)
    assert few.provenance["until"]["encodings"] == 480
    assert few.provenance["orders_per_row"] == 3


def test_what_it_will_cost_is_told(capsys):
    look = Made(0, 0.5, 0.5, 2_000)

    def profile_of(found):
        return from_rows(4, COUNTS, found.losses, {"rows": len(found.rows), "orders_per_row": found.orders})

    asked = jax.random.key(0), np.ones(2_000, int), 256, 4, 8, Until(0.05), profile_of
    profile = measured(look, *asked, progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("NELBO")]
    assert len(lines) >= 2
    assert "bits per token after 256 encodings, 64 of 2,000 rows; for 0.05 some 2,200 encodings in all" in lines[0]
    assert re.search(r", about \d+ s more\.$", lines[0])
    assert told_of_until(profile).endswith("as asked (at most 0.05).")
    assert told_of_until(profile) not in lines  # whoever prints the profile says it, once


def test_a_model_is_measured_in_rounds_without_compiling_anew():
    """Rows of four tokens, 160 of them: first 48 encodings, then as many as it takes; one program for all rounds,
    and the same numbers as at once."""
    table, _, _ = exact_world(4, 3)
    denoiser, params = wrong_world(4, 3)
    rows = draw_rows(table, 160, 0)
    asked = {"key": jax.random.key(1), "counts": COUNTS}
    first = estimate_profile(denoiser, params, rows, 48, until=9.0, **asked)
    assert first.provenance["until"]["rounds"] == 1
    with programs() as made:
        grown = estimate_profile(denoiser, params, rows, 48, until=first.provenance["until"]["reached"] / 2, **asked)
    assert grown.provenance["until"]["rounds"] > 1
    assert "jit(at_counts)" not in made
    encodings = grown.provenance["until"]["encodings"]
    whole = estimate_profile(denoiser, params, rows, encodings, **asked)
    assert whole.provenance["rows"] == grown.provenance["rows"]
    np.testing.assert_allclose(whole.shares, grown.shares, rtol=1e-12)
    apart = np.abs(first.shares[:, None] - grown.shares[None]).max(axis=-1)  # each row of the first is there still
    assert apart.min(axis=1).max() < 1e-12


@pytest.mark.parametrize(
    ("until", "encodings", "says"),
    [
        (0, 64, "until must be a positive number of bits per token; got 0"),
        (-0.1, 64, "until must be a positive number of bits per token; got -0.1"),
        (math.nan, 64, "until must be a positive number of bits per token; got nan"),
        (math.inf, 64, "until must be a positive number of bits per token; got inf"),
        (Until(0.1, 63), 64, "most_encodings must be at least encodings, 64, those of the first round; got 63"),
        (Until(0.1, steps=(5,)), 64, "steps must be a whole number from 1 to 4; got 5"),
        (0.1, 7, "encodings must be at least 8, two for each count measured; got 7"),
    ],
)
def test_what_cannot_be_asked_is_refused(until, encodings, says):
    denoiser, params = wrong_world(4, 3)
    with pytest.raises(InputError) as caught:
        estimate_profile(denoiser, params, np.zeros((9, 4), int), encodings, key=jax.random.key(0), until=until)
    assert says in str(caught.value)


def test_the_command_offers_the_same_limit():
    assert command.MOST_ENCODINGS == rounds.MOST_ENCODINGS


def test_few_counts_where_the_error_is_far_above_what_the_curve_misses():
    """Through as many counts as are measured, the curve's NELBO is off by at most a tenth of the error that is asked
    for: on an urn of 128 tokens, exactly."""
    exact = oracles.polya(128, 0.5).entropies()
    many = [Until(bits).counts for bits in (0.1, 0.01, 0.001)]
    assert many == [8, 12, 20]
    assert Until(0.001, steps=(8,)).counts == 12
    for bits, most in zip((0.1, 0.01, 0.001), many, strict=True):
        counts = default_counts(128, most)
        missed = (interpolated(counts, exact[counts], 128) - exact).mean() / BIT
        assert abs(missed) < bits / 10
