"""The guide of the room works as it stands there."""

import jax
import numpy as np
import pytest
from examples import ROOT, example

PAGE = ROOT / "mdm_jax" / "oracles" / "README.md"


@pytest.mark.thorough
def test_the_guide_to_oracles():
    names = {}
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        exec(compile(example("oracles", page=PAGE), str(PAGE), "exec"), names)
    assert names["tokens"].shape == (100, 12)
    chance = np.exp(np.asarray(names["logits"])[0, 2:])
    np.testing.assert_allclose(chance, 0.5, rtol=1e-5)  # one of each was seen
    assert 0 < names["excess"] < 1
    assert names["drawn"].nfe.tolist() == [4] * 5
    assert names["profile"].nelbo() == pytest.approx(names["urn"].entropy())
