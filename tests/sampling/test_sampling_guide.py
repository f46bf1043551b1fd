"""The guide of the room works as it stands there."""

import jax
import numpy as np
import pytest
from examples import ROOT, example

PAGE = ROOT / "mdm_jax" / "sampling" / "README.md"


@pytest.mark.thorough
def test_the_guide_to_sampling():
    names = {}
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        for name in ("sampling", "rule"):
            exec(compile(example(name, page=PAGE), str(PAGE), "exec"), names)
    tokens = np.asarray(names["out"].tokens)
    assert tokens.shape == (3, 16)
    assert tokens.max() < names["model"].vocab_size
    assert names["out"].nfe.tolist() == [16] * 3  # nothing is ever certain of an urn
    np.testing.assert_array_equal(names["out"].reveal_step, np.tile(np.arange(16), (3, 1)))
