"""A run that begins with another's parameters, and tasks given back to runs: what must fit, and what is said of it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_going_on import SETTINGS, model, same
from toys import LENGTH, VOCAB, PatternTask

import mdm_jax
from mdm_jax.support.errors import InputError
from mdm_jax.training import RunDirectory, fit
from mdm_jax.training.matching import require_same_shapes, require_vocabulary

SHORT = dataclasses.replace(SETTINGS, steps=4)


class Spelled(PatternTask):
    """The same rows, with another way to write them."""

    def __init__(self, characters):
        super().__init__()
        self.characters = characters

    def describe(self):
        return super().describe() | {"vocabulary": self.characters}


def train(directory=None, task=None, **more):
    arguments = {"settings": SHORT, "progress": False, **more}
    return fit(model(), task or PatternTask(), directory=directory, **arguments)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "old")


@pytest.mark.parametrize(
    ("vocabulary", "says"),
    [
        ("01234x", "it has 'x', which the run never saw, and it lacks '5'"),
        ({"numbers": VOCAB}, "its tokens are numbers, not characters"),
    ],
)
def test_another_vocabulary_of_the_same_size_is_refused(vocabulary, says):
    with pytest.raises(InputError) as caught:
        require_vocabulary(Spelled(vocabulary), PatternTask().describe(), "the run in runs/x")
    assert str(caught.value) == f"task must be of the vocabulary of the run in runs/x: {says}."


def test_numbers_are_told_by_how_many_they_are():
    numbers = {"vocab_size": VOCAB, "vocabulary": {"numbers": VOCAB, "picture": [2, 4]}}
    require_vocabulary(Spelled({"numbers": VOCAB}), numbers, "the run")  # how they are drawn changes no token
    with pytest.raises(InputError, match="must be of the vocabulary of the run, 7 tokens; got one of 6 tokens"):
        require_vocabulary(Spelled(None), {"vocab_size": 7}, "the run")


def test_the_first_leaf_that_differs_is_named():
    fresh = jax.eval_shape(lambda: model().init(jax.random.key(0), LENGTH))
    params = model().init(jax.random.key(0), LENGTH)
    require_same_shapes(params, fresh)
    for width, says in ((9, r"with params/Dense_0/kernel of shape \(8, 6\); got shape \(9, 6\)"),):
        with pytest.raises(InputError, match=f"params must be those of the model, {says}"):
            require_same_shapes(model(width).init(jax.random.key(0), LENGTH), fresh)
    with pytest.raises(InputError, match=r"with params/Dense_0/bias of shape .*; got none there"):
        require_same_shapes({"params": {"Embed_0": params["params"]["Embed_0"]}}, fresh)
    with pytest.raises(InputError, match="params must be those of the model; got params/extra besides"):
        require_same_shapes({"params": {**params["params"], "extra": jnp.zeros(2)}}, fresh)


@pytest.mark.thorough
def test_a_run_begins_with_another_s_parameters_and_says_so(old, tmp_path, monkeypatch):
    directory = tmp_path / "new"
    with monkeypatch.context() as patched:
        patched.setattr("mdm_jax.training.fitting.run_steps", lambda *_: pytest.fail("stop", pytrace=False))
        with pytest.raises(pytest.fail.Exception):
            train(directory, params=old)
    with pytest.raises(InputError, match=r"began with the parameters of the run in .*old at step 4 and has no check"):
        train(directory)
    run = train(directory, params=old, report_every=2, checkpoint_every=2)
    place = RunDirectory(directory)
    origin = {"directory": str(old.place.path), "run": old.identity, "step": 4}
    assert place.read_config()["origin"] == origin
    told = [line.get("begins") for line in place.read_log()]
    assert told == [{"step": 0, "to": 4, "origin": origin}, None]
    assert same(train(params=old).params, run.params)  # in memory: the same steps
    assert not same(run.params, old.params)
    assert same(train(directory).params, run.params)  # who goes on need not say where it began
    assert run.identity != old.identity
    config = json.loads(place.config.read_text())
    config["origin"]["directory"] = "elsewhere"
    place.config.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"differs in origin step \(4, not 3\)"):
        train(directory, params=dataclasses.replace(old, step=3))
    with pytest.raises(InputError, match=r"task must be of the vocabulary of the run in .*old: it has 'x'"):
        train(params=old, task=Spelled("01234x"))


@pytest.mark.thorough
def test_a_task_is_given_back_to_its_run(old):
    place = old.place.path
    with pytest.raises(InputError, match="cannot be restored: it is a task of your own"):
        print(mdm_jax.load(place, model()).task)
    task = PatternTask()
    assert mdm_jax.load(place, model(), task=task).task is task
    assert isinstance(old.task, PatternTask)  # fit was given it
    with pytest.raises(InputError, match=r"task must be of the vocabulary of the run in .*old: it has 'x'"):
        mdm_jax.load(place, model(), task=Spelled("01234x"))
    task.length = 7
    with pytest.raises(InputError, match=r"task.length must be that of the run, 8; got 7"):
        mdm_jax.load(place, model(), task=task)
    with pytest.raises(InputError, match=r"task must be a Task, .*; this one has no length"):
        getattr(mdm_jax.load, "__wrapped__", mdm_jax.load)(place, model(), task=np.zeros((3, 8), np.int32))


class Prompted(PatternTask):
    """The first two tokens of each row are given."""

    def __init__(self, many=2):
        super().__init__()
        self.many = many

    def given(self, part):
        return np.tile(np.arange(LENGTH) < self.many, (len(getattr(self, part)), 1))


@pytest.mark.thorough
def test_a_run_knows_what_was_given_in_training(tmp_path):
    train(tmp_path / "run", Prompted())
    config = RunDirectory(tmp_path / "run").read_config()
    assert (len(config["given"]), config["settings"]["mean_tokens"]) == (64, 6.0)
    train(tmp_path / "run", Prompted())  # goes on
    with pytest.raises(InputError, match=r"differs in what the task says is given; name another"):
        train(tmp_path / "run", Prompted(3))
    assert "given" not in train(tmp_path / "plain").place.read_config()
