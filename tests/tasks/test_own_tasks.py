"""Tasks that a function of the user's own makes: found by name, restored by name, refused in a sentence."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Task, baselines_of, context_of, from_spec, given_of, notes_of, restore, vocabulary_of

pytestmark = pytest.mark.core

NECKLACES = """
import numpy as np
import mdm_jax as mdm

class Necklaces:
    spec, length, vocab_size, digest = "mine", 6, 3, "1"
    score_name, lower_is_better = "breaks", True
    train = (np.arange(90)[:, None] + np.arange(6)) % 3
    validation, test = train[:3], train[3:6]
    notes = ("they are in turn",)

    def context(self, part):
        return {"label": np.zeros(len(getattr(self, part)), np.int32)}

    def show(self, tokens):
        return "".join("BGR"[token] for token in tokens)

    def score(self, tokens):
        return ((np.diff(tokens) % 3) != 1).sum(-1).astype(float)

    def baselines(self, tokens):
        return {"uniform": np.full(len(tokens), np.log2(3))}

    def describe(self):
        stored = {name: getattr(self, name) for name in ("spec", "length", "vocab_size", "digest")}
        return stored | {"vocabulary": "BGR"}

class Bare(Necklaces):
    def describe(self):
        return {"spec": "mine", "length": 6}

class Odd(Necklaces):
    def describe(self):
        return super().describe() | {"vocabulary": 3}

def molecules():
    return mdm.tasks.lines(["CCO", "CC(=O)O", "C1CC1", "OCC"] * 10)

def nothing(): return 3
def wrong(): raise KeyError("no data")
def needs(x): return x
number = 5
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine_for_tests.py").write_text(NECKLACES)
    sys.modules.pop("mine_for_tests", None)
    yield "mine_for_tests"
    sys.modules.pop("mine_for_tests", None)


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


def test_a_function_makes_a_task(module):
    for spec in (f"python:{module}:Necklaces", f"{module}:Necklaces"):
        task = from_spec(spec)
        assert isinstance(task, Task)
        assert task.spec == task.describe()["spec"] == f"python:{module}:Necklaces"
        assert (task.length, task.vocab_size, task.show(np.array([0, 1, 2]))) == (6, 3, "BGR")
        assert notes_of(task) == ("they are in turn",)
        assert given_of(task, "train") is None
        assert context_of(task, "test")["label"].tolist() == [0, 0, 0]
        assert task.score(task.test).tolist() == [0, 0, 0]
        assert list(baselines_of(task, task.test, None)) == ["uniform"]
        assert baselines_of(task, task.test, task.test > 0) == {}  # it cannot tell them apart
        assert copy.copy(task).spec == task.spec
    refusal(lambda: from_spec(f"{module}:Necklaces", 5), "length must be 6, that of the rows of")


def test_it_is_restored_by_its_name(module):
    for name in ("Necklaces", "molecules"):
        task = from_spec(f"{module}:{name}")
        description = json.loads(json.dumps(task.describe()))
        again = restore(description)
        assert again.describe() == description
        np.testing.assert_array_equal(again.train, task.train)
        assert vocabulary_of(description).decode(np.array([0, 1])) == task.show(np.array([0, 1]))
    Path(f"{module}.py").write_text(NECKLACES.replace('"CCO"', '"CCN"'))
    del sys.modules[module]
    refusal(lambda: restore(description), "cannot be restored: its data has changed since")


def test_what_makes_no_task_is_refused(module, tmp_path):
    start = "spec must name a function that returns a task; "
    refusal(lambda: from_spec(f"{module}:nothing"), start, "nothing() returned int, which has no baselines, describe,")
    refusal(lambda: from_spec(f"{module}:wrong"), start, "failed with KeyError: 'no data' (mine_for_tests.py, line ")
    refusal(lambda: from_spec(f"{module}:needs"), start, "failed with TypeError")
    refusal(lambda: from_spec(f"{module}:number"), start, "mine_for_tests:number is int.")
    refusal(lambda: from_spec(f"{module}:Bare"), start, "describe() of that of mine_for_tests:Bare() has no vocab_size")
    refusal(lambda: from_spec(f"{module}:Odd"), start, "has no vocabulary, as task.vocabulary.to_json() makes it")
    refusal(lambda: from_spec(f"{module}:absent"), "spec names 'absent', which the module mine_for_tests does not have")
    refusal(
        lambda: from_spec("python:no_such_module:f"), "spec names the module no_such_module, which is neither in the"
    )
    absent = "whose module no_such_module is neither in the working directory nor installed."
    refusal(lambda: from_spec("no_such_module:f"), 'spec must be "text"', f"got 'no_such_module:f', {absent}")
    refusal(lambda: from_spec("python:3:f"), 'spec must be "text"')
    refusal(lambda: from_spec("digits:x"), 'spec must be "text"')  # a kind of data is never a module
    (tmp_path / "text.py").write_text(NECKLACES)
    refusal(lambda: from_spec("text:Necklaces"), "Necklaces' does not exist")
    (tmp_path / "broken_for_tests.py").write_text("1 +")
    refusal(lambda: from_spec("broken_for_tests:f"), "cannot be imported: SyntaxError")
