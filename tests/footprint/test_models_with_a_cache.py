"""The footprint of models with a cache: operations by hand and by XLA, the cache's bytes by a real one."""

import jax
import pytest

from mdm_jax import models
from mdm_jax.footprint import compile_step, footprint, named, sampling_cache
from mdm_jax.support.errors import InputError
from mdm_jax.training import AnyOrderNelbo, BlockNelbo, HybridNoise, MaskedNelbo, Settings, objectives

SIZES = {"length": 24, "width": 64, "depth": 2, "heads": 2}


def made(kind, **changes):
    make = {"any_order": models.any_order, "block_causal": models.block_causal}[kind]
    more = {"block": 10} if kind == "block_causal" else {}
    return make(50, **{**SIZES, **more, **changes})


def test_operations_of_two_streams_by_hand():
    """Two positions for each token, but for the last feed-forward layer and the head; blocks are worked in whole."""
    settings, width, hidden = Settings(batch=3, length=24, optimizer="adamw"), 64, 256
    products = 4 * width * width + 2 * width * hidden  # multiply-adds of one position with the matrices of a block
    last, head = 2 * width * hidden, 50 * width
    any_order = 2 * 2 * (products + 2 * (24 + 1) * width) - last + head  # each sees itself besides
    found = footprint(made("any_order"), settings).flops
    assert found.forward == 2 * 3 * 24 * any_order
    assert found.backward == 2 * found.forward
    blocks = 2 * 2 * (products + 2 * (30 + 10) * width) - last  # three blocks of ten for 24 tokens
    assert footprint(made("block_causal"), settings).flops.forward == 2 * 3 * (30 * blocks + 24 * head)


def test_the_parameters_and_the_optimiser_cost_as_those_of_a_transformer():
    settings = Settings(batch=4, length=24)
    plain = footprint(models.transformer(50, **SIZES), settings)
    for kind in ("any_order", "block_causal"):
        found = footprint(made(kind), settings)
        assert (found.parameters, found.gradients) == (plain.parameters, plain.gradients)
        assert found.flops.optimizer == plain.flops.optimizer
        assert found.objective == objectives.default_objective(made(kind))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["any_order", "block_causal"])
def test_operations_agree_with_xla_and_so_do_the_bytes_of_the_state(kind):
    model = made(kind, length=64, width=128, **({"block": 16} if kind == "block_causal" else {}))
    settings = Settings(batch=8, length=64, optimizer="adamw")
    ours = footprint(model, settings)
    found = compile_step(model, settings, objective=ours.objective)
    assert 1.0 <= found.flops / ours.flops.total <= 1.05
    assert found.arguments - found.data == ours.state_bytes


@pytest.mark.parametrize("kind", ["any_order", "block_causal"])
def test_the_cache_has_the_bytes_of_a_real_one(kind):
    model, rows, length = made(kind), 3, 20
    params = model.init(jax.random.key(0), length)
    slots = max(min(slots, length) for slots in model.slots)  # as sampling takes them
    real = jax.tree.leaves(model.empty(params, rows, length, slots))
    lines = sampling_cache(model, rows, length)
    assert sum(line.bytes for line in lines) == sum(leaf.nbytes for leaf in real)
    assert sum(line.count for line in lines) == len(real)
    one = sampling_cache(model, 1, length)
    assert sum(line.bytes for line in lines) == rows * sum(line.bytes for line in one)


def test_a_model_without_a_cache_keeps_nothing():
    assert sampling_cache(models.transformer(50, **SIZES)) == ()
    with pytest.raises(InputError, match="length must be a whole number from 1 to 24; got 25"):
        sampling_cache(made("any_order"), length=25)


def test_a_context_does_not_change_the_cache():
    model = made("any_order")
    assert sampling_cache(model, context=jax.ShapeDtypeStruct((1, 5), "float32")) == sampling_cache(model)


def test_sizes_by_name_are_of_a_kind():
    assert named("10m", kind="any_order").module.width == 256
    assert named("10m", kind="block_causal", block=8).module.block == 8
    with pytest.raises(InputError, match="block must be left out: only block-causal models have blocks; got 8"):
        named("10m", block=8)
    with pytest.raises(InputError, match="kind must be"):
        named("10m", kind="causal")


@pytest.mark.parametrize(
    ("model", "objective", "sentence"),
    [
        (models.transformer(50, **SIZES), AnyOrderNelbo(), "denoiser must be one that goes by ranks"),
        (models.transformer(50, **SIZES), BlockNelbo(), "denoiser must be one that goes by blocks"),
        (made("block_causal"), MaskedNelbo(), r"this one is for training\.BlockNelbo and"),
        (made("any_order"), MaskedNelbo(), r"this one is for training\.AnyOrderNelbo and"),
        (made("any_order"), HybridNoise(), r"this one is for training\.AnyOrderNelbo and"),
    ],
)
def test_an_objective_of_another_kind_of_model_is_refused(model, objective, sentence):
    with pytest.raises(InputError, match=sentence):
        footprint(model, Settings(length=24, batch=2), objective=objective)
