"""Texts for small runs: of other words, but of one size, so that all these runs share what is compiled for one."""

import random
import string
from collections.abc import Sequence

SIZE, CHARACTERS = 16_000, 36
TINY = ["--length", "16", "--width", "16", "--depth", "1", "--heads", "2", "--batch", "4", "--steps", "60"]
TINY += ["--model", "bidirectional"]  # whatever the recipe says: masking again, say, is tried too
"""How ``mdm-jax train`` is to train on them."""
ENCODINGS = ["--encodings", "1024"]
TUNING = ["--budgets", "2,4,8", "--check-rows", "32", "--grid", "21"]
"""How ``mdm-jax profile`` and ``tune`` are to go on; other numbers would be other shapes, and compile anew."""
SENTENCE = "the cat sat on the mat and the dog sat on the log while a bird sang in the old tree"


def story(words: Sequence[str], more: str = "") -> str:
    """``words`` in random order: ``SIZE`` characters of ``CHARACTERS`` kinds, ``more`` and some letters among them.

    Some letters of it tell others: enough for a profile with a slope.
    """
    choice = random.Random(0).choice
    body = " ".join(choice(words) for _ in range(SIZE // 2))
    known = {*body, *more}
    letters = [letter for letter in string.ascii_letters + string.digits if letter not in known]
    begin = f"{more}{''.join(letters[: CHARACTERS - len(known)])} "
    text = f"{begin}{body}"[:SIZE]
    assert (len(text), len(set(text))) == (SIZE, CHARACTERS)
    return text
