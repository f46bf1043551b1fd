"""Temperatures by how much is masked, against the same in plain NumPy."""

import dataclasses
import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import tiny
from worlds import lookup_logits, wrong_world

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.support.errors import InputError

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("strict_types")]

LENGTH, VOCAB = 4, 3
MODEL, TABLE = wrong_world(LENGTH, VOCAB)
FRACTIONS, TEMPERATURES = (0.25, 0.6, 1.0), (0.5, 2.0, 16.0)
CALIBRATED = models.calibrated(MODEL, FRACTIONS, TEMPERATURES)
ROWS = np.array(list(itertools.product(range(VOCAB + 1), repeat=LENGTH)), np.int32)
all_logits = jax.jit(models.logits, static_argnums=0)


def numpy_temperature(masked, there):
    return np.exp(np.interp(masked / there, FRACTIONS, np.log(TEMPERATURES)))


def test_logits_are_divided_by_the_temperature_of_the_masked_fraction():
    assert isinstance(CALIBRATED, models.Denoiser)
    assert (CALIBRATED.vocab_size, CALIBRATED.mask_id, CALIBRATED.passes) == (VOCAB, VOCAB, 1)
    logits = all_logits(CALIBRATED, TABLE, jnp.asarray(ROWS))
    assert logits.dtype == jnp.float32
    codes = ROWS @ (VOCAB + 1) ** np.arange(LENGTH - 1, -1, -1)
    temperatures = numpy_temperature((ROWS == VOCAB).sum(axis=1), LENGTH)
    wanted = np.asarray(TABLE, np.float64)[codes] / temperatures[:, None, None]
    np.testing.assert_allclose(logits, wanted, rtol=3e-6)
    assert temperatures.min() == 0.5  # nothing masked: that of the first fraction
    assert temperatures.max() == pytest.approx(16)


def test_one_fraction_is_one_temperature():
    model, plain = models.calibrated(MODEL, [0.3], [2]), models.tempered(MODEL, 2.0)
    rows = jnp.asarray(ROWS[:8])
    np.testing.assert_allclose(all_logits(model, TABLE, rows), all_logits(plain, TABLE, rows), rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Half:
    """A model whose hidden vectors are bfloat16, and which takes rows of different lengths."""

    vocab_size: int = VOCAB
    mask_id: int = VOCAB
    passes: int = 1
    ragged: typing.ClassVar[bool] = True

    def encode(self, params, tokens, context=None):
        return jnp.broadcast_to(params.astype(jnp.bfloat16), (*tokens.shape, VOCAB))

    def readout(self, params, hidden):
        return hidden.astype(jnp.float32)


def test_half_precision_keeps_the_temperature_and_absent_positions_do_not_count():
    """Rounded to bfloat16, a temperature would be off by up to 0.4%."""
    rows = np.array([[3, 3, 3, -1, -1], [3, 0, -1, -1, -1], [3, 3, 0, 0, 0], [-1] * 5], np.int32)
    params = jnp.asarray([1.0, -2.0, 3.0])
    model = models.calibrated(Half(), FRACTIONS, TEMPERATURES)
    assert model.encode(params, jnp.asarray(rows)).dtype == jnp.bfloat16
    logits = all_logits(model, params, jnp.asarray(rows))
    temperatures = numpy_temperature(np.array([3, 1, 2, 0]), np.array([3, 2, 5, 1]))
    np.testing.assert_allclose(logits[:, 0], np.array([1.0, -2.0, 3.0]) / temperatures[:, None], rtol=2e-5)


def test_it_nests_and_hidden_vectors_may_come_from_anywhere():
    inner = models.framed(models.banned(MODEL, [2]), (1, 0))
    model = models.tempered(models.calibrated(inner, FRACTIONS, TEMPERATURES), 0.5)
    rows = jnp.asarray([[0, 2, 1, 2], [2, 2, 2, 0]])
    wanted = np.asarray(all_logits(inner, TABLE, rows)) / numpy_temperature(np.array([2, 3]), 4)[:, None, None] * 2
    hidden = model.encode(TABLE, rows)
    np.testing.assert_allclose(model.readout(TABLE, hidden[1, 2]), wanted[1, 2], rtol=1e-5)
    np.testing.assert_allclose(model.readout(TABLE, hidden.reshape(8, -1)), wanted.reshape(8, 2), rtol=1e-5)
    # What is ruled out stays so.
    ruled = models.calibrated(models.banned(MODEL, [2]), FRACTIONS, TEMPERATURES)
    assert np.isneginf(all_logits(ruled, TABLE, jnp.asarray(ROWS[:8]))[..., 2]).all()


def test_other_rows_share_the_program_and_equal_settings_are_equal():
    traces = []

    def counted(params, tokens):
        traces.append(tokens.shape)
        return lookup_logits(params, tokens)

    inner = models.from_function(counted, VOCAB)
    made = [models.calibrated(inner, list(FRACTIONS), TEMPERATURES) for _ in range(2)]
    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])
    assert made[0] != models.calibrated(inner, FRACTIONS, (1, 1, 1))
    for model, rows in zip(made, (ROWS[:3], ROWS[-3:])):
        all_logits(model, TABLE, jnp.asarray(rows))
    assert traces == [(3, 4)]


BLOCKS = models.block_causal(5, length=6, block=2, width=16, depth=1, heads=2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.calibrated(MODEL, [], []), "fractions must be rising numbers from 0 to 1; got []."),
        (lambda: models.calibrated(MODEL, [0.5, 0.5], [1, 1]), "fractions must be rising numbers from 0 to 1; got [0"),
        (lambda: models.calibrated(MODEL, [0.5, 1.5], [1, 1]), "fractions must be rising numbers from 0 to 1; got [0"),
        (lambda: models.calibrated(MODEL, [0.5], [0.0]), "temperatures must be numbers from 1/1000 to 1000; got [0.0]"),
        (
            lambda: models.calibrated(MODEL, [0.5], [float("nan")]),
            "temperatures must be numbers from 1/1000 to 1000; got [nan].",
        ),
        (
            lambda: models.calibrated(MODEL, [0.5, 1.0], [1.0]),
            "temperatures must be one for each fraction; got 1 for 2 fractions.",
        ),
        (
            lambda: models.calibrated(tiny()[0], [0.5], [1.0]),
            "denoiser must be one that is shown whole rows: models.without_cache(denoiser); got one that goes by the",
        ),
        (
            lambda: models.calibrated(BLOCKS, [0.5], [1.0]),
            "denoiser must be one that is shown whole rows: models.without_cache(denoiser); got one that goes block by",
        ),
    ],
)
def test_mistakes_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(says)
    assert str(caught.value).count(". ") == 0


def test_a_model_without_its_cache_may_be_calibrated():
    model, params = tiny()
    both = models.without_cache(model), models.calibrated(models.without_cache(model), [0.0, 1.0], [2.0, 2.0])
    assert not models.can_extend(both[1])
    row = jnp.full((1, 12), model.mask_id, jnp.int32).at[0, 3].set(1)
    plain, warm = (all_logits(one, params, row) for one in both)
    np.testing.assert_allclose(warm, plain / 2, rtol=1e-6)
    assert mdm.models.block_length(models.calibrated(models.without_cache(BLOCKS), [0.5], [1.0])) is None
