"""Temperatures found by the loss, against a law whose logits were scaled by known ones, and against golden section."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from any_orders import tiny
from worlds import draw_rows, exact_world, wrong_world

import mdm_jax as mdm
from mdm_jax import evaluation, models
from mdm_jax.evaluation import calibrating
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

LENGTH, VOCAB = 4, 3
TABLE, LAW, PARAMS = exact_world(LENGTH, VOCAB)
FRACTIONS = (0.25, 0.5, 0.75, 1.0)
ROWS = draw_rows(TABLE, 2000, 1)


def test_known_temperatures_are_recovered():
    """2,000 rows, half of which choose: the deviation of a temperature's logarithm is some 4%, and 15% are allowed."""
    spoiled = models.calibrated(LAW, FRACTIONS, (0.5, 2.0, 0.25, 3.0))  # the law's own logits, scaled
    found = evaluation.calibrate(spoiled, PARAMS, ROWS, key=mdm.key(0), fractions=FRACTIONS)
    np.testing.assert_array_equal(found.fractions, FRACTIONS)
    np.testing.assert_allclose(found.temperatures, [2.0, 0.5, 4.0, 1 / 3], rtol=0.15)
    assert (found.after < found.before).all()
    assert found.gain.low > 0
    # What is left is the law's own loss at each fraction, by the table.
    plain = evaluation.calibrate(LAW, PARAMS, ROWS, key=mdm.key(0), fractions=FRACTIONS)
    np.testing.assert_allclose(found.after, plain.before, atol=3e-3)
    np.testing.assert_allclose(plain.temperatures, 1, rtol=0.1)
    # The temperatures undo each other.
    rows = jnp.asarray(ROWS[:32]).at[:, 0].set(VOCAB)
    ours, theirs = (models.logits(one, PARAMS, rows) for one in (found.denoiser, LAW))
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0] / (0.5 * found.temperatures[0]), rtol=1e-5)
    # The NELBO at all fractions falls as far as was foretold; the same maskings before and after.
    fresh = draw_rows(TABLE, 500, 7)
    before, after = (
        evaluation.held_out_nelbo(one, PARAMS, fresh, key=mdm.key(2)) / LENGTH for one in (spoiled, found.denoiser)
    )
    told, error = np.mean(before - after), np.std(before - after) / np.sqrt(500)
    assert abs(told - found.gain.mean) < 3 * error + (found.gain.high - found.gain.low)


def numpy_best(model, params, rows, masked):
    """Golden section over the inverse temperature, in float64."""
    shown = np.where(masked, VOCAB, rows).astype(np.int32)
    scores = np.asarray(models.logits(model, params, jnp.asarray(shown)), np.float64)
    mean = masked / masked.sum(axis=1, keepdims=True) / len(rows)

    def loss(log_inverse):
        law = scipy.special.log_softmax(scores * np.exp(log_inverse), axis=-1)
        return -np.sum(mean * np.take_along_axis(law, rows[..., None], axis=-1)[..., 0])

    return scipy.optimize.minimize_scalar(loss, bounds=(-2.7, 2.7), method="bounded", options={"xatol": 1e-9})[
        "fun"
    ], loss


def test_the_grid_finds_what_golden_section_finds():
    """A model of no law, of a hundred rows: the loss it reaches is the least there is to 1e-6 of it."""
    model, params = wrong_world(LENGTH, VOCAB)
    rows = ROWS[:200]
    counts = calibrating._counts((0.5, 1.0), np.full(200, LENGTH))
    look = calibrating._Look(model, params, rows, np.ones((200, LENGTH), bool), counts, None, mdm.key(3), 1)
    half = np.arange(100)
    grid = np.broadcast_to(calibrating._GRID, (100, len(calibrating._GRID)))
    for i in range(len(counts)):
        loss, slope = look(half, i, grid, lambda steps: None)
        best = calibrating._least(loss.mean(axis=0), slope.mean(axis=0))
        order = np.asarray(mdm.sampling.first_hitting(jax.random.fold_in(mdm.key(3), 0), jnp.ones((100, LENGTH), bool)))
        masked = order >= LENGTH - counts[i, :100, None]
        wanted, loss_at = numpy_best(model, params, rows[:100], masked)
        np.testing.assert_allclose(loss.mean(axis=0), [loss_at(x) for x in calibrating._GRID], rtol=2e-5)
        assert loss_at(best) < wanted * (1 + 1e-6)
        assert loss_at(best) <= loss_at(0.0)


def test_a_hopeless_model_ends_nearly_uniform_and_a_certain_one_is_left_alone():
    """At temperature 16 what a model of no law says is worth little, so that its loss is nearly log 3, from below."""
    model, params = wrong_world(LENGTH, VOCAB, seed=4)
    loud = models.tempered(model, 0.02)
    found = evaluation.calibrate(loud, params, ROWS[:400], key=mdm.key(0), fractions=[1.0])
    assert found.temperatures[0] == pytest.approx(16)
    assert found.after[0] < found.before[0]
    coins = mdm.oracles.polya(4, 1e6)  # fair ones: no temperature changes the loss
    rows = np.asarray(coins.sample(mdm.key(0), rows=40))
    still = evaluation.calibrate(coins.denoiser, coins.params, rows, key=mdm.key(1), fractions=[0.5, 1.0])
    assert still.temperatures.tolist() == [1, 1]
    assert tuple(still.gain) == (0, 0, 0)


def test_fractions_become_whole_numbers_of_tokens():
    assert calibrating._counts((0.0, 0.1, 0.3, 0.6, 1.0), np.array([4, 4])).tolist() == [[1, 1], [2, 2], [4, 4]]
    assert calibrating._counts((0.5, 1.0), np.array([2, 5, 1])).tolist() == [[1, 2, 1], [2, 5, 1]]


def test_all_numbers_of_masks_of_a_row_count_alike():
    """Losses on straight lines between the counts: of two rows, the second of which has a count twice."""
    values, counts = np.array([[1.0, 3.0, 2.0], [4.0, 4.0, 1.0]]), np.array([[2, 4, 8], [1, 1, 2]])
    means = calibrating._over_all_masks(values, counts, np.array([8, 2]))
    np.testing.assert_allclose(means, np.array([np.mean([1, 1, 2, 3, 2.75, 2.5, 2.25, 2]), 2.5]))


def padded_law(params, tokens):
    """A law of single tokens, biased by the length of the row."""
    there = jnp.sum(tokens != -1, axis=1)
    return jnp.broadcast_to((params[None] * there[:, None].astype(jnp.float32))[:, None], (*tokens.shape, 2))


class Ragged:
    """The same as a denoiser that takes rows of different lengths."""

    vocab_size, mask_id, passes, ragged = 2, 2, 1, True

    def encode(self, params, tokens, context=None):
        return padded_law(params, tokens)

    def readout(self, params, hidden):
        return hidden


def test_rows_of_different_lengths_count_by_their_tokens():
    """Ten rows of one token and ten of three, all hidden: the loss is that of forty tokens."""
    rows = np.full((40, 3), -1)
    rows[:20, 0] = np.arange(20) % 2
    rows[20:] = np.array([[0, 0, 1], [0, 1, 1]] * 10)
    params = jnp.asarray([0.0, 0.4])
    found = evaluation.calibrate(Ragged(), params, rows, key=mdm.key(0), fractions=[1.0])
    chosen, judged = np.array_split(
        np.asarray(jax.random.permutation(jax.random.fold_in(mdm.key(0), 2**31 - 1), 40)), 2
    )

    def loss(some, inverse):
        law = scipy.special.log_softmax(np.array([0.0, 0.4]) * (rows[some] != -1).sum(1)[:, None] * inverse, axis=-1)
        there = rows[some] != -1
        return -np.sum(np.take_along_axis(law, np.maximum(rows[some], 0), axis=1) * there) / there.sum()

    best = scipy.optimize.minimize_scalar(
        lambda x: loss(chosen, np.exp(x)), bounds=(-2.7726, 2.7726), method="bounded"
    )["fun"]
    assert loss(chosen, 1 / found.temperatures[0]) == pytest.approx(best, rel=1e-5)
    assert found.before[0] == pytest.approx(loss(judged, 1.0), rel=1e-5)
    assert found.gain.mean == pytest.approx(loss(judged, 1.0) - loss(judged, 1 / found.temperatures[0]), abs=1e-6)


def test_rows_of_one_kind_lose_nothing_where_they_chose():
    """Two of four tokens given, a model of no law: the 40 rows that chose, at the maskings by which they did."""
    model, params = wrong_world(LENGTH, VOCAB)
    rows, given = ROWS[:80], np.arange(LENGTH) < 2
    found = evaluation.calibrate(model, params, rows, key=mdm.key(0), fractions=(0.5, 1.0), given=given)
    chosen = np.array_split(np.asarray(jax.random.permutation(jax.random.fold_in(mdm.key(0), 2**31 - 1), 80)), 2)[0]
    free = jnp.asarray(np.tile(~given, (80, 1)))
    rank = np.asarray(mdm.sampling.first_hitting(jax.random.fold_in(mdm.key(0), 0), free))[chosen]
    for masks in (1, 2):
        masked = ~given & (rank >= 2 - masks)
        shown = jnp.asarray(np.where(masked, VOCAB, rows[chosen]).astype(np.int32))
        laws = (jax.nn.log_softmax(models.logits(one, params, shown)) for one in (model, found.denoiser))
        truths = (np.take_along_axis(np.asarray(law), rows[chosen][..., None], axis=-1)[..., 0] for law in laws)
        before, after = (-np.sum(truth[masked]) for truth in truths)
        assert after < before


def test_what_is_given_is_never_masked_and_temperatures_go_by_the_whole_row():
    """The first of four tokens given: known temperatures are recovered at 1, 2 and 3 masks of 4, to 20%."""
    at = (0.25, 0.5, 0.75)
    spoiled = models.calibrated(LAW, at, (0.5, 2.0, 0.25))
    first = np.arange(LENGTH) < 1
    found = evaluation.calibrate(spoiled, PARAMS, ROWS, key=mdm.key(0), fractions=(1 / 3, 2 / 3, 1.0), given=first)
    np.testing.assert_array_equal(found.fractions, at)
    np.testing.assert_allclose(found.temperatures, [2.0, 0.5, 4.0], rtol=0.2)
    assert found.gain.low > 0

    def refusing(params, tokens):  # no numbers where the prompt is masked: calibrate would say so
        shown = jnp.where(tokens[:, :1] == VOCAB, jnp.nan, 0.0)
        return jnp.broadcast_to(params, (*tokens.shape, VOCAB)) + shown[..., None]

    model = models.from_function(refusing, VOCAB)
    assert np.isfinite(evaluation.calibrate(model, jnp.arange(3.0), ROWS[:64], key=mdm.key(0), given=first).gain.mean)


def test_rows_are_judged_by_the_temperatures_that_their_own_prompts_give_them():
    """Prompts of no and of two tokens: the losses told are those of the model returned, at the same masks."""
    rows, given = ROWS[:80], np.zeros((80, LENGTH), bool)
    given[::2, :2] = True
    spoiled = models.calibrated(LAW, (0.25, 1.0), (0.3, 3.0))
    found = evaluation.calibrate(spoiled, PARAMS, rows, key=mdm.key(0), fractions=(0.5, 1.0), given=given)
    np.testing.assert_allclose(found.fractions, [120 / 320, 240 / 320])  # of 240 free tokens, of 320 that are there
    assert len(set(found.temperatures)) == 2
    judged = np.array_split(np.asarray(jax.random.permutation(jax.random.fold_in(mdm.key(0), 2**31 - 1), 80)), 2)[1]
    rank = mdm.sampling.first_hitting(jax.random.fold_in(mdm.key(0), 0), jnp.asarray(~given))
    rank, free = np.asarray(rank)[judged], (~given).sum(axis=1)[judged]
    for i, share in enumerate((0.5, 1.0)):
        masked = ~given[judged] & (rank >= (free - np.rint(share * free))[:, None])
        shown = jnp.asarray(np.where(masked, VOCAB, rows[judged]).astype(np.int32))
        for model, told in ((spoiled, found.before[i]), (found.denoiser, found.after[i])):
            law = scipy.special.log_softmax(np.asarray(models.logits(model, PARAMS, shown), np.float64), axis=-1)
            loss = -np.take_along_axis(law, rows[judged][..., None], axis=-1)[..., 0]
            mine = np.sum(loss * masked, axis=1) / masked.sum(axis=1)
            assert told == pytest.approx(np.sum(mine * free) / free.sum(), rel=1e-5)


def test_more_rows_of_the_same_kind_compile_nothing_anew():
    traces = []

    def counted(params, tokens):
        traces.append(tokens.shape)
        return jnp.broadcast_to(params, (*tokens.shape, VOCAB))

    model, params = models.from_function(counted, VOCAB), jnp.arange(float(VOCAB))
    for seed in (0, 1):
        evaluation.calibrate(model, params, ROWS[:80], key=mdm.key(seed), fractions=[0.5, 1.0])
    assert traces == [(32, 4), (32, 4)]  # choosing looks at a grid, judging at two temperatures


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: evaluation.calibrate(LAW, PARAMS, ROWS[:3], key=mdm.key(0)),
            "tokens must be of shape [rows, length] with at least 4 rows; got shape (3, 4).",
        ),
        (
            lambda: evaluation.calibrate(LAW, PARAMS, ROWS[:8], key=mdm.key(0), fractions=[1.0, 0.5]),
            "fractions must be rising numbers from 0 to 1; got [1.0, 0.5].",
        ),
        (
            lambda: evaluation.calibrate(LAW, PARAMS, ROWS[:8], key=mdm.key(0), repeats=0),
            "repeats must be a whole number from 1 to 2147483647; got 0.",
        ),
        (
            lambda: evaluation.calibrate(LAW, PARAMS, ROWS[:8], key=mdm.key(0), given=np.ones(LENGTH, bool)),
            "given must be rows with something left to tell; got row 0, of which nothing is left.",
        ),
        (
            lambda: evaluation.calibrate(tiny()[0], tiny()[1], np.zeros((8, 12), int), key=mdm.key(0)),
            "denoiser must be one that is shown whole rows: models.without_cache(denoiser); got one that goes by the",
        ),
        (
            lambda: evaluation.calibrate(models.banned(LAW, [0]), PARAMS, ROWS[:8] * 0, key=mdm.key(0)),
            "tokens must be possible under the denoiser, else their cost is infinite; it gives token 0 probability 0",
        ),
        (
            lambda: evaluation.calibrate(LAW, PARAMS * np.nan, ROWS[:8], key=mdm.key(0)),
            "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; at position",
        ),
    ],
)
def test_mistakes_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(says)


@pytest.mark.thorough
def test_the_estimated_temperature_is_as_near_as_its_information_says():
    """Of forty sets of rows: deviations from the truth, over 1 / sqrt(tokens x variance of the scaled logits)."""
    scores = np.log(TABLE.sum(axis=(1, 2, 3)))
    law = scipy.special.softmax(scores)
    information = np.sum(law * scores**2) - np.sum(law * scores) ** 2

    def single(params, tokens):
        return jnp.broadcast_to(params, (*tokens.shape, VOCAB))

    model, params, rng = (
        models.from_function(single, VOCAB),
        jnp.asarray(scores * 2, jnp.float32),
        np.random.default_rng(0),
    )
    errors = []
    for seed in range(40):
        rows = rng.choice(VOCAB, size=(256, 4), p=law)
        found = evaluation.calibrate(model, params, rows, key=mdm.key(seed), fractions=[1.0])
        errors.append(np.log(found.temperatures[0] / 2) * np.sqrt(128 * 4 * information))
    assert abs(np.mean(errors)) < 3 / np.sqrt(40)
    assert 0.6 < np.std(errors) < 1.5
