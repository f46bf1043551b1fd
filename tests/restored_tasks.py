"""A task that its description makes again, as a run does that is loaded."""

import json

import numpy as np

from mdm_jax.tasks import Task, restore, vocabulary_of


def require_made_again(task):
    """Assert that the description of a task, written as JSON, makes the task again; returns the description."""
    assert isinstance(task, Task)
    stored = json.loads(json.dumps(task.describe()))
    again = restore(stored)
    assert again.describe() == stored
    assert vocabulary_of(stored) == task.vocabulary
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(task, name))
        assert getattr(task, name).dtype == np.int32
        assert not getattr(task, name).flags.writeable
    return stored
