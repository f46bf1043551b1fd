"""Token ids in a file, as other tools leave them: a stream or rows, mapped into memory where they are many.

A large file is never read whole: its digest is that of blocks spread over it, ids are checked as they are read, and the
baselines are counted on a sample.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Int32, Integer

from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.ragged import present
from mdm_jax.tasks import parts
from mdm_jax.tasks.array_files.token_maps import (
    DTYPES,
    MOST_IN_MEMORY,
    is_piece_of_a_file,
    is_too_large,
    mapped,
    opened,
    sampled_digest,
    whole_digest,
)
from mdm_jax.tasks.frequencies import Frequencies, count
from mdm_jax.tasks.notations import Numbers
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.rows import mean_of
from mdm_jax.tasks.source_files import SourceFile
from mdm_jax.tasks.spelling import Settings, spelled, whole
from mdm_jax.tasks.task import token_ids

HELD_OUT = 4096
"""At most so many windows are held out."""
SAMPLE = 2**20
"""Tokens of the training part, about, on which the baselines of a task are counted."""
LARGEST_VOCABULARY = 2**20
SETTINGS = {"dtype": "TYPE", "vocab": "SIZE"}
"""What may stand behind ``bin:PATH?``."""
_FEWEST = 4
"""Windows that must be held out: two to choose by, two to judge by."""


@dataclass(frozen=True, eq=False)
class TokensTask:
    """Tokens of a file as a :class:`mdm_jax.tasks.Task`. Made by :func:`tokens`; the arrays are read-only."""

    spec: str
    length: int
    vocabulary: Numbers
    train: Integer[np.ndarray, " tokens"] | Integer[np.ndarray, "rows length"]
    """A stream, or rows; of a large file a ``np.memmap`` in the file's own type."""
    validation: Int32[np.ndarray, "validation_rows length"]
    test: Int32[np.ndarray, "test_rows length"]
    digest: str
    notes: tuple[str, ...] = ()
    """What a person should know: what is held out, and what the baselines are counted on."""
    made: Parts | None = field(default=None, repr=False)
    """The arrays that ``spec`` makes, so that a run notices when others were put in their place."""

    def __post_init__(self) -> None:
        require(type(self.vocabulary) is Numbers, "vocabulary", self.vocabulary, "Numbers, which a run can store")
        if not is_too_large(self.train.size):
            parts.check(self)

    @property
    def vocab_size(self) -> int:
        """Number of different tokens, whether they occur or not."""
        return self.vocabulary.size

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "bits per token of a bigram"

    @property
    def lower_is_better(self) -> bool:
        """Lower is more like the training part; far below the score of held-out rows, it means repetition."""
        return True

    def show(self, tokens: Int[Any, " length"]) -> str:
        """One row as numbers, "·" for masks; raises ``InputError`` for ids that are no tokens."""
        return self.vocabulary.decode(tokens)

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """The last of :meth:`baselines`; raises ``InputError`` for rows with masks."""
        return self.baselines(tokens)["bigram"]

    def baselines(self, tokens: Int[Any, "rows length"]) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under two laws with Witten and Bell's smoothing, by name.

        "unigram": one law for all tokens. "bigram": the token given the one before it, the first by the unigram. They
        are counted on windows of the training part, about ``SAMPLE`` tokens, evenly spread over it. Rows may end in
        ``ABSENT``, as samples do that were cut at their end. Raises ``InputError`` for rows with masks or other wrong
        ids.
        """
        wanted = f"ids from 0 to {self.vocab_size - 1}, without masks"
        ids = token_ids(tokens, "rows length", self.vocab_size, wanted, ragged=True)
        rows = np.where(there := present(ids), ids, 0).astype(np.int64)
        unigram, bigram = self._frequencies
        one = unigram.law(np.zeros_like(rows), rows, np.full(rows.shape, 1 / self.vocab_size))
        # Nothing was counted after the id of the mask, so there the law is the lower one.
        before = np.concatenate([np.full_like(rows[:, :1], self.vocab_size), rows[:, :-1]], axis=1)
        two = bigram.law(before, rows, one)
        return {name: mean_of(-np.log2(law), there) for name, law in (("unigram", one), ("bigram", two))}

    def describe(self) -> dict[str, Any]:
        """What a run stores (JSON); :func:`mdm_jax.tasks.restore` and ``vocabulary_of`` read it.

        Where ``dataclasses.replace`` or a subclass made a task that its spec does not, "arrays" or "class" say so.
        """
        return parts.described(self, self.made)

    @cached_property
    def _frequencies(self) -> tuple[Frequencies, Frequencies]:
        rows = spread_windows(self.train, self.length, max(1, SAMPLE // self.length)).astype(np.int64)
        token_ids(rows, "rows length", self.vocab_size, f"ids from 0 to {self.vocab_size - 1}", "train")
        unigram = count(np.zeros_like(rows), rows, self.vocab_size)
        return unigram, count(rows[:, :-1], rows[:, 1:], self.vocab_size)


def tokens(
    path: str | Path, length: int | None = None, vocab_size: int | None = None, dtype: str | None = None
) -> TokensTask:
    """Windows of a stream of token ids, or rows of them, from a file of any size.

    The first nine tenths are to train on. The last tenth is held out: at most ``HELD_OUT`` windows of it, evenly
    spread, which a fixed permutation deals into two halves, ``validation`` and ``test``.

    A file of more than ``MOST_IN_MEMORY`` tokens is never read whole: ``train`` is a ``np.memmap``, of which training
    reads what the next steps need. Then ``vocab_size`` must be given, ids are checked as they are read, and the digest
    is that of the size and of 4,096 blocks evenly spread over the file, so a change elsewhere is not noticed. In a
    smaller file everything is looked at.

    Args:
        path: an ``.npy`` file of integers, of shape [tokens] or, a large one, [rows, length]; or a file without a
            header, little-endian, as nanoGPT's ``train.bin``.
        length: tokens in one window, at least 2; of rows it is that of the file.
        vocab_size: number of different tokens; of a smaller file by default the largest id, plus one.
        dtype: of a file without a header, and only of one: one of ``DTYPES``.

    Raises:
        InputError: the file cannot be read or is something else, an argument is missing or out of range, an id is
            negative or not below ``vocab_size``, or there are too few tokens for two windows in each half.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> (np.arange(4000) % 7).astype("<u2").tofile("train.bin")
        >>> task = mdm.tasks.tokens("train.bin", length=8, dtype="uint16")
        >>> task.train.shape, task.validation.shape, task.test.shape, task.vocab_size
        ((3600,), (25, 8), (25, 8), 7)
        >>> task.show(task.train[:8])
        '0 1 2 3 4 5 6 0'
    """
    require(str(path) != "", "path", str(path), "the path of a file of token ids")
    file = SourceFile(path, "a file of token ids: an .npy of integers, or integers without a header")
    vocab_size = None if vocab_size is None else require_whole("vocab", vocab_size, 2, LARGEST_VOCABULARY)
    ids = mapped(file, dtype)
    length = _length(file, ids, length)
    far = is_too_large(ids.size)
    if far and vocab_size is None:
        raise InputError(
            f"vocab must be given for a file of more than {MOST_IN_MEMORY:,} tokens, which is not read whole, as in "
            f"vocab=50257; {str(file.path)!r} has {ids.size:,}."
        )
    size = _vocab_size(file, ids, vocab_size) if vocab_size is None or not far else vocab_size
    units = ids.shape[0] // (length if ids.ndim == 1 else 1)  # windows that do not overlap
    if units // 10 < _FEWEST:
        raise file.refused(
            f"has {ids.size:,} tokens, fewer than {_FEWEST * 10 * length:,}: its last tenth must hold two windows of "
            f"{length} to choose by and two to judge by"
        )
    made = _divided(file, ids, length, size)
    held_out = len(made[1]) + len(made[2])
    notes = (f"Held out are {held_out:,} windows, evenly spread over the last tenth of {ids.size:,} tokens.",)
    notes += ("Whether they also stand among the training tokens was not looked for.",)
    if (counted := SAMPLE // length * length) < made[0].size:
        notes += (f"The baselines are counted on {counted:,} training tokens, evenly spread.",)
    digest = (sampled_digest if far else whole_digest)(file, dtype)
    # A path that itself looks as if it had settings is followed by one, by which it is read back.
    told = vocab_size is not None or (dtype is None and "?" in str(file.path))
    settings = {"dtype": dtype, "vocab": size if told else None}
    spec = spelled("npy" if dtype is None else "bin", str(file.path), settings, SETTINGS)
    return TokensTask(spec, length, Numbers(size), *made, digest, notes, made)


def from_settings(path: str, settings: Settings, length: int | None) -> TokensTask:
    """:func:`tokens` of a file without a header and its settings, as a spec "bin:PATH?dtype=TYPE&vocab=SIZE" has them.

    Raises:
        InputError: as :func:`tokens`, or no dtype.
    """
    wanted = f"given, as in bin:PATH?dtype=uint16&vocab=50257, one of {', '.join(DTYPES)}"
    require(settings.get("dtype") is not None, "dtype", settings.get("dtype"), wanted)
    return tokens(path, length, whole(settings, "vocab", "bin:PATH?dtype=uint16&vocab=50257"), settings.get("dtype"))


def spread_windows(
    ids: Integer[np.ndarray, " tokens"] | Integer[np.ndarray, "rows length"], length: int, most: int
) -> Integer[np.ndarray, "windows length"]:
    """At most so many rows, or windows of a stream, that do not overlap and are evenly spread; all if they are fewer.

    Args:
        ids: a stream or rows; only what is taken is read.
        length: of a window.
        most: how many, at most.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.tasks.array_files.token_files import spread_windows
        >>> spread_windows(np.arange(20), length=2, most=3).tolist()
        [[0, 1], [6, 7], [12, 13]]
    """
    there = ids.shape[0] // (length if ids.ndim == 1 else 1)
    taken = min(there, most)
    starts = np.array([number * there // taken for number in range(taken)], np.int64) * length
    if is_piece_of_a_file(ids):
        with opened(ids) as read:
            return read(starts, length)
    flat = ids.reshape(-1)
    return np.stack([flat[start : start + length] for start in starts.tolist()])


def _divided(file: SourceFile, ids: np.ndarray, length: int, size: int) -> Parts:
    """Training, validation and test tokens."""
    boundary = ids.shape[0] - ids.shape[0] // 10
    windows = spread_windows(ids[boundary:], length, HELD_OUT)
    if not 0 <= int(windows.min()) <= int(windows.max()) < size:
        wrong = windows[(windows < 0) | (windows >= size)][0]
        raise file.refused(f"has the id {wrong} in its last tenth, which is none of 0 to {size - 1}")
    # RandomState, because NumPy promises its stream for all versions; default_rng's may change.
    windows = windows[np.random.RandomState(0).permutation(len(windows))].astype(np.int32)
    train = ids[:boundary] if is_too_large(ids.size) else np.array(ids[:boundary], np.int32)
    made = train, windows[: len(windows) // 2], windows[len(windows) // 2 :]
    for part in made:
        part.flags.writeable = False
    return made


def _length(file: SourceFile, ids: np.ndarray, length: int | None) -> int:
    """The length of a window, seen to fit."""
    if ids.ndim == 1:
        wanted = f"given: {str(file.path)!r} is a stream of tokens, of which windows are cut"
        require(length is not None, "length", length, wanted)
        return require_whole("length", length, 2)
    if not is_too_large(ids.size):
        raise file.refused(f"has the shape {list(ids.shape)}: such rows are a task by tasks.npy(path)")
    if ids.shape[1] < 2:
        raise file.refused(f"has rows of length {ids.shape[1]}, less than 2")
    require(length in (None, ids.shape[1]), "length", length, f"{ids.shape[1]}, that of the file's rows, or left out")
    return ids.shape[1]


def _vocab_size(file: SourceFile, ids: np.ndarray, vocab_size: int | None) -> int:
    """Of a file that is looked at whole."""
    least, most = int(ids.min()), int(ids.max())
    if least < 0:
        raise file.refused(f"holds negative numbers, {least} at the least")
    if vocab_size is not None and most >= vocab_size:
        raise InputError(f"vocab must be larger than every id in {str(file.path)!r}, whose largest is {most}.")
    if not 1 <= most < LARGEST_VOCABULARY:
        wanted = f"it must be from 1 to {LARGEST_VOCABULARY - 1}, for ids are counted from 0 on"
        raise file.refused(f"has {most} as its largest number; {wanted}")
    return most + 1 if vocab_size is None else vocab_size
