"""Sharding rules: known matrices by name, everything else as finely as it can be, optimiser as parameters."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.training import Settings, initial_state
from mdm_jax.training.devices import explain, gathered, shardings

MESH = AbstractMesh((4, 2), ("data", "model"))


def state_of(optimizer):
    model = models.transformer(99, length=8, width=16, depth=2, heads=2)
    settings = Settings(length=8, optimizer=optimizer)
    return jax.eval_shape(functools.partial(initial_state, model, settings))


def by_path(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.core
def test_each_matrix_of_the_transformer_is_divided_as_megatron_and_zero_do():
    specs = {path: s.spec for path, s in by_path(shardings(MESH, state_of("muon").params)).items()}
    block = "params/blocks_1"
    assert specs[f"{block}/attention/query_key_value/kernel"] == P("data", "model")
    assert specs[f"{block}/attention/output/kernel"] == P("model", "data")
    assert specs[f"{block}/feed_forward/expand/kernel"] == P("data", "model")
    assert specs[f"{block}/feed_forward/contract/kernel"] == P("model", "data")
    # 100 rows and 99 columns: the embedding's rows go over "data"; the head's columns are odd, so its rows take both.
    assert specs["params/embedding/embedding"] == P("data", "model")
    assert specs["params/head/kernel"] == P(("model", "data"), None)
    assert specs[f"{block}/attention_mixing/taps"] == specs[f"{block}/attention_norm/gain"] == P()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_moments_and_ema_lie_where_their_parameters_lie(optimizer):
    state = state_of(optimizer)
    places = shardings(MESH, state)
    assert jax.tree.structure(places) == jax.tree.structure(state)
    params, ema = by_path(places.params), by_path(places.ema_params)
    assert params == ema
    shapes, moments, seen = by_path(state.params), by_path(places.optimizer), 0
    for path, place in moments.items():
        owner = next((name for name in params if path.endswith(f"/{name}")), None)
        if owner is None:
            assert place.spec == P()  # counters, coefficients
            continue
        assert by_path(state.optimizer)[path].shape == shapes[owner].shape
        assert place == params[owner]
        seen += 1
    # Adam has two moments of each of its parameters, Muon one of the four matrices of each of the two blocks.
    assert seen == (2 * len(params) if optimizer == "adamw" else 2 * (len(params) - 8) + 8)
    assert all(place.spec == P() for place in (places.step, *jax.tree.leaves(places.tally)))


@given(
    shape=st.lists(st.integers(1, 48), min_size=2, max_size=4),
    data=st.sampled_from([1, 2, 3, 4, 8]),
    model=st.sampled_from([1, 2, 4, 6]),
)
@settings(max_examples=60, deadline=None)
def test_an_unknown_array_is_divided_evenly_and_as_finely_as_can_be(shape, data, model):
    mesh = AbstractMesh((data, model), ("data", "model"))
    (part,) = explain(mesh, {"w": jax.ShapeDtypeStruct(shape, jnp.bfloat16)})
    sizes = {"data": data, "model": model}
    entries = [() if e is None else (e,) if isinstance(e, str) else e for e in part.spec]
    used = [name for entry in entries for name in entry]
    assert len(used) == len(set(used))
    for size, entry in zip(shape, entries, strict=False):
        assert size % math.prod(sizes[name] for name in entry) == 0
    divided = math.prod(sizes[name] for name in used)
    assert part.bytes * divided == 2 * math.prod(shape)
    most = 1  # of all ways to lay the two axes on the array's, or to leave them out
    for choice in itertools.product(range(-1, len(shape)), repeat=2):
        ways = [math.prod(n for n, at in zip((data, model), choice) if at == axis) for axis in range(len(shape))]
        if all(size % n == 0 for size, n in zip(shape, ways)):
            most = max(most, math.prod(ways))
    assert divided == most


def test_where_parameters_are_used_they_are_whole_along_data():
    params = state_of("adamw").params
    for place, used in zip(jax.tree.leaves(shardings(MESH, params)), jax.tree.leaves(gathered(MESH, params))):
        assert isinstance(used, NamedSharding)
        expected = [
            "model" if entry == "model" or (isinstance(entry, tuple) and "model" in entry) else None
            for entry in place.spec
        ]
        assert list(used.spec) == expected


def test_one_axis_is_enough_and_another_name_is_refused():
    params = state_of("adamw").params
    for name in ("data", "model"):
        used = {e for s in jax.tree.leaves(shardings(AbstractMesh((2,), (name,)), params)) for e in s.spec}
        assert used == {None, name}
    assert all(s.spec == P() for s in jax.tree.leaves(shardings(AbstractMesh((1,), ("data",)), params)))
    with pytest.raises(InputError, match='mesh axis must be "data" or "model"; got \'batch\''):
        shardings(AbstractMesh((2,), ("batch",)), params)


def test_a_model_of_the_users_own_is_divided_by_shape():
    module = nnx.Conv(64, 128, (3, 3), rngs=nnx.Rngs(0))
    specs = sorted(str(s.spec) for s in jax.tree.leaves(shardings(MESH, nnx.split(module)[1])))
    assert specs == [str(P()), str(P(None, None, "data", "model"))]
