"""The objective of any-order models: against enumerated orders, and through ``fit`` in every way."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from any_orders import random_ranks, random_tokens, tiny
from compiler_flags import with_devices
from toys import SETTINGS, PatternTask

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.support.devices import make_mesh
from mdm_jax.support.errors import InputError
from mdm_jax.training import AnyOrderNelbo, MaskedNelbo, fit
from mdm_jax.training.objective import Examples, score
from mdm_jax.training.objectives import default_objective, from_description
from mdm_jax.training.objectives.any_order import Orders
from mdm_jax.training.step import loss_and_gradient

LENGTH, VOCAB = 4, 3
MODEL, PARAMS = tiny(LENGTH, VOCAB)
ORDERS = np.array(list(itertools.permutations(range(LENGTH))), np.int32)
"""As ranks: the place of each position in the order."""
ALL = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), np.int32)


@jax.jit
def law_at(tokens, rank, count):
    """Log-probabilities at all positions after the first ``count`` tokens of the order."""
    bound = jnp.full(tokens.shape, count, jnp.int32)
    return jax.nn.log_softmax(MODEL.readout(PARAMS, MODEL.encode_ranked(PARAMS, tokens, rank, bound)))


def costs(tokens, rank):
    """``-log p`` of each position's token after those before it, one step after the other: [rows, length]."""
    found = np.zeros(tokens.shape)
    for count in range(LENGTH):
        law = np.asarray(law_at(jnp.asarray(tokens), jnp.asarray(rank), count), np.float64)
        cost = -np.take_along_axis(law, tokens[..., None], axis=-1)[..., 0]
        found += np.where(rank == count, cost, 0.0)
    return found


# --------------------------------------------------------------------------------------------------- what a row costs


def test_the_loss_is_the_exact_average_over_all_orders():
    """Row by row for each of the 24 orders; and of 24,000 draws within 4 errors. Each order's law sums to one."""
    objective, row = AnyOrderNelbo(), np.array([2, 0, 0, 1], np.int32)
    tokens = np.tile(row, (len(ORDERS), 1))
    exact, drawn_orders = costs(tokens, ORDERS), Orders(jnp.asarray(ORDERS), jnp.zeros(len(ORDERS)))
    losses = jax.jit(objective.losses, static_argnums=0)(MODEL, PARAMS, Examples(tokens), drawn_orders)
    np.testing.assert_allclose(losses.loss, exact.sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(losses.cost, exact, atol=1e-4)  # unbiased for g(rank)
    np.testing.assert_array_equal(losses.revealed, ORDERS)
    drawn = score(objective, jax.random.key(0), MODEL, PARAMS, Examples(np.tile(row, (24_000, 1))))
    error = np.std(drawn.loss) / np.sqrt(24_000)
    assert 0 < error < 0.01 * exact.sum(axis=1).mean()
    assert abs(np.mean(np.asarray(drawn.loss, np.float64)) - exact.sum(axis=1).mean()) < 4 * error
    for order in ORDERS[::7]:
        total = np.exp(-costs(ALL, np.tile(order, (len(ALL), 1))).sum(axis=1)).sum()
        assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.core
def test_every_order_is_drawn_as_often():
    """24,000 orders: chi-squared of the 24 below its mean + 4.5 s.d."""
    examples = Examples(np.zeros((24_000, LENGTH), np.int32))
    rank = np.asarray(AnyOrderNelbo().corrupt(jax.random.key(1), MODEL, examples, jnp.float32(0)).rank)
    assert rank.dtype == np.int32
    counts = np.unique(rank @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(counts) == 24
    assert np.sum((counts - 1000.0) ** 2 / 1000.0) < 23 + 4.5 * np.sqrt(46)


@pytest.mark.thorough
def test_from_left_to_right_it_is_the_autoregressive_sum():
    """By plain ``encode`` of canvases whose first tokens are given."""
    objective, tokens = AnyOrderNelbo(ordered=1.0), random_tokens(3, LENGTH, VOCAB)
    losses = score(objective, jax.random.key(2), MODEL, PARAMS, Examples(tokens))
    logits, wanted = jax.jit(lambda canvas: models.logits(MODEL, PARAMS, canvas)), 0.0
    for count in range(LENGTH):
        canvas = np.where(np.arange(LENGTH) < count, tokens, MODEL.mask_id).astype(np.int32)
        law = np.asarray(jax.nn.log_softmax(logits(jnp.asarray(canvas))[:, count]))
        wanted = wanted - np.take_along_axis(law, tokens[:, count : count + 1], axis=1)[:, 0]
    np.testing.assert_allclose(losses.loss, wanted, rtol=1e-5)
    assert losses.revealed is None
    assert losses.cost is None


# ------------------------------------------------------------------------------------------------ which orders it draws


@pytest.mark.core
def test_settings_draw_what_they_say():
    """Of 64 rows of 24 tokens: the share of ordered ones is exact, rises with progress if asked, blocks are kept."""
    rows, length = 64, 24
    examples, position = Examples(np.zeros((rows, length), np.int32)), np.arange(length)

    def ordered(objective, progress, block=1):
        rank = np.asarray(objective.corrupt(jax.random.key(3), MODEL, examples, jnp.float32(progress)).rank)
        np.testing.assert_array_equal(np.sort(rank, axis=1), np.tile(position, (rows, 1)))
        in_order = np.all(rank // block == position // block, axis=1)
        return rank[in_order], in_order.sum()

    for progress in (0.0, 0.5, 1.0):
        assert ordered(AnyOrderNelbo(), progress)[1] == 0
        assert ordered(AnyOrderNelbo(ordered=0.25), progress)[1] == 16
        assert ordered(AnyOrderNelbo(ordered=0.5, progressive=True), progress)[1] == 32 * progress
        assert ordered(AnyOrderNelbo(ordered=1.0, progressive=True), progress)[1] == 64 * progress
    rank, count = ordered(AnyOrderNelbo(ordered=1.0, block=5), 0.0, 5)
    assert count == rows
    first = rank[:, :5] @ [0, 1, 2, 3, 4]
    assert len(np.unique(first)) > 5  # random inside
    assert not np.any(np.all(rank == position, axis=1))


@pytest.mark.core
@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda: AnyOrderNelbo(ordered=1.5), "ordered must be a share of the rows, from 0 to 1; got 1.5"),
        (lambda: AnyOrderNelbo(ordered=0.5, block=0), "block must be"),
        (lambda: AnyOrderNelbo(block=4), "block must be 1 where no rows are ordered; got 4"),
        (lambda: AnyOrderNelbo(progressive=True), "progressive must be False where no rows are ordered; got True"),
        (lambda: scored(toys.tiny_transformer()), "denoiser must be one that goes by ranks, as models.any_order makes"),
        (lambda: scored(models.without_cache(MODEL)), "denoiser must be one that goes by ranks"),
        (
            lambda: train(objective=MaskedNelbo()),
            "this one is for training.AnyOrderNelbo and evaluation.held_out_nelbo",
        ),
    ],
)
def test_what_is_refused(ask, says):
    with pytest.raises(InputError, match=says):
        ask()


def scored(denoiser):
    return score(AnyOrderNelbo(), jax.random.key(0), denoiser, PARAMS, Examples(np.zeros((2, LENGTH), np.int32)))


@pytest.mark.core
def test_it_is_what_such_models_are_trained_on_and_is_kept_as_it_is():
    assert default_objective(MODEL) == default_objective(models.banned(MODEL, (1,))) == AnyOrderNelbo()
    assert default_objective(models.without_cache(MODEL)) == MaskedNelbo()
    for objective in (AnyOrderNelbo(), AnyOrderNelbo(ordered=1, block=4, progressive=True)):
        assert from_description(json.loads(json.dumps(objective.describe()))) == objective


@pytest.mark.thorough
def test_in_bfloat16_slopes_are_finite_and_near():
    """Eight bits of mantissa: within some per cent of the gradient in float32."""
    model, params = tiny(toys.LENGTH, toys.VOCAB)
    rows = SETTINGS.batch
    orders = Orders(jnp.asarray(random_ranks(rows, toys.LENGTH)), jnp.zeros(rows))
    batch = Examples(random_tokens(rows, toys.LENGTH, toys.VOCAB)), orders
    found = []
    for compute in ("float32", "bfloat16"):
        settings = dataclasses.replace(SETTINGS, compute=compute)
        step = jax.jit(lambda params, settings=settings: loss_and_gradient(
            model, settings, params, *batch, objective=AnyOrderNelbo()
        ))  # fmt: skip
        leaves = jax.tree.leaves(step(params)[2])
        assert all(leaf.dtype == jnp.float32 for leaf in leaves)
        found.append(np.concatenate([np.ravel(leaf) for leaf in leaves]))
    one, two = found
    assert np.all(np.isfinite(two))
    assert np.linalg.norm(one - two) < 0.1 * np.linalg.norm(one)
    assert not np.array_equal(one, two)


# ------------------------------------------------------------------------------------------------------ through ``fit``


SHORT = dataclasses.replace(SETTINGS, steps=30, optimizer="adamw", learning_rate=0.02)


def any_order():
    return models.any_order(toys.VOCAB, length=toys.LENGTH, width=16, depth=1, heads=2)


def train(settings=SHORT, **how):
    return fit(any_order(), PatternTask(), settings=settings, progress=False, report_every=10, **how)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(directory=tmp_path_factory.mktemp("runs") / "plain")


def test_it_learns_and_measures_its_profile_as_it_goes(plain):
    """One token tells all the others: each row tallies every count once a step; the first costs log 6."""
    weight = np.asarray(plain.tally.weight)
    assert np.all(weight == weight[0])
    assert weight[0] > SHORT.batch
    log = plain.place.read_log()
    assert log[-1]["held_out_bits_per_token"] < 0.7 * np.log2(toys.VOCAB)
    profile = plain.training_profile
    assert profile.length == toys.LENGTH
    assert profile.provenance["order"] == "uniform"
    assert profile.provenance["errors"].startswith("upper bounds")
    assert profile.means[0] > np.log(toys.VOCAB) - 0.1  # nobody can do better
    assert profile.means[-1] < 0.5 * profile.means[0]
    config = json.loads(plain.place.config.read_text())
    assert config["objective"] == {**AnyOrderNelbo().describe(), "is_bound": True}
    found = mdm.load(plain.place.path)
    assert found.denoiser == any_order()
    jax.tree.map(np.testing.assert_array_equal, found.params, plain.params)


@pytest.mark.thorough
@pytest.mark.parametrize(("how", "changes"), [({"devices": 1}, {"accumulate": 2}), ({"mesh": {"data": 1}}, {})])
def test_every_way_takes_the_same_steps(plain, how, changes):
    how = {name: make_mesh(value) if name == "mesh" else value for name, value in how.items()}
    run = train(dataclasses.replace(SHORT, **changes), **how)
    for one, two in zip(jax.tree.leaves((run.params, run.tally)), jax.tree.leaves((plain.params, plain.tally))):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_a_run_goes_on_bitwise_and_with_no_other_orders(plain, tmp_path):
    class Stop(Exception):
        pass

    def stop(step, _):
        if step == 10:
            raise Stop

    directory = tmp_path / "run"
    with pytest.raises(Stop):
        train(directory=directory, on_report=stop)
    with pytest.raises(InputError, match=r"differs in objective ordered \(0.0, not 0.5\)"):
        train(directory=directory, objective=AnyOrderNelbo(ordered=0.5))
    jax.tree.map(np.testing.assert_array_equal, train(directory=directory).params, plain.params)


@pytest.mark.processes
@pytest.mark.thorough
def test_eight_devices_take_the_steps_of_one():
    """By ``pmap`` and on a mesh with split parameters: ten steps."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1] / "devices"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": with_devices(8), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import test_any_order_nelbo; test_any_order_nelbo.on_devices()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 2
    for name, difference in found.items():
        assert difference < 2e-3, name


def on_devices():
    """In the other process: prints the largest difference of a parameter, its EMA or the tally from one device's."""
    import many_devices

    from mdm_jax.training import ways

    job, task, found, alone = ways.Job(any_order(), SHORT, AnyOrderNelbo()), PatternTask(), {}, None
    for name in ("accumulate:1", "pmap:4", "mesh:data=4,model=2"):
        way, _ = many_devices.read(name)
        state, _ = way.steps(job, way.initial(job), way.put(task.train), 10)
        state = ways.fetch(state)
        if alone is None:
            alone = state
        else:
            pairs = [(getattr(state, each), getattr(alone, each)) for each in ("params", "ema_params", "tally")]
            found[name] = max(many_devices.largest(*pair) for pair in pairs)
    print(json.dumps(found))
