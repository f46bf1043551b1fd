"""``train`` on a run that is there compares what was typed, and nothing that was not."""

import json

import pytest

from mdm_jax import models
from mdm_jax.app.work import training as train
from mdm_jax.support.errors import InputError

start = getattr(train.start, "__wrapped__", train.start)  # without the check of what the stand-in for fit returns


@pytest.fixture
def asked(monkeypatch):
    found = {}

    def fit(denoiser, task, *, directory, settings, **more):
        found.update(denoiser=denoiser, task=task, settings=settings)

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
