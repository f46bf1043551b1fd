"""Made reactions are reactions: atoms are kept, rings close, and no ring is in two of them."""

import re

import pytest

from experiments.tools.made_reactions import TEMPLATES, has_product, is_readable, reaction, reactions, rings, tokens_of


def test_every_template_makes_what_a_chemist_writes():
    anisole = next(ring for ring in rings() if ring.before == "COc1ccc(@)cc1")
    pyridine = next(ring for ring in rings() if ring.after == "c1ccc(F)nc1")
    made = {name: reaction(template, anisole, pyridine).split(">>")[1] for name, template in TEMPLATES.items()}
    assert made == {
        "amide": "COc1ccc(C(=O)NCc2ccc(F)nc2)cc1",
        "amide of a chloride": "COc1ccc(C(=O)Nc2ccc(F)nc2)cc1",
        "ester": "COc1ccc(C(=O)OCc2ccc(F)nc2)cc1",
        "Suzuki": "COc1ccc(-c2ccc(F)nc2)cc1",
        "reductive amination": "COc1ccc(CNCc2ccc(F)nc2)cc1",
        "sulfonamide": "COc1ccc(S(=O)(=O)Nc2ccc(F)nc2)cc1",
        "Williamson": "COc1ccc(OCc2ccc(F)nc2)cc1",
    }


def test_the_two_ways_to_write_a_ring_have_the_same_atoms():
    def atoms(smiles):
        return sorted(re.findall(r"\[N\+\]|\[O-\]|Cl|[A-Za-z]", smiles))

    every = rings()
    assert len(set(every)) == len(every)
    assert all(atoms(ring.before.replace("@", "")) == atoms(ring.after) for ring in every)


def test_drawn_reactions_have_one_length_and_share_no_ring():
    some = rings()[::4]
    made = {"".join(tokens): tokens for _, tokens in reactions(some, 8, 83, seed=0)}
    assert len(made) == 8
    assert all(len(tokens) == 83 and has_product(tokens) for tokens in made.values())
    pairs = [(one, two) for one in range(len(some)) for two in range(len(some))]
    every = {reaction(how, some[one], some[two]): (one, two) for how in TEMPLATES.values() for one, two in pairs}
    assert len({ring for smiles in made for ring in every[smiles]}) == 16


@pytest.mark.parametrize(
    ("smiles", "readable", "possible"),
    [
        ("CO.BrC>>COC", True, True),
        ("CO.BrC>>COCCN", True, False),
        ("CO.BrC", False, False),
        ("CO>>CO>>C", False, False),
        ("C(O>>CO", False, False),
        ("c1ccccc1>>c1cccc", False, False),
        ("C()O>>CO", False, False),
        ("CO.>>CO", False, False),
        ("C[N+](C)C>>CN", True, True),
    ],
)
def test_what_reads_as_a_reaction(smiles, readable, possible):
    assert is_readable(tokens_of(smiles)) is readable
    assert has_product(tokens_of(smiles)) is possible
