"""Rows of different lengths, and rows of which something is given: each is worth what it is worth alone."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs

import mdm_jax as mdm
from mdm_jax.evaluation import held_out_nelbo, importance_weighted_nll, path_nelbo
from mdm_jax.evaluation.measuring.curves import at_shares
from mdm_jax.support.errors import InputError
from mdm_jax.training import mask_counts, masked_cross_entropy, nelbo
from mdm_jax.training.objective import Examples, score
from mdm_jax.training.objectives import default_objective

VOCAB, LENGTH = 2, 5
SIZES = {"length": LENGTH, "width": 16, "depth": 1, "heads": 2}
MODELS = {
    "bidirectional": mdm.models.transformer(VOCAB, **SIZES, ragged=True),
    "any order": mdm.models.any_order(VOCAB, **SIZES),
}
LENGTHS = np.array([2, 5, 3, 5, 1, 3])
ROWS = np.where(
    np.arange(LENGTH)[None] < LENGTHS[:, None], np.random.default_rng(5).integers(0, VOCAB, (len(LENGTHS), LENGTH)), -1
).astype(np.int32)


@functools.cache
def parameters(name):
    """Those of an untrained model, moved, so that everything in it says something."""
    leaves, tree = jax.tree.flatten(MODELS[name].init(mdm.key(0), length=LENGTH))
    keys = jax.random.split(mdm.key(1), len(leaves))
    return jax.tree.unflatten(tree, [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)])


@functools.partial(jax.jit, static_argnums=0)
def _laws(name, rows, rank, count):
    """``-log p`` of every token of rows without padding, after the tokens of rank below ``count``."""
    model, params = MODELS[name], parameters(name)
    if name == "any order":
        hidden = model.encode_ranked(params, rows, jnp.where(rank < count, rank, 99), jnp.full(rows.shape, count))
        scores = model.readout(params, hidden)
    else:
        scores = mdm.models.logits(model, params, jnp.where(rank < count, rows, model.mask_id))
    return -jnp.take_along_axis(jax.nn.log_softmax(scores, axis=-1), rows[..., None], axis=-1)[..., 0]


@functools.cache
def along_orders(name, row, first=()):
    """Costs of a row alone, in all orders after what comes ``first``: [orders, counts, positions], and the ranks."""
    rest = [place for place in range(len(row)) if place not in first]
    rank = np.array([np.argsort([*first, *order]) for order in itertools.permutations(rest)], np.int32)
    rows = jnp.asarray(np.tile(np.array(row, np.int32), (len(rank), 1)))
    costs = [_laws(name, rows, jnp.asarray(rank), count) for count in range(len(first), len(row))]
    return np.stack(costs, axis=1).astype(np.float64), rank


@functools.cache
def exact_curve(name, row, first=()):
    """The mean loss per hidden token of a row alone after 0, 1, ... revealed ones, over all orders."""
    costs, rank = along_orders(name, row, first)
    counts = np.arange(len(first), len(row))
    hidden = rank[:, None, :] >= counts[None, :, None]
    return (np.where(hidden, costs, 0).sum(axis=2) / hidden.sum(axis=2)).mean(axis=0)


def exact_law(name, many):
    """The probability of every row of ``many`` tokens, revealed one by one in random order."""
    found = []
    for row in itertools.product(range(VOCAB), repeat=many):
        costs, rank = along_orders(name, row)
        own = np.where(rank[:, None, :] == np.arange(many)[None, :, None], costs, 0).sum(axis=(1, 2))
        found.append(np.exp(-own).mean())
    return np.array(found)


def curves(name, rows=ROWS, lengths=LENGTHS):
    return [exact_curve(name, tuple(row[:many].tolist())) for row, many in zip(rows, lengths)]


@pytest.mark.core
@pytest.mark.parametrize("name", MODELS)
def test_a_row_costs_in_a_wider_canvas_what_it_costs_alone(name):
    """Under 64 random maskings of each row: to 1e-6 per real token, which is float32's rounding."""
    model, params = MODELS[name], parameters(name)
    objective = default_objective(model)
    many = np.repeat(np.arange(len(ROWS)), 64)
    examples = Examples(jnp.asarray(ROWS[many]))
    corrupted = objective.corrupt(mdm.key(3), model, examples, jnp.float32(1))
    cost = jax.jit(objective.losses, static_argnums=0)
    together = np.asarray(cost(model, params, examples, corrupted).loss)
    for row, length in enumerate(LENGTHS.tolist()):
        cut = jax.tree.map(
            lambda leaf, row=row, length=length: leaf[many == row][:, :length] if leaf.ndim == 2 else leaf[many == row],
            (examples, corrupted),
        )
        alone = np.asarray(cost(model, params, *cut).loss)
        np.testing.assert_allclose(together[many == row] / length, alone / length, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_nelbo_of_rows_is_that_of_each_alone(name):
    """4,096 draws of each row, each mean within 4.5 standard errors of all orders enumerated."""
    model, params = MODELS[name], parameters(name)
    examples = Examples(jnp.asarray(np.tile(ROWS, (4096, 1))))
    drawn = np.asarray(score(default_objective(model), mdm.key(2), model, params, examples).loss, np.float64)
    drawn = drawn.reshape(-1, len(ROWS)).T
    for row, curve in zip(drawn, curves(name)):
        error = row.std(ddof=1) / np.sqrt(row.size)
        assert abs(row.mean() - curve.sum()) < 4.5 * error + 1e-5, (row.mean(), curve.sum(), error)


def wanted_profile(name, lengths=LENGTHS, rows=ROWS):
    """Token-weighted means of the rows' losses at equal shares: integrals of step functions, by 60 slices a count."""
    slices = (np.arange(LENGTH * 60) + 0.5) / (LENGTH * 60)
    found = [
        curve[np.floor(slices * many).astype(int)] * many for curve, many in zip(curves(name, rows, lengths), lengths)
    ]
    return np.sum(found, axis=0).reshape(LENGTH, 60).mean(axis=1) / lengths.sum()


@pytest.mark.core
@pytest.mark.parametrize("name", MODELS)
def test_a_profile_of_rows_is_that_of_equal_shares(name):
    """Each number, over 3,000 orders of every row, within 4.5 standard errors over orders; the mean is the NELBO."""
    model, params = MODELS[name], parameters(name)
    wanted = wanted_profile(name)
    runs = [
        mdm.estimate_profile(
            model,
            params,
            ROWS,
            300 * 6 * (2 if name == "any order" else LENGTH),
            key=mdm.key(seed),
            counts=np.arange(LENGTH),
        )
        for seed in range(10)
    ]
    means = np.array([profile.means for profile in runs])
    error = means.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert error.max() < 0.02 * wanted.max()
    assert (np.abs(means.mean(axis=0) - wanted) < 4.5 * error + 1e-5).all(), (means.mean(axis=0), wanted, error)
    per_token = sum(curve.sum() for curve in curves(name)) / LENGTHS.sum()
    assert wanted.mean() == pytest.approx(per_token, rel=1e-9)
    about = runs[0].provenance
    assert runs[0].length == LENGTH
    assert (about["tokens"], about["tokens_per_row"]) == ([1, 5], pytest.approx(LENGTHS.mean()))


def test_shares_of_a_row_are_those_of_a_loop():
    costs = np.random.default_rng(0).random((3, 7))
    found = at_shares(costs, np.array([7, 3, 2]), 5)
    for row, many in enumerate((7, 3, 2)):
        own, fine = costs[row, -many:], (np.arange(5 * 420) + 0.5) / (5 * 420)
        np.testing.assert_allclose(found[row], own[np.floor(fine * many).astype(int)].reshape(5, 420).mean(axis=1))
    np.testing.assert_allclose(at_shares(costs, np.array([7, 7, 7]), 7), costs)


@pytest.mark.parametrize("name", MODELS)
def test_whole_rows_are_measured_as_ever(name):
    """The same draws and numbers, bit for bit, whether a length is asked for or not."""
    model, params, whole = MODELS[name], parameters(name), np.abs(ROWS)
    plain, asked = (
        mdm.estimate_profile(model, params, whole, 96, key=mdm.key(0), length=length) for length in (None, LENGTH)
    )
    np.testing.assert_array_equal(plain.means, asked.means)
    np.testing.assert_array_equal(plain.covariance, asked.covariance)
    assert "tokens" not in asked.provenance


@pytest.mark.parametrize("name", MODELS)
def test_paths_of_rows_are_those_of_each_alone_by_the_scaled_plan(name):
    """Against the path of the row alone by its scaled knots, rounded to the nearest: to float32's rounding."""
    model, params = MODELS[name], parameters(name)
    plans = [
        mdm.plans.uniform(LENGTH, 3),
        mdm.plans.Plan(np.array([1, 2, 2]), "own"),
        mdm.plans.uniform(LENGTH, LENGTH),
    ]
    found = path_nelbo(model, params, ROWS, plans, key=mdm.key(4))
    free = jnp.asarray(ROWS >= 0)
    for i, plan in enumerate(plans):
        steps = mdm.sampling.random_order(mdm.key(4), jnp.asarray(mdm.sampling.plan_knots(plan, len(ROWS))), free)
        for row, many in enumerate(LENGTHS):
            own = np.asarray(steps)[row, :many]
            knots = np.floor(plan.knots * many / LENGTH + 0.5).astype(int)
            np.testing.assert_array_equal(np.bincount(own, minlength=plan.steps), np.diff(knots))
            alone = -mdm.sampling.path_log_prob(
                model, params, jnp.asarray(ROWS[row : row + 1, :many]), jnp.asarray(own)[None], key=mdm.key(4),
                row_ids=jnp.asarray([row]),
            )  # fmt: skip
            # The ties of an any-order model's steps are drawn for the whole canvas; one token a step has none.
            if name == "bidirectional" or plan.steps == LENGTH:
                np.testing.assert_allclose(found[i, row], alone[0], atol=1e-5)
    assert np.isfinite(found).all()


@pytest.mark.core
@pytest.mark.parametrize("name", MODELS)
def test_samples_keep_to_their_lengths_and_to_their_laws(name):
    """Rows of 2 and 3 tokens, one token a step: 4,000 samples against all orders enumerated, chi-squared below its
    mean + 4.5 standard deviations; and nothing is compiled for other lengths."""
    model, params = MODELS[name], parameters(name)
    lengths = np.repeat([2, 3], 4000)
    canvas = mdm.sampling.canvas_of([[]] * len(lengths), LENGTH, model.mask_id, lengths)
    one_by_one = mdm.plans.uniform(LENGTH, LENGTH)
    out = mdm.sample(model, params, one_by_one, canvas=canvas, key=mdm.key(6))
    tokens = np.asarray(out.tokens)
    np.testing.assert_array_equal(tokens < 0, canvas < 0)
    np.testing.assert_array_equal(out.nfe, lengths)
    np.testing.assert_array_equal(np.asarray(out.reveal_step) == mdm.sampling.MISSING, canvas < 0)
    for many in (2, 3):
        drawn = tokens[lengths == many][:, :many]
        counts = np.bincount(drawn @ VOCAB ** np.arange(many)[::-1], minlength=VOCAB**many)
        law = exact_law(name, many)
        assert law.sum() == pytest.approx(1, abs=1e-5)
        statistic, freedom = np.sum((counts - law * 4000) ** 2 / (law * 4000)), VOCAB**many - 1
        assert statistic < freedom + 4.5 * np.sqrt(2 * freedom)
    shorter = mdm.sampling.canvas_of([[]] * len(lengths), LENGTH, model.mask_id, np.repeat([5, 1], 4000))
    with programs() as made:
        again = mdm.sample(model, params, one_by_one, canvas=shorter, key=mdm.key(6))
    assert made == []
    assert np.asarray(again.nfe).tolist() == np.repeat([5, 1], 4000).tolist()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("make", [mdm.rules.surest, mdm.rules.at_random])
def test_the_adaptive_loop_draws_the_same_for_a_row_among_longer_and_shorter_ones(name, make):
    """Each row alone in a canvas of its own length, with its number: the same tokens and steps."""
    model, params = MODELS[name], parameters(name)
    canvas = np.where(ROWS >= 0, model.mask_id, -1).astype(np.int32)
    out = mdm.sample(model, params, make(mdm.plans.uniform(LENGTH, 3)), canvas=canvas, key=mdm.key(8))
    np.testing.assert_array_equal(np.asarray(out.tokens) < 0, canvas < 0)
    assert np.asarray(out.remaining).sum() == 0
    again = mdm.sample(
        model, params, make(mdm.plans.uniform(LENGTH, 3)), canvas=canvas[2:3], key=mdm.key(8), row_ids=[2]
    )
    np.testing.assert_array_equal(again.tokens[0], out.tokens[2])
    np.testing.assert_array_equal(again.reveal_step[0], out.reveal_step[2])


def test_a_cache_and_all_encoded_anew_agree_on_rows_of_different_lengths():
    """Left to right, where both have one law: equal tokens, log-probabilities to rounding; prompts are kept."""
    model, params = MODELS["any order"], parameters("any order")
    canvas = mdm.sampling.canvas_of([[1], [], [0, 1], [1]], LENGTH, model.mask_id, [3, 5, 4, 1])
    order = mdm.sampling.Blind(mdm.plans.uniform(LENGTH, LENGTH), order="left_to_right")
    cached, anew = (
        mdm.sample(one, params, order, canvas=canvas, key=mdm.key(9))
        for one in (model, mdm.models.without_cache(model))
    )
    np.testing.assert_array_equal(cached.tokens, anew.tokens)
    np.testing.assert_allclose(cached.log_prob, anew.log_prob, atol=1e-5)
    given = (canvas >= 0) & (canvas != model.mask_id)
    np.testing.assert_array_equal(np.asarray(cached.tokens)[given], canvas[given])


# ----------------------------------------------------------------------------------------------- what follows a prompt


@pytest.mark.parametrize("name", MODELS)
def test_what_is_given_costs_nothing_and_is_seen(name):
    """The loss of the rest of a row given its first token: 4,096 draws within 4.5 errors of all orders enumerated."""
    model, params = MODELS[name], parameters(name)
    long = ROWS[LENGTHS >= 3]
    given = np.zeros(long.shape, bool)
    given[:, 0] = True
    many = np.tile(np.arange(len(long)), 4096)
    drawn = held_out_nelbo(model, params, long[many], key=mdm.key(2), given=given[many], repeats=1)
    for row, sample in zip(long, drawn.reshape(-1, len(long)).T):
        exact = exact_curve(name, tuple(row[row >= 0].tolist()), (0,)).sum()
        error = sample.std(ddof=1) / np.sqrt(sample.size)
        assert abs(sample.mean() - exact) < 4.5 * error + 1e-5


def test_masks_fall_on_free_positions_alone_and_counts_are_unbiased():
    """8,192 rows of four kinds: 1 to n masked, each as often (4.5 s.d.); weights are n over the count."""
    rows, given = np.tile(ROWS[[1, 3, 0, 2]], (2048, 1)), np.zeros((8192, LENGTH), bool)
    given[1::4, :2] = True
    free = (rows >= 0) & ~given
    made = mask_counts(mdm.key(0), rows, mask_id=VOCAB, given=given)
    assert not np.asarray(made.masked)[~free].any()
    many, count = free.sum(axis=1), np.asarray(made.masked).sum(axis=1)
    np.testing.assert_allclose(made.weight, many / count)
    np.testing.assert_array_equal(np.asarray(made.tokens)[~free], rows[~free])
    for kind in range(4):
        n = int(many[kind])
        seen = np.bincount(count[kind::4], minlength=n + 1)[1:]
        assert (np.abs(seen - 2048 / n) < 4.5 * np.sqrt(2048 / n)).all()
        where = np.asarray(made.masked)[kind::4][:, free[kind]].mean(axis=0)
        assert (np.abs(where - (n + 1) / (2 * n)) < 4.5 * np.sqrt(0.25 / 2048)).all()
    share = np.asarray(made.revealed) / LENGTH  # of a whole row as of this one, to one token of each
    assert (np.abs(share - (many - count) / many) < 1 / many + 1 / LENGTH).all()


# ------------------------------------------------------------------------------------------------------ what is refused


def test_models_that_would_see_what_is_not_there_refuse_such_rows():
    plain = mdm.models.transformer(VOCAB, **SIZES)
    params = plain.init(mdm.key(0), length=LENGTH)
    wanted = r"tokens must be rows of one length, or given to a model that takes others: .*ragged=True"
    for call in (
        lambda: held_out_nelbo(plain, params, ROWS, key=mdm.key(0)),
        lambda: mdm.estimate_profile(plain, params, ROWS, key=mdm.key(0)),
        lambda: path_nelbo(plain, params, ROWS, [mdm.plans.uniform(LENGTH, 2)], key=mdm.key(0)),
        lambda: masked_cross_entropy(plain, params, *map(jnp.asarray, (ROWS, ROWS, ROWS > 9))),
    ):
        with pytest.raises(InputError, match=wanted):
            call()
    with pytest.raises(InputError, match="canvas must be rows of one length"):
        mdm.sample(plain, params, mdm.plans.uniform(LENGTH, 2), canvas=ROWS, key=mdm.key(0))
    block = mdm.models.block_causal(VOCAB, **SIZES, block=3)
    with pytest.raises(InputError, match="tokens must be rows of one length"):
        held_out_nelbo(block, block.init(mdm.key(0), length=LENGTH), ROWS, key=mdm.key(0))


def test_a_token_of_ones_own_stands_for_what_is_not_there():
    """What the model is shown, and what it costs: an exact world's rows of three tokens, padded with a 1."""
    world = mdm.oracles.polya(3, 0.5)
    model = mdm.models.padded(world.denoiser, 1)
    rows = np.array([[0, 1, -1], [1, 1, 1]], np.int32)
    corrupted = mask_counts(mdm.key(0), rows, mask_id=2)
    found = nelbo(model, world.params, jnp.asarray(rows), corrupted)
    seen = jnp.where(corrupted.tokens < 0, 1, corrupted.tokens)
    shown = nelbo(world.denoiser, world.params, jnp.maximum(rows, 0), corrupted._replace(tokens=seen))
    np.testing.assert_allclose(found, shown, rtol=1e-6)
    out = mdm.sample(model, world.params, mdm.plans.uniform(3, 3), canvas=np.array([[2, 2, -1]]), key=mdm.key(0))
    assert np.asarray(out.tokens)[0, 2] == -1
    assert int(out.nfe[0]) == 2


@pytest.mark.parametrize(
    ("lengths", "told"),
    [([2], r"lengths must be whole numbers, one for each of 2 prompts"), ([1, 3], r"lengths\[0\] must be from 2")],
)
def test_lengths_that_cannot_be_are_refused(lengths, told):
    with pytest.raises(InputError, match=told):
        mdm.sampling.canvas_of([[0, 1], [1]], LENGTH, VOCAB, lengths)


def test_the_likelihood_of_a_sampler_is_that_of_its_plan_scaled_to_the_row():
    """From left to right there is one path, so it is the law itself: two of five tokens at a time, of three in two."""
    model, params = MODELS["bidirectional"], parameters("bidirectional")
    rows = ROWS[LENGTHS == 3]
    steps = mdm.sampling.Blind(mdm.plans.uniform(LENGTH, 2), "left_to_right")
    found = importance_weighted_nll(model, params, rows, steps, samples=1, key=mdm.key(0))
    canvas = np.where(rows == -1, -1, VOCAB)
    told = np.asarray(mdm.sample(model, params, steps, len(rows), key=mdm.key(1), canvas=canvas).reveal_step)[0, :3]
    alone = mdm.sampling.Blind(mdm.plans.Plan(np.bincount(told), "scaled"), "left_to_right")
    wanted = importance_weighted_nll(model, params, rows[:, :3], alone, samples=1, key=mdm.key(0))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
