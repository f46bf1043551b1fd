"""Framed denoisers against tables looked up in NumPy, and against the law that is framed."""

import dataclasses
import functools
import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import tiny
from worlds import exact_world, lookup_logits, wrong_world

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.support.errors import InputError

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("strict_types")]

VOCAB, MASK = 5, 2  # of the table; its mask lies inside
IDS, PREFIX, SUFFIX = (4, 0, 3), (1,), (0,)
_, TABLE = wrong_world(4, VOCAB)
INNER = models.from_function(lookup_logits, VOCAB, mask_id=MASK)
FRAMED = models.framed(INNER, IDS, PREFIX, SUFFIX)
ROWS = np.array(list(itertools.product(range(4), repeat=2)), np.int32)
all_logits = jax.jit(models.logits, static_argnums=0)


def numpy_framed(model, ids=IDS, prefix=PREFIX, suffix=SUFFIX):
    """The wrapper for one row in NumPy: ``model`` takes a row of the table's ids."""

    def of(row):
        inside = [*ids, MASK]
        whole = model([*prefix, *(inside[token] for token in row), *suffix])
        return whole[len(prefix) : len(prefix) + len(row)][:, list(ids)]

    return of


def numpy_table(row):
    code = 0
    for token in row:
        code = code * (VOCAB + 1) + int(token)
    logits = np.array(np.asarray(TABLE)[code], np.float64)
    logits[:, MASK] = -np.inf
    return logits


def numpy_shifted(model):
    return lambda row: np.stack([model(row)[max(i - 1, 0)] for i in range(len(row))])


def test_a_framed_model_is_the_model_on_the_framed_row():
    assert isinstance(FRAMED, models.Denoiser)
    assert (FRAMED.vocab_size, FRAMED.mask_id, FRAMED.passes) == (3, 3, 1)
    logits = all_logits(FRAMED, TABLE, jnp.asarray(ROWS))
    assert logits.dtype == jnp.float32
    np.testing.assert_array_equal(logits, np.stack([numpy_framed(numpy_table)(row) for row in ROWS]))


def test_one_vector_may_be_read_out_from_anywhere():
    hidden = FRAMED.encode(TABLE, jnp.asarray(ROWS))
    wanted = np.stack([numpy_framed(numpy_table)(row) for row in ROWS])
    np.testing.assert_array_equal(FRAMED.readout(TABLE, hidden[3, 1]), wanted[3, 1])
    np.testing.assert_array_equal(FRAMED.readout(TABLE, hidden[:2].reshape(4, -1)), wanted[:2].reshape(4, 3))


def test_the_prefix_predicts_the_first_token_of_a_shifted_model():
    model = models.tempered(models.banned(models.framed(models.shifted(INNER), IDS, PREFIX, SUFFIX), [1]), 0.5)
    wanted = np.stack([numpy_framed(numpy_shifted(numpy_table))(row) for row in ROWS]) * 2
    wanted[..., 1] = -np.inf
    np.testing.assert_allclose(all_logits(model, TABLE, jnp.asarray(ROWS)), wanted, rtol=1e-6)


def test_frames_nest():
    """The outer vocabulary turns the inner one round; its prefix follows the inner prefix."""
    inner = models.framed(INNER, IDS, PREFIX)
    model = models.framed(inner, (2, 0), suffix=(1,))
    rows = np.array(list(itertools.product(range(3), repeat=2)), np.int32)
    wanted = np.stack([numpy_framed(numpy_table, (3, 4), (1,), (0,))(row) for row in rows])
    np.testing.assert_array_equal(all_logits(model, TABLE, jnp.asarray(rows)), wanted)


def test_guidance_is_put_around_a_frame():
    model, canvas = models.guided(FRAMED), np.array([1, 3], np.int32)
    how = models.guidance(canvas, model, weight=1.5)
    seen, hidden = numpy_framed(numpy_table)(canvas), numpy_framed(numpy_table)([3, 3])
    logits = all_logits(model, TABLE, jnp.asarray(canvas[None]), how)
    np.testing.assert_allclose(logits[0], hidden + 2.5 * (seen - hidden), rtol=1e-5)


# A law of three tokens as a model of a larger vocabulary that knows it between 1, 6 and 5 only, and wants all else.
LAW_TABLE, LAW, LAW_PARAMS = exact_world(3, 3)
LAW_IDS = (6, 0, 4)


def guarded(params, tokens):
    good = (tokens[:, 0] == 1) & (tokens[:, 1] == 6) & (tokens[:, -1] == 5)
    back = jnp.zeros(9, jnp.int32).at[jnp.asarray((*LAW_IDS, 8), jnp.int32)].set(jnp.arange(4, dtype=jnp.int32))
    inside = lookup_logits(params, back[tokens[:, 2:-1]])
    wide = jnp.full((*tokens.shape, 8), 50.0).at[:, 2:-1, jnp.asarray(LAW_IDS)].set(inside)
    return jnp.where(good[:, None, None], wide, jnp.nan)


def test_a_framed_law_is_sampled_and_measured_as_the_law_itself():
    framed = models.framed(models.from_function(guarded, 8), LAW_IDS, (1, 6), (5,))
    both = [(LAW, LAW_PARAMS), (framed, LAW_PARAMS)]
    plans, rows = [mdm.plans.uniform(3, 2), mdm.plans.uniform(3, 1)], np.array([[0, 1, 2], [2, 2, 0]], np.int32)
    samples = [mdm.sample(*model, plans[0], rows=64, key=mdm.key(1)) for model in both]
    np.testing.assert_array_equal(samples[0].tokens, samples[1].tokens)
    np.testing.assert_allclose(samples[0].log_prob, samples[1].log_prob, rtol=1e-6)
    costs = [mdm.evaluation.path_nelbo(*model, rows, plans, key=mdm.key(2)) for model in both]
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-6)
    # One step in random order: the sum of the margins' costs, by the table.
    margins = [LAW_TABLE.sum(axis=tuple({0, 1, 2} - {i})) for i in range(3)]
    told = [-sum(np.log(margin[token]) for margin, token in zip(margins, row)) for row in rows]
    np.testing.assert_allclose(costs[1][1], told, rtol=1e-5)
    profiles = [mdm.estimate_profile(*model, np.tile(rows, (4, 1)), 96, key=mdm.key(3)) for model in both]
    np.testing.assert_allclose(profiles[0].means, profiles[1].means, rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Logits that tell the sum over what is there of ``weight[position, id]``, and of the position itself."""

    vocab_size: int = VOCAB
    mask_id: int = MASK
    passes: int = 1
    ragged: typing.ClassVar[bool] = True

    def encode(self, params, tokens, context=None):
        there = tokens != -1
        place = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        each = jnp.where(there, params[place, jnp.where(there, tokens, 0)], 0)
        own = each * jnp.arange(1.0, tokens.shape[1] + 1)[None]
        return each.sum(axis=1, keepdims=True)[..., None] + own[..., None] * jnp.ones(VOCAB)[None, None]

    def readout(self, params, hidden):
        return (hidden * jnp.arange(1.0, VOCAB + 1).reshape((1,) * (hidden.ndim - 1) + (-1,))).astype(jnp.float32)


def test_the_suffix_follows_the_last_token_of_a_shorter_row():
    """Each row of a wide array has the logits that it has alone, where no position is absent."""
    params = jnp.asarray(np.random.default_rng(0).normal(size=(9, VOCAB)), jnp.float32)
    model = models.framed(Ragged(), IDS, (1, 4), (0, 1))
    assert models.takes_absent(model)
    rows = [[0, 3, 1, 3, 2], [3, 1, 3], [2], []]
    wide = np.full((4, 5), -1, np.int32)
    for row, tokens in zip(wide, rows):
        row[: len(tokens)] = tokens
    logits = np.asarray(all_logits(model, params, jnp.asarray(wide)))
    weight, inside = np.asarray(params, np.float64), [*IDS, MASK]
    for mine, tokens in zip(logits, rows):
        whole = [1, 4, *(inside[token] for token in tokens), 0, 1]
        each = np.array([weight[i, token] for i, token in enumerate(whole)])
        vectors = each.sum() + each * np.arange(1, len(whole) + 1)
        wanted = np.outer(vectors, np.arange(1, VOCAB + 1))[2 : 2 + len(tokens)][:, list(IDS)]
        np.testing.assert_allclose(mine[: len(tokens)], wanted, rtol=2e-5, atol=1e-5)
    assert np.isfinite(logits).all()


def test_other_rows_and_weights_share_the_program():
    traces = []

    def counted(params, tokens):
        traces.append(tokens.shape)
        return lookup_logits(params, tokens)

    made = [models.framed(models.from_function(counted, VOCAB, MASK), list(IDS), PREFIX, SUFFIX) for _ in range(2)]
    assert made[0] == made[1]
    assert hash(made[0]) == hash(made[1])
    assert made[0] != models.framed(made[0].denoiser, IDS, PREFIX)
    for model, rows in zip(made, (ROWS[:3], ROWS[3:6])):
        all_logits(model, TABLE + len(rows), jnp.asarray(rows))
    assert traces == [(3, 4)]


TURN = (4, 1, 0, 2, 3)
BLOCKS = models.block_causal(5, length=6, block=2, width=16, depth=1, heads=2)


def test_only_another_vocabulary_keeps_the_cache():
    """Tokens are absorbed and asked after as those of the model itself, by another name."""
    model, params = tiny()
    turned = models.framed(model, TURN)
    assert models.can_extend(turned)
    assert not models.can_extend(models.framed(model, (4, 1), prefix=(0,)))
    width = model.slots[0]
    places = jnp.tile(jnp.arange(width, dtype=jnp.int32)[None], (2, 1))
    revealed = jnp.asarray([width - 1, width - 2], jnp.int32)
    ours = np.random.default_rng(0).integers(5, size=places.shape).astype(np.int32)

    @functools.partial(jax.jit, static_argnums=0)
    def after(one, tokens):
        cache = one.empty(params, 2, 12, 1)
        _, hidden = one.extend(params, cache, places, tokens, revealed)
        return one.readout(params, hidden[:, -1])  # a question in both rows

    mine, theirs = after(turned, jnp.asarray(ours)), after(model, jnp.asarray(np.array(TURN)[ours]))
    np.testing.assert_allclose(mine, np.asarray(theirs)[:, list(TURN)], rtol=1e-6)
    assert np.ptp(mine) > 0.01
    rows, plan = np.arange(24).reshape(2, 12) % 5, [mdm.plans.uniform(12, 3)]
    costs = [
        mdm.evaluation.path_nelbo(one, params, tokens, plan, key=mdm.key(2))
        for one, tokens in ((turned, rows), (model, np.array(TURN)[rows]))
    ]
    np.testing.assert_allclose(*costs, rtol=1e-6)


def test_a_model_that_goes_by_blocks_may_have_another_vocabulary():
    tree = jax.eval_shape(lambda: BLOCKS.init(jax.random.key(0), 6))
    params = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32)).reshape(leaf.shape), tree)
    turned, rows = models.framed(BLOCKS, TURN), np.array([[0, 1, 2, 3, 4, 0]], np.int32)
    plan = [mdm.plans.uniform(2, 1)]
    costs = [
        mdm.evaluation.path_nelbo(one, params, tokens, plan, key=mdm.key(2))
        for one, tokens in ((turned, rows), (BLOCKS, np.array(TURN)[rows]))
    ]
    np.testing.assert_allclose(*costs, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.framed(INNER, ()), "ids must be at least one token's id; got ()."),
        (lambda: models.framed(INNER, (0, 5)), "ids must be a whole number from 0 to 4; got 5."),
        (lambda: models.framed(INNER, (0, -1)), "ids must be a whole number from 0 to 4; got -1."),
        (lambda: models.framed(INNER, (0, 2)), "ids must be ids of tokens, without the mask's (2); got (0, 2)."),
        (
            lambda: models.framed(INNER, (3, 0, 3)),
            "ids must be ids of tokens, each of them once; got 3 more than once.",
        ),
        (lambda: models.framed(INNER, IDS, (5,)), "prefix must be a whole number from 0 to 4; got 5."),
        (lambda: models.framed(INNER, IDS, (2,)), "prefix must be ids of tokens, without the mask's (2); got (2,)."),
        (lambda: models.framed(INNER, IDS, (), (9,)), "suffix must be a whole number from 0 to 4; got 9."),
        (
            lambda: models.framed(BLOCKS, (0, 1), (2,)),
            "prefix must be left out for a model that goes by blocks, or put around models.without_cache of it; ",
        ),
        (
            lambda: models.framed(models.guided(INNER), IDS),
            "denoiser must be one that is guided from outside: guided(framed(model)); got a guided one.",
        ),
    ],
)
def test_mistakes_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(says)
    assert str(caught.value).count(". ") == 0


def test_rows_of_different_lengths_are_refused_where_the_framed_model_does_not_take_them():
    with pytest.raises(InputError, match="rows of one length"):
        models.checked_tokens(FRAMED, [[0, -1]])
