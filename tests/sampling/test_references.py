"""Greedy trajectories, token for token and step for step, against plain NumPy doubles of what others do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from compiled import programs
from jax.tree_util import Partial
from references import DENOISER, FRAMES, LENGTH, MASK, ROWS, hashed_in_numpy, hashed_params, ragged

from mdm_jax import sampling
from mdm_jax.sampling import presets, readings, rules
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import Plan

pytestmark = pytest.mark.usefixtures("strict_types")


@pytest.fixture(scope="module")
def params():
    return hashed_params()


def assert_follows(rule, canvas, params, double):
    """The same tokens after every step, the same steps and passes as ``double(logits, canvas)`` of each row."""
    out = sampling.sample(
        DENOISER,
        params,
        rule,
        key=jax.random.key(0),
        canvas=canvas,
        temperature=0.0,
        record=sampling.tokens_of,
        frames=FRAMES,
    )
    logits = hashed_in_numpy(params)
    for row in range(ROWS):
        frames, when = double(logits, canvas[row])
        ours = np.asarray(out.trajectory)[: len(frames), row]
        np.testing.assert_array_equal(ours, frames, err_msg=f"row {row}")
        np.testing.assert_array_equal(np.asarray(out.reveal_step)[row], when)
        assert int(out.nfe[row]) == len(frames)
        np.testing.assert_array_equal(np.asarray(out.tokens)[row], frames[-1])
    assert int(out.batch_nfe) == int(out.nfe.max())
    assert np.all(np.asarray(out.remaining) == 0)
    return out


def one_measure(which, reading):
    measures = (readings.max_probability, readings.margin, readings.negative_entropy)
    return jax.lax.select_n(which, *[measure(reading) for measure in measures])


def test_the_doubles_know_the_published_quotas():
    assert references.dllm_quotas(10, 4) == [2, 3, 2, 3]
    sizes = plans.from_schedule(schedules.linear(), 10, 4, rounding="dllm").sizes
    assert sizes.tolist() == [2, 3, 2, 3]
    sizes = plans.from_schedule(schedules.linear(), 10, 4, rounding="llada").sizes
    assert sizes.tolist() == [3, 3, 2, 2]


@pytest.mark.core
@pytest.mark.parametrize("kind", ["blank", "prompts", "holes"])
@pytest.mark.parametrize(("steps", "block"), [(4, LENGTH), (16, LENGTH), (2, 4), (3, 5), (40, LENGTH)])
def test_llada(params, kind, steps, block):
    """Quotas of each block's masks, extras first; blocks from the first masked position; ``steps`` for each block."""
    rule = rules.quota(steps).replace(block=block)
    out = assert_follows(rule, ragged(kind), params, lambda f, c: references.llada(f, c, MASK, steps, block))
    assert np.all(np.isnan(out.log_prob))  # the order looked at the draws


def test_llada_s_preset_shares_the_steps_over_the_blocks(params):
    canvas = ragged("prompts")
    for steps, block, each in ((8, 4, 2), (16, None, 16), (6, 6, 2)):
        double = lambda f, c, n=each, b=block or LENGTH: references.llada(f, c, MASK, n, b)  # noqa: E731
        assert_follows(presets.llada(LENGTH, steps, block), canvas, params, double)
    ten = np.where(np.arange(LENGTH)[None, :] < 6, 2, MASK).repeat(ROWS, axis=0)
    out = assert_follows(presets.llada(10, 4), ten, params, lambda f, c: references.llada(f, c, MASK, 4, LENGTH))
    assert np.bincount(np.asarray(out.reveal_step)[0][6:]).tolist() == [3, 3, 2, 2]


@pytest.mark.thorough
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("sizes", [[2, 3, 2, 3, 6], [1] * 16, [16], "dllm"])
def test_dream_s_three_orders_and_dllm_s_quotas(params, which, sizes):
    """Greedy top-k by max probability, margin and entropy, with any sizes, dllm's among them."""
    plan = Plan(np.array(sizes), "t") if sizes != "dllm" else None
    if plan is None:
        plan = plans.from_schedule(schedules.linear(), LENGTH, 6, rounding="dllm")
        sizes = references.dllm_quotas(LENGTH, 6)
    score = (references.max_probability, references.margin, references.negative_entropy)[which]
    rule = rules.surest(plan, Partial(one_measure, jnp.int32(which)))
    double = lambda f, c: references.top_by_sizes(f, c, MASK, sizes, score)  # noqa: E731
    assert_follows(rule, ragged("blank"), params, double)


@pytest.mark.parametrize("kind", ["blank", "holes"])
@pytest.mark.parametrize(("threshold", "block"), [(0.9, 4), (0.7, LENGTH), (0.0, 5), (1.0, LENGTH)])
def test_fast_dllm(params, kind, threshold, block):
    rule = rules.confident(threshold).replace(block=block)
    assert_follows(rule, ragged(kind), params, lambda f, c: references.fast_dllm(f, c, MASK, threshold, block))


@pytest.mark.thorough
@pytest.mark.parametrize("bound", [0.0, 0.1, 1.0, 100.0])
def test_eb_sampler(params, bound):
    assert_follows(presets.eb(bound), ragged("holes"), params, lambda f, c: references.eb_sampler(f, c, MASK, bound))


@pytest.mark.thorough
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("sizes", [[1] * 16, [3, 1, 4, 1, 5, 2]])
def test_path_planning(params, strength, sizes):
    """P2 with the held token scored; at strength 0 nothing is masked again, at 3 it is."""
    rule = rules.self_planned(Plan(np.array(sizes), "t"), strength)
    double = lambda f, c: references.path_planning(f, c, MASK, sizes, strength)  # noqa: E731
    out = assert_follows(rule, ragged("blank"), params, double)
    frames = np.asarray(out.trajectory)
    again = ((frames[:-1] != MASK) & (frames[1:] == MASK) & (np.arange(1, FRAMES) < len(sizes))[:, None, None]).sum()
    assert (again > 0) == (strength > 0)


@pytest.mark.thorough
@pytest.mark.parametrize("most", [(16, 8, 4), (1, 2, 1), (0, 0, 0)])
@pytest.mark.parametrize("sizes", [[1] * 16, [2, 2, 2, 2, 1, 1, 1, 1, 2, 2]])
def test_free_correction(params, sizes, most):
    rule = rules.self_corrected(Plan(np.array(sizes), "t"), most)
    double = lambda f, c: references.free_correction(f, c, MASK, sizes, most)  # noqa: E731
    out = assert_follows(rule, ragged("blank"), params, double)
    assert np.all(np.asarray(out.nfe) == len(sizes))
    assert np.all(np.isnan(out.log_prob))


@pytest.mark.parametrize("kind", ["blank", "prompts"])
@pytest.mark.parametrize("end", range(7))
def test_end_token(params, kind, end):
    """Threshold decoding in blocks that stops at the first end token with nothing masked before it."""
    rule = rules.confident(0.6).replace(block=4, end=end)
    out = assert_follows(rule, ragged(kind), params, lambda f, c: references.fast_dllm(f, c, MASK, 0.6, 4, end))
    tokens, steps = np.asarray(out.tokens), np.asarray(out.reveal_step)
    assert np.all(tokens[steps == sampling.FILLED] == end)


def test_some_end_tokens_came_early(params):
    logits = hashed_in_numpy(params)
    filled = [
        sum(references.fast_dllm(logits, row, MASK, 0.6, 4, end)[1] == sampling.FILLED)
        for end in range(7)
        for row in ragged("prompts")[:4]
    ]
    assert sum(count > 4 for count in filled) >= 5


PLANS = [Plan(np.array(sizes), "t") for sizes in ([5], [1] * 4, [1, 2])]  # of blocks of 5, 4 and 3
SURE = tuple(Partial(one_measure, jnp.int32(which)) for which in range(3))
KINDS = {
    "surest": [rules.surest(plan, score) for plan, score in zip(PLANS, SURE)],
    "quota": [rules.quota(steps) for steps in (1, 3, 16)],
    "confident": [rules.confident(threshold) for threshold in (0.0, 0.5, 1.0)],
    "eb": [presets.eb(bound) for bound in (0.0, 0.1, 5.0)],
    "self_planned": [rules.self_planned(plan, strength) for plan, strength in zip(PLANS, (0.0, 1.0, 2.0))],
    "self_corrected": [
        rules.self_corrected(plan, most) for plan, most in zip(PLANS, ((1, 1, 1), (16, 8, 4), (0, 0, 9)))
    ],
}


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.thorough] * (kind not in ("quota", "self_corrected"))) for kind in KINDS],
)
def test_numbers_and_prompts_do_not_compile_anew(params, kind):
    """Plan, quota, threshold, bound, strength, block, end, both temperatures, prompt and seed: one executable."""

    def run(i, rule):
        more = {"block": 5 - i, "end": 3 * i - 1, "order_temperature": i / 2}
        return sampling.sample(
            DENOISER,
            params,
            rule.replace(**more),
            key=jax.random.key(i),
            canvas=ragged(("blank", "prompts", "holes")[i]),
            temperature=i / 4,
            record=sampling.tokens_of,
            frames=FRAMES,
        )

    first, *others = KINDS[kind]
    run(0, first)
    with programs() as made:
        for i, rule in enumerate(others):
            out = run(i + 1, rule)
            assert np.all(np.asarray(out.remaining) == 0)
    assert not [name for name in made if "loop" in name]
