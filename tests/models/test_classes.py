"""Models with classes: what a label does, what none does, guidance by labels, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import Recomputed
from compiled import programs

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.support.errors import InputError

LENGTH, VOCAB, CLASSES = 8, 4, 3
MAKERS = {
    "transformer": models.transformer,
    "ragged": functools.partial(models.transformer, ragged=True),
    "any_order": models.any_order,
    "block_causal": functools.partial(models.block_causal, block=4),
}
KINDS = [pytest.param(kind, marks=() if kind.startswith(("t", "a")) else pytest.mark.thorough) for kind in MAKERS]
CANVAS = np.array([[1, 4, 4, 0, 4, 4, 4, 4], [4, 4, 2, 4, 4, 4, 3, 4]], np.int32)


@functools.cache
def made(kind, classes=CLASSES):
    """``(model, params)``: outputs start at zero, so that fresh parameters would show nothing."""
    model = MAKERS[kind](VOCAB, length=LENGTH, width=16, depth=1, heads=2, classes=classes)
    params, rng = model.init(jax.random.key(0), LENGTH), np.random.default_rng(0)
    noise = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.3 * rng.normal(size=leaf.shape), jnp.float32), params)
    return model, noise


@functools.partial(jax.jit, static_argnums=0)
def logits(model, params, tokens, context=None):
    return models.logits(model, params, tokens, context)


def law(model, params, tokens, context=None):
    return np.asarray(jax.nn.softmax(logits(model, params, tokens, context)), np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_changes_predictions_and_no_context_is_no_label(kind):
    model, params = made(kind)
    assert models.classes_of(model) == CLASSES
    laws = [law(model, params, CANVAS, models.label_context(model, label, 2)) for label in range(CLASSES + 1)]
    for one in range(CLASSES + 1):
        for other in range(one):
            assert np.abs(laws[one] - laws[other]).max() > 0.01
    np.testing.assert_array_equal(law(model, params, CANVAS), laws[CLASSES])
    mixed = law(model, params, CANVAS, models.label_context(model, [2, 0]))  # each row by its own label
    np.testing.assert_allclose(mixed, np.stack([laws[2][0], laws[0][1]]), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_described_and_made_again(kind):
    model, plain = made(kind)[0], MAKERS[kind](VOCAB, length=LENGTH, width=16, depth=1, heads=2)
    assert models.describe(model)["classes"] == CLASSES
    assert models.from_description(models.describe(model)) == model != plain
    assert "classes" not in models.describe(plain)  # runs of earlier versions compare equal
    assert models.from_description(models.describe(plain)) == plain


def test_parameters_without_classes_are_what_they_were():
    """Classes add parameters and change no other: Flax draws each by its own name."""
    plain = models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2)
    model, key = made("transformer")[0], jax.random.key(3)
    one, other = plain.init(key, LENGTH)["params"], model.init(key, LENGTH)["params"]
    assert other.pop("label_embedding")["embedding"].shape == (CLASSES + 1, 16)
    modulated = [path for path, _ in jax.tree_util.tree_leaves_with_path(other) if "modulation" in str(path)]
    assert len(modulated) == 3
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        there = functools.reduce(lambda tree, part: tree[part.key], path, other)
        np.testing.assert_array_equal(leaf, there)


# --------------------------------------------------------------------------------------------------- guidance


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_by_labels_lies_on_the_line_between_both_laws(kind):
    """Weight 0 is the conditional model, -1 the unconditional one, and w moves on by w in log-probabilities."""
    model, params = made(kind)
    guided, labels = models.guided(model), models.label_context(model, [2, 0])
    with_label, without = law(model, params, CANVAS, labels), law(model, params, CANVAS)
    how = functools.partial(models.guidance, CANVAS, model, context=labels)
    np.testing.assert_allclose(law(guided, params, CANVAS, how(0.0)), with_label, atol=1e-6)
    np.testing.assert_allclose(law(guided, params, CANVAS, how(-1.0)), without, atol=1e-6)
    wanted = with_label**3 / without**2
    wanted /= wanted.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(law(guided, params, CANVAS, how(2.0)), wanted, atol=2e-5)


def test_what_guidance_goes_by_is_said_or_follows_from_the_context():
    model, params = made("transformer")
    guided, labels = models.guided(model), models.label_context(model, [2, 0])
    blank = np.full_like(CANVAS, VOCAB)
    unseen = {"prompt": (blank, labels), "label": (CANVAS, None), "both": (blank, None)}
    for by, (canvas, context) in unseen.items():
        how = models.guidance(CANVAS, model, -1.0, labels, by=by)
        np.testing.assert_allclose(law(guided, params, CANVAS, how), law(model, params, canvas, context), atol=1e-6)
    said, left_out = (
        models.guidance(CANVAS, model, 1.0, labels, by="label"),
        models.guidance(CANVAS, model, 1.0, labels),
    )
    assert jax.tree.all(jax.tree.map(jnp.array_equal, said, left_out))
    assert models.guidance(CANVAS, model, 1.0).given.any()  # no labels: by the prompt, as ever
    nothing = models.guidance(LENGTH, model, 1.0, labels)  # a length alone
    assert nothing.given.shape == (2, LENGTH)
    assert not nothing.given.any()
    with pytest.raises(InputError, match="by must be one of prompt, label, both; got 'class'"):
        models.guidance(CANVAS, model, 1.0, labels, by="class")
    with pytest.raises(InputError, match=r"context must be labels, as models\.label_context makes them"):
        models.guidance(CANVAS, model, 1.0, by="label")
    plain = models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2)
    with pytest.raises(InputError, match="denoiser must be a model with classes"):
        models.guidance(CANVAS, plain, 1.0, by="both")


@pytest.mark.parametrize("weight", [None, 1.5])
def test_samples_with_a_cache_are_those_without(weight):
    """An any-order model under labels, plain and guided: the cached answer is that of one ranked pass each time."""
    model, params = made("any_order")
    labels = models.label_context(model, [0, 1, 2, 3])
    canvas = np.full((4, LENGTH), VOCAB, np.int32)
    canvas[1:, 2] = 1
    context = labels if weight is None else models.guidance(canvas, model, weight, labels)
    drawn = []
    for denoiser in (model, Recomputed(model)):
        denoiser = denoiser if weight is None else models.guided(denoiser)
        out = mdm.sample(denoiser, params, mdm.plans.uniform(LENGTH, 4), key=mdm.key(1), canvas=canvas, context=context)
        drawn.append(out)
    np.testing.assert_array_equal(drawn[0].tokens, drawn[1].tokens)
    np.testing.assert_allclose(drawn[0].log_prob, drawn[1].log_prob, atol=2e-5)


def test_other_labels_and_weights_share_their_programs():
    model, params = made("any_order")
    guided, plan = models.guided(model), mdm.plans.uniform(LENGTH, 4)

    def draw(labels, weight):
        context = models.guidance(LENGTH, model, weight, models.label_context(model, labels))
        return np.asarray(mdm.sample(guided, params, plan, rows=2, key=mdm.key(0), context=context).tokens)

    draw([0, 1], 1.0)
    with programs() as anew:
        draw([2, 3], 4.0)
        draw([0, 0], -1.0)
    assert anew == []


# --------------------------------------------------------------------------------------------------- refusals


def test_wrong_labels_are_refused_with_a_sentence():
    model, params = made("transformer")
    wrong = {
        "labels": "an array of shape (2,)",
        "names": "a dictionary of 'class'",
        "beyond": r'context["label"] must be whole numbers from 0 to 2, or 3 for no label; got 4',
        "below": "got -1",
        "floats": r'context["label"] must be whole numbers, one label for each row; got float32 of shape (2,)',
        "rows": "context must be labels of 2 rows; got labels of shape (1,)",
    }
    given = {
        "labels": jnp.array([0, 1]),
        "names": {"class": jnp.array([0, 1])},
        "beyond": {"label": np.array([0, 4])},
        "below": {"label": np.array([-1, 0])},
        "floats": {"label": jnp.array([0.0, 1.0])},
        "rows": {"label": jnp.array([0])},
    }
    for name, sentence in wrong.items():
        with pytest.raises(InputError) as refused:
            models.logits(model, params, jnp.asarray(CANVAS), given[name])
        assert sentence in str(refused.value), name
    with pytest.raises(InputError, match="labels must be one for all rows, or 3, one for each; got 2 labels"):
        models.label_context(model, [0, 1], rows=3)
    plain = models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2)
    with pytest.raises(InputError, match="context must be left out, or the model one with classes"):
        models.logits(plain, plain.init(mdm.key(0), LENGTH), jnp.asarray(CANVAS), models.label_context(model, [0, 1]))
    with pytest.raises(InputError, match=r"denoiser must be a model with classes.*got LinenDenoiser"):
        models.label_context(plain, 1)


def test_what_cannot_be_read_and_is_no_label_becomes_nan():
    """Under ``jit`` a wrong label is seen by nobody: its row has no law, the others theirs."""
    model, params = made("transformer")
    for label in (CLASSES + 1, -1):
        found = law(model, params, CANVAS, {"label": jnp.array([1, label])})
        assert np.isfinite(found[0]).all()
        assert np.isnan(found[1]).all()


def test_a_model_of_ones_own_says_that_it_has_classes():
    class Own(type(made("transformer")[0])):
        label_classes = 7

    model = Own(made("transformer")[0].module, VOCAB, VOCAB)
    assert models.classes_of(models.tempered(model, 0.5)) == 7
    models.check_labels(model, models.label_context(model, 6, rows=2))
    assert models.no_label(model, 2)["label"].tolist() == [7, 7]
