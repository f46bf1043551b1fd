"""What is seen before the first step: ids that are none, a mask without a row, a model too short, a loss of NaN."""

import dataclasses
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from toys import LENGTH, SETTINGS, VOCAB, PatternTask, tiny_transformer

from mdm_jax import models
from mdm_jax.models.probes import mask_taken_for_a_token, nan_for_masks
from mdm_jax.support.errors import InputError
from mdm_jax.support.stops import NonFinite
from mdm_jax.theory import schedules
from mdm_jax.training import fit, mask_counts, mask_times, masked_cross_entropy, nelbo
from mdm_jax.training.checks import checked_data
from mdm_jax.training.losses import stratified_nelbo

SHORT = dataclasses.replace(SETTINGS, steps=3)
TOKENS = PatternTask().train


def changed(value, kind=np.int64, part="train", where=(5, 2)):
    """The toy task with one id replaced."""
    task = PatternTask()
    rows = np.array(getattr(task, part), kind)
    rows[where] = value
    setattr(task, part, rows)
    return task


def look_up(params, tokens):
    return params[tokens]


def table(rows, seed=0):
    return jax.random.normal(jax.random.key(seed), (rows, VOCAB), jnp.float32)


@pytest.mark.core
@pytest.mark.parametrize(
    ("task", "says"),
    [
        (changed(-100), r"task.train must be token ids from 0 to 5; got -100 at \(5, 2\)"),
        (changed(VOCAB), r"task.train must be token ids from 0 to 5; got 6 at \(5, 2\) \(the mask's id\)"),
        (changed(50, np.uint8), r"task.train must be token ids from 0 to 5; got 50 at \(5, 2\)"),
        (changed(2**32 + 1), r"task.train must be token ids from 0 to 5; got 4294967297 at"),
        (changed(2**64 - 1, np.uint64), r"task.train must be token ids from 0 to 5; got 18446744073709551615 at"),
        (changed(1.9, np.float64), r"task.train must be an array of token ids \(whole numbers\); got float64 of shape"),
        (changed(1, bool), r"task.train must be an array of token ids \(whole numbers\); got bool of shape"),
        (changed(7, part="validation"), r"task.validation must be token ids from 0 to 5; got 7 at \(5, 2\)"),
        (changed(2.0, np.float32, "validation"), r"task.validation must be an array of token ids .*; got float32 of"),
    ],
)
def test_ids_that_are_no_tokens_are_refused_before_anything_is_made(task, says, tmp_path):
    with pytest.raises(InputError, match=says):
        fit(tiny_transformer(), task, settings=SHORT, directory=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


class Ragged(PatternTask):
    """The toy task with rows of 3 and of 8 tokens."""

    def __init__(self, lengths):
        super().__init__()
        self.train, self.lengths = np.array(self.train), lengths
        self.train[5, 3:] = -1

    def describe(self):
        return super().describe() | ({} if self.lengths is None else {"lengths": self.lengths})


COUNTS = [0, 0, 0, 1, 0, 0, 0, 0, len(TOKENS) - 1]


@pytest.mark.core
@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            changed(-1),
            r"task.train must be token ids, and -1 \(no token\) at the end of rows alone; got -1 at \(5, 2\)",
        ),
        (changed(-1, part="validation"), r"task.validation must be token ids, and -1 .*; got -1 at \(5, 2\)"),
        (Ragged(None), r"task.describe\(\) must be a dictionary with .* as \"lengths\".*; got None"),
        (Ragged([0, *COUNTS[:0:-1]]), r"task.describe\(\) must be a dictionary with .* as \"lengths\""),
    ],
)
def test_rows_of_different_lengths_end_and_are_described(task, says):
    """An any-order model takes them; without lengths in ``config.json`` its samples would all be as long as can be."""
    denoiser = models.any_order(VOCAB, length=LENGTH, width=8, depth=1, heads=2)
    with pytest.raises(InputError, match=says):
        checked_data(denoiser, task)
    assert (checked_data(denoiser, Ragged(COUNTS))[0].tokens[5] == -1).sum() == LENGTH - 3


@pytest.mark.core
def test_a_stream_has_no_absent_tokens():
    task, denoiser = PatternTask(), models.any_order(VOCAB, length=LENGTH, width=8, depth=1, heads=2)
    task.train = np.append(TOKENS.ravel(), -1)
    with pytest.raises(InputError, match=r"task.train must be token ids, and -1 .*; got -1 at "):
        checked_data(denoiser, task)


@pytest.mark.core
def test_the_masks_own_id_inside_the_vocabulary_is_none_of_the_data():
    """The fault: a loss of inf, and advice on learning rates."""
    denoiser = models.from_function(look_up, VOCAB, mask_id=1)
    with pytest.raises(InputError, match=r"task.train must be token ids from 0 to 5, without mask_id 1; got 1 at \(0,"):
        fit(denoiser, PatternTask(), settings=SHORT, params=table(VOCAB), progress=False)


@pytest.mark.core
def test_data_of_other_whole_types_are_taken_as_they_are():
    reference, _ = checked_data(tiny_transformer(), PatternTask())
    for kind in (np.int8, np.uint16, np.int64, np.uint64):
        task = PatternTask()
        task.train, task.validation = task.train.astype(kind), jnp.asarray(task.validation)
        train, validation = (part.tokens for part in checked_data(tiny_transformer(), task))
        assert (train.dtype, validation.dtype) == (np.int32, np.int32)
        np.testing.assert_array_equal(train, reference.tokens)
    stream = np.broadcast_to(np.int32(3), 10**8)  # no more memory than a slice takes
    task.train = stream
    assert checked_data(tiny_transformer(), task)[0] is not None
    late = np.zeros(2**22 + 9, np.int32)
    late[-2] = 77
    task.train = late
    with pytest.raises(InputError, match=rf"got 77 at \({2**22 + 7},\)"):
        checked_data(tiny_transformer(), task)


@pytest.mark.core
@pytest.mark.parametrize("bad", [-100, VOCAB, 50, 2**32])
def test_losses_look_at_ids_outside_of_jit(bad):
    denoiser, params = models.from_function(look_up, VOCAB), table(VOCAB + 1)
    tokens = np.array(TOKENS[:4], np.int64)
    corrupted = mask_counts(jax.random.key(0), jnp.asarray(TOKENS[:4]), VOCAB)
    right = nelbo(denoiser, params, jnp.asarray(TOKENS[:4]), corrupted)
    assert np.all(np.isfinite(right))
    tokens[1, 3] = bad
    if bad < 2**31:
        with pytest.raises(InputError, match=rf"tokens must be token ids from 0 to 5; got {bad} at \(1, 3\)"):
            nelbo(denoiser, params, jnp.asarray(tokens, jnp.int32), corrupted)
        with pytest.raises(InputError, match=rf"tokens must be token ids from 0 to 5; got {bad} at \(1, 3\)"):
            masked_cross_entropy(denoiser, params, jnp.asarray(tokens, jnp.int32), *corrupted[:2])
    with pytest.raises(InputError, match=rf"tokens must be token ids from 0 to 5; got {bad} at \(1, 3\)"):
        stratified_nelbo(denoiser, params, tokens, key=jax.random.key(0))
    seen = np.array(corrupted.tokens)
    seen[0, 0] = 50
    with pytest.raises(InputError, match=r"corrupted_tokens must be token ids from 0 to 5, or mask_id 6; got 50"):
        masked_cross_entropy(denoiser, params, jnp.asarray(TOKENS[:4]), jnp.asarray(seen), corrupted.masked)


@pytest.mark.core
def test_masking_wants_complete_rows_of_whole_numbers():
    masked = jnp.asarray(TOKENS[:4]).at[0, 0].set(VOCAB)
    for act in (
        lambda tokens: mask_counts(jax.random.key(0), tokens, VOCAB),
        lambda tokens: mask_times(jax.random.key(0), tokens, VOCAB, schedules.linear()),
    ):
        with pytest.raises(InputError, match="tokens must be complete, without mask_id 6; got 1 of them"):
            act(masked)


class Short(nn.Module):
    """An embedding with rows for the tokens alone."""

    rows: int

    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(VOCAB)(nn.Embed(self.rows, 4)(tokens))


class ShortNNX(nnx.Module):
    def __init__(self, rngs):
        self.embed, self.head = nnx.Embed(VOCAB, 4, rngs=rngs), nnx.Linear(4, VOCAB, rngs=rngs)

    def __call__(self, tokens):
        return self.head(self.embed(tokens))


def filling(params, tokens):
    return jnp.take(params, tokens, axis=0)


def nan_everywhere(params, tokens):
    return params[tokens] * jnp.nan


@pytest.mark.core
@pytest.mark.parametrize(
    "make",
    [
        lambda: (models.from_linen(Short(VOCAB), VOCAB), None),
        lambda: models.from_nnx(ShortNNX(nnx.Rngs(0)), VOCAB),
        lambda: (models.from_function(filling, VOCAB), table(VOCAB)),
        lambda: (models.tempered(models.from_function(filling, VOCAB), 0.5), table(VOCAB)),
    ],
)
@pytest.mark.few(1)
def test_an_embedding_without_a_row_for_the_mask_is_named_before_the_first_step(make):
    """The fault: "not finite ... a lower learning rate"."""
    denoiser, params = make()
    with pytest.raises(InputError) as caught:
        fit(denoiser, PatternTask(), settings=SHORT, params=params, progress=False)
    assert str(caught.value) == (
        "there is nothing to train yet: the model's logits are NaN where it sees the mask (id 6), though not where it "
        "sees tokens: its embedding must have a row for the mask, 7 rows in all."
    )


@pytest.mark.core
@pytest.mark.thorough
def test_with_the_row_it_trains_and_nan_everywhere_is_another_sentence():
    denoiser = models.from_linen(Short(VOCAB + 1), VOCAB)
    params = denoiser.init(jax.random.key(0), LENGTH)
    assert nan_for_masks(denoiser, params, LENGTH) is None
    assert fit(denoiser, PatternTask(), settings=SHORT, progress=False).step == 3
    with pytest.raises(InputError, match="the model's logits are NaN for masks and for tokens as well"):
        fit(models.from_function(nan_everywhere, VOCAB), PatternTask(), settings=SHORT, params=table(7), progress=False)


def projected(params, tokens):
    """Plain indexing, which reads the last row for whatever lies beyond; outputs that start at zero."""
    return params["embedding"][tokens] @ params["head"]


def features(params, tokens):
    """Sees of a token only whether it is even: a mask is no other than token 4 to it."""
    return params[tokens % 2]


def unseeing(params, tokens):
    return jnp.broadcast_to(params[None, :1], (*tokens.shape, VOCAB))


def start(rows, scale=1.0):
    return {"embedding": scale * jnp.ones((rows, 4)), "head": jnp.zeros((4, VOCAB))}


@pytest.mark.core
@pytest.mark.parametrize(
    ("function", "params", "told"),
    [
        (projected, start(VOCAB), True),
        (projected, start(VOCAB + 1), False),  # all rows are equal at first, but not for good
        (look_up, table(VOCAB), True),
        (look_up, table(VOCAB - 2), True),  # the last tokens have no row either: no model that looks at no token
        (look_up, table(2), True),
        (look_up, table(VOCAB + 1), False),
        (filling, table(VOCAB), False),  # NaN has a sentence of its own
        (features, table(2), False),
        (unseeing, table(VOCAB), False),
    ],
)
@pytest.mark.few(1)
def test_a_mask_that_looks_like_the_last_token_is_told(function, params, told):
    found = mask_taken_for_a_token(models.from_function(function, VOCAB), params, LENGTH)
    assert (found is not None) == told
    if told:
        assert found.startswith("the model cannot tell the mask (id 6) from token 5: it returns the same for both")


@pytest.mark.thorough
@pytest.mark.core
def test_training_warns_of_it_and_goes_on():
    denoiser = models.from_function(projected, VOCAB)
    with pytest.warns(UserWarning, match=r"cannot tell the mask \(id 6\) from token 5.* An embedding needs 7 rows"):
        assert fit(denoiser, PatternTask(), settings=SHORT, params=start(VOCAB), progress=False).step == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(denoiser, PatternTask(), settings=SHORT, params=start(VOCAB + 1), progress=False)
        assert mask_taken_for_a_token(models.from_function(look_up, VOCAB, mask_id=2), table(VOCAB), LENGTH) is None


@pytest.mark.core
def test_a_model_too_short_for_the_task_is_told_how_to_be_longer(tmp_path):
    """The fault: "tokens must be at most 128 long, as the model is; got 196"."""
    sizes = {"length": 4, "width": 16, "depth": 1, "heads": 2}
    denoiser = models.transformer(VOCAB, **sizes)
    others = [make(VOCAB, **sizes) for make in (models.any_order, models.latent_transformer)]
    for one in (denoiser, models.tempered(denoiser, 0.5), *others, models.block_causal(VOCAB, block=2, **sizes)):
        with pytest.raises(InputError) as caught:
            fit(one, PatternTask(), settings=SHORT, directory=tmp_path / "run", progress=False)
        assert str(caught.value) == (
            "the model takes sequences of at most 4 tokens, and the task's have 8: make it anew with length=8."
        )
    assert not (tmp_path / "run").exists()


def infinite_for_fives(params, tokens):
    """NaN only where the whole row is a five or masked, and something shows; never for a canvas of masks."""
    fives = jnp.all(tokens >= 5, axis=1) & jnp.any(tokens == 5, axis=1)
    return params[tokens] + jnp.where(fives, jnp.inf, 0.0)[:, None, None]


@pytest.mark.core
@pytest.mark.thorough
def test_a_first_step_that_is_not_finite_blames_no_learning_rate():
    task = PatternTask()
    task.train = np.full((4, LENGTH), 5, np.int32)
    with pytest.raises(NonFinite) as caught:
        fit(models.from_function(infinite_for_fives, VOCAB), task, settings=SHORT, params=table(7), progress=False)
    said = str(caught.value)
    assert said.startswith("step 1 of 3 is not finite (its loss is nan): nothing was saved, since no directory was")
    # Sixteen rows hide 1 to 8 tokens, two rows each: in all but the two that hide all eight a five is seen.
    assert said.endswith("No step came before it, so no learning rate is to blame but the model as it starts: the loss "
                         "of 14 of its 16 rows is not finite.")  # fmt: skip
    assert "lower learning rate" not in said


@pytest.mark.core
def test_one_array_alone_is_no_checkpoint(tmp_path):
    """Orbax refuses it, at the first checkpoint and in pages of text."""
    denoiser = models.from_function(look_up, VOCAB)
    with pytest.raises(InputError, match=r'params must be a tree, as \{"table": array\}, .*; got one array'):
        fit(denoiser, PatternTask(), settings=SHORT, params=table(7), directory=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
