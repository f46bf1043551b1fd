"""What samplers and samples print: one line, whatever the size of their arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.sampling import Blind, Rule, Sampled, presets, rules
from mdm_jax.support.arrays import described
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids

ROWS, LENGTH = 300, 200
DRAWN = Sampled(
    tokens=np.zeros((ROWS, LENGTH), np.int32),
    nfe=np.arange(4, 4 + ROWS, dtype=np.int32),
    batch_nfe=np.int32(303),
    remaining=np.zeros(ROWS, np.int32),
    reveal_step=np.zeros((ROWS, LENGTH), np.int32),
    log_prob=np.where(np.arange(ROWS) < 2, np.float32(np.nan), np.float32(-1.5)),
    steps=np.int32(303),
)
TOLD = (
    "Sampled(tokens=int32[300, 200], nfe=int32[300] from 4 to 303, batch_nfe=303, remaining=int32[300] of 0, "
    "reveal_step=int32[300, 200], log_prob=float32[300] of -1.5, 2 undefined, steps=303)"
)


@pytest.mark.core
def test_samples_print_shapes_and_ranges():
    assert repr(DRAWN) == repr(jax.tree.map(jnp.asarray, DRAWN)) == TOLD
    recorded = DRAWN._replace(trajectory={"tokens": np.zeros((9, ROWS, LENGTH), np.int32)})
    assert repr(recorded) == TOLD[:-1] + ", trajectory={'tokens': 'int32[9, 300, 200]'})"


def test_what_has_no_numbers_prints_too():
    """While tracing, as shapes, and where a tree of samples holds something else."""
    told = []
    jax.jit(lambda drawn: told.append(repr(drawn)) or drawn.nfe)(DRAWN)
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, DRAWN))
    assert told[0] == repr(shapes)
    assert "nfe=int32[300], batch_nfe=int32[]" in told[0]
    assert "nfe=axis 0" in repr(jax.tree.map(lambda _: "axis 0", DRAWN)).replace("'", "")
    deleted = jnp.zeros(3)
    deleted.delete()
    assert described(deleted) == "float32[3]"
    assert described(jax.random.key(0)) == "key<fry>[]"


def test_samplers_say_what_is_not_as_usual():
    plan = plans.uniform(LENGTH, 8)
    assert repr(Blind(plan)) == "Blind(plan=uniform, 8 steps, order=random)"
    assert repr(Blind([plan] * 50, "left_to_right")) == (
        "Blind(plan=50 of them, uniform, 8 steps first, order=left_to_right)"
    )
    assert repr(Blind(plans.uniform(20, 4), block=20)) == "Blind(plan=uniform, 4 steps, order=random, block=20)"
    assert repr(Blind(plan, np.arange(LENGTH))).endswith("order=a permutation (200,))")
    assert repr(Blind(grids.uniform(9))) == "Blind(plan=uniform, 9 steps, order=random)"
    assert repr(presets.eb(0.25)) == (
        "Rule(choose=choose_bounded(0.25), score=negative_entropy, measures=(negative_entropy))"
    )
    changed = rules.at_random([plan] * 50).replace(block=32, end=2, order_temperature=0.5)
    assert repr(changed).startswith("Rule(choose=choose_at_random(int32[50, ")
    assert repr(changed).endswith(
        "]), reads='chosen', order_temperature=0.5, block=32, end=2, planned=int32[50] of 200, rows=50)"
    )
    assert repr(Rule(choose=lambda view: None)) == "Rule(choose=<lambda>)"
