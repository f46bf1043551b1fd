"""The network of the experiment sudoku9 sees what the rules speak of, and its counts of puzzles are McNemar's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.sudoku9 import needed, paired, ways
from experiments.tools.units import CellEmbedding, UnitMixing
from mdm_jax.tasks.grids.units import unit_of


def test_a_cell_mixes_in_its_row_its_column_and_its_box_and_nothing_else():
    module = UnitMixing()
    params = module.init(jax.random.key(0), jnp.zeros((1, 81, 4)))
    params["params"]["output"]["kernel"] = jax.random.normal(jax.random.key(1), (6, 4))
    base = jax.random.normal(jax.random.key(2), (1, 81, 4))
    changed = base + jnp.eye(81)[:, :, None]  # row j: cell j alone is another
    moved = np.abs(np.asarray(module.apply(params, changed) - module.apply(params, base))).max(axis=-1) > 1e-4
    units = np.array(unit_of((3, 3)))
    assert np.array_equal(moved, (units[:, :, None] == units[:, None, :]).any(axis=0))


def test_cells_are_told_apart_by_row_column_and_box():
    module = CellEmbedding(8, 1.0)
    tokens = jnp.zeros((1, 81), jnp.int32)
    params = module.init(jax.random.key(0), tokens)
    tables = {name: np.asarray(table["embedding"]) for name, table in params["params"].items()}
    rows, columns, boxes = (np.array(unit) % 9 for unit in unit_of((3, 3)))
    expected = tables["digit"][0] + tables["row"][rows] + tables["column"][columns] + tables["box"][boxes]
    np.testing.assert_allclose(np.asarray(module.apply(params, tokens))[0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["no latent", "latent"])
def test_its_networks_keep_the_contract_of_a_denoiser(name):
    denoiser = ways(quick=True)[name][0]

    def logits(key):
        params = denoiser.init(key, length=81)
        context = denoiser.draw_latents(params, jax.random.split(key, 2)) if name == "latent" else None
        return denoiser.readout(params, denoiser.encode(params, jnp.full((2, 81), 9), context))

    assert jax.eval_shape(logits, jax.random.key(0)).shape == (2, 81, 9)


def test_pairs_are_counted_by_hand():
    pair = paired([1, 1, 1, 0, 0], [0, 0, 1, 1, 0])
    assert (pair["more"], pair["fewer"], pair["puzzles"]) == (2, 1, 5)
    assert pair["points"][0] == pytest.approx(20)
    assert pair["p"] == pytest.approx(1.0)


def test_as_many_puzzles_as_are_needed_give_the_power_promised():
    """1,000 draws of as many pairs as ``needed`` says: the power is 80% within three standard errors and rounding."""
    gain, apart = 0.02, 0.1
    count = int(needed({"more": 6, "fewer": 4, "puzzles": 100}, 100 * gain))
    stream = np.random.default_rng(0)
    drawn = stream.multinomial(count, [(apart + gain) / 2, (apart - gain) / 2, 1 - apart], size=1000)
    more, fewer = drawn[:, 0], drawn[:, 1]
    power = np.mean(np.abs(more - fewer) / np.sqrt(more + fewer) > 1.96)
    assert 0.76 < power < 0.84
