"""What temperatures gain, as ``calibrate`` tells it of some maskings, against the NELBO by maskings of its own."""

import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax import evaluation, models

pytestmark = pytest.mark.core

ROWS = 2000


class Bits:
    """Independent bits of one law, in rows of any length."""

    vocab_size, mask_id, passes, ragged = 2, 2, 1, True

    def encode(self, params, tokens, context=None):
        return jnp.broadcast_to(params, (*tokens.shape, 2))

    def readout(self, params, hidden):
        return hidden


def coins(length, prompts, fractions, temperatures):
    """Rows of a Polya urn, prompts of these lengths in turn; the law's own logits, scaled at shares of masks."""
    urn = mdm.oracles.polya(length, 1.0)
    rows = np.asarray(urn.sample(mdm.key(5), rows=ROWS))
    given = np.arange(length) < np.resize(prompts, ROWS)[:, None]
    return models.calibrated(urn.denoiser, fractions, temperatures), urn.params, rows, given


def short_rows():
    """Rows of two and of six bits in turn, in twelve places; too sure by a factor of 4 where all is masked."""
    rows = (np.random.default_rng(5).random((ROWS, 12)) < 0.6).astype(np.int32)
    rows[np.arange(12) >= np.resize([2, 6], ROWS)[:, None]] = -1
    return models.calibrated(Bits(), (0.9, 1.0), (1.0, 0.25)), jnp.asarray([0.0, 0.4]), rows, None


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: coins(30, [27], (1 / 15, 0.1), (1.0, 0.25)), id="completions of three tokens"),
        pytest.param(lambda: coins(8, [0, 6], (0.25, 1.0), (0.3, 3.0)), id="prompts of several lengths"),
        pytest.param(short_rows, id="short rows"),
    ],
)
def test_the_gain_is_what_the_nelbo_falls_by(made):
    """``held_out_nelbo`` of the 2,000 rows before and after: within three standard errors of both measurements."""
    model, params, rows, given = made()
    found = evaluation.calibrate(model, params, rows, key=mdm.key(0), given=given)
    before, after = (
        evaluation.held_out_nelbo(one, params, rows, key=mdm.key(2), given=given) for one in (model, found.denoiser)
    )
    free = ((rows != -1) & (True if given is None else ~given)).sum(axis=1)
    fall = np.sum(before - after) / free.sum()
    error = np.std(before - after - fall * free) / free.mean() / np.sqrt(ROWS)
    ours = (found.gain.high - found.gain.low) / 2 / 1.96
    assert abs(fall - found.gain.mean) < 3 * np.hypot(error, ours)
