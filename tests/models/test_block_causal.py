"""Block-causal models: who sees whom, the cache against encoding anew, the objective and the profile by enumeration."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from compiled import programs
from toys import LENGTH as PATTERN
from toys import SETTINGS, VOCAB, PatternTask

from mdm_jax import evaluation, models, sampling
from mdm_jax.evaluation import exact
from mdm_jax.models.extending import block_length
from mdm_jax.models.wrappers import Wrapper
from mdm_jax.sampling import orders, presets, rules
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids
from mdm_jax.training import BlockNelbo, Examples, HybridNoise, MaskedNelbo, fit, stratified_nelbo
from mdm_jax.training.objectives import default_objective, from_description

pytestmark = pytest.mark.usefixtures("strict_types")

LENGTH, BLOCK, TOKENS, ROWS = 10, 4, 3, 5  # the last block is shorter
MASK = TOKENS
NUMBER = np.arange(LENGTH) // BLOCK


@functools.cache
def tiny(length=LENGTH, block=BLOCK, vocab_size=TOKENS, reach=2, context=0):
    """``(model, params)``, all parameters random: outputs that start at zero would show nothing."""
    model = models.block_causal(vocab_size, length=length, block=block, width=16, depth=2, heads=2, reach=reach)
    given = jnp.zeros((1, context), jnp.float32) if context else None
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: model.init(jax.random.key(0), length, given)))
    rng = np.random.default_rng(0)
    noise = [(0.3 * rng.normal(size=leaf.shape) + (leaf.ndim == 1)).astype(np.float32) for leaf in leaves]
    return model, jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in noise])


@functools.partial(jax.jit, static_argnums=0)
def logits(model, params, tokens, context=None):
    return models.logits(model, params, tokens, context)


@functools.partial(jax.jit, static_argnums=0)
def in_one_pass(model, params, tokens, noisy):
    return model.readout(params, model.encode_blocks(params, tokens, noisy))


@dataclasses.dataclass(frozen=True)
class EncodedAnew(Wrapper):
    """The double of cached sampling: no cache, and still block by block, as ``without_cache`` is not."""

    @property
    def extends(self):
        return False


def random_tokens(rows, seed=0, length=LENGTH, vocab_size=TOKENS):
    return np.random.default_rng(seed).integers(0, vocab_size, (rows, length)).astype(np.int32)


def random_canvas(seed):
    """Tokens, about half of them given, and in every other row a prompt besides."""
    rng = np.random.default_rng(seed)
    given = rng.random((ROWS, LENGTH)) < 0.4
    given[::2] |= np.arange(LENGTH) < rng.integers(0, LENGTH, (len(given[::2]), 1))
    return np.where(given, random_tokens(ROWS, seed), MASK).astype(np.int32)


# ------------------------------------------------------------------------------------------------------- who sees whom


def test_a_block_sees_itself_and_the_finished_blocks_before_it_and_nothing_else():
    model, params = tiny()
    canvas = random_tokens(1)
    canvas[0, [5, 9]] = MASK  # blocks 1 and 2 are not finished
    changed = np.repeat(canvas, LENGTH, axis=0)
    known = np.flatnonzero(canvas[0] != MASK)
    changed[known, known] = (changed[known, known] + 1) % TOKENS
    told = np.asarray(logits(model, params, np.concatenate([canvas, changed])))
    sees = np.any(told[1:] != told[0], axis=-1).T  # [who looks, whose token changed]
    same, finished = NUMBER[:, None] == NUMBER[None], (NUMBER[None] < NUMBER[:, None]) & (NUMBER[None] < 1)
    np.testing.assert_array_equal(sees[:, known], (same | finished)[:, known])


def test_one_block_is_the_bidirectional_transformer():
    model, params = tiny(block=LENGTH)
    plain = models.transformer(TOKENS, length=LENGTH, width=16, depth=2, heads=2)
    canvas = random_canvas(1)
    np.testing.assert_allclose(logits(model, params, canvas), logits(plain, params, canvas), atol=2e-5)


def test_all_blocks_in_one_pass_are_what_each_is_alone():
    model, params = tiny()
    tokens, noisy = random_tokens(ROWS), random_canvas(2)
    together = np.asarray(in_one_pass(model, params, tokens, noisy))
    for k in range(3):
        canvas = np.where(k > NUMBER, tokens, np.where(k == NUMBER, noisy, MASK)).astype(np.int32)
        alone = np.asarray(logits(model, params, canvas))
        np.testing.assert_allclose(together[:, k == NUMBER], alone[:, k == NUMBER], atol=2e-5)


# ----------------------------------------------------------------------------------------------------------- the cache


def sampled(denoiser, params, canvas, steps):
    # As ``sample`` calls it: one program.
    more = {"key": jax.random.key(3), "temperature": jnp.float32(1.0), "record": None, "frames": None}
    more |= {"context": None, "row_ids": None}
    return sampling.blind_loop(denoiser, params, jnp.asarray(canvas), jnp.asarray(steps), **more)


def assert_equal_draws(cached, plain):
    np.testing.assert_array_equal(cached.tokens, plain.tokens)
    np.testing.assert_allclose(cached.log_prob, plain.log_prob, atol=1e-4)
    np.testing.assert_array_equal(cached.nfe, plain.nfe)


def in_every_order(seed):
    """Steps of a canvas: blocks, any order at all, and one where some positions stay masked."""
    rng, canvas = np.random.default_rng(seed), random_canvas(seed)
    any_order = rng.integers(0, 6, canvas.shape)
    by_blocks = 4 * NUMBER + rng.integers(0, 4, canvas.shape)
    left = np.where(rng.random(canvas.shape) < 0.1, -2, any_order)
    for steps in (any_order, by_blocks, left):
        yield canvas, np.where(canvas == MASK, steps, -1).astype(np.int32)


def test_cached_sampling_draws_what_encoding_anew_draws_in_every_order():
    model, params = tiny()
    plain = models.without_cache(model)
    for canvas, steps in itertools.chain(in_every_order(0), in_every_order(1)):
        assert_equal_draws(sampled(model, params, canvas, steps), sampled(plain, params, canvas, steps))


@pytest.mark.thorough
@pytest.mark.parametrize(("block", "reach"), [(1, 2), (3, 5), (4, 0)])
def test_the_cache_is_exact_for_blocks_and_reaches_of_all_sizes(block, reach):
    model, params = tiny(block=block, reach=reach)
    plain = models.without_cache(model)
    for canvas, steps in in_every_order(block):
        assert_equal_draws(sampled(model, params, canvas, steps), sampled(plain, params, canvas, steps))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "sampler",
    [
        presets.eb(0.5),
        rules.at_random(plans.uniform(BLOCK, 3)).replace(end=1),  # pyright: ignore[reportAttributeAccessIssue]
    ],
    ids=["eb", "end"],
)
def test_rules_draw_what_encoding_anew_draws(sampler):
    model, params = tiny()
    given = {"canvas": random_canvas(3), "key": jax.random.key(1)}
    cached, plain = (models.tempered(one, 0.8) for one in (model, EncodedAnew(model)))
    cached, plain = (sampling.sample(one, params, sampler, **given) for one in (cached, plain))
    assert_equal_draws(cached, plain)


@pytest.mark.thorough
def test_guidance_and_contexts_go_through_the_cache():
    model, params = tiny(context=3)
    canvas, context = random_canvas(4), jnp.asarray(np.random.default_rng(0).normal(size=(ROWS, 3)), jnp.float32)
    drawn = []
    for one in (model, EncodedAnew(model)):
        guided = models.guided(one)
        how = models.guidance(canvas, guided, 1.5, context)
        plan, key = plans.uniform(BLOCK, 2), jax.random.key(1)
        drawn.append(sampling.sample(guided, params, plan, canvas=canvas, key=key, context=how))
    assert_equal_draws(*drawn)


def test_the_last_block_is_never_absorbed_and_what_nobody_asks_costs_no_pass():
    model, params = tiny()
    cache = model.empty(params, ROWS, LENGTH, 2 * BLOCK)
    positions = np.broadcast_to(np.arange(2 * BLOCK, dtype=np.int32), (ROWS, 2 * BLOCK))
    everything = np.full(ROWS, 2 * BLOCK, np.int32)
    extend = jax.jit(model.extend)
    cache, _ = extend(params, cache, positions, random_tokens(ROWS)[:, : 2 * BLOCK], everything)
    assert cache.absorbed.tolist() == [0] * ROWS  # two blocks are finished, and wait
    asked = np.where(positions < 1, LENGTH - 1, LENGTH).astype(np.int32)  # one question, in the last block
    asked[0] = LENGTH  # and none in the first row
    cache, _ = extend(params, cache, asked, np.zeros_like(asked), np.zeros(ROWS, np.int32))
    assert cache.absorbed.tolist() == [0] + [2] * (ROWS - 1)


# ----------------------------------------------------------------------------------------------- the law and the bound


def path_cost(model, params, rows, block, number):
    """``-log q`` of each row's block in every order of it, one token at a time: float[orders, rows]."""
    positions = [p for p in range(rows.shape[1]) if p // block == number]
    before = np.where(np.arange(rows.shape[1]) < number * block, rows, model.mask_id)
    found = []
    for order in itertools.permutations(positions):
        total = np.zeros(len(rows))
        for i, position in enumerate(order):
            canvas = before.copy()
            canvas[:, list(order[:i])] = rows[:, list(order[:i])]
            scores = jax.nn.log_softmax(logits(model, params, canvas.astype(np.int32))[:, position])
            total -= np.take_along_axis(np.asarray(scores, np.float64), rows[:, [position]], axis=1)[:, 0]
        found.append(total)
    return np.stack(found)


@functools.cache
def small():
    """A model of five binary tokens in blocks of two, all of its rows, and the costs of each block of them."""
    model, params = tiny(length=5, block=2, vocab_size=2)
    rows = np.asarray(list(itertools.product(range(2), repeat=5)), np.int32)
    return model, params, rows, [path_cost(model, params, rows, 2, number) for number in range(3)]


@functools.cache
def block_losses():
    """The objective's losses of all rows of :func:`small`, 2,000 times."""
    model, params, rows, _ = small()
    examples, objective = Examples(jnp.asarray(rows)), BlockNelbo()

    def once(key):
        corrupted = objective.corrupt(key, model, examples, jnp.float32(1))
        return objective.losses(model, params, examples, corrupted)

    return jax.jit(lambda keys: jax.lax.map(once, keys))(jax.random.split(jax.random.key(0), 2000))


def test_the_block_nelbo_is_the_mean_over_orders_inside_blocks():
    *_, costs = small()
    exact = sum(cost.mean(axis=0) for cost in costs)
    losses = np.asarray(block_losses().loss, np.float64)
    z = (losses.mean(axis=0) - exact) / (losses.std(axis=0) / np.sqrt(len(losses)))
    assert np.abs(z).max() < 4  # of 32 rows
    law = np.exp(-sum(-np.log(np.exp(-cost).mean(axis=0)) for cost in costs))
    np.testing.assert_allclose(law.sum(), 1, atol=1e-5)
    assert (exact >= -np.log(law)).all()


def test_its_losses_by_count_are_the_profile_of_a_whole_block():
    model, params, rows, _ = small()
    losses = block_losses()
    revealed, cost = np.asarray(losses.revealed), np.asarray(losses.cost, np.float64)
    orders_per_row = 30
    assert revealed.shape == (2000, 32, 2)  # the last block is shorter, and another profile's
    profile = evaluation.block_profile(model, params, rows, encodings=2 * 32 * orders_per_row, key=jax.random.key(1))
    assert (profile.length, profile.provenance["block"]) == (2, 2)
    for count in (0, 1):
        # By enumeration: all masked is one case, and one revealed is one of two, in each of two blocks.
        costs = np.zeros((2, 1 + count, len(rows)))  # block, what is revealed of it, row
        for number, shown in itertools.product(range(2), range(1 + count)):
            canvas = np.where(np.arange(5) < 2 * number, rows, model.mask_id)
            hidden = [2 * number + i for i in (0, 1) if count == 0 or i != shown]
            known = [2 * number + i for i in (0, 1) if 2 * number + i not in hidden]
            canvas[:, known] = rows[:, known]
            scores = np.asarray(jax.nn.log_softmax(logits(model, params, canvas.astype(np.int32))), np.float64)
            told = np.take_along_axis(scores, rows[..., None], axis=2)[..., 0]
            costs[number, shown] = -told[:, hidden].mean(axis=1)
        error = cost[revealed == count].std() / np.sqrt((revealed == count).sum())
        assert abs(cost[revealed == count].mean() - costs.mean()) < 4 * error
        error = (
            np.sqrt(costs.var(axis=1).sum() / orders_per_row) / costs[:, 0].size
        )  # 0 where nothing is left to chance
        assert abs(profile.means[count] - costs.mean()) < 4 * error + 1e-5


@pytest.mark.thorough
def test_cached_samples_have_the_enumerated_law():
    model, params, _, costs = small()
    law = np.prod([np.exp(-cost).mean(axis=0) for cost in costs], axis=0)
    drawn = sampling.sample(model, params, plans.uniform(2, 2), rows=20_000, length=5, key=jax.random.key(5))
    counts = np.bincount(np.asarray(drawn.tokens) @ 2 ** np.arange(4, -1, -1), minlength=32)
    assert scipy.stats.chisquare(counts, law / law.sum() * counts.sum()).pvalue > 1e-3


@pytest.mark.thorough
def test_without_its_cache_it_is_sampled_in_any_order_and_has_the_exact_law():
    model, params, *_ = small()
    plain, plan = models.without_cache(model), plans.Plan(np.array([2, 1, 2]), "mine")
    law = np.asarray(exact.random_order_law(exact.conditionals(plain, params, 5), plan.sizes), np.float64)
    drawn = sampling.sample(plain, params, plan, rows=20_000, key=jax.random.key(6))
    counts = np.bincount(np.asarray(drawn.tokens) @ 2 ** np.arange(4, -1, -1), minlength=32)
    assert scipy.stats.chisquare(counts, law / law.sum() * counts.sum()).pvalue > 1e-3


def test_without_its_cache_it_goes_by_no_blocks():
    model, params = tiny()
    plain = models.without_cache(model)
    for one in (plain, models.top_k(plain, 2), models.without_cache(models.tempered(model, 0.5))):
        assert (block_length(one), models.can_extend(one)) == (None, False)
        assert default_objective(one) == MaskedNelbo()
    order = sampling.Blind(plans.uniform(LENGTH, 5), "left_to_right")
    steps = np.asarray(sampling.sample(plain, params, order, rows=2, key=jax.random.key(0)).reveal_step)
    np.testing.assert_array_equal(steps, [np.arange(LENGTH) // 2] * 2)  # not in its blocks of 4
    with pytest.raises(
        InputError, match=r"denoiser must be a function of what is revealed in any order, as models\..*;"
    ):
        exact.conditionals(model, params, 5)
    assert exact.conditionals(plain, params, 5).shape == (4**5, 5, TOKENS)


def test_counts_are_spread_over_the_blocks_of_a_row_and_over_rows():
    model, _ = tiny(length=16, block=4)
    examples = Examples(jnp.zeros((6, 16), jnp.int32))
    for seed in range(3):
        masks = BlockNelbo().corrupt(jax.random.key(seed), model, examples, jnp.float32(0))
        counts = np.asarray(masks.counts)
        np.testing.assert_array_equal(np.asarray(masks.masked).reshape(6, 4, 4).sum(axis=2), counts)
        assert (np.sort(counts, axis=1) == [1, 2, 3, 4]).all(axis=1).sum() >= 5  # one row may straddle the ends
        assert np.bincount(counts.reshape(-1), minlength=5)[1:].tolist() == [6, 6, 6, 6]


@pytest.mark.thorough
def test_a_path_of_blocks_costs_what_the_sampler_would_say():
    model, params = tiny()
    rows, key = random_tokens(ROWS)[:, : 2 * BLOCK], jax.random.key(5)
    budgets = [plans.uniform(BLOCK, 4), plans.Plan(np.array([1, 3]), "mine")]
    costs = evaluation.path_nelbo(model, params, rows, budgets, key=key)
    for plan, cost in zip(budgets, costs, strict=True):
        knots = jnp.asarray(sampling.plan_knots(plan, ROWS))
        steps = orders.in_blocks(key, knots, jnp.ones(rows.shape, bool), BLOCK, None, 0)
        path = sampling.path_log_prob(model, params, jnp.asarray(rows), steps)
        np.testing.assert_allclose(2 * cost, -np.asarray(path), atol=1e-4)


# ------------------------------------------------------------------------------------------------------- block by block


def test_samplers_go_by_the_models_blocks_whatever_is_given():
    model, params = tiny()
    canvas = sampling.canvas_of([[0, 1, 2, 0, 1], [], [2], [], []], length=LENGTH, mask_id=MASK)
    out = sampling.sample(model, params, plans.uniform(BLOCK, 2), canvas=canvas, key=jax.random.key(0))
    steps = np.asarray(out.reveal_step)
    sizes = [[np.bincount(row[k == NUMBER][row[k == NUMBER] >= 0]).tolist() for k in range(3)] for row in steps]
    # Five tokens leave three of block 1, which the plan is scaled to; the last block has two.
    assert [[[n for n in block if n] for block in row] for row in sizes] == [
        [[], [2, 1], [1, 1]],
        [[2, 2], [2, 2], [1, 1]],
        [[2, 1], [2, 2], [1, 1]],
        *[[[2, 2], [2, 2], [1, 1]]] * 2,
    ]
    assert out.nfe.tolist() == [4, 6, 6, 6, 6]
    for row in steps:
        ends = [(row[k == NUMBER].min(), row[k == NUMBER].max()) for k in range(3) if (row[k == NUMBER] >= 0).any()]
        assert all(before[1] < after[1] for before, after in itertools.pairwise(ends))


def test_a_grid_in_blocks_is_that_grid_in_each_of_them():
    fractions = jnp.asarray(sampling.grid_fractions(grids.uniform(3), 2))
    free, key = jnp.ones((2, LENGTH), bool), jax.random.key(0)
    plain, blocks = (orders.ancestral_order(key, fractions, free, None, block, 0) for block in (None, BLOCK))
    np.testing.assert_array_equal(np.asarray(blocks) - 64 * NUMBER, plain)


REFUSED = {
    "whole plan": (plans.uniform(LENGTH, 2), "plan must be one for a block, of 4 tokens, as this model goes block by"),
    "short plan": (plans.uniform(3, 3), "plan must be one for a block, of 4 tokens; got one for 3 tokens"),
    "rule's plan": (rules.surest(plans.uniform(LENGTH, 2)), "plan must be one for a block, of 4 tokens; got one for"),
    "blocks": (sampling.Blind(plans.uniform(5, 2), block=5), "block must be left out, or 4 as the model's blocks are"),
    "rule's blocks": (
        sampling.Rule(choose=rules.confident(0.5).choose, block=5),
        "block must be left out, or 4 as the",
    ),
    "order": (sampling.Blind(plans.uniform(4, 2), "left_to_right"), "order must be 'random' in each block, for a"),
    "origin": (sampling.Blind(plans.uniform(4, 2), block=4, origin=1), "origin must be left out, or 0 as the model's"),
    "masking again": (presets.remdm(2), "rule must be one that leaves revealed tokens as they are"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_with_the_models_blocks_is_refused(name):
    sampler, told = REFUSED[name]
    model, params = tiny()
    with pytest.raises(InputError, match=told):
        sampling.sample(model, params, sampler, length=LENGTH, key=jax.random.key(0))


def test_what_has_no_blocks_or_no_single_pass_is_refused():
    model, params = tiny()
    rows, key = random_tokens(ROWS), jax.random.key(0)
    with pytest.raises(InputError, match="block must be a whole number from 1 to 8"):
        models.block_causal(4, length=8, block=9)
    with pytest.raises(InputError, match="denoiser must be one whose blocks can be predicted in one pass: not shifted"):
        models.shifted(model).encode_blocks(params, *map(jnp.asarray, (rows, rows)))
    with pytest.raises(InputError, match="denoiser must be one that goes by blocks, as models"):
        evaluation.block_profile(models.transformer(TOKENS, length=LENGTH), params, rows, key=key)
    with pytest.raises(InputError, match="plans must be plans of one block, of 4 tokens, as this model goes block by"):
        evaluation.path_nelbo(model, params, rows, [plans.uniform(LENGTH, 2)], key=key)
    with pytest.raises(InputError, match=r"estimator must be .loss. for a model that goes by blocks"):
        evaluation.estimate_profile(model, params, rows, key=key, estimator="increments")
    with pytest.raises(InputError, match="given must be left out for a model that goes by blocks"):
        evaluation.estimate_profile(model, params, rows, key=key, given=np.arange(LENGTH) < 2)
    with pytest.raises(InputError, match="length must be left out for a model that goes by blocks"):
        evaluation.estimate_profile(model, params, rows, key=key, length=2)
    with pytest.raises(InputError, match="given must be left out for a model that goes by blocks"):
        evaluation.path_nelbo(model, params, rows, [], key=key, given=np.arange(LENGTH) < 2)
    with pytest.raises(InputError, match="denoiser must be one without blocks: with them a profile is that of a block"):
        evaluation.estimate_prompted_profile(model, params, random_canvas(0)[0], 64, key=key)


def test_losses_with_any_positions_masked_are_refused():
    """They would be those of another law: 1.04 where the bound of what is sampled was .86."""
    model, params = tiny(length=PATTERN, vocab_size=VOCAB)
    rows, key = random_tokens(ROWS, 0, PATTERN, VOCAB), jax.random.key(0)
    told = r"denoiser must be .* \(this one is for training.BlockNelbo and evaluation.held_out_nelbo; .*block by block"
    for masked in (
        lambda: stratified_nelbo(model, params, rows, key=key),
        lambda: evaluation.held_out_bound(model, params, rows, MaskedNelbo(), key=key),
        lambda: evaluation.held_out_bound(model, params, rows, HybridNoise(), key=key),
        lambda: fit(model, PatternTask(), settings=SETTINGS, progress=False, objective=MaskedNelbo()),
    ):
        with pytest.raises(InputError, match=told):
            masked()
    assert np.isfinite(stratified_nelbo(models.without_cache(model), params, rows, key=key)).all()


def test_plans_prompts_and_temperatures_compile_nothing_anew():
    model, params = tiny()

    def draw(plan, seed, temperature):
        given = {"canvas": random_canvas(seed), "temperature": temperature}
        return sampling.sample(model, params, plan, key=jax.random.key(seed), **given)

    draw(plans.uniform(BLOCK, 4), 0, 1.0)
    with programs() as made:
        draw(plans.uniform(BLOCK, 2), 1, 0.5)
        draw(plans.Plan(np.array([1, 3]), "mine"), 2, 0.0)
    assert made == []


def test_a_description_makes_the_same_model():
    model, _ = tiny()
    assert models.from_description(models.describe(model)) == model
    assert (block_length(models.top_k(model, 2)), models.by_rank(model), models.can_extend(model)) == (
        BLOCK,
        False,
        True,
    )
    assert default_objective(model) == from_description(BlockNelbo().describe()) == BlockNelbo()


@pytest.mark.thorough
def test_it_learns_and_is_measured_compared_and_raced():
    model = models.block_causal(VOCAB, length=PATTERN, block=4, width=16, depth=1, heads=2)
    run = fit(model, PatternTask(), settings=SETTINGS, progress=False)
    key = jax.random.key(0)
    judged = evaluation.judge(model, run.params, PatternTask(), key=key)
    assert judged["bound"] == "block NELBO"
    assert judged["bits_per_token"] < 0.6  # log2(6) / 8 = .32 is the truth; 2.58 knows nothing
    profile = evaluation.estimate_profile(model, run.params, PatternTask().validation, encodings=200, key=key)
    assert profile.length == run.training_profile.length == run.training_profile.provenance["block"] == 4
    best = evaluation.tune(profile, [2], grid=4, steps=[2]).plans[2]["optimal"]
    costs = evaluation.path_nelbo(model, run.params, PatternTask().test, [best], key=key)[0]
    error = np.hypot(profile.standard_error(best.sizes), costs.std() / np.sqrt(len(costs)))
    assert abs(costs.mean() - profile.expected_nelbo(best.sizes)) < 4 * error
    samplers = {"best": best, "mdlm": presets.mdlm(2)}  # a plan and a grid of a block
    found = evaluation.evaluate(model, run.params, samplers, 32, PatternTask().score, key=key, length=PATTERN)
    assert found.nfe[0].tolist() == [4] * 32
    search = evaluation.Halving(grid=2, named=("linear",), finalists=2, final_samples=8)
    how = {"lower_is_better": True, "search": search, "order": sampling.Blind}
    raced = evaluation.race(model, run.params, PatternTask().score, PATTERN, 2, key=key, **how)
    assert raced.plan.length == 4
