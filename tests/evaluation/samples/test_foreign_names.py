"""Names that would be obeyed by a terminal are printed harmless; stores with a key twice are not believed."""

import json

import jax
import jax.numpy as jnp
import pytest

from mdm_jax import models
from mdm_jax.evaluation import Execution, evaluate
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans

KEY = jax.random.key(0)
BAD = "a\x1b[31mb\u202ec\n"


def flat(params, tokens):
    return jnp.zeros((*tokens.shape, 5), jnp.float32)


def run(samplers, score, store=None, name=None, **more):
    model = models.from_function(flat, 5)
    where = Execution(batch=4, store=store, name=name)
    return evaluate(model, None, samplers, 4, score, key=KEY, execution=where, **more)


def total(tokens):
    return tokens.sum(axis=1)


@pytest.mark.thorough
def test_a_table_shows_names_without_what_is_obeyed():
    found = run({BAD: plans.uniform(6, 2), "plain": plans.uniform(6, 3)}, {BAD: total}, baseline=BAD)
    text = found.table()
    assert len(text.splitlines()) == 4  # heading, rule, two schedules
    assert not {"\x1b", "\u202e"} & set(text)
    assert found.names[0] == BAD


def test_a_store_with_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    plan = {"one": plans.uniform(6, 2)}
    run(plan, total, store=path, name="flat")
    lines = path.read_text().splitlines(keepends=True)
    header, rows = json.loads(lines[0]), lines[1]
    twice = lines[0].replace("{", '{"length":7,', 1)
    assert json.loads(twice) == header  # Python alone takes the last
    path.write_text(twice + rows)
    with pytest.raises(InputError, match="is not a store of evaluated rows"):
        run(plan, total, store=path, name="flat")
    path.write_text(lines[0] + rows.replace("{", '{"rows":[],', 1) + rows)
    with pytest.raises(InputError, match="is not a store of evaluated rows: line 2"):
        run(plan, total, store=path, name="flat")
