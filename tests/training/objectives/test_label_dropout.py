"""Label dropout: what it draws, what it costs, what is measured; and a world of two classes, solved exactly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_classes import ALL, ALONE, CLASSES, EXACT, GIVEN, LAWS, LENGTH, PARAMS, VOCAB, TwoClasses

import mdm_jax as mdm
from mdm_jax import evaluation, models, training
from mdm_jax.support.errors import InputError
from mdm_jax.training import AnyOrderNelbo, BlockNelbo, Examples, LabelDropout, MaskedNelbo, fit, objectives
from mdm_jax.training.objective import score


def examples(rows=64, seed=0):
    rng = np.random.default_rng(seed)
    tokens, labels = (jnp.asarray(rng.integers(0, 2, shape), jnp.int32) for shape in ((rows, LENGTH), rows))
    return Examples(tokens, {"label": labels})


def test_labels_are_worth_their_mutual_information():
    """All rows, weighted by their law: the mean NELBO of an exact model is the entropy, with labels and without.

    16 keys of 64 maskings each; within 4 standard errors, which are about .015 nats.
    """
    rows, labels = np.tile(ALL, (CLASSES, 1)), np.repeat(np.arange(CLASSES, dtype=np.int32), len(ALL))
    weight, cost = LAWS.reshape(-1) / CLASSES, functools.partial(evaluation.held_out_nelbo, EXACT, PARAMS, rows)
    for context, entropy in (({"label": labels}, GIVEN), (None, ALONE)):
        means = np.array([cost(key=mdm.key(i), repeats=64, context=context) for i in range(16)]) @ weight
        error = means.std(ddof=1) / 4
        assert abs(means.mean() - entropy) < 4 * error
        assert error < 0.03
    assert ALONE - GIVEN > 0.5  # the mutual information


def test_guidance_goes_from_the_mixture_to_the_class_and_beyond():
    canvas, labels = np.full((1, LENGTH), VOCAB, np.int32), models.label_context(EXACT, 1)
    shares = []
    for weight in (-1.0, 0.0, 1.0):
        how = models.guidance(canvas, EXACT, weight, labels)
        logits = models.logits(models.guided(EXACT), PARAMS, jnp.asarray(canvas), how)
        shares.append(float(jax.nn.softmax(logits)[0, 0, 1]))
    odds = np.array([0.8**2 / 0.45, 0.2**2 / 0.55])
    np.testing.assert_allclose(shares, [0.45, 0.8, odds[0] / odds.sum()], rtol=1e-5)


# --------------------------------------------------------------------------------------------------- dropout


def test_the_share_of_rows_without_label_is_the_rate_and_no_progress_ends_it():
    """512 rows at a rate of .25, spread evenly: 128 of them, another set for another key; none of held-out rows."""
    objective, batch = LabelDropout(rate=0.25), examples(512)
    one, other = (objective.corrupt(jax.random.key(seed), EXACT, batch, jnp.float32(0.5)).keeps for seed in range(2))
    assert [int((~keeps).sum()) for keeps in (one, other)] == [128, 128]
    assert not np.array_equal(one, other)
    assert bool(objective.corrupt(jax.random.key(0), EXACT, batch, jnp.float32(1.0)).keeps.all())


def test_each_row_costs_what_the_objective_inside_says_with_its_label_or_without():
    objective, batch, key = LabelDropout(rate=0.5), examples(), jax.random.key(1)
    corrupted = objective.corrupt(key, EXACT, batch, jnp.float32(0.0))
    found = objective.losses(EXACT, PARAMS, batch, corrupted)
    inside, masks = MaskedNelbo(), MaskedNelbo().corrupt(key, EXACT, batch, jnp.float32(0.0))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, corrupted.corrupted, masks))  # the same draws as without dropout
    with_label = inside.losses(EXACT, PARAMS, batch, masks)
    without = inside.losses(EXACT, PARAMS, batch._replace(context=None), masks)
    keeps = np.asarray(corrupted.keeps)
    np.testing.assert_allclose(found.loss, np.where(keeps, with_label.loss, without.loss), rtol=1e-6)
    assert np.abs(with_label.loss - without.loss).max() > 0.1
    np.testing.assert_array_equal(np.asarray(found.weight) > 0, keeps)  # the profile is that of rows with labels


def test_held_out_rows_keep_their_labels():
    batch, key = examples(32), jax.random.key(2)
    one, other = (score(of, key, EXACT, PARAMS, batch) for of in (LabelDropout(rate=0.9), MaskedNelbo()))
    np.testing.assert_array_equal(one.loss, other.loss)


def test_a_bound_that_is_asked_for_is_that_of_rows_with_their_labels():
    """By hybrid noise, of which ``held_out_nelbo`` knows nothing: on the same draws a model without labels differs."""
    task, bound = TwoClasses(40), training.HybridNoise(0.1, "elbo")
    found = evaluation.judge(EXACT, PARAMS, task, key=mdm.key(1), objective=bound)["bits_per_token"]
    costs = functools.partial(evaluation.held_out_bound, EXACT, PARAMS, task.test, bound, key=mdm.key(1))
    with_labels, without = (costs(context=one).mean() / np.log(2) / LENGTH for one in (task.context("test"), None))
    assert found == pytest.approx(with_labels, rel=1e-5)
    assert abs(with_labels - without) > 1e-3
    with pytest.raises(InputError, match="context must be arrays of numbers, one for all rows"):
        costs(context={"label": np.zeros(3, np.int32)})


@pytest.mark.parametrize("inside", [MaskedNelbo(), AnyOrderNelbo(0.5, 2, True), BlockNelbo()])
def test_it_is_described_and_made_again(inside):
    objective = LabelDropout(inside, 0.2)
    assert objectives.from_description(objective.describe()) == objective
    assert objective.is_bound
    assert objectives.from_description({**objective.describe(), "objective": {"name": "mine"}}) is None
    assert objectives.without_dropout(objective) is inside


def test_models_with_classes_are_trained_with_dropout_unless_something_else_is_asked_for():
    sizes = {"length": LENGTH, "width": 8, "depth": 1, "heads": 2}
    usual = objectives.fitting_objective
    assert usual(models.transformer(2, **sizes, classes=2)) == LabelDropout(MaskedNelbo(), 0.1)
    assert usual(models.any_order(2, **sizes, classes=2)) == LabelDropout(AnyOrderNelbo(), 0.1)
    assert usual(models.block_causal(2, block=2, **sizes, classes=2)) == LabelDropout(BlockNelbo(), 0.1)
    assert usual(models.transformer(2, **sizes)) == MaskedNelbo()


def test_what_cannot_be_trained_is_refused_with_a_sentence():
    sizes, task = {"length": LENGTH, "width": 8, "depth": 1, "heads": 2}, TwoClasses(20)
    plain = type("Plain", (TwoClasses,), {"context": None})(20)
    plain.context = lambda part: None
    with pytest.raises(InputError, match="context must be the labels of the rows, since the denoiser has classes"):
        fit(models.transformer(2, **sizes, classes=2), plain, steps=1, progress=False)
    with pytest.raises(InputError, match="denoiser must be a model of the task's 2 classes; got 1 classes"):
        fit(models.transformer(2, **sizes, classes=1), task, steps=1, progress=False)  # 1 would be no label
    with pytest.raises(InputError, match="context must be left out, or the model one with classes"):
        fit(models.transformer(2, **sizes), task, steps=1, progress=False)
    with pytest.raises(InputError, match="rate must be a share of the rows"):
        LabelDropout(rate=1.0)
    with pytest.raises(InputError, match="objective must be one that drops no labels itself"):
        LabelDropout(LabelDropout())


# --------------------------------------------------------------------------------------------------- trained


@pytest.mark.thorough
@pytest.mark.parametrize("make", [models.transformer])
def test_one_training_learns_the_law_with_labels_and_that_without(make, tmp_path):
    """Of a world whose entropies are known, within .04 nats of both, which differ by .59. Loaded too.

    4,000 rows of 8 maskings each: a standard error of .005 nats.
    """
    model, task = make(VOCAB, length=LENGTH, width=16, depth=1, heads=2, classes=CLASSES), TwoClasses()
    settings = training.Settings(steps=600, batch=64, ema_decay=0.98, learning_rate=0.01, optimizer="adamw")
    run = fit(model, task, directory=tmp_path, settings=settings, progress=False)
    cost = functools.partial(evaluation.held_out_nelbo, model, run.params, task.validation, key=mdm.key(0))
    for context, entropy in ((task.context("validation"), GIVEN), (None, ALONE)):
        assert -0.02 < cost(context=context).mean() - entropy < 0.04
    last = run.place.read_log()[-1]["held_out_bits_per_token"]
    assert last == pytest.approx(GIVEN / np.log(2) / LENGTH, abs=0.1)  # not the .80 of no labels
    config = run.place.read_config()
    assert config["objective"] == {**objectives.fitting_objective(model).describe(), "is_bound": True}
    assert config["model"]["classes"] == CLASSES
    assert fit(model, task, directory=tmp_path, settings=settings, progress=False).step == 600  # loaded

    out = mdm.sample(model, run.params, mdm.plans.uniform(LENGTH, LENGTH), rows=2048, key=mdm.key(3),
                     context=models.label_context(model, 1, 2048))  # fmt: skip
    share, error = float(np.mean(out.tokens)), np.sqrt(0.8 * 0.2 / (2048 * LENGTH))
    assert abs(share - 0.8) < 4 * error + 0.01  # sampling and learning
