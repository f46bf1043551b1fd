"""``train --label-dropout``: what it makes of a task with labels, that a run keeps it, and where it is refused."""

import dataclasses
import json

import numpy as np
import pytest
from toys import PatternTask

from mdm_jax import models, tasks
from mdm_jax.app.options import labels
from mdm_jax.app.options import models as kinds
from mdm_jax.support.errors import InputError
from mdm_jax.training import LabelDropout, Settings
from mdm_jax.training.runs import own_part


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    rows = np.random.default_rng(0).integers(0, 4, (60, 8))
    np.save(folder / "rows.npy", rows)
    np.save(folder / "classes.npy", np.arange(60) % 3)
    return tasks.from_spec(f"npy:{folder / 'rows.npy'}?labels={folder / 'classes.npy'}")


def made(said, task, there=None, usual="bidirectional"):
    chosen = kinds.merged(said, there or {}, usual)
    model = kinds.model_of(chosen, task, {"width": 16, "depth": 1, "heads": 2})
    return model, kinds.objective_of(chosen, task.length, labels.classes_of_task(task))


def config_of(denoiser, objective):
    return json.loads(json.dumps({
        "model": models.describe(denoiser), "settings": dataclasses.asdict(Settings(steps=7, length=8)),
        "objective": {**objective.describe(), "is_bound": objective.is_bound},
    }))  # fmt: skip


@pytest.mark.parametrize("said", [
    {"model": "bidirectional"},
    {"model": "any_order", "ordered": 0.5, "order_block": 2, "progressive": True},
    {"model": "block_causal", "block": 4},
    {"uniform": 0.1},
])  # fmt: skip
@pytest.mark.parametrize("rate", [None, 0.0, 0.3])
def test_a_task_with_labels_makes_a_model_with_classes_under_dropout_and_a_run_keeps_both(said, rate, task):
    asked = said if rate is None else {**said, "label_dropout": rate}
    model, objective = made(asked, task)
    assert models.classes_of(model) == 3
    dropped = objective.rate if isinstance(objective, LabelDropout) else 0.0
    assert dropped == (0.1 if rate is None else rate)
    config = config_of(model, objective)
    assert made({}, task, kinds.of_run(config)) == (model, objective)
    assert own_part(config, Settings(steps=7, length=8)) is None
    changed = made({"label_dropout": 0.5}, task, kinds.of_run(config))[1]
    assert changed == LabelDropout(getattr(objective, "objective", objective), 0.5)


def test_labels_are_refused_where_nothing_takes_them(task):
    plain = tasks.from_spec("blocks:0.5")
    assert labels.classes_of_task(plain) == 0
    with pytest.raises(InputError, match="--label-dropout must be left out for a task without labels"):
        made({"label_dropout": 0.1}, plain)
    with pytest.raises(InputError, match="--latent global cannot be given for a task with labels"):
        made({"latent": "global"}, task)
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="--label-dropout must be a share of the rows"):
            labels.check_dropout(rate)


def test_a_task_by_hand_has_as_many_classes_as_its_labels_need():
    class ByHand(PatternTask):
        def context(self, part):
            return {"label": getattr(self, part)[:, 0] - self.least}

    ByHand.least = 0
    assert labels.classes_of_task(ByHand()) == 6
    ByHand.least = 1
    with pytest.raises(InputError, match=r"task\.context must be labels, whole numbers from 0 on"):
        labels.classes_of_task(ByHand())
