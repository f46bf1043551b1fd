"""What experiments with published models count: groups, steps that are as good, and checkpoints that are made up."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tools.grouped import by_group, steps_as_good
from experiments.tools.made_checkpoints import made_up
from experiments.tools.published_models import of_real_tokens, real_tokens
from experiments.tools.published_told import parts
from experiments.tools.wheels import unpacked
from mdm_jax import models
from mdm_jax.support.errors import InputError


def test_groups_count_the_same_whatever_their_size():
    values = np.array([[1.0, 2.0, 3.0, 10.0], [0.0, 0.0, 3.0, 4.0]])
    assert by_group(values, ["b", "b", "b", "a"]).tolist() == [[10.0, 2.0], [4.0, 1.0]]


def test_steps_as_good_invert_the_curve_with_an_interval_over_groups():
    noise = np.random.default_rng(0).normal(size=400) * 0.2
    curve = np.array([[8.0], [6.0], [5.0], [4.5]]) + np.zeros(400)
    value, low, high = steps_as_good(curve, 5.5 + noise)
    assert value == pytest.approx(2.5, abs=0.03)  # 3 standard errors of the mean, .01, by the slope 1
    assert 2.45 < low < value < high < 2.55
    assert steps_as_good(curve, np.full(400, 4.0)) == [4.0, 4.0, 4.0]
    assert steps_as_good(curve, np.full(400, 9.0)) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_a_made_up_checkpoint_is_read_like_a_published_one(kind, tmp_path):
    loaded = models.load_pretrained(made_up(kind, ["C", ">>", "[Na+]"], 4, tmp_path))
    assert real_tokens(loaded) == ["C", ">>", "[Na+]"]
    denoiser = of_real_tokens(loaded, ["[Na+]", "C", ">>"])
    logits = models.logits(denoiser, loaded.params, jnp.asarray([[0, 1, 3, 3]]))
    assert logits.shape == (1, 4, 3)
    assert bool(jnp.isfinite(logits).all())


def test_a_wheel_that_is_not_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("MDM_JAX_WHEELS", str(tmp_path))
    with pytest.raises(InputError, match=r"MDM_JAX_WHEELS must name a folder with a wheel of rxnmapper"):
        unpacked("rxnmapper", ["config.json"], tmp_path / "there")


@pytest.mark.parametrize(
    ("twice", "gain", "order", "kept"),
    [
        ([0.0, -0.01, 0.01], [0.2, 0.1, 0.3], [0.1, 0.05, 0.2], [True, True, True]),
        ([0.0, -0.03, 0.03], [0.2, -0.1, 0.5], [0.1, -0.05, 0.2], [False, False, False]),
        ([0.5, 0.4, 0.6], [0.04, 0.03, 0.05], None, [True, False, False]),
    ],
)
def test_the_three_parts_of_the_claim(twice, gain, order, kept):
    results = {
        "compared": [{"steps": 8, "uniform twice less": twice}],
        "temperatures": {"gain": gain},
        "orders": [{"order": "largest probability", "setting": "8 equal steps", "random less": order}],
    }
    assert list(parts(results).values()) == kept
