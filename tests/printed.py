"""What an example prints, held against what its page or docstring shows.

Numbers may differ by one in the last digit that is shown, or by 2e-4 of themselves, since another processor rounds
otherwise; words, signs and whole numbers may not. ``...``, apart from other words, stands for anything.
"""

import re

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?![\w])")
_NEAR = 2e-4


def difference(shown: str, printed: str) -> str | None:
    """What is wrong with what was printed, in a sentence; nothing where it is what is shown."""
    wanted, got = _split(shown), _split(printed)
    for index, (ours, theirs) in enumerate(zip(wanted, got, strict=False)):
        if ours == "...":
            return _after_anything(wanted[index + 1 :], got[index:], shown, printed)
        if not _alike(ours, theirs):
            return f"{ours!r} is shown and {theirs!r} printed.\n--- shown\n{shown}\n--- printed\n{printed}"
    if len(wanted) != len(got) and wanted[len(got) :] != ["..."]:
        return f"{len(wanted)} words are shown and {len(got)} printed.\n--- shown\n{shown}\n--- printed\n{printed}"
    return None


def _split(text: str) -> list[str]:
    """Numbers, and what stands between them."""
    parts = re.split(f"({_NUMBER.pattern})|\\s+|([\\[\\](),:|])", text)
    return [part for part in parts if part and not part.isspace()]


def _after_anything(wanted: list[str], got: list[str], shown: str, printed: str) -> str | None:
    """The rest after ``...`` must be found somewhere in the rest of what was printed."""
    if not wanted:
        return None
    for start in range(len(got) - 1, -1, -1):
        if _alike(wanted[0], got[start]) and difference(" ".join(wanted), " ".join(got[start:])) is None:
            return None
    return f"what follows ... is not printed.\n--- shown\n{shown}\n--- printed\n{printed}"


def _alike(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    if not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return False
    if not any(sign in ours + theirs for sign in ".e"):
        return int(ours) == int(theirs)
    last = _last_digit(ours)
    if ours.endswith("."):  # NumPy leaves out zeros: how many, the other may tell
        last = 0.0 if theirs.endswith(".") else _last_digit(theirs)
    if float(ours) * float(theirs) < 0:
        return False
    return abs(float(ours) - float(theirs)) <= max(1.001 * last, _NEAR * abs(float(ours)))


def _last_digit(number: str) -> float:
    """A unit of the last digit that is shown."""
    digits, _, power = number.partition("e")
    return 10.0 ** (float(power or 0) - len(digits.partition(".")[2]))
