"""``train`` on a run that is there compares what was typed, and nothing that was not."""

import json

import pytest

from mdm_jax import models
from mdm_jax.app.work import training as train
from mdm_jax.support.errors import InputError
from mdm_jax.training import Run, RunDirectory

start = getattr(train.start, "__wrapped__", train.start)  # without the check of what the stand-in for fit returns


@pytest.fixture
def asked(monkeypatch):
    found = {}

    def fit(denoiser, task, *, directory, settings, **more):
        found.update(denoiser=denoiser, task=task, settings=settings, **more)

    monkeypatch.setattr(train, "fit", fit)
    return found


def test_a_task_alone_leaves_settings_and_sizes_as_they_are(tmp_path, asked):
    text = tmp_path / "story.txt"
    text.write_text("once upon a time there was a mask. " * 200)
    spec, run = f"text:{text}", tmp_path / "run"
    sizes = {"width": 32, "depth": 1, "heads": 2}
    start(run, spec, "demo", {"steps": 7, "batch": 4, **sizes})
    first = dict(asked)
    run.mkdir()
    settings = vars(first["settings"])
    task = {"spec": first["task"].spec, "length": first["task"].length}
    model = models.describe(first["denoiser"])
    (run / "config.json").write_text(
        json.dumps({"format": "mdm_jax run 1", "task": task, "model": model, "settings": settings})
    )
    start(run, spec)
    assert asked["settings"] == first["settings"]
    assert asked["denoiser"] == first["denoiser"]
    start(run, spec, None, {"steps": 9, "depth": 2})
    assert asked["settings"].steps == 9
    assert asked["settings"].batch == 4
    described = models.describe(asked["denoiser"]) or {}
    assert (described["depth"], described["width"]) == (2, 32)


@pytest.fixture
def old(tmp_path, asked):
    """A run of a small model on a file of its own, as far as its configuration goes."""
    text, place = tmp_path / "story.txt", RunDirectory(tmp_path / "old")
    text.write_text("once upon a time there was a mask. " * 200)
    start(place.path, f"text:{text}", None, {"steps": 7, "length": 16, "width": 32, "depth": 1, "heads": 2})
    place.path.mkdir()
    task, model = asked["task"].describe(), models.describe(asked["denoiser"])
    settings, objective = vars(asked["settings"]), asked["objective"].describe()
    config = {"format": "mdm_jax run 1", "task": task, "model": model, "settings": settings, "objective": objective}
    place.config.write_text(json.dumps(config))
    return Run(asked["denoiser"], {}, place, asked["settings"], 7, task)


def test_more_steps_alone_keep_everything_else(old, asked):
    before = dict(asked)
    start(old.place.path, overrides={"steps": 20})
    assert asked["steps"] == 20
    assert asked["settings"] == before["settings"]
    assert (asked["denoiser"], asked["objective"]) == (before["denoiser"], before["objective"])
    start(old.place.path)
    assert asked["steps"] is None


def test_a_run_from_another_takes_its_model_objective_and_windows(old, asked, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("there was upon a time once a mask. " * 300)
    start(tmp_path / "new", f"text:{other}", None, {"batch": 2, "steps": 3}, origin=old)
    assert asked["params"] is old
    assert asked["denoiser"] == old.denoiser
    assert (asked["task"].length, asked["settings"].batch, asked["settings"].steps) == (16, 2, 3)
    start(tmp_path / "new", None, "long", {"width": 64}, origin=old)  # the same task, another width
    assert asked["task"].describe() == old.description
    assert models.describe(asked["denoiser"]) == {**models.describe(old.denoiser), "width": 64}
    assert asked["settings"].weight_decay == 0.05
    other.write_text("upon a time. " * 500)  # fewer characters: in the old ids
    start(tmp_path / "new", f"text:{other}", None, {}, origin=old)
    assert asked["task"].vocabulary == old.vocabulary
    assert asked["task"].show(asked["task"].train[:13]) == "upon a time. "
    start(tmp_path / "new", f"text:{other}", None, {"length": 12}, origin=old)
    assert asked["task"].length == asked["denoiser"].module.length == 12


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model": None}, "a model"),
        ({"settings": {"steps": 7, "length": 16, "optimizer": "own"}}, "an optimizer"),
        ({"objective": {"name": "mine", "is_bound": False}}, "an objective"),
        ({"objective": {"name": ["latent surrogate"], "is_bound": False}}, "an objective"),
        ({"objective": {"name": "latent surrogate", "is_bound": False, "warmup": 0.3}}, "an objective"),
        ({"context": {"digest": "0" * 64}}, "a context"),
    ],
)
def test_what_python_gave_to_fit_no_command_makes_again(change, part, tmp_path):
    config = {"format": "mdm_jax run 1", "task": {}, "model": {}, "settings": {"steps": 7, "length": 16}}
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=f"was trained with {part} of your own; resume it with mdm_jax.fit"):
        train.start(tmp_path)
