"""Tokens, sizes and texts that are none, each as a user may pass it: run in a process of its own, where no checker of
types objects first. Prints, as JSON, what each call says: a sentence, or what came instead of one."""

import dataclasses
import json
import math
import sys

import numpy as np

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Grid, Numbers, Vocabulary, binsaw, digits, npy, pairs, sudoku4, text
from mdm_jax.tasks.ngram import fit
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.text_files import from_content

WORDS = "the quick brown fox " * 40
NO_TOKENS = {
    "ragged": [[1], [2, 3]],
    "float": [0.5],
    "truth": [True],
    "text": "ab",
    "nothing": None,
    "time": np.array([1], "m8[s]"),
    "2^32": np.array([2**32]),
    "negative": np.array([-100]),
    "2^63": np.array([2**63], np.uint64),
    "number": 3,
}


def calls(array, words):
    """Name and call of each."""
    task, prose, vocabulary, numbers = npy(array), text(8, words), Vocabulary("abc"), Numbers(4)
    model = fit(prose.train, prose.vocab_size, 2)
    grid, sudoku, pair, saw = Grid(4, (2, 2)), sudoku4(), pairs(0.5), binsaw()
    for name, bad in NO_TOKENS.items():
        rows = bad[None] if isinstance(bad, np.ndarray) else [bad]
        for one in (
            vocabulary.decode,
            vocabulary.pieces,
            numbers.decode,
            numbers.pieces,
            task.show,
            prose.show,
            grid.decode,
            grid.pieces,
        ):
            yield f"{one.__qualname__} of {name}", one, (bad,), "tokens must be"
        yield f"solutions of {name}", sudoku.solutions, (bad,), "canvas must be"
        for one in (sudoku.score, sudoku.baselines, sudoku.is_valid, sudoku.log_prob, pair.log_prob, saw.log_prob):
            yield f"{one.__qualname__} of {name}", one, (rows,), "tokens must be"
        for one in (task.score, task.baselines, prose.score, prose.baselines, digits().score, model.log_prob):
            yield f"{one.__qualname__} of {name}", one, (rows,), "tokens must be"
        yield f"fit of {name}", fit, (bad, 3, 1), "tokens must be"
        parts = (rows, task.validation, task.test)
        yield f"task of {name}", RowsTask, ("mine", Numbers(4), *parts, "0"), "train must be"
    for bad in (8.0, True, "8", None, 1):
        yield f"length {bad!r}", from_content, (WORDS, bad, "mine", "it"), "length must be a whole number"
        yield f"order {bad!r}", fit, (prose.train, 20, bad if bad != 1 else 0), "order must be a whole number"
        yield f"size {bad!r}", Numbers, (bad,), "size must be a whole number"
        if bad is not None:
            yield f"vocab {bad!r}", npy, (array, bad), "vocab must be a whole number"
    for bad in (2, "a", None, math.nan, [0.5]):
        yield f"p {bad!r}", pairs, (bad,), "p must be a probability from 0 to 1"
    for bad in (4.0, True, "4", None):
        yield f"symbols {bad!r}", pairs, (0.5, bad), "symbols must be a whole number"
        yield f"grid {bad!r}", Grid, (bad, (2, 2)), "size must be a whole number"
        yield f"puzzles {bad!r}", sudoku.puzzles, (bad,), "count must be a whole number"
    for bad in (5, None, 0, "01"):
        yield f"positions {bad!r}", pair.mutual_information, (bad, [1]), "first must be"
    for bad in ((2,), "ab", (2.0, 2), 5, (0, 2), (True, 2)):
        yield f"box {bad!r}", Grid, (4, bad), "box must be"
        yield f"shape {bad!r}", Numbers, (4, bad), "shape must be"
    for bad in (3, None, b"rows.npy"):
        yield f"npy {bad!r}", npy, (bad,), "path must be some text, or a Path; got"
        yield f"encode {bad!r}", vocabulary.encode, (bad,), "text must be text"
        yield f"numbers {bad!r}", numbers.encode, (bad,), "text must be text"
        yield f"characters {bad!r}", Vocabulary, (bad,), "characters must be distinct"
        yield f"content {bad!r}", from_content, (bad, 8, "mine", "it"), "content must be text"
    yield "npy of an array", npy, (task.train,), "path must be that of an .npy file; got an array: save it with"
    assert Numbers(4, [2, np.int64(2)]) == Numbers(np.int64(4), (2, 2))
    assert Grid(4, [2, np.int64(2)]) == Grid(np.int64(4), (2, 2))
    json.dumps(text(np.int64(8), words).describe())
    other = np.zeros((4, 8), np.int32)
    yield "other lengths", lambda: dataclasses.replace(task, test=other), (), "test must be rows of length 9"
    yield "mask", vocabulary.encode, ("a", 3), "mask must be one character"
    yield "mask of numbers", numbers.encode, ("1", 3), "mask must be one character"
    yield (
        "notation",
        lambda: dataclasses.replace(task, vocabulary="abcd"),
        (),
        "vocabulary must be Numbers, a Grid, a Vocabulary or an Alphabet, which",
    )
    yield "notation", lambda: dataclasses.replace(prose, vocabulary=Numbers(99)), (), "vocabulary must be a Vocabulary"


def said(call, arguments):
    try:
        return f"no word: {call(*arguments)!r}"[:200]
    except InputError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    print(json.dumps([(name, wanted, said(call, arguments)) for name, call, arguments, wanted in calls(*sys.argv[1:])]))
