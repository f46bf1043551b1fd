"""Parameters, other state and randomness are told apart: trained, left untouched, refused."""

import dataclasses
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from toys import LENGTH, SETTINGS, VOCAB, PatternTask

import mdm_jax
from mdm_jax import models, sampling
from mdm_jax.models.parameters import joined, parted
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.training import fit
from mdm_jax.training.step import batch_of

SHORT = dataclasses.replace(SETTINGS, steps=20, optimizer="adamw", learning_rate=3e-3, weight_decay=0.1)


class Linen(nn.Module):
    """An embedding, batch statistics, dropout, and a layer that sees the whole row."""

    statistics: bool = True
    rate: float = 0.0

    @nn.compact
    def __call__(self, tokens):
        hidden = nn.BatchNorm(use_running_average=self.statistics)(nn.Embed(VOCAB + 1, 4)(tokens))
        hidden = nn.Dropout(self.rate, deterministic=self.rate == 0)(hidden)
        return nn.Dense(LENGTH * VOCAB)(hidden.reshape(len(tokens), -1)).reshape(*tokens.shape, VOCAB)


class NNX(nnx.Module):
    """The same in NNX."""

    def __init__(self, rngs):
        self.embed, self.norm = nnx.Embed(VOCAB + 1, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(LENGTH * 4, LENGTH * VOCAB, rngs=rngs)

    def __call__(self, tokens):
        hidden = self.dropout(self.norm(self.embed(tokens)))
        return self.head(hidden.reshape(len(tokens), -1)).reshape(*tokens.shape, VOCAB)


class Counting(NNX):
    """Changes a variable of its own whenever it is called."""

    def __init__(self, rngs):
        super().__init__(rngs)
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, tokens):
        self.calls[...] = self.calls[...] + 1
        return super().__call__(tokens)


@pytest.fixture
def free_ranks():
    """Batch statistics of NNX add vectors to matrices."""
    with jax.numpy_rank_promotion("allow"):
        yield


def evaluating(kind=NNX):
    module = kind(nnx.Rngs(0))
    module.eval()
    return models.from_nnx(module, VOCAB)


def same(one, two):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


def statistics(mean, variance):
    return {"BatchNorm_0": {"mean": jnp.linspace(-1, 1, 4) * mean, "var": jnp.full(4, variance, jnp.float32)}}


@pytest.fixture(scope="module")
def linen():
    denoiser = models.from_linen(Linen(), VOCAB)
    params = denoiser.init(jax.random.key(0), LENGTH)
    return denoiser, {**params, "batch_stats": statistics(0.3, 1.7)}


@pytest.fixture(scope="module")
def trained(linen):
    denoiser, params = linen
    return fit(denoiser, PatternTask(), settings=SHORT, params=params, progress=False)


def by_hand(denoiser, params, steps):
    """Parameters, their EMA and the losses of so many steps of Optax's AdamW on ``params["params"]`` alone."""
    warm = round(SHORT.warmup * SHORT.steps)

    def rate(count):
        rise, fall = (count + 1) / max(1, warm), (SHORT.steps - count) / (SHORT.steps - warm)
        return SHORT.learning_rate * jnp.clip(jnp.minimum(rise, fall), 0, 1)

    adamw = optax.adamw(
        rate, b1=0.9, b2=0.98, weight_decay=SHORT.weight_decay, mask=lambda p: jax.tree.map(lambda x: x.ndim >= 2, p)
    )
    optimizer = optax.chain(optax.clip_by_global_norm(SHORT.clip), adamw)
    moving, held = params["params"], params["batch_stats"]
    state, ema, losses = optimizer.init(moving), moving, []
    train = jnp.asarray(PatternTask().train)

    @jax.jit
    def loss_of(moving, step):
        examples, corrupted = batch_of(denoiser, SHORT, step, train)
        scores = Linen().apply({"params": moving, "batch_stats": held}, corrupted.tokens)
        cost = optax.softmax_cross_entropy_with_integer_labels(scores, examples.tokens)
        return jnp.mean(corrupted.weight * jnp.sum(jnp.where(corrupted.masked, cost, 0.0), axis=1)) / LENGTH

    for step in range(steps):
        loss, gradient = jax.value_and_grad(loss_of)(moving, jnp.int32(step))
        updates, state = optimizer.update(gradient, state, moving)
        moving = optax.apply_updates(moving, updates)
        decay = min(SHORT.ema_decay, (1 + step) / (10 + step))
        ema = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, ema, moving)
        losses.append(float(loss))
    return moving, ema, losses


@pytest.mark.core
@pytest.mark.thorough
def test_of_a_linen_module_params_are_trained_as_optax_trains_them_and_batch_statistics_stay(linen, trained, tmp_path):
    """The fault: the whole dictionary was differentiated, so a running mean of 0 became .052 within 200 steps."""
    denoiser, params = linen
    _, ema, losses = by_hand(denoiser, params, SHORT.steps)
    assert same(trained.params["batch_stats"], params["batch_stats"])
    for one, two, old in zip(*map(jax.tree.leaves, (trained.params["params"], ema, params["params"])), strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)
        assert not np.array_equal(one, old)
    arguments = {"settings": SHORT, "params": params, "directory": tmp_path / "run", "progress": False}
    run = fit(denoiser, PatternTask(), checkpoint_every=10, report_every=5, **arguments)
    assert same(run.params, trained.params)
    logged = [line["train_bits_per_token"] for line in run.place.read_log()]
    wanted = np.reshape(losses, (4, 5)).mean(axis=1) / np.log(2)
    np.testing.assert_allclose(logged, wanted, rtol=1e-5)
    # Resumed from the checkpoint before, and loaded: all of the dictionary is there.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20")
    assert same(fit(denoiser, PatternTask(), **arguments).params, trained.params)
    assert same(mdm_jax.load(tmp_path / "run", denoiser).params, trained.params)


@pytest.mark.thorough
def test_muon_and_bfloat16_and_accumulation_leave_them_too(linen):
    denoiser, params = linen
    settings = dataclasses.replace(SHORT, optimizer="muon", accumulate=2, compute="bfloat16", steps=5)
    run = fit(denoiser, PatternTask(), settings=settings, params=params, progress=False)
    assert same(run.params["batch_stats"], params["batch_stats"])
    assert not same(run.params["params"], params["params"])


@pytest.mark.core
def test_of_an_nnx_module_nnx_param_is_trained(tmp_path):
    """Dropout off, its random state there; running statistics other than 0 and 1, so that they count."""
    denoiser, params = evaluating()
    params["norm"]["mean"][...] = jnp.linspace(-0.3, 0.3, 4)
    params["norm"]["var"][...] = jnp.full(4, 1.7)
    assert not any("rngs" in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))
    assert evaluating()[0] == denoiser
    before = jax.tree.map(jnp.copy, params)
    run = fit(denoiser, PatternTask(), settings=SHORT, params=params, directory=tmp_path / "nnx", progress=False)
    assert same(params, before)
    for name in ("mean", "var"):
        np.testing.assert_array_equal(run.params["norm"][name][...], before["norm"][name][...])
    for name in ("scale", "bias"):
        assert not np.array_equal(run.params["norm"][name][...], before["norm"][name][...])
    assert same(mdm_jax.load(tmp_path / "nnx", denoiser, params).params, run.params)
    # The same numbers as the Linen module from the same start.
    linen = models.from_linen(Linen(), VOCAB)
    start = {
        "params": {
            "Embed_0": {"embedding": before["embed"]["embedding"][...]},
            "BatchNorm_0": {name: before["norm"][name][...] for name in ("scale", "bias")},
            "Dense_0": {name: before["head"][name][...] for name in ("kernel", "bias")},
        },
        "batch_stats": statistics(0.3, 1.7),
    }
    other = fit(linen, PatternTask(), settings=SHORT, params=start, progress=False)
    kernel = other.params["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(run.params["head"]["kernel"][...], kernel, atol=1e-5)


@pytest.mark.core
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: _half(dropout=True), "the module changes norm/mean when it is called"),
        (lambda: evaluating(Counting), "the module changes calls when it is called"),
        (lambda: _half(norm=True), r"the module draws random numbers .* call module.eval\(\) before from_nnx"),
        (lambda: _linen(rate=0.5), r"the module draws random numbers .* nn.Dropout\(..., deterministic=True\)"),
        (lambda: _linen(statistics=False), r"changes its own variables .*nn.BatchNorm\(use_running_average=True\)"),
    ],
)
@pytest.mark.usefixtures("free_ranks")
def test_a_module_that_is_not_pure_is_refused_in_training_and_in_sampling_alike(make, says):
    """NNX's raised TypeError and TraceContextError, Linen's InvalidRngError."""
    denoiser, params = make()
    with pytest.raises(InputError, match=says):
        fit(denoiser, PatternTask(), settings=SHORT, params=params, progress=False)
    with pytest.raises(InputError, match=says):
        sampling.sample(denoiser, params, plans.uniform(LENGTH, 2), 2, key=jax.random.key(0))
    with pytest.raises(InputError, match=says):
        models.logits(denoiser, params, jnp.zeros((2, LENGTH), jnp.int32))


def _half(dropout=False, norm=False):
    """A module of which one layer is in its evaluation form."""
    module = NNX(nnx.Rngs(0))
    module.dropout.deterministic, module.norm.use_running_average = dropout, norm
    return models.from_nnx(module, VOCAB)


def _linen(**changes):
    denoiser = models.from_linen(Linen(**changes), VOCAB)
    return denoiser, denoiser.init(jax.random.key(0), LENGTH)


@pytest.mark.usefixtures("free_ranks")
def test_what_a_refused_call_did_to_the_module_does_not_reach_the_callers_state():
    denoiser, params = _half(dropout=True)
    before = jax.tree.map(jnp.copy, params)
    with pytest.raises(InputError, match="changes norm/mean"):
        models.logits(denoiser, params, jnp.zeros((2, LENGTH), jnp.int32))
    assert same(params, before)


def _scaled(params, tokens):
    noise = jax.random.normal(params["key"], (1, 1, VOCAB), jnp.float32)
    return params["table"][tokens] * params["scale"] + noise + params["shift"][0]


@pytest.mark.thorough
@pytest.mark.core
def test_of_a_function_whole_numbers_and_keys_are_held(tmp_path):
    denoiser = models.from_function(_scaled, VOCAB)
    params = {
        "table": jax.random.normal(jax.random.key(1), (VOCAB + 1, VOCAB)),
        "scale": jnp.int32(2),
        "key": jax.random.key(3),
        "shift": [0.5, True],
    }
    trained, held = parted(denoiser, params)
    assert [leaf is None for leaf in (trained["table"], trained["scale"], trained["key"], *trained["shift"])] == [
        False, True, True, False, True,
    ]  # fmt: skip
    assert joined(trained, held) == params
    arguments = {"settings": SHORT, "params": params, "directory": tmp_path / "run", "progress": False}
    run = fit(denoiser, PatternTask(), checkpoint_every=10, **arguments)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20")
    again = fit(denoiser, PatternTask(), **arguments)
    for one in (run.params, again.params):
        assert int(one["scale"]) == 2
        assert bool(one["shift"][1])
        np.testing.assert_array_equal(jax.random.key_data(one["key"]), jax.random.key_data(params["key"]))
        np.testing.assert_array_equal(one["table"], run.params["table"])
    assert not same(run.params["table"], params["table"])


@pytest.mark.core
@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"table": jnp.ones((7, 6), jnp.complex64)}, r"a tree of arrays of real numbers .* got complex64 at table"),
        ({"table": "seven by six"}, "a tree of arrays of real numbers .* got str at table"),
        ({"table": jnp.ones((7, 6), jnp.int32)}, "params must hold something to train; got 1 arrays, none of them"),
        ({}, "params must hold something to train; got 0 arrays"),
    ],
)
def test_what_cannot_be_trained_is_refused(params, says):
    denoiser = models.from_function(_look_up, VOCAB)
    with pytest.raises(InputError, match=says):
        fit(denoiser, PatternTask(), settings=SHORT, params=params, progress=False)


def _look_up(params, tokens):
    return params["table"][tokens]


def test_a_wrapper_trains_what_it_wraps(linen):
    denoiser, params = linen
    trained, held = parted(models.tempered(models.banned(denoiser, (0,)), 0.5), params)
    assert not jax.tree.leaves(trained["batch_stats"])
    assert not jax.tree.leaves(held["params"])
    assert same(trained["params"], params["params"])
