"""Data such as people have, made by rule: molecules, pictures with labels, proteins, a text of many scripts.

Every function is pure: the same numbers give the same data. :func:`is_balanced` and the strokes of the pictures are
rules that a model has to find out, so that its samples can be judged.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

RANDOM = np.random.Generator
ATOMS = "C", "C", "C", "C", "N", "O", "S", "F", "Cl", "Br", "[NH3+]", "[O-]", "[C@@H]"
"""Of a chain; twice as likely where they stand twice."""
ENDS = frozenset({"F", "Cl", "Br", "[NH3+]", "[O-]"})
"""Atoms with one neighbour: nothing hangs on them."""
RINGS = "C{n}CCCCC{n}", "C{n}CCNCC{n}", "c{n}ccccc{n}", "c{n}ccncc{n}", "C{n}CC{n}", "c{n}cc[nH]c{n}", "C{n}CCOC{n}"
BONDS = "", "", "", "", "", "", "=", "#"
STROKES = "across", "down", "cross", "frame", "slope"
"""What the pictures show; a label is the index of one."""
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "Latin": ((0x61, 0x7A), (0xE0, 0xF6)),
    "Greek": ((0x3B1, 0x3C9),),
    "Cyrillic": ((0x430, 0x44F),),
    "Armenian": ((0x561, 0x586),),
    "Hebrew": ((0x5D0, 0x5EA),),
    "Arabic": ((0x627, 0x63A), (0x641, 0x64A)),
    "Devanagari": ((0x915, 0x939), (0x93E, 0x94C)),
    "Tamil": ((0xB95, 0xB95), (0xB9E, 0xB9F), (0xBAE, 0xBB9)),
    "Thai": ((0xE01, 0xE2E),),
    "Georgian": ((0x10D0, 0x10F0),),
    "Hiragana": ((0x3041, 0x3093),),
    "Chinese": ((0x4E00, 0x5A00),),
    "Hangul": ((0xAC00, 0xB200),),
}
"""Ranges of Unicode, both ends included."""
WITHOUT_SPACES = frozenset({"Thai", "Hiragana", "Chinese"})


def molecules(count: int, seed: int, shortest: int = 5, longest: int = 60) -> list[str]:
    """Strings that look like SMILES, no two alike: atoms, bonds, rings and side chains, all balanced."""
    random, found = np.random.default_rng(seed), dict[str, None]()
    while len(found) < count:
        wanted = int(random.integers(shortest, longest + 1))
        one = _chain(random, wanted, ring=1)
        if shortest <= len(one) <= longest:
            found[one] = None
    return list(found)


def _chain(random: RANDOM, wanted: int, ring: int) -> str:
    """Atoms, rings and side chains until about ``wanted`` characters stand there; ``ring`` is the next ring's digit."""
    made = ""
    while len(made) < wanted:
        room, kind = wanted - len(made), random.random()
        if kind < 0.25 and room > 8:
            made += RINGS[random.integers(len(RINGS))].format(n=ring)
        elif kind < 0.4 and room > 8 and made:
            made += f"C({_chain(random, int(random.integers(1, room // 2)), ring % 9 + 1)})"
        else:
            atom = ATOMS[random.integers(len(ATOMS))]
            if made and atom in ENDS:
                made += f"C({atom})" if room > 4 else atom
                if room <= 4:
                    break
            elif atom not in ENDS:
                made += (BONDS[random.integers(len(BONDS))] if made and atom in "CN" else "") + atom
    return made


def is_balanced(text: str) -> bool:
    """Whether a string could be a molecule: parentheses and brackets closed and not empty, every ring closed.

    A ring's digit stands behind an atom and opens a ring, or closes the open one of that digit.
    """
    if not re.fullmatch(r"(?:\[[A-Za-z@+0-9-]+\]|Cl|Br|[CNOSFcnos]|[()=#]|[1-9])+", text):
        return False
    bare = re.sub(r"\[[^]]*\]|Cl|Br|[CNOSFcnos]", "a", text)
    if bare[0] != "a" or re.search(r"\([^a=#]|[(=#]\)|[=#][^a]|[=#(]$|[()=#][1-9]", bare):
        return False
    depth, opened = 0, set[str]()
    for sign in bare:
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return False
        if sign.isdigit():
            opened ^= {sign}
    return depth == 0 and not opened


def pictures(
    count: int, seed: int, size: int = 14
) -> tuple[Int[np.ndarray, "rows size size"], Int[np.ndarray, " rows"]]:
    """Pictures of four grey levels, 0 to 3, of one stroke each, and which of ``STROKES`` that is."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(STROKES), count)
    made = np.zeros((count, size, size), np.int64)
    for picture, label in zip(made, labels):
        top, left = random.integers(1, size // 3, 2)
        bottom, right = size - 1 - random.integers(1, size // 3, 2)
        middle, centre = (top + bottom) // 2, (left + right) // 2
        if STROKES[label] in ("across", "cross"):
            picture[middle, left : right + 1] = 3
        if STROKES[label] in ("down", "cross"):
            picture[top : bottom + 1, centre] = 3
        if STROKES[label] == "frame":
            picture[[top, bottom], left : right + 1] = 3
            picture[top : bottom + 1, [left, right]] = 3
        if STROKES[label] == "slope":
            steps = np.arange(bottom - top + 1)
            picture[top + steps, left + steps * (right - left) // max(1, bottom - top)] = 3
        beside = np.zeros_like(picture)  # a soft edge below and to the right
        beside[1:] = picture[:-1]
        beside[:, 1:] = np.maximum(beside[:, 1:], picture[:, :-1])
        picture[:] = np.maximum(picture, np.where(beside > 0, random.integers(1, 3, picture.shape), 0))
    return made, labels.astype(np.int64)


def proteins(count: int, seed: int, shortest: int = 20, longest: int = 170) -> str:
    """A FASTA file: sequences of motifs from twelve families, changed here and there, with linkers between them."""
    random = np.random.default_rng(seed)
    letters = np.array(list(RESIDUES))
    motifs = [random.integers(0, 20, random.integers(8, 25)) for _ in range(12)]
    common = random.dirichlet(np.full(20, 2.0))
    entries: list[str] = []
    for number in range(count):
        wanted, parts, total = int(random.integers(shortest, longest + 1)), list[np.ndarray](), 0
        while total < wanted:
            motif = motifs[random.integers(len(motifs))]
            changed = np.where(random.random(len(motif)) < 0.1, random.integers(0, 20, len(motif)), motif)
            linker = random.choice(20, int(random.integers(2, 9)), p=common)
            parts += [linker, changed]
            total += len(linker) + len(changed)
        sequence = "".join(letters[np.concatenate(parts)[:wanted]])
        lines = [sequence[start : start + 60] for start in range(0, wanted, 60)]
        entries.append("\n".join([f">made|{number:05d}| of {wanted} residues", *lines]))
    return "\n".join(entries) + "\n"


def many_scripts(size: int, seed: int, words: int = 3000) -> str:
    """About ``size`` bytes of UTF-8: lines of one script each, of words that are few and often, or many and rare."""
    random = np.random.default_rng(seed)
    rarity = 1 / np.arange(1, words + 1)
    lexicon = {script: _words(random, ranges, words, script) for script, ranges in SCRIPTS.items()}
    names, lines, made = list(SCRIPTS), list[str](), 0
    while made < size:
        script = names[random.integers(len(names))]
        chosen = random.choice(words, (64, 14), p=rarity / rarity.sum())
        between, stop = ("", "。\n") if script in WITHOUT_SPACES else (" ", ".\n")
        for of_line, many in zip(chosen, random.integers(5, 15, 64)):
            line = between.join(lexicon[script][k] for k in of_line[:many]) + stop
            lines.append(line)
            made += len(line.encode())
    return "".join(lines)


def _words(random: RANDOM, ranges: Sequence[tuple[int, int]], count: int, script: str) -> list[str]:
    """Words of a script, whose letters are unequally frequent."""
    letters = np.concatenate([np.arange(first, last + 1) for first, last in ranges])
    random.shuffle(letters)
    share = 1 / np.arange(1, len(letters) + 1) ** 0.7
    longest = 3 if script in ("Chinese", "Hangul") else 8
    return [
        "".join(map(chr, random.choice(letters, int(random.integers(1, longest + 1)), p=share / share.sum())))
        for _ in range(count)
    ]
