"""Profiles of classes: against the entropies of a world of two, and against all rows with their labels."""

import jax
import numpy as np
import pytest
from two_classes import EXACT, LENGTH, ONES, PARAMS, TwoClasses

import mdm_jax as mdm
from mdm_jax import evaluation
from mdm_jax.support.errors import InputError


def test_each_class_has_its_own_profile_and_together_they_are_that_of_all_rows():
    """Positions are independent given the class: each profile is flat, at the entropy of one of them.

    500 rows of each class: within 4 of the profiles' own standard errors.
    """
    task = TwoClasses(500)
    rows, labels = task.validation, task.context("validation")["label"]
    every = np.arange(LENGTH)
    found = evaluation.profiles_by_class(EXACT, PARAMS, rows, labels, 8000, key=mdm.key(0), counts=every)
    assert list(found) == [0, 1]
    for label, profile in found.items():
        p = ONES[label]
        entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
        assert np.all(np.abs(profile.means - entropy) < 4 * profile.standard_errors)
        assert np.all(profile.standard_errors < 0.05)
        assert profile.provenance["label"] == [label]
    together = mdm.estimate_profile(EXACT, PARAMS, rows, 16000, key=mdm.key(1), counts=every, context={"label": labels})
    share = np.bincount(labels) / len(labels)
    mixed = share[0] * found[0].means + share[1] * found[1].means
    errors = [together.standard_errors, share[0] * found[0].standard_errors, share[1] * found[1].standard_errors]
    assert np.all(np.abs(mixed - together.means) < 4 * np.linalg.norm(errors, axis=0))
    mine = labels == 1  # a class does not depend on the others
    alone = evaluation.profiles_by_class(EXACT, PARAMS, rows[mine], labels[mine], 8000, key=mdm.key(0), counts=every)
    np.testing.assert_array_equal(alone[1].means, found[1].means)


def test_what_has_no_profiles_by_class_is_refused_with_a_sentence():
    task = TwoClasses(20)
    rows, labels = task.validation, task.context("validation")["label"]
    with pytest.raises(
        InputError, match="labels must be two rows of each class that is there, or more; got one row of"
    ):
        evaluation.profiles_by_class(EXACT, PARAMS, rows[:3], np.array([0, 1, 0]), 8, key=jax.random.key(0))
    with pytest.raises(InputError, match=f"labels must be one for each of the {len(rows)} rows"):
        evaluation.profiles_by_class(EXACT, PARAMS, rows, labels[:3], 8, key=jax.random.key(0))
    plain = mdm.oracles.polya(LENGTH, 0.5)
    with pytest.raises(InputError, match="denoiser must be a model with classes"):
        evaluation.profiles_by_class(plain.denoiser, plain.params, rows, labels, 8, key=jax.random.key(0))
