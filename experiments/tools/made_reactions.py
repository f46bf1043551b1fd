"""Reactions as SMILES, made from templates of organic chemistry: seven couplings of two substituted rings.

A reaction is written as chemists' files have it, ``reactants.reagents>>product``. Its rings are put together from a
frame (benzene, pyridine, thiophene) and substituents; what is written is a valid SMILES of what would be made, though
not always in the order of a program that makes SMILES canonical, and nobody asks about the yield. No two reactions of
a draw share a substituted ring.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TOKENS = re.compile(r"\[[^\]]+\]|>>|Br|Cl|%\d\d|[BCNOPSFIbcnops]|[()=#+\-\\/:~@?*.$\d]")
"""A token of a SMILES: an atom in brackets, an arrow, an element, a bond, a ring's number."""
SUBSTITUENTS = {
    "F": "F", "Cl": "Cl", "C": "C", "CC": "CC", "CC(C)": "C(C)C", "CC(C)(C)": "C(C)(C)C", "CO": "OC", "CCO": "OCC",
    "CC(C)O": "OC(C)C", "N#C": "C#N", "FC(F)(F)": "C(F)(F)F", "FC(F)(F)O": "OC(F)(F)F", "O=[N+]([O-])": "[N+](=O)[O-]",
    "CS": "SC", "CN(C)": "N(C)C", "CC(=O)N": "NC(C)=O", "COC(=O)": "C(=O)OC", "CS(=O)(=O)": "S(C)(=O)=O",
    "CC(=O)": "C(C)=O", "FC(F)": "C(F)F", "COC": "COC", "CCCO": "OCCC", "CCC": "CCC", "C=C": "C=C",
}  # fmt: skip
"""As they are written before a ring, and after it."""
_SECOND = ("F", "Cl", "C", "OC", "C#N", "C(F)(F)F")
_FRAMES = {
    "{}c1ccc(@)cc1": "c1ccc({})cc1",
    "{}c1cccc(@)c1": "c1cccc({})c1",
    "{}c1ccccc1@": "c1ccccc1{}",
    "{}c1ccc(@)cn1": "c1ccc({})nc1",
    "{}c1cc(@)ccn1": "c1ccnc({})c1",
    "{}c1ccc(@)s1": "c1ccc({})s1",
}


class Ring(NamedTuple):
    """A substituted ring: as a molecule that goes on at ``@``, and as what follows a bond."""

    before: str
    after: str


class Template(NamedTuple):
    """A coupling: what stands at the ``@`` of the first ring, before the second, besides, and what joins the two."""

    first: str
    second: str
    reagents: tuple[str, ...]
    joint: str


TEMPLATES = {
    "amide": Template("C(=O)O", "NC", (), "C(=O)NC"),
    "amide of a chloride": Template("C(=O)Cl", "N", ("CCN(CC)CC",), "C(=O)N"),
    "ester": Template("C(=O)O", "OC", ("O=S(=O)(O)O",), "C(=O)OC"),
    "Suzuki": Template("Br", "OB(O)", ("O=C([O-])[O-]", "[K+]", "[K+]"), "-"),
    "reductive amination": Template("C=O", "NC", ("[BH4-]", "[Na+]", "CO"), "CNC"),
    "sulfonamide": Template("S(=O)(=O)Cl", "N", ("CCN(CC)CC",), "S(=O)(=O)N"),
    "Williamson": Template("O", "BrC", ("O=C([O-])[O-]", "[K+]", "[K+]"), "OC"),
}


def rings() -> list[Ring]:
    """Every ring with one substituent, and the benzenes with two."""
    single = [
        Ring(before.format(left), after.format(right))
        for before, after in _FRAMES.items()
        for left, right in SUBSTITUENTS.items()
    ]
    double = [
        Ring(f"{left}c1ccc(@)cc1{second}", f"c1ccc({right})c({second})c1")
        for left, right in SUBSTITUENTS.items()
        for second in _SECOND
    ]
    return single + double


def reaction(template: Template, first: Ring, second: Ring) -> str:
    """The SMILES of a coupling.

    Example:
        >>> from experiments.tools.made_reactions import TEMPLATES, Ring, reaction
        >>> toluene, thiophene = Ring("Cc1ccc(@)cc1", "c1ccc(C)cc1"), Ring("Fc1ccc(@)s1", "c1ccc(F)s1")
        >>> reaction(TEMPLATES["Suzuki"], toluene, thiophene)
        'Cc1ccc(Br)cc1.OB(O)c1ccc(F)s1.O=C([O-])[O-].[K+].[K+]>>Cc1ccc(-c2ccc(F)s2)cc1'
    """
    inner = second.after if first.before.endswith("@") else second.after.replace("1", "2")  # the first ring is open
    reactants = [first.before.replace("@", template.first), template.second + second.after, *template.reagents]
    return ".".join(reactants) + ">>" + first.before.replace("@", template.joint + inner)


def tokens_of(smiles: str) -> list[str]:
    """The tokens of a SMILES, all of it.

    Example:
        >>> from experiments.tools.made_reactions import tokens_of
        >>> tokens_of("BrC.[Na+]>>C")
        ['Br', 'C', '.', '[Na+]', '>>', 'C']
    """
    found = TOKENS.findall(smiles)
    assert "".join(found) == smiles, smiles
    return found


def reactions(chosen: Sequence[Ring], count: int, length: int, seed: int) -> list[tuple[str, list[str]]]:
    """At most so many reactions of so many tokens each, with their templates' names; no ring is in two of them."""
    random = np.random.default_rng(seed)
    free, made, names, failed = list(chosen), [], list(TEMPLATES), 0
    while len(made) < count and len(free) > 1 and failed < 20_000:
        i, j = random.choice(len(free), 2, replace=False).tolist()
        name = names[int(random.integers(len(names)))]
        tokens = tokens_of(reaction(TEMPLATES[name], free[i], free[j]))
        if len(tokens) != length:
            failed += 1
            continue
        made.append((name, tokens))
        failed, free = 0, [ring for place, ring in enumerate(free) if place not in (i, j)]
    return made


def is_readable(tokens: Sequence[str]) -> bool:
    """Whether it is one reaction whose parentheses and rings close, molecule by molecule."""
    text = "".join(tokens)
    sides = text.split(">>")
    return len(sides) == 2 and all(_closes(molecule) for side in sides for molecule in side.split("."))


def has_product(tokens: Sequence[str]) -> bool:
    """Whether it is readable and its product has no more atoms of any element than the reactants."""
    if not is_readable(tokens):
        return False
    before, after = (side.upper() for side in "".join(tokens).split(">>"))
    return all(_atoms(after, element) <= _atoms(before, element) for element in set(re.findall(r"BR|CL|[A-Z]", after)))


def _atoms(side: str, element: str) -> int:
    return re.findall(r"BR|CL|[A-Z]", side).count(element)


def _closes(molecule: str) -> bool:
    depth, numbers, bare = 0, [], re.sub(r"\[[^\]]*\]", "C", molecule)
    for place, letter in enumerate(bare):
        depth += (letter == "(") - (letter == ")")
        if depth < 0 or bare[place : place + 2] == "()":
            return False
        numbers += [letter] if letter.isdigit() else []
    return bool(bare) and depth == 0 and all(numbers.count(one) % 2 == 0 for one in numbers)
