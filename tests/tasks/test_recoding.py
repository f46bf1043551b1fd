"""A text in the vocabulary of a run: the same characters under other ids, and restored so."""

import numpy as np
import pytest

from mdm_jax import tasks
from mdm_jax.support.errors import InputError

WIDER = tasks.Vocabulary(" \n!.=>ABCabcdefghijklmnopqrstuvwxyz⏎".replace("\n", ""))


def shown(task, part):
    return [task.show(row) for row in np.atleast_2d(getattr(task, part))]


@pytest.mark.parametrize("spec", ["text:FILE", "text:FILE?lines", "text:FILE?lines&prompt=>", "text:FILE?lines&end"])
def test_the_text_stays_what_it_is_and_a_run_restores_it(spec, tmp_path):
    path = tmp_path / "few.txt"
    path.write_text("".join(f"{'ab' * (n % 3 + 1)}>c\n" for n in range(60)).replace("\n", "\n" if "?" in spec else "."))
    task = tasks.from_spec(spec.replace("FILE", str(path)), 8)
    wider = tasks.in_vocabulary(task, WIDER)
    for part in ("train", "validation", "test"):
        assert shown(wider, part) == shown(task, part)
        ours, theirs = tasks.given_of(wider, part), tasks.given_of(task, part)
        assert (ours is None and theirs is None) or np.array_equal(ours, theirs)
    assert wider.vocab_size == WIDER.size
    np.testing.assert_allclose(wider.score(wider.test[:3]), task.score(task.test[:3]), atol=2)  # another smoothing
    stored = wider.describe()
    assert "arrays" not in stored
    again = tasks.restore(stored)
    assert again.describe() == stored
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, part), getattr(wider, part))


def test_what_lacks_a_character_or_is_no_text_is_refused():
    task = tasks.lines(["abc", "cab"] * 20)
    with pytest.raises(InputError, match="vocabulary must have every character of the text; it lacks 'b', 'c'"):
        tasks.in_vocabulary(task, tasks.Vocabulary("a"))
    make = getattr(tasks.in_vocabulary, "__wrapped__", tasks.in_vocabulary)
    with pytest.raises(InputError, match="task must be a text or lines of one"):
        make(tasks.digits(), WIDER)
    with pytest.raises(InputError, match="vocabulary must be a Vocabulary of characters"):
        make(task, tasks.Numbers(40))
