"""Data that imitate what people have, and the figures that are worked out anew for them."""

import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from experiments import your_data
from experiments.tools import made_data
from experiments.tools.rows_alone import own_nelbo, padded_and_alone


def test_molecules_are_balanced_different_and_the_same_for_ever():
    lines = made_data.molecules(300, seed=0)
    assert all(map(made_data.is_balanced, lines))
    assert len(set(lines)) == 300
    assert lines == made_data.molecules(300, seed=0)
    assert 5 <= min(map(len, lines)) < 10
    assert 55 < max(map(len, lines)) <= 60
    assert {"(", "[", "1", "2"} <= set("".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "C(C",
        "CC)",
        "C()C",
        "(C)C",
        "C1CC",
        "1CC1",
        "C=1CC1",
        "C[C",
        "C[]C",
        "CC=",
        "C(=)C",
        "C==C",
        "Cx",
        "C(C))C(",
    ],
)
def test_what_is_not_balanced_is_found(text):
    assert not made_data.is_balanced(text)


def test_a_molecule_without_one_of_its_signs_is_not_balanced():
    for line in made_data.molecules(100, seed=1):
        for sign in re.finditer(r"[()\]1-9]", re.sub(r"\[[^]]*", lambda found: "[" + "x" * (len(found[0]) - 1), line)):
            assert not made_data.is_balanced(line[: sign.start()] + line[sign.end() :]), (line, sign)


def test_a_picture_shows_the_stroke_of_its_label():
    pictures, labels = made_data.pictures(200, seed=0)
    assert pictures.shape == (200, 14, 14)
    assert set(np.unique(pictures)) == {0, 1, 2, 3}
    for picture, label in zip(pictures == 3, labels):
        across, down = picture.sum(axis=1).max(), picture.sum(axis=0).max()
        full = (int((picture.sum(axis=1) == across).sum()), int((picture.sum(axis=0) == down).sum()))
        seen = {"across": across > 4 and down == 1, "down": down > 4 and across == 1}
        seen |= {"cross": full == (1, 1) and min(across, down) > 4, "frame": full == (2, 2) and min(across, down) > 4}
        stroke = made_data.STROKES[label]
        assert seen.get(stroke, not any(seen.values())), (stroke, picture.astype(int))


def test_proteins_are_read_as_they_were_made(tmp_path):
    (tmp_path / "made.fasta").write_text(made_data.proteins(60, seed=0))
    task = mdm.tasks.fasta(tmp_path / "made.fasta")
    found = np.concatenate([(np.asarray(part) >= 0).sum(axis=1) for part in (task.train, task.validation, task.test)])
    told = [int(number) for number in re.findall(r"of (\d+) residues", (tmp_path / "made.fasta").read_text())]
    assert sorted(found) == sorted(told)
    assert 20 <= min(told) < 40
    assert 150 < max(told) <= 170


def test_a_text_has_all_scripts_and_its_size():
    text = made_data.many_scripts(10**6, seed=0, words=300)
    assert 10**6 <= len(text.encode()) < 1.05e6
    for script, ranges in made_data.SCRIPTS.items():
        assert any(first <= ord(letter) <= last for letter in set(text) for first, last in ranges), script
    assert len(set(text)) > 1000


def sees_all(params, ids):
    """Logits that depend on how many positions the canvas has: what a model must not do."""
    return jnp.zeros((*ids.shape, 3)).at[..., 0].set(ids.shape[1] * 0.1)


def sees_none(params, ids):
    return jnp.zeros((*ids.shape, 3)).at[..., 0].set(0.5)


def run_of(function):
    denoiser = mdm.models.padded(mdm.models.from_function(function, 3), 2)  # its token 2 pads
    return SimpleNamespace(denoiser=denoiser, params={}, task=mdm.tasks.pairs(0.5))


def test_a_model_that_sees_the_padding_is_found_out():
    rows = np.array([[0, 1, 0, -1, -1], [1, 1, 0, 1, 0], [0, 0, 1, -1, -1], [1, -1, -1, -1, -1]], np.int32)
    blind, seeing = (padded_and_alone(run_of(of), rows, 3, jax.random.key(0)) for of in (sees_none, sees_all))
    assert blind.rows == 4
    assert blind.lengths == 3
    assert blind.worst < 1e-7
    assert seeing.worst > 0.01


def test_numpy_s_orders_of_fair_coins_cost_a_bit_each():
    coins = mdm.oracles.polya(8, 1e6)
    rows = np.asarray(coins.sample(mdm.key(0), rows=6))
    run = SimpleNamespace(denoiser=coins.denoiser, params=coins.params, task=mdm.tasks.pairs(0.5))
    np.testing.assert_allclose(own_nelbo(run, rows, 2, seed=0), 8 * np.log(2), rtol=1e-4)


def test_what_lengths_cost():
    """Of 4 rows 2 have one length, which with one unseen length among three is (2 + 2/3) / (4 + 2)."""
    train = ["a", "a", "bb", "bb"]
    assert your_data.length_bits(train, ["a", "bb"], 3) == pytest.approx(-np.log2((2 + 2 / 3) / 6))
    assert your_data.length_bits(train, ["ccc"], 3) == pytest.approx(-np.log2((2 / 3) / 6))


@pytest.fixture
def found():
    """Results in which everything holds."""
    held = {"bits_per_token": 2.0, "standard_error": 0.1, "baselines": [], "tokens": 40, "rows": 10}
    return {
        "molecules": {
            "commands": ["a"] * 4,
            "seconds": [1.0] * 4,
            "held_out": held | {"length_bits_per_row": 3.0},
            "tokens": 40,
            "printed_apart": 0.0,
            "own_z": 1.0,
            "profile_z": -1.0,
            "from_the_file": True,
            "length_apart": 0.0,
            "alone": {"rows": 10, "lengths": 3, "worst": 1e-7, "together": 1e-8},
            "report": {"bytes": 10, "sequences": 4, "strange": 0, "lengths": [3, 5], "pictures": 0, "shapes": []},
            "scores": {"8": [0.5, 0.1]},
        }
    }


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("commands",), ["a"] * 5),
        (("tokens",), 60),
        (("printed_apart",), 0.001),
        (("own_z",), -5.0),
        (("profile_z",), 5.0),
        (("from_the_file",), False),
        (("length_apart",), 0.1),
        (("alone", "worst"), 1e-5),
        (("report", "strange"), 1),
        (("report", "lengths"), [5]),
        (("report", "sequences"), 0),
    ],
)
def test_whatever_does_not_hold_is_concluded(found, place, value):
    assert your_data.conclude(found).verdict == "holds"
    at = found["molecules"]
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    assert your_data.conclude(found).verdict == "partly"


def test_what_a_report_shows_is_compared_with_the_samples(tmp_path):
    row = {"pieces": ["C", "(", "\n", "&", ")"]}
    (tmp_path / "samples.json").write_text(json.dumps({"panels": [{"rows": [row]}]}))
    good = '<pre class="sample play">\n<i>C(</i><b>⏎</b>\n<i>&amp;)</i></pre>'
    (tmp_path / "report.html").write_text(good)
    assert your_data.reported(tmp_path) | {"bytes": 0} == {
        "bytes": 0, "sequences": 1, "strange": 0, "lengths": [5], "pictures": 0, "shapes": [],
    }  # fmt: skip
    (tmp_path / "report.html").write_text(good.replace("&amp;)", "&amp;).."))
    assert your_data.reported(tmp_path)["strange"] == 1
