"""Training end to end at toy size: it learns, resumes bitwise, logs, stops on Ctrl-C, refuses what does not fit."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from toys import SETTINGS, PatternTask, tiny_transformer

import mdm_jax
from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.training import Examples, Interrupted, RunDirectory, Settings, batches, fit, optimizer, ways
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.step import BLOCK, initial_state, train_step, train_steps


def same(one, two):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


def run_config(**parts):
    return json.dumps({"format": "mdm_jax run 1", "task": {}, "settings": {}, "model": None, **parts})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One uninterrupted run in a directory, which the tests below compare with."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    run = fit(tiny_transformer(), PatternTask(), directory=directory, settings=SETTINGS, progress=False)
    return directory, run


@pytest.mark.core
def test_it_learns_the_pattern(finished):
    directory, run = finished
    log = RunDirectory(directory).read_log()
    assert log[-1]["step"] == SETTINGS.steps == run.step
    # Uniform over 6 tokens is 2.58 bits; the pattern itself has log2(6) / 8 = 0.32 bits per token.
    assert log[0]["held_out_bits_per_token"] > 1.5
    assert log[-1]["held_out_bits_per_token"] < 1.0
    assert [line["step"] for line in log] == sorted({line["step"] for line in log})
    assert all(a["seconds"] <= b["seconds"] for a, b in itertools.pairwise(log))


@pytest.mark.core
def test_a_run_cut_off_resumes_bitwise(finished, tmp_path, monkeypatch):
    """Stopped after each checkpoint in turn, as a kill would; the end is bitwise that of the uninterrupted run."""
    directory = tmp_path / "cut"
    original = ways.OnOneDevice.steps
    attempts = 0
    for stop_at in (13, 27, None):
        taken = []

        def dying(way, job, state, train, count, stop_at=stop_at, taken=taken):
            if stop_at is not None and int(state.step) >= stop_at:
                raise RuntimeError("killed")
            taken.append(int(count))
            return original(way, job, state, train, count)

        monkeypatch.setattr(ways.OnOneDevice, "steps", dying)
        arguments = {"directory": directory, "settings": SETTINGS, "checkpoint_every": 7, "progress": False}
        if stop_at is None:
            run = fit(tiny_transformer(), PatternTask(), **arguments)
        else:
            with pytest.raises(RuntimeError, match="killed"):
                fit(tiny_transformer(), PatternTask(), **arguments)
        attempts += 1
    assert attempts == 3
    assert sum(taken) < SETTINGS.steps  # the last attempt did not start over
    assert same(run.params, finished[1].params)
    assert same(run.tally, finished[1].tally)
    steps = [line["step"] for line in RunDirectory(directory).read_log()]
    assert steps == sorted(set(steps))


def test_a_finished_run_is_loaded_and_costs_nothing(finished):
    directory, run = finished
    arguments = {"settings": SETTINGS, "on_report": lambda *_: pytest.fail("trained again"), "progress": False}
    again = fit(tiny_transformer(), PatternTask(), directory=directory, **arguments)
    assert same(again.params, run.params)


@pytest.mark.thorough
@pytest.mark.core
def test_blocks_of_steps_are_the_single_steps():
    """The loop inside the program takes the steps that ``train_step`` takes one by one, to float rounding."""
    denoiser, train = tiny_transformer(), jnp.asarray(PatternTask().train)
    block, metrics = jax.jit(train_steps, static_argnums=(0, 1))(
        denoiser, SETTINGS, initial_state(denoiser, SETTINGS), train, jnp.int32(4)
    )
    state, losses = initial_state(denoiser, SETTINGS), []
    single = jax.jit(train_step, static_argnums=(0, 1))
    for _ in range(4):
        state, metric = single(denoiser, SETTINGS, state, train)
        losses.append(float(metric.loss))
    assert int(block.step) == 4
    assert metrics.loss.shape == (BLOCK,)
    np.testing.assert_allclose(metrics.loss[:4], losses, rtol=1e-4)
    for a, b in zip(jax.tree.leaves(block.params), jax.tree.leaves(state.params)):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.thorough
def test_every_setting_changes_the_program():
    """An option that nothing reads is a defect: each field must change the traced step."""
    denoiser, train = tiny_transformer(), jnp.asarray(PatternTask().train)

    def program(settings):
        state = jax.eval_shape(lambda: initial_state(denoiser, settings))
        return str(jax.make_jaxpr(lambda s: train_step(denoiser, settings, s, train))(state)) + str(
            jax.make_jaxpr(lambda: initial_state(denoiser, settings))()
        )

    reference = program(SETTINGS)
    assert program(dataclasses.replace(SETTINGS)) == reference
    changes = {
        "steps": 60,
        "batch": 5,
        "length": 7,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "adam_fraction": 0.5,
        "warmup": 0.5,
        "weight_decay": 0.5,
        "clip": 1e-3,
        "ema_decay": 0.1,
        "seed": 9,
        "accumulate": 2,
        "compute": "bfloat16",
        "begin": 20,
        "anneal_steps": 80,
        "mean_tokens": 5.5,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(Settings)}
    for name, value in changes.items():
        assert program(dataclasses.replace(SETTINGS, **{name: value})) != reference, name


@pytest.mark.core
def test_ctrl_c_saves_and_says_how_to_go_on(finished, tmp_path):
    directory = tmp_path / "interrupted"

    def press(step, _):
        os.kill(os.getpid(), signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"saved in .*interrupted; the same command goes on from there"):
        fit(tiny_transformer(), PatternTask(), directory=directory, on_report=press, settings=SETTINGS, progress=False)
    assert signal.getsignal(signal.SIGINT) == before
    with Checkpoints(RunDirectory(directory).checkpoints) as checkpoints:
        assert checkpoints.latest() == 8  # the first report's
    run = fit(tiny_transformer(), PatternTask(), directory=directory, settings=SETTINGS, progress=False)
    assert same(run.params, finished[1].params)


def test_ctrl_c_at_the_very_end_stops_what_would_follow(tmp_path):
    def press(step, _):
        if step == SETTINGS.steps:
            os.kill(os.getpid(), signal.SIGINT)

    arguments = {"settings": SETTINGS, "on_report": press, "progress": False}
    with pytest.raises(Interrupted, match="the run is finished"):
        fit(tiny_transformer(), PatternTask(), directory=tmp_path / "end", **arguments)
    assert mdm_jax.load(tmp_path / "end").step == SETTINGS.steps


@pytest.mark.core
@pytest.mark.parametrize(("vocab_size", "latent"), [(6, False), (16, False), (48, False), (6, True)])
def test_muon_takes_every_matrix_between_hidden_layers_whatever_the_vocabulary(vocab_size, latent):
    """Two in attention, two in the feed-forward layer; never the head, the embedding, gains or taps, nor what a latent
    goes through."""
    make = models.latent_transformer if latent else models.transformer
    denoiser = make(vocab_size, length=8, width=16, depth=1, heads=2)
    params = jax.eval_shape(lambda: denoiser.init(jax.random.key(0), 8))

    muon = optimizer.optimizer_of(dataclasses.replace(SETTINGS, optimizer="muon"), vocab_size)
    state = jax.eval_shape(muon.init, params)
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(state[1].inner_states["muon"])
    }
    names = {name for name in names if "/params/" in name}  # the momentum of what Muon takes, beside its own numbers
    assert {name.split("/")[-2] for name in names} == {"query_key_value", "output", "expand", "contract"}
    # Optax asks again, with the head out of sight
    jax.eval_shape(lambda params: muon.update(params, muon.init(params), params)[0], params)


@pytest.mark.core
@pytest.mark.thorough
def test_models_that_cannot_make_parameters_train_from_given_ones(tmp_path):
    """An NNX module through the same loop, run directory and load."""

    class Table(nnx.Module):
        def __init__(self, rngs):
            self.embed, self.head = nnx.Embed(7, 8, rngs=rngs), nnx.Linear(64, 48, rngs=rngs)

        def __call__(self, tokens):
            return self.head(self.embed(tokens).reshape(tokens.shape[0], 64)).reshape(*tokens.shape, 6)

    denoiser, params = models.from_nnx(Table(nnx.Rngs(0)), 6)
    settings = dataclasses.replace(SETTINGS, steps=60)
    with pytest.raises(InputError, match="params must be given, since NNXDenoiser cannot make its own parameters"):
        fit(denoiser, PatternTask(), settings=settings, progress=False)
    run = fit(denoiser, PatternTask(), params=params, settings=settings, directory=tmp_path / "nnx", progress=False)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))  # donation must not reach the caller's own
    assert RunDirectory(tmp_path / "nnx").read_log()[-1]["held_out_bits_per_token"] < 2.0
    assert same(mdm_jax.load(tmp_path / "nnx", denoiser, params).params, run.params)


def test_the_learning_rate_rises_and_falls_and_is_never_zero():
    for warmup in (0.0, 0.1, 0.9):
        settings = dataclasses.replace(SETTINGS, steps=20, warmup=warmup, optimizer="adamw", weight_decay=0.0)
        adamw = optimizer.optimizer_of(settings, 6)
        params = {"w": jnp.zeros(())}
        state, rates = adamw.init(params), []
        for _ in range(20):
            updates, state = adamw.update({"w": jnp.ones(())}, state, params)
            rates.append(-float(updates["w"]))
        rates = np.array(rates) / settings.learning_rate
        assert np.all(rates > 0)
        assert rates.max() == pytest.approx(1, abs=1e-3)
        top = int(np.argmax(rates))
        assert np.all(np.diff(rates[: top + 1]) > 0)
        assert np.all(np.diff(rates[top + 1 :]) < 0)


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train": np.zeros(7, np.int32)}, "task.train must be a stream of at least 8 tokens; got shape (7,)"),
        ({"train": np.zeros((4, 9), np.int32)}, "task.train must be a stream, or of shape [examples, 8]"),
        ({"validation": np.zeros((1, 8), np.int32)}, "task.validation must be of shape [rows, 8] with at least 2 rows"),
    ],
)
def test_arrays_that_do_not_fit_the_task_are_refused(change, says):
    task = PatternTask()
    vars(task).update(change)
    with pytest.raises(InputError) as caught:
        fit(tiny_transformer(), task, settings=SETTINGS, progress=False)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["checkpoint_every", "report_every"])
@pytest.mark.parametrize("value", [0, -5])
def test_intervals_must_be_positive(name, value):
    with pytest.raises(InputError, match=f"{name} must be a whole number, 1 or more; got {value}"):
        fit(tiny_transformer(), PatternTask(), settings=SETTINGS, progress=False, **{name: value})


@pytest.mark.thorough
def test_a_left_over_temporary_file_does_not_block_a_run(tmp_path):
    (tmp_path / ".config.json.abc.tmp").write_text("{")
    settings = dataclasses.replace(SETTINGS, steps=1)
    assert fit(tiny_transformer(), PatternTask(), directory=tmp_path, settings=settings, progress=False).step == 1


@pytest.mark.core
def test_load_gives_denoiser_params_and_description(finished):
    directory, run = finished
    loaded = mdm_jax.load(directory, tiny_transformer())
    assert same(loaded.params, run.params)
    assert loaded.step == SETTINGS.steps
    assert loaded.settings == dataclasses.replace(SETTINGS, length=PatternTask.length)
    assert mdm_jax.load(directory).denoiser == tiny_transformer()


def test_training_measures_a_profile_as_it_goes(finished):
    """One token tells all the others: g(0) is log 6, the rest is next to nothing."""
    directory, run = finished
    profile = mdm_jax.load(directory, tiny_transformer()).training_profile
    assert profile.means.tolist() == run.training_profile.means.tolist()
    assert profile.provenance["run_step"] == SETTINGS.steps
    assert profile.means[0] == pytest.approx(np.log(6), abs=5 * profile.standard_errors[0])
    assert profile.means[3:].max() < 0.3


def test_checkpoints_without_a_tally_are_read(finished, tmp_path):
    """As they were written before tallies were kept: the tally starts anew, everything else goes on."""
    directory = tmp_path / "older"
    shutil.copytree(finished[0], directory)
    config = json.loads((directory / "config.json").read_text())
    del config["manifests"]
    (directory / "config.json").write_text(json.dumps(config))
    for manifest in directory.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    newest = max((directory / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest / "tally")
    run = fit(tiny_transformer(), PatternTask(), directory=directory, settings=SETTINGS, progress=False)
    assert same(run.params, finished[1].params)
    assert float(run.tally.weight.sum()) == 0
    with pytest.raises(InputError, match="this run has no training profile"):
        print(run.training_profile)


@pytest.mark.core
def test_a_directory_that_holds_something_else_is_refused(finished, tmp_path):
    directory, _ = finished
    before = (directory / "config.json").read_text()
    with pytest.raises(InputError, match=r"holds a run that differs in seed \(0, not 1\); name another directory, or"):
        fit(tiny_transformer(), PatternTask(), directory=directory, settings=dataclasses.replace(SETTINGS, seed=1))
    other = dataclasses.replace(SETTINGS, seed=1, steps=SETTINGS.steps + 1, batch=2)
    told = rf"differs in seed \(0, not 1\), steps \({SETTINGS.steps}, not .*\), batch \(.*would train it further"
    with pytest.raises(InputError, match=told):
        fit(tiny_transformer(), PatternTask(), directory=directory, settings=other)
    wide = models.transformer(6, length=8, width=32, depth=1, heads=2)
    with pytest.raises(InputError, match=r"differs in width \(16, not 32\); name"):
        fit(wide, PatternTask(), directory=directory, settings=SETTINGS)
    with pytest.raises(InputError, match="vocab_size must be the task's vocab_size 6; got 7"):
        fit(models.transformer(7, length=8, width=16, depth=1, heads=2), PatternTask(), settings=SETTINGS)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("dear")
    with pytest.raises(InputError, match="new, empty or a run directory"):
        fit(tiny_transformer(), PatternTask(), directory=tmp_path / "letters", settings=SETTINGS)
    assert (directory / "config.json").read_text() == before


@pytest.mark.core
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not a run directory: it has no config.json"),
        ("{", "is not the configuration of a run: not valid JSON"),
        ("[]", "its format must be 'mdm_jax run 1'"),
        (run_config(settings={"speed": 1}), "another version"),
        (run_config(), "a model of your own"),
        (run_config(model={"family": "rnn"}), "model family must be 'transformer'"),
        (run_config(settings={"length": 8}, model=models.describe(tiny_transformer())), "has no checkpoint yet"),
    ],
)
def test_load_says_what_is_wrong(tmp_path, content, says):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError) as caught:
        mdm_jax.load(tmp_path)
    assert says in str(caught.value)


@pytest.mark.core
def test_batches_are_windows_of_the_stream_and_a_function_of_the_key():
    stream = Examples(jnp.arange(100, dtype=jnp.int32))
    drawn = np.asarray(batches.draw(jax.random.key(0), stream, 500, 8).tokens)
    assert np.all(np.diff(drawn, axis=1) == 1)
    assert drawn.min() == 0
    assert drawn.max() == 99
    np.testing.assert_array_equal(drawn, batches.draw(jax.random.key(0), stream, 500, 8).tokens)
    rows = Examples(jnp.arange(12, dtype=jnp.int32).reshape(4, 3))
    assert {tuple(row) for row in np.asarray(batches.draw(jax.random.key(1), rows, 99, 3).tokens)} == {
        tuple(row) for row in np.asarray(rows.tokens)
    }


@pytest.mark.core
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("batch", 0),
        ("length", 1),
        ("learning_rate", 0.0),
        ("warmup", 1.0),
        ("adam_fraction", 0.0),
        ("optimizer", "sgd"),
        ("weight_decay", -0.1),
        ("clip", 0.0),
        ("ema_decay", 1.0),
        ("seed", -1),
        ("learning_rate", float("inf")),
        ("clip", float("nan")),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(InputError, match=f"^{field} must be .*; got {value!r}"):
        Settings(**{field: value})
