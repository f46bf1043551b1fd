"""Every wrapper against the same wrapper in plain NumPy, where a model is a function of one row of tokens."""

import dataclasses
import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import wrong_world

from mdm_jax import models, sampling
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans

pytestmark = [pytest.mark.core, pytest.mark.usefixtures("strict_types")]

LENGTH, VOCAB = 3, 4
MODEL, PARAMS = wrong_world(LENGTH, VOCAB)
TABLE = np.asarray(PARAMS, np.float64)
all_logits = jax.jit(models.logits, static_argnums=0)  # one compilation, where operations one by one are many
TOKENS = np.array([[0, 4, 2], [4, 4, 4], [1, 3, 4], [4, 0, 0], [2, 4, 4]], np.int32)
GIVEN = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
WEIGHTS = np.array([0.0, 1.5, -0.4, 3.0, 0.7], np.float32)


@dataclasses.dataclass(frozen=True)
class Halves:
    """A denoiser whose hidden vectors are no logits: running sums of embeddings, and a linear map."""

    dtype: typing.Any = jnp.float32
    vocab_size: int = VOCAB
    mask_id: int = VOCAB
    passes: int = 1

    def encode(self, params, tokens, context=None):
        hidden = jnp.cumsum(params["embed"][tokens], axis=1)
        if context is not None:
            hidden = hidden + context[:, None, :]
        return hidden.astype(self.dtype)

    def readout(self, params, hidden):
        return hidden.astype(jnp.float32) @ params["head"]


def halves_params(width=5, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"embed": (VOCAB + 1, width), "head": (width, VOCAB)}
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def numpy_model(tokens, row=None):
    """The lookup of ``wrong_world``; ``row`` is for those wrappers that need to know whose given tokens count."""
    del row
    code = 0
    for token in tokens:
        code = code * (VOCAB + 1) + int(token)
    return TABLE[code]


def numpy_guided(model, given=GIVEN, weights=WEIGHTS):
    def guided(tokens, row):
        unconditional = model(np.where(given[row], VOCAB, tokens), row)
        return unconditional + (weights[row] + 1.0) * (model(tokens, row) - unconditional)

    return guided


def numpy_shifted(model):
    def shifted(tokens, row):
        logits = model(tokens, row)
        return np.stack([logits[max(i - 1, 0)] for i in range(len(logits))])

    return shifted


def numpy_rule(rule):
    """A wrapper in NumPy from a function of one vector of logits."""

    def wrap(model, *settings):
        return lambda tokens, row: np.stack([rule(vector.copy(), *settings) for vector in model(tokens, row)])

    return wrap


@numpy_rule
def numpy_banned(vector, ids):
    for token in ids:
        vector[token] = -np.inf
    return vector


@numpy_rule
def numpy_tempered(vector, temperature):
    if temperature:
        return vector / temperature
    return np.where(np.arange(VOCAB) == np.argmax(vector), 0.0, -np.inf)


def by_falling_logit(vector):
    return sorted(range(len(vector)), key=lambda token: (-vector[token], token))


@numpy_rule
def numpy_top_k(vector, k):
    for token in by_falling_logit(vector)[k:]:
        vector[token] = -np.inf
    return vector


@numpy_rule
def numpy_top_p(vector, p):
    weights = np.exp(vector - vector.max())
    total = 0.0
    for token in by_falling_logit(vector):
        if total >= p:
            vector[token] = -np.inf
        total += weights[token] / weights.sum()
    return vector


def add_one_per_id(logits):
    return logits + jnp.arange(VOCAB, dtype=jnp.float32).reshape((1,) * (logits.ndim - 1) + (VOCAB,))


def zero_becomes_one(tokens):
    return jnp.where(tokens == 0, 1, tokens)


def numpy_hooked(model):
    def hooked(tokens, row):
        return model(np.where(tokens == 0, 1, tokens), row) + np.arange(VOCAB)

    return hooked


def hook(denoiser):
    return models.hooked(denoiser, add_one_per_id, zero_becomes_one)


# One name for a wrapper here and in NumPy: chains of them are written once, the innermost first.
PAIRS = {
    "guided": (models.guided, numpy_guided),
    "shifted": (models.shifted, numpy_shifted),
    "banned": (models.banned, numpy_banned),
    "tempered": (models.tempered, numpy_tempered),
    "top_k": (models.top_k, numpy_top_k),
    "top_p": (models.top_p, numpy_top_p),
    "hooked": (hook, numpy_hooked),
}
CHAINS = [
    [("guided",)],
    [("shifted",)],
    [("banned", (1, 3, 1))],
    [("tempered", 0.3)],
    [("tempered", 0)],
    [("top_k", 3)],
    [("top_p", 0.6)],
    [("hooked",)],
    [("shifted",), ("guided",), ("banned", (2,)), ("tempered", 0.5), ("top_p", 0.8)],
    [("guided",), ("shifted",), ("hooked",), ("top_k", 2)],
    [("banned", (0,)), ("hooked",), ("guided",)],
    [("top_p", 0.9), ("banned", (2,)), ("tempered", 2.0), ("shifted",)],
]


def build(chain):
    denoiser, reference = MODEL, numpy_model
    for name, *settings in chain:
        ours, theirs = PAIRS[name]
        denoiser, reference = ours(denoiser, *settings), theirs(reference, *settings)
    return denoiser, reference


def context_of(denoiser):
    return models.Guidance(jnp.asarray(GIVEN), jnp.asarray(WEIGHTS)) if denoiser.passes == 2 else None


@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")  # in the NumPy formula: -inf - -inf
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(name for name, *_ in chain))
def test_a_wrapper_is_what_numpy_says(chain):
    denoiser, reference = build(chain)
    assert isinstance(denoiser, models.Denoiser)
    assert (denoiser.vocab_size, denoiser.mask_id) == (VOCAB, VOCAB)
    assert denoiser.passes == (2 if ("guided",) in chain else 1)
    logits = all_logits(denoiser, PARAMS, jnp.asarray(TOKENS), context_of(denoiser))
    assert logits.dtype == jnp.float32
    wanted = np.stack([reference(tokens, row) for row, tokens in enumerate(TOKENS)])
    wanted = np.where(np.isnan(wanted), -np.inf, wanted)  # ruled out on both sides of the guidance
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)


def test_hidden_vectors_may_come_from_anywhere():
    """Six wrappers at once; one vector, and 2 x 2 of them."""
    denoiser, _ = build([("shifted",), ("guided",), ("banned", (3,)), ("tempered", 2), ("top_k", 2), ("hooked",)])

    @jax.jit
    def gathered(tokens, picks):
        hidden = denoiser.encode(PARAMS, tokens, context_of(denoiser))
        flat = hidden.reshape(-1, hidden.shape[-1])
        return [denoiser.readout(PARAMS, x) for x in (hidden, *(flat[pick] for pick in picks))]

    picks = np.array(8), np.array([[7, 0], [14, 3]])
    logits, *some = gathered(jnp.asarray(TOKENS), picks)
    for pick, got in zip(picks, some):
        np.testing.assert_allclose(got, logits.reshape(-1, VOCAB)[pick], rtol=1e-6)


def test_equal_settings_make_equal_wrappers():
    one, two = ([build(chain)[0] for chain in CHAINS] for _ in range(2))
    for (i, a), (j, b) in itertools.product(enumerate(one), enumerate(two)):
        assert (a == b) == (i == j), (CHAINS[i], CHAINS[j])
        assert hash(a) == hash(b) or i != j
    assert models.banned(MODEL, (3, 1)) == models.banned(MODEL, [1, 3, 3])
    assert models.tempered(MODEL, 1) == models.tempered(MODEL, 1.0)
    assert models.hooked(MODEL, add_one_per_id) != models.hooked(MODEL, None, add_one_per_id)
    for denoiser in one:
        with pytest.raises(dataclasses.FrozenInstanceError):
            denoiser.denoiser = MODEL


def test_guidance_is_built_from_a_canvas():
    inner = jnp.zeros((2, 7))
    canvas = np.array([4, 1, 4])
    built = models.guidance(canvas, MODEL, 2, rows=2)
    assert np.asarray(built.given).tolist() == [[False, True, False]] * 2
    assert np.asarray(built.weight).tolist() == [2.0, 2.0]
    assert (built.given.dtype, built.weight.dtype, built.context) == (jnp.bool_, jnp.float32, None)
    # every argument that has rows says how many
    for made in (
        models.guidance(np.stack([canvas, canvas]), VOCAB, 2.0),
        models.guidance(jnp.asarray(canvas), VOCAB, np.array([2.0, 2.0])),
        models.guidance(canvas, VOCAB, jnp.float32(2.0), inner),
    ):
        jax.tree.map(np.testing.assert_array_equal, made._replace(context=None), built)
    assert models.guidance(canvas, 1, 0.5).given.tolist() == [[True, False, True]]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
def test_guidance_of_half_precision_hidden_vectors_keeps_the_weight(dtype):
    """Rows with different weights in one jitted call. Rounded to bfloat16, 2.345 would be off by 0.2 %."""
    model, params = Halves(dtype), halves_params()
    weights = np.array([0.0, 2.345, -0.777, 11.03, 1.1], np.float32)
    tokens, guided = jnp.asarray(TOKENS), models.guided(model)

    def encode_and_readout(context):
        hidden = guided.encode(params, tokens, context)
        assert hidden.dtype == dtype
        assert hidden.shape == (*TOKENS.shape, 2 * 5 + 2)
        return guided.readout(params, hidden)

    context = models.Guidance(jnp.asarray(GIVEN), jnp.asarray(weights))
    logits = jax.jit(encode_and_readout)(context)
    conditional = np.asarray(all_logits(model, params, tokens), np.float64)
    unconditional = np.asarray(all_logits(model, params, jnp.asarray(np.where(GIVEN, VOCAB, TOKENS))), np.float64)
    wanted = unconditional + (weights[:, None, None] + 1.0) * (conditional - unconditional)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(logits[0], conditional[0].astype(np.float32))  # weight 0: the model, exactly
    assert np.abs(wanted[3] - conditional[3]).max() > 1  # (the others do differ)


def test_guidance_twice_and_the_inner_context():
    """Outer and inner guidance with prompts and weights of their own, and a context for the model within."""
    model, params = Halves(), halves_params()
    tokens, push = jnp.asarray(TOKENS[:2]), np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    given = np.array([[1, 0, 0], [0, 1, 0]], bool), np.array([[0, 0, 1], [1, 1, 0]], bool)
    weights = np.array([0.5, 2.0], np.float32), np.array([1.0, -0.5], np.float32)
    embed, head = (np.asarray(params[name], np.float64) for name in ("embed", "head"))

    def plain(tokens, row):
        return (np.cumsum(embed[tokens], axis=0) + push[row]) @ head

    reference = numpy_guided(numpy_guided(plain, given[1], weights[1]), given[0], weights[0])
    twice = models.guided(models.guided(model))
    assert twice.passes == 4
    inner = models.Guidance(jnp.asarray(given[1]), jnp.asarray(weights[1]), jnp.asarray(push))
    logits = all_logits(twice, params, tokens, models.Guidance(jnp.asarray(given[0]), jnp.asarray(weights[0]), inner))
    np.testing.assert_allclose(logits, [reference(TOKENS[row], row) for row in range(2)], rtol=1e-4, atol=1e-4)


def by_prompt(params, tokens):
    """One row of logits where the first token is hidden, another where it is seen."""
    return jnp.broadcast_to(params[(tokens[:, :1] != VOCAB).astype(jnp.int32)], (*tokens.shape, params.shape[-1]))


def test_guidance_and_tokens_that_are_ruled_out():
    """By both, by the conditional alone, by the unconditional alone: then the two probabilities count as equal."""
    model = models.from_function(by_prompt, VOCAB)
    hidden, seen = [-np.inf, 1.0, -np.inf, 2.0], [-np.inf, -np.inf, 0.5, 3.0]
    tokens, canvas = jnp.array([[0, 4, 4]] * 3), np.array([0, 4, 4])

    def law(params, weights):
        logits = all_logits(models.guided(model), params, tokens, models.guidance(canvas, model, weights))
        return np.asarray(jax.nn.softmax(logits, axis=-1))[:, 0]

    weights = np.array([0.0, 2.0, -0.5], np.float32)
    params = jnp.array([hidden, seen])
    got = law(params, weights)
    conditional, unconditional = (np.exp(x) / np.exp(x).sum() for x in (seen, hidden))
    wanted = [conditional, conditional * [0, 0, 1, (conditional[3] / unconditional[3]) ** 2], [0, 0, 0, 1]]
    np.testing.assert_allclose(got, [law / np.sum(law) for law in wanted], atol=1e-6)
    # constants that a model adds to its logits mean nothing
    np.testing.assert_allclose(law(params + jnp.array([[5.0], [-2.0]]), weights), got, atol=1e-6)
    # a mask inside the vocabulary is ruled out on both sides
    inside = models.guided(models.from_function(by_prompt, VOCAB, mask_id=2))
    logits = all_logits(inside, jnp.ones((2, 4)), jnp.array([[0, 2]]), models.guidance(np.array([0, 2]), 2, 1.5))
    np.testing.assert_array_equal(logits, [[[1.0, 1.0, -np.inf, 1.0]] * 2])


def test_samplers_take_guidance_and_do_not_compile_for_a_new_weight_or_prompt():
    traces = []

    def counting(params, tokens):
        traces.append(tokens.shape)
        return by_prompt(params, tokens)

    denoiser = models.guided(models.from_function(counting, VOCAB))
    params = jnp.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.9, 0.0, 0.0]])  # seen, 1 is more likely than hidden

    def draw(weight, canvas):
        canvas = np.array(canvas, np.int32)
        settings = {"canvas": canvas, "context": models.guidance(canvas, denoiser, weight, rows=3), "temperature": 0.0}
        return sampling.sample(denoiser, params, plans.uniform(7, 4), 3, key=jax.random.key(0), **settings)

    prompt = [2, 4, 4, 4, 4, 4, 4]
    plain = draw(0.0, prompt)
    first = len(traces)
    assert set(traces) == {(6, 7)}
    assert np.asarray(plain.tokens).tolist() == [[2] + [0] * 6] * 3
    assert np.asarray(plain.nfe).tolist() == [8, 8, 8]
    assert int(plain.batch_nfe) == 8
    mixed = draw(np.array([0.0, 1.0, -1.0], np.float32), prompt)
    assert np.asarray(mixed.tokens)[:, 1:].tolist() == [[0] * 6, [1] * 6, [0] * 6]
    assert np.asarray(draw(1, [3, 4, 4, 4, 4, 4, 0]).tokens).tolist() == [[3, 1, 1, 1, 1, 1, 0]] * 3
    assert len(traces) == first


def one_vector(params, tokens):
    """The same logits everywhere: the parameters."""
    return jnp.broadcast_to(params, (*tokens.shape, params.shape[-1]))


def kept(wrap, vector):
    """The tokens that a wrapper leaves, having left their logits alone."""
    vector = np.array(vector, np.float32)
    if vector.size < 6:  # one size, so that operations are compiled once
        vector = np.pad(vector, (0, 6 - vector.size), constant_values=-np.inf)
    denoiser = wrap(models.from_function(one_vector, vector.size))
    logits = np.asarray(models.logits(denoiser, jnp.asarray(vector), jnp.zeros((1, 1), jnp.int32)))[0, 0]
    left = np.flatnonzero(logits != -np.inf)
    assert np.array_equal(logits[left], vector[left])
    return left.tolist()


INF = np.inf


@pytest.mark.parametrize(
    ("k", "vector", "left"),
    [
        (2, [1, 3, 3, 3], [1, 2]),
        (3, [-INF, 3, -INF, 3], [1, 3]),
        (1, [-0.0, 0.0, -0.0], [0]),
        (2, [-5, -0.0, 0.0, 0.0], [1, 2]),
        (4, [0, 1, 2, -INF], [0, 1, 2]),
        (3, [100, -3e38, 7, -3e38, -3e38], [0, 1, 2]),
    ],
)
def test_top_k_keeps_exactly_k_the_earliest_among_ties(k, vector, left):
    assert kept(lambda denoiser: models.top_k(denoiser, k), vector) == left


@pytest.mark.parametrize(
    ("p", "vector", "left"),
    [
        (0.5, [0, 0, 0, 0], [0, 1]),  # exactly a half is at least a half
        (0.51, [0, 0, 0, 0], [0, 1, 2]),
        (0.5, [0.0, -0.0, 0.0, -0.0], [0, 1]),
        (0.9, [-INF, 0, -INF, 0], [1, 3]),
        (1e-12, [0, 1, 1], [1]),
        (0.99, [-INF, -INF, 5], [2]),
        (1, [0, -200, -INF], [0, 1]),  # exp(-200) is 0 in float32, and a probability all the same
        (1 - 1e-7, [0, -16, -17, -30], [0, 1]),  # exp(-17) = 4e-8
        (1 - 1e-8, [0, -16, -17, -30], [0, 1, 2]),
    ],
)
def test_top_p_keeps_the_smallest_set(p, vector, left):
    assert kept(lambda denoiser: models.top_p(denoiser, p), vector) == left


def test_top_p_of_many_tokens():
    """10,000 tokens, laws from flat to sharp: the right set by float64, but for totals within float32 rounding of p."""
    rng = np.random.default_rng(0)
    for spread, p in ((0.3, 0.9), (3.0, 0.5), (6.0, 0.999)):
        vector = rng.normal(size=10_000).astype(np.float32) * np.float32(spread)
        weights = np.exp(vector.astype(np.float64))
        left = kept(lambda denoiser, p=p: models.top_p(denoiser, p), vector)
        share = weights[left] / weights.sum()
        assert share.sum() > p - 1e-6
        assert share.sum() - share.min() < p + 1e-6
        assert weights[left].min() >= np.delete(weights, left).max()


def test_temperature_zero_is_the_first_argmax_and_extremes_stay_finite():
    model, nowhere = models.from_function(one_vector, 4), jnp.zeros((1, 1), jnp.int32)
    vector = jnp.array([-jnp.inf, 2.0, 7.0, 7.0])
    cold, hot, frozen = (
        models.logits(models.tempered(model, t), vector, nowhere)[0, 0].tolist() for t in (1e-6, 1e6, 0)
    )
    assert frozen == [-INF, -INF, 0.0, -INF]
    assert cold == pytest.approx([-INF, 2e6, 7e6, 7e6])
    assert hot == pytest.approx([-INF, 2e-6, 7e-6, 7e-6])


def lose_the_last(values):
    return values[..., :-1]


def as_floats(values):
    return values.astype(jnp.float32)


def flat(logits):
    return jnp.zeros_like(logits)


def test_a_hook_cannot_bring_the_mask_back():
    model = models.from_function(one_vector, 4, mask_id=2)
    logits = models.logits(models.hooked(model, flat), jnp.ones(4), jnp.zeros((1, 1), jnp.int32))
    assert logits[0, 0].tolist() == [0.0, 0.0, -INF, 0.0]


MASK_INSIDE = models.from_function(one_vector, 4, mask_id=2)
ROWS = jnp.asarray(TOKENS)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.banned(MODEL, (1, 4)), "ids must be a whole number from 0 to 3; got 4."),
        (lambda: models.banned(MODEL, (-1,)), "ids must be a whole number from 0 to 3; got -1."),
        (
            lambda: models.banned(MASK_INSIDE, (3, 0, 1)),
            "ids must be fewer than all tokens that the denoiser predicts;",
        ),
        (lambda: models.tempered(MODEL, -1), "temperature must be 0 (the argmax) or from 1e-6 to 1e6; got -1."),
        (lambda: models.tempered(MODEL, 1e-9), "temperature must be 0 (the argmax) or from 1e-6 to 1e6; got 1e-09."),
        (
            lambda: models.tempered(MODEL, float("nan")),
            "temperature must be 0 (the argmax) or from 1e-6 to 1e6; got nan.",
        ),
        (lambda: models.top_k(MODEL, 0), "k must be a whole number from 1 to 4; got 0."),
        (lambda: models.top_k(MODEL, 5), "k must be a whole number from 1 to 4; got 5."),
        (lambda: models.top_p(MODEL, 0), "p must be above 0 and at most 1; got 0."),
        (lambda: models.top_p(MODEL, 1.1), "p must be above 0 and at most 1; got 1.1."),
        (lambda: models.hooked(MODEL), "on_logits must be given, unless on_tokens is; got None."),
        (
            lambda: models.logits(models.hooked(MODEL, lose_the_last), PARAMS, ROWS),
            "on_logits must be a function that keeps the shape (5, 3, 4); got shape (5, 3, 3).",
        ),
        (
            lambda: models.logits(models.hooked(MODEL, None, as_floats), PARAMS, ROWS),
            "on_tokens must be a function that keeps int32, shape (5, 3); got float32, shape (5, 3).",
        ),
        (
            lambda: models.logits(models.guided(MODEL), PARAMS, ROWS),
            "context must be a Guidance, as models.guidance makes it; got NoneType.",
        ),
        (
            lambda: models.logits(models.guided(MODEL), PARAMS, ROWS, models.guidance(TOKENS[0], MODEL, 1.0)),
            "context must be a Guidance, as models.guidance makes it, for tokens (5, 3); "
            "got one for given (1, 3), weight (1,).",
        ),
        (
            lambda: models.guidance(np.zeros((2, 3)), MODEL, 1.0),
            "canvas must be token ids of shape [length] or [rows, length]; got float64, shape (2, 3).",
        ),
        (
            lambda: models.guidance(TOKENS, MODEL, float("inf")),
            "weight must be finite numbers of shape [] or [rows], up to 1e30 in size;",
        ),
        (
            lambda: models.guidance(TOKENS, MODEL, np.ones((5, 1))),
            "weight must be finite numbers of shape [] or [rows], up to 1e30 in size;",
        ),
        (
            lambda: models.guidance(TOKENS, MODEL, np.ones(4)),
            "rows must be the same in rows, canvas, weight and context; got [4, 5].",
        ),
        (
            lambda: models.guidance(TOKENS, MODEL, 1.0, jnp.ones(())),
            "context must be of leaves with a leading axis of rows; got leaves of shapes [()].",
        ),
    ],
)
def test_mistakes_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(says)
    assert str(caught.value).count(". ") == 0
