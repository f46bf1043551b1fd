"""A run that is trained further: its stages, their learning rates, what may be gone on from and what may not."""

import dataclasses
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import LENGTH, VOCAB, PatternTask

import mdm_jax
from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest, to_json
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import (
    Examples,
    LabelDropout,
    MaskedNelbo,
    RunDirectory,
    Settings,
    fit,
    initial_state,
    train_step,
    ways,
)
from mdm_jax.training.checkpoints import manifest
from mdm_jax.training.directory import identity
from mdm_jax.training.optimizer import optimizer_of
from mdm_jax.training.reports import spread
from mdm_jax.training.stages import Stage, extended, identities, identity_at, stages_of
from mdm_jax.training.step import batch_of

FIRST, LAST = 24, 40
SETTINGS = Settings(steps=FIRST, batch=4, length=LENGTH, optimizer="adamw", warmup=0.25, ema_decay=0.9)


class Table(nn.Module):
    """A law for each token that is seen; compiled in a moment."""

    width: int = 8

    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(VOCAB)(nn.Embed(VOCAB + 1, self.width)(tokens))


def model(width=8):
    return models.from_linen(Table(width), VOCAB)


def train(directory, steps=None, **more):
    settings = {"settings": SETTINGS, "report_every": 4, "checkpoint_every": 4, "progress": False, **more}
    return fit(model(), PatternTask(), steps, directory=directory, **settings)


def same(one, two):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


def stopped(monkeypatch, at, *arguments, **more):
    """A training killed before step ``at``: nothing is saved at its end."""
    original = ways.OnOneDevice.steps

    def dying(way, job, state, *rest):
        if int(state.step) >= at:
            raise RuntimeError("killed")
        return original(way, job, state, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(ways.OnOneDevice, "steps", dying)
        with pytest.raises(RuntimeError, match="killed"):
            train(*arguments, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "first"
    return directory, train(directory)


@pytest.fixture(scope="module")
def longer(finished, tmp_path_factory):
    """The same run, trained further without a break."""
    directory = tmp_path_factory.mktemp("runs") / "longer"
    shutil.copytree(finished[0], directory)
    return directory, train(directory, LAST)


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_learning_rate_rises_and_falls_in_each_stage(optimizer):
    """Beside an optimiser whose rate stays where it is: moments do not depend on rates, and go on over the stages."""
    first = dataclasses.replace(SETTINGS, optimizer=optimizer)
    second = dataclasses.replace(first, steps=LAST, begin=FIRST, anneal_steps=FIRST)
    steady = optimizer_of(dataclasses.replace(first, steps=2**30, warmup=0.0), VOCAB)
    params, gradients = {"gain": jnp.zeros(3)}, np.random.default_rng(0).normal(size=(LAST, 3)).astype(np.float32)
    state, beside, rates = optimizer_of(first, VOCAB).init(params), steady.init(params), []
    for n, gradient in enumerate(gradients):
        moving = optimizer_of(first if n < FIRST else second, VOCAB)
        updates, state = moving.update({"gain": jnp.asarray(gradient)}, state, params)
        full, beside = steady.update({"gain": jnp.asarray(gradient)}, beside, params)
        rates.append(updates["gain"] / full["gain"])
    # warm-up over a quarter of the stage: 6 of 24 steps, then 4 of 16
    told = [min((n + 1) / 6, (24 - n) / 18) for n in range(24)] + [min((n + 1) / 4, (16 - n) / 12) for n in range(16)]
    np.testing.assert_allclose(rates, np.tile(np.array(told)[:, None], 3), rtol=1e-5)


def test_objectives_anneal_once():
    """Progress is that of the first stage, finished or not, and stays just below 1, which is that of held-out rows."""

    class Telling(MaskedNelbo):
        def corrupt(self, key, denoiser, examples, progress):
            return progress

    def progress(settings, step):
        rows = Examples(jnp.zeros((4, LENGTH), jnp.int32))
        return float(batch_of(model(), settings, jnp.int32(step), rows, Telling())[1])

    second = dataclasses.replace(SETTINGS, steps=LAST, begin=12, anneal_steps=FIRST)
    assert [progress(SETTINGS, step) for step in (0, 6, 12)] == [0, 0.25, 0.5]
    after = 1 - 2.0**-24
    assert [progress(second, step) for step in (12, 18, 24, 39)] == [0.5, 0.75, after, after]


def test_labels_are_dropped_in_every_stage():
    denoiser = models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2, classes=3)
    rows = Examples(jnp.zeros((64, LENGTH), jnp.int32), {"label": jnp.zeros(64, jnp.int32)})
    first = dataclasses.replace(SETTINGS, batch=64)
    second = dataclasses.replace(first, steps=LAST, begin=FIRST, anneal_steps=FIRST)
    for settings, step in ((first, FIRST - 1), (second, FIRST), (second, LAST - 1)):
        dropped = batch_of(denoiser, settings, jnp.int32(step), rows, LabelDropout(rate=0.25))[1]
        assert int(jnp.sum(~dropped.keeps)) == 16


def test_stages_are_told_by_the_configuration_and_each_has_an_identity():
    config = {"task": {}, "model": None, "settings": {"steps": 8, "seed": 1}, "objective": {"name": "x"}}
    plain = digest(to_json(config | {"settings": {"steps": 8, "seed": 1}}))
    assert identities(config) == (plain,)
    twice = extended(extended(config, 8, 12), 10, 20)
    assert stages_of(twice) == (Stage(0, 8), Stage(8, 12), Stage(10, 20))
    assert twice["settings"] == {"steps": 20, "seed": 1}
    assert len(set(identities(twice))) == 3
    assert identities(twice)[:2] == identities(extended(config, 8, 12))
    assert identity_at(twice, 0) == identity_at(twice, 8) == plain
    assert [identities(twice).index(identity_at(twice, step)) for step in (9, 10, 11, 20)] == [1, 1, 2, 2]
    back = extended(twice, 6, 30)  # into the first stage: the others are not gone on from
    assert stages_of(back) == (Stage(0, 8), Stage(6, 30))
    assert identities(back)[0] == plain
    assert extended(twice, 0, 9) == {**config, "settings": {"steps": 9, "seed": 1}}  # begun anew


@pytest.mark.parametrize(
    "told",
    [
        [],
        {},
        [3],
        [{"begin": 0, "steps": 8}],
        [{"begin": 1, "steps": 40}],
        [{"begin": 0, "steps": 8}, {"begin": 9, "steps": 40}],
        [{"begin": 0, "steps": 8}, {"begin": 0, "steps": 40}],
        [{"begin": 0, "steps": 50}, {"begin": 8, "steps": 40}],
        [{"begin": 0, "steps": True}, {"begin": 8, "steps": 40}],
    ],
)
def test_stages_that_cannot_be_are_refused(told, tmp_path):
    config = {"format": "mdm_jax run 1", "task": {}, "model": None, "settings": {"steps": 40}, "stages": told}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r'config.json is not the configuration of a run: "stages" of config.json'):
        RunDirectory(tmp_path).read_config()


def test_held_out_rows_are_spread_over_all():
    assert spread(1000, 4).tolist() == [0, 250, 500, 750]
    assert spread(7, 7).tolist() == spread(7, 128).tolist() == list(range(7))
    many = spread(1001, 128)
    assert len(set(many.tolist())) == 128
    assert set(np.diff(many)) <= {7, 8}


@pytest.mark.thorough
def test_a_finished_run_is_trained_further(finished, longer):
    directory, run = longer
    place = RunDirectory(directory)
    assert (run.step, run.settings.begin, run.settings.anneal_steps) == (LAST, FIRST, FIRST)
    assert stages_of(place.read_config()) == (Stage(0, FIRST), Stage(FIRST, LAST))
    lines = place.read_log()
    assert [line["step"] for line in lines] == list(range(4, LAST + 1, 4))
    assert {line["step"]: line["begins"] for line in lines if "begins" in line} == {28: {"step": FIRST, "to": LAST}}
    assert lines[:6] == RunDirectory(finished[0]).read_log()
    loaded = mdm_jax.load(directory, model())
    assert loaded.settings == run.settings
    assert same(loaded.params, run.params)
    assert not same(run.params, finished[1].params)
    again = {"on_report": lambda *_: pytest.fail("trained again")}
    assert same(train(directory, LAST, **again).params, run.params)


@pytest.mark.thorough
def test_a_second_stage_that_was_killed_resumes_bitwise(longer, copy, monkeypatch):
    for at in (FIRST, 30, 33):  # before its first step, between checkpoints, and again
        stopped(monkeypatch, at, copy, LAST)
        assert stages_of(RunDirectory(copy).read_config()) == (Stage(0, FIRST), Stage(FIRST, LAST))
    run = train(copy, LAST)
    assert same(run.params, longer[1].params)
    assert same(run.tally, longer[1].tally)
    figures = [[{**line, "seconds": 0, "tokens_per_second": 0} for line in RunDirectory(path).read_log()]
               for path in (copy, longer[0])]  # fmt: skip
    assert figures[0] == figures[1]


@pytest.mark.thorough
def test_a_stage_is_the_steps_that_its_settings_name(tmp_path, monkeypatch):
    """Stopped at 12 of 24 and sent to 40, against single steps taken by hand: moments, EMA and data order go on."""
    directory = tmp_path / "run"
    stopped(monkeypatch, 12, directory)
    run = train(directory, LAST)
    assert stages_of(RunDirectory(directory).read_config()) == (Stage(0, FIRST), Stage(12, LAST))
    assert (run.settings.begin, run.settings.anneal_steps) == (12, FIRST)
    assert identity(run.place, 12) != run.identity == identity(run.place)
    step, state = jax.jit(train_step, static_argnums=(0, 1)), initial_state(model(), SETTINGS)
    for n in range(LAST):
        settings = SETTINGS if n < 12 else run.settings
        state, _ = step(model(), settings, state, jnp.asarray(PatternTask().train))
    for one, other in zip(jax.tree.leaves(run.params), jax.tree.leaves(state.ema_params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.thorough
def test_what_is_no_further_training_is_refused_and_changes_nothing(copy):
    before = (copy / "config.json").read_text()
    refused = {
        rf"steps must be {FIRST}, as in the run in .*copy, or more, to train it further; got 23": ((23,), {}),
        r"differs in steps \(24, not 40\); .*\(fit\(..., steps=40\) would train it further\)": (
            (None,),
            {"settings": dataclasses.replace(SETTINGS, steps=LAST)},
        ),
        r"differs in seed \(0, not 3\); name another": ((LAST,), {"settings": dataclasses.replace(SETTINGS, seed=3)}),
        "checkpoint must be newest, best or one of the steps": ((LAST,), {"checkpoint": 5}),
    }
    for says, (arguments, more) in refused.items():
        with pytest.raises(InputError, match=says):
            train(copy, *arguments, **more)
    newest = next(path for path in (copy / "checkpoints" / str(FIRST)).rglob("*") if path.is_file())
    newest.write_bytes(newest.read_bytes() + b"x")
    with pytest.raises(InputError, match=f"checkpoint {FIRST} .* is damaged.*newest good one is 20"):
        train(copy, LAST)
    assert (copy / "config.json").read_text() == before


@pytest.mark.thorough
def test_a_stage_may_begin_at_an_earlier_checkpoint_and_is_another_history(longer, copy):
    """Steps of one number in two histories are told apart, so that no profile of one is taken for the other's."""
    old = mdm_jax.load(copy, model())
    profile = Profile(LENGTH, np.array([0, 4, 7]), np.array([1.8, 1.0, 0.9]), np.eye(3) * 1e-4,
                      {"run": old.identity, "run_step": old.step})  # fmt: skip
    profile.save(old.place.profile)
    assert mdm_jax.load(copy, model()).profile.length == LENGTH
    run = train(copy, LAST, checkpoint=20)
    assert stages_of(RunDirectory(copy).read_config()) == (Stage(0, FIRST), Stage(20, LAST))
    assert (copy / "later-checkpoints" / str(FIRST)).is_dir()
    assert run.identity != longer[1].identity
    with pytest.raises(InputError, match="is the profile of another run"):  # this run's step 24 is another
        print(run.profile)
    shutil.copy(old.place.profile, longer[0] / "profile.json")
    with pytest.raises(InputError, match=rf"was measured at step {FIRST}; the run is at {LAST}"):
        print(mdm_jax.load(longer[0], model()).profile)
    assert mdm_jax.load(longer[0], model()).training_profile.provenance["run"] == longer[1].identity


@pytest.mark.thorough
def test_a_run_of_an_earlier_version_is_trained_further(longer, copy):
    """Without the newer settings in config.json, and with an older name: its checkpoints stay its own."""
    path, place = copy / "config.json", RunDirectory(copy)
    config = json.loads(path.read_text())
    settings = {name: value for name, value in config["settings"].items() if name not in ("mean_tokens", "accumulate")}
    config["settings"] = {{"ema_decay": "average"}.get(name, name): value for name, value in settings.items()}
    path.write_text(json.dumps(config))
    first = identity(place)
    for folder in (copy / "checkpoints").iterdir():
        manifest.write(folder, int(folder.name), first, 2.5)
    run = train(copy, LAST)
    assert identity(place, FIRST) == first != run.identity
    assert same(run.params, longer[1].params)
    assert json.loads(path.read_text()) == extended(config, FIRST, LAST)


@pytest.mark.thorough
def test_a_run_without_a_checkpoint_takes_the_new_number(tmp_path, monkeypatch):
    stopped(monkeypatch, 0, tmp_path / "run")
    run = train(tmp_path / "run", 28)
    assert (run.step, run.settings.begin) == (28, 0)
    assert "stages" not in run.place.read_config()
