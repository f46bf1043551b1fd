"""What masking, settings and initial parameters are taken or refused; each fault gave numbers like any other."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import LENGTH, SETTINGS, VOCAB, PatternTask

from mdm_jax import models
from mdm_jax.models.denoiser import checked_tokens, is_readable
from mdm_jax.support.errors import InputError
from mdm_jax.theory import schedules
from mdm_jax.training import Settings, fit, mask_counts, mask_times
from mdm_jax.training.checks import check_model
from mdm_jax.training.objective import Examples
from mdm_jax.training.ways import Job

pytestmark = pytest.mark.core
TOKENS = PatternTask().train[:4]
LINEAR = schedules.linear()


def call(make, *arguments, **more):
    """Without jaxtyping's own checks, which only tests have."""
    return getattr(make, "__wrapped__", make)(*arguments, **more)


def made(**given):
    """``Settings(**given)``, likewise."""
    settings = object.__new__(Settings)
    for field in dataclasses.fields(Settings):
        object.__setattr__(settings, field.name, given.get(field.name, field.default))
    settings.__post_init__()
    return settings


def by_counts(tokens, mask_id):
    return call(mask_counts, jax.random.key(0), tokens, mask_id)


def by_times(tokens, mask_id):
    return call(mask_times, jax.random.key(0), tokens, mask_id, LINEAR)


BOTH = pytest.mark.parametrize("mask", [by_counts, by_times])


@BOTH
def test_a_mask_beyond_the_tokens_type_is_the_mask(mask):
    """The fault: 256 in uint8 is token 0."""
    right = mask(jnp.asarray(TOKENS, jnp.int32), 256)
    np.testing.assert_array_equal(right.tokens, np.where(right.masked, 256, TOKENS))
    assert np.any(right.masked)
    given = [np.asarray(TOKENS, kind) for kind in (np.uint8, np.int8, np.int64, np.uint64)]
    for tokens in (*given, *map(jnp.asarray, given), TOKENS.tolist()):
        found = mask(tokens, np.int64(256))
        assert found.tokens.dtype == jnp.int32
        np.testing.assert_array_equal(found.tokens, right.tokens)
    traced = jax.jit(lambda tokens: mask(tokens, 256))(jnp.asarray(TOKENS, jnp.uint8))
    np.testing.assert_array_equal(traced.tokens, right.tokens)


@BOTH
@pytest.mark.parametrize("bad", [2.5, 2.0, True, -1, 2**31, 2**40, 2**32 + 6, "6", None])
def test_a_mask_that_is_no_id_is_refused(mask, bad):
    with pytest.raises(InputError, match="mask_id must be a whole number from 0 to 2147483647; got"):
        mask(jnp.asarray(TOKENS), bad)


@BOTH
@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (TOKENS[0], r"tokens must be an array of token ids .* of shape \[rows, length\]; got int32 of shape \(8,\)"),
        (TOKENS[None], r"got int32 of shape \(1, 4, 8\)"),
        (np.zeros((0, 8), np.int32), r"got int32 of shape \(0, 8\)"),
        (np.zeros((4, 0), np.int32), r"got int32 of shape \(4, 0\)"),
        ([[1, 2], [3]], r"got object of shape \(\)"),
        (TOKENS.astype(np.float32), r"got float32 of shape \(4, 8\)"),
        (TOKENS > 2, r"got bool of shape \(4, 8\)"),
        (TOKENS.astype(np.int64) + 2**32, r"token ids from 0 to 2147483647; got \[42949672"),
        (np.full((2, 3), -2), r"token ids from 0 to 2147483647; got \[-2\]"),  # -1 is a position that is not there
    ],
)
def test_tokens_that_are_none_are_refused(mask, tokens, says):
    with pytest.raises(InputError, match=says):
        mask(tokens, 6)


def test_what_this_process_cannot_read_passes(monkeypatch):
    monkeypatch.setattr("mdm_jax.models.denoiser.is_readable", lambda given: False)
    tokens = jnp.asarray([[99]])
    denoiser = models.from_function(look_up, VOCAB)
    assert call(checked_tokens, denoiser, tokens) is tokens
    assert is_readable(tokens)
    assert is_readable([1])
    assert jax.jit(lambda x: x + int(is_readable(x)))(1) == 1


def look_up(params, tokens):
    return params["e"][tokens]


@pytest.mark.parametrize("name", ["learning_rate", "adam_fraction", "clip", "weight_decay"])
@pytest.mark.parametrize("bad", [1e-300, 1e-39, 1e39, 1e300, 10**40, -1.0, np.nan, np.inf, True, "1", None, 1j])
def test_settings_are_numbers_that_float32_holds(name, bad):
    """The fault: 0 or infinite in the compiled step, so that nothing was trained, or another thing blamed."""
    with pytest.raises(InputError, match=f"{name} must be "):
        made(**{name: bad})


def test_the_product_of_two_rates_is_held_too():
    with pytest.raises(InputError, match=r"learning_rate \* adam_fraction must be positive and finite, from 1.2e-38"):
        made(learning_rate=1e-20, adam_fraction=1e-20)
    with pytest.raises(InputError, match=r"learning_rate \* adam_fraction must be .*; got 1e\+40"):
        made(learning_rate=1e20, adam_fraction=1e20)
    assert made(learning_rate=1e-20, adam_fraction=1e-20, optimizer="adamw").learning_rate == 1e-20
    assert made(weight_decay=0, clip=1e-30, learning_rate=1e-30).weight_decay == 0


def test_numpys_and_jaxs_numbers_become_pythons():
    plain = made(steps=4, seed=3, batch=6, accumulate=2, learning_rate=0.5, clip=2, optimizer="adamw")
    given = made(
        steps=np.int64(4),
        seed=np.int32(3),
        batch=jnp.int32(6),
        accumulate=np.uint8(2),
        learning_rate=jnp.float32(0.5),
        clip=2,
        optimizer=str(np.str_("adamw")),
    )
    assert given == plain
    assert hash(given) == hash(plain)
    assert json.dumps(dataclasses.asdict(given)) == json.dumps(dataclasses.asdict(plain))
    assert made(learning_rate=np.float64(0.02)) == made(learning_rate=0.02)
    for bad in (True, np.True_, 2.0, np.float64(2), "2", None, np.array([1, 2])):
        with pytest.raises(InputError, match="steps must be a whole number; got"):
            made(steps=bad)


def table(kind=jnp.float32, value=0.0):
    return {"e": jnp.zeros((VOCAB + 1, VOCAB), kind).at[2, 1].set(value)}


class Half(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Embed(VOCAB + 1, VOCAB, param_dtype=jnp.bfloat16)(tokens)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_parameters_of_half_the_bits_are_refused(kind):
    """The fault: pages about the carry of a while loop."""
    denoiser, params = models.from_function(look_up, VOCAB), table(kind)
    says = rf"params must be float32, or moves smaller .* are lost \(compute='bfloat16' .*; got {kind.__name__} at e\."
    with pytest.raises(InputError, match=says):
        fit(denoiser, PatternTask(), settings=SETTINGS, params=params, progress=False)
    with pytest.raises(InputError, match="got bfloat16 at params/Embed_0/embedding"):
        fit(models.from_linen(Half(), VOCAB), PatternTask(), settings=SETTINGS, progress=False)


@pytest.mark.parametrize(("value", "what"), [(jnp.nan, "NaN"), (jnp.inf, "infinity"), (-jnp.inf, "infinity")])
def test_parameters_that_are_not_finite_are_said_before_the_first_step(value, what, tmp_path):
    """The fault: "lower learning rate"."""
    with pytest.raises(InputError, match=f"params must be finite where they are trained; got {what} at e"):
        fit(
            models.from_function(look_up, VOCAB),
            PatternTask(),
            settings=SETTINGS,
            params=table(value=value),
            directory=tmp_path / "run",
            progress=False,
        )
    assert not (tmp_path / "run").exists()


def test_finite_ones_of_32_bits_pass():
    settings = dataclasses.replace(SETTINGS, length=LENGTH)
    job = Job(models.from_function(look_up, VOCAB), settings)
    check_model(job, table(), None, Examples(np.zeros((3, LENGTH), np.int32)))


@pytest.mark.parametrize("name", ["report_every", "checkpoint_every"])
@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "3"])
def test_pauses_are_whole_numbers(name, bad):
    with pytest.raises(InputError, match=f"{name} must be a whole number, 1 or more; got"):
        call(fit, models.from_function(look_up, VOCAB), PatternTask(), params=table(), **{name: bad})
