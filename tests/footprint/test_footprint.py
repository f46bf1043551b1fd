"""The footprint against independent truth: real arrays, arithmetic by hand, and XLA's own count."""

import dataclasses
import json
import subprocess

import jax
import numpy as np
import pytest
from flax import nnx
from toys import LENGTH, tiny_transformer

from mdm_jax import models
from mdm_jax.footprint import (
    SIZES,
    Collective,
    Compiled,
    compile_elsewhere,
    compile_step,
    compiled,
    extrapolated,
    footprint,
    inference,
    named,
    step_flops,
)
from mdm_jax.footprint import compiler as compiled_module
from mdm_jax.footprint import flops as flops_module
from mdm_jax.footprint.compiler import KINDS, collectives
from mdm_jax.footprint.flops import newton_schulz_flops
from mdm_jax.models import joint_diffusion
from mdm_jax.support.errors import InputError
from mdm_jax.training import Examples, JointLatentBound, LatentSurrogate, MaskedNelbo, Settings, initial_state

MESH = {"data": 16, "model": 16}


def small(depth=1, **others):
    return models.transformer(60, **{"length": 32, "width": 64, "depth": depth, "heads": 2, **others})


@pytest.mark.core
def test_llada_8b_on_256_devices_by_hand():
    model = named("llada-8b")
    found = footprint(model, Settings(batch=256, length=4096, optimizer="adamw"), MESH)
    w, vocab, feed_forward = 4096, 126_464, 18_432
    assert 2 * feed_forward == 3 * 12_288  # LLaDA's SwiGLU has three matrices
    matrices = 4 * w * w + 2 * w * feed_forward
    vectors = 2 * 5 * w + 2 * w + 2 * 128
    assert found.parameters == 32 * (matrices + vectors) + (vocab + 1) * w + w + vocab * w == 8_016_904_192
    # Matrices, embedding and head in 256 parts, vectors whole; parameters, EMA and two moments; a tally, counters.
    per_device = 4 * (32 * matrices + (2 * vocab + 1) * w) // 256 + 4 * (32 * vectors + w)
    assert found.gradients == per_device
    assert found.state_bytes == 4 * per_device + 4 * 4 * 4096 + 3 * 4
    assert found.tokens == 2**20
    products = 32 * (2 * matrices + 4 * 4096 * w) + 2 * w * vocab
    assert found.flops.forward == found.tokens * products
    assert found.flops.backward == 2 * found.flops.forward


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "least", "most"), [("10m", 9e6, 11e6), ("100m", 95e6, 105e6), ("1b", 0.95e9, 1.05e9)])
def test_sizes_are_what_they_are_called(name, least, most):
    shapes = jax.eval_shape(lambda: named(name).init(jax.random.key(0), SIZES[name]["length"]))
    assert least < sum(leaf.size for leaf in jax.tree.leaves(shapes)) < most


def test_without_a_mesh_every_device_has_every_byte_of_a_real_state():
    settings = Settings(batch=8, length=LENGTH, optimizer="muon")
    real = jax.jit(initial_state, static_argnums=(0, 1))(tiny_transformer(), settings)
    found = footprint(tiny_transformer(), settings, devices=4)
    assert found.state_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(real))
    assert found.gradients == sum(leaf.nbytes for leaf in jax.tree.leaves(real.params))
    assert sum(line.count for line in found.state) == len(jax.tree.leaves(real))
    assert {line.spec for line in found.state} == {"whole"}


@pytest.mark.thorough
def test_operations_agree_with_xla_and_so_do_the_bytes_of_the_state():
    # Width 64 is where what the formula leaves out (softmax, norms, loss) weighs most: it may be 7 % and is at least 0.
    settings = Settings(batch=4, length=32, optimizer="muon")
    found = compile_step(small(), settings)
    ours = footprint(small(), settings)
    assert 1.0 <= found.flops / ours.flops.total <= 1.07
    assert found.arguments - found.data == ours.state_bytes
    assert found.temporaries > ours.gradients
    assert found.collectives == ()


@pytest.mark.thorough
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_operations_of_wider_models_agree_within_three_per_cent(optimizer):
    for width, length, expansion in ((128, 128, 4), (256, 64, 2.5)):
        model = models.transformer(500, length=length, width=width, depth=2, heads=2, expansion=expansion)
        settings = Settings(batch=8, length=length, optimizer=optimizer)
        state = jax.eval_shape(lambda model=model, settings=settings: initial_state(model, settings))
        ours = step_flops(model, state.params, settings)
        assert 1.0 <= compile_step(model, settings).flops / ours.total <= 1.03


@pytest.mark.core
def test_a_context_counts_wherever_it_modulates_a_norm():
    """Two norms in each block and the last one; of the products behind it one of two: it is not trained."""
    settings = Settings(batch=4, length=32, optimizer="adamw")
    bare, found = footprint(small(2), settings), footprint(small(2), settings, context=np.ones((1, 10)))
    weights = 5 * 10 * 2 * 64
    assert found.parameters == bare.parameters + weights
    assert found.state_bytes == bare.state_bytes + 4 * 4 * weights
    assert found.flops.forward == bare.flops.forward + 2 * 4 * weights
    assert found.flops.backward == bare.flops.backward + 2 * 4 * weights
    assert found == footprint(small(2), settings, context=jax.ShapeDtypeStruct((1, 10), np.float32))
    assert footprint(small(2), settings, MESH | {"data": 4}, context=np.ones((1, 10))).parameters == found.parameters
    for wrong in (np.ones(10), np.ones((2, 10)), np.ones((1, 2, 5)), {"class": np.ones((1, 10))}, "10", 3):
        with pytest.raises(InputError, match=r"context must be one (row|array)"):
            footprint(small(), settings, context=wrong)


@pytest.mark.thorough
def test_labels_count_as_the_vectors_that_stand_for_them():
    """Operations and bytes of a step under label dropout agree with XLA's, in the process and in another."""
    settings = Settings(batch=256, length=8, optimizer="adamw")
    model, plain = (models.transformer(60, length=8, width=128, depth=1, heads=2, classes=n) for n in (10, 0))
    ours, label = footprint(model, settings), {"label": np.zeros(1, np.int32)}
    found = compile_step(model, settings, objective=ours.objective, context=label)
    assert found.arguments - found.data == ours.state_bytes
    assert ours.parameters == footprint(plain, settings).parameters + 11 * 128 + 3 * 128 * 2 * 128
    assert ours == footprint(model, settings, context=label)
    bare = compile_step(plain, settings).flops, footprint(plain, settings).flops.total
    # XLA counts the modulation's elementwise work too; a product less, by the vectors, would make it 1.6.
    assert 1.0 <= (found.flops - bare[0]) / (ours.flops.total - bare[1]) <= 1.15
    with pytest.raises(InputError, match=r"int32.1.}, as a model with classes takes it"):
        footprint(model, settings, context=np.ones((1, 10)))


@pytest.mark.thorough
def test_operations_and_bytes_of_a_wide_context_agree_with_xla():
    settings, context = Settings(batch=256, length=8, optimizer="adamw"), np.ones((1, 3000))
    model = models.transformer(60, length=8, width=64, depth=1, heads=2)
    found, ours = compile_step(model, settings, context=context), footprint(model, settings, context=context)
    assert found.arguments - found.data == ours.state_bytes
    bare = compile_step(model, settings).flops, footprint(model, settings).flops.total
    # Many rows, so that products outweigh what the optimiser does; a third one would make it 0.67.
    assert (found.flops - bare[0]) / (ours.flops.total - bare[1]) == pytest.approx(1, abs=0.03)


LATENT = models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=2)
PLAIN = models.transformer(4, length=8, width=16, depth=1, heads=2)


@pytest.mark.parametrize(
    ("model", "objective", "sentence"),
    [
        (LATENT, MaskedNelbo(), "with an objective for latents, as training.LatentSurrogate"),
        (PLAIN, LatentSurrogate(), "denoiser must be a model with latents"),
        (PLAIN, JointLatentBound(), "denoiser must be what models.joint_diffusion makes"),
    ],
)
def test_an_objective_that_cannot_train_the_model_is_refused(model, objective, sentence):
    """Operations of a step that does not exist would be counted all the same."""
    with pytest.raises(InputError, match=sentence):
        footprint(model, Settings(length=8, batch=2), objective=objective)


@pytest.mark.thorough
def test_operations_and_bytes_of_a_model_with_latents_agree_with_xla():
    """Two latents for each example: twice the denoiser, once the recognition network."""
    model = models.latent_transformer(60, length=32, width=192, depth=1, heads=2, latent_size=48, block=8)
    settings, twice = Settings(batch=4, length=32, optimizer="adamw"), LatentSurrogate(draws=2)
    ours, found = footprint(model, settings, objective=twice), compile_step(model, settings, objective=twice)
    assert found.arguments - found.data == ours.state_bytes
    assert 1.0 <= found.flops / ours.flops.total <= 1.03
    once = footprint(model, settings, objective=LatentSurrogate()).flops.forward
    plain = footprint(models.transformer(60, length=32, width=192, depth=1, heads=2), settings).flops.forward
    assert 2 * plain < ours.flops.forward < 2 * once


def test_a_latent_is_drawn_before_a_row_is_encoded():
    """The fault: the hundred steps of a prior by diffusion in every encoding."""
    model = models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
    plain, prior, joint = (inference(one) for one in (model, models.diffusion_prior(model), joint_diffusion(model)))
    assert plain.encoding == prior.encoding
    assert plain.parameters < prior.parameters
    # Beside a noisy latent stand its signal and its noise, two numbers more for the 4 x 3 hidden ones of its layer.
    assert joint.encoding - plain.encoding == 2 * 2 * 4 * 3


@pytest.mark.thorough
def test_operations_and_bytes_of_a_joint_model_agree_with_xla():
    model = models.latent_transformer(60, length=32, width=192, depth=1, heads=2, latent_size=48)
    settings = Settings(batch=4, length=32, optimizer="adamw")
    ours = footprint(joint_diffusion(model), settings, objective=JointLatentBound())
    found = compile_step(joint_diffusion(model), settings, objective=JointLatentBound())
    assert found.arguments - found.data == ours.state_bytes
    assert 1.0 <= found.flops / ours.flops.total <= 1.03


class TwoHeads(models.Transformer):
    """The logits are made twice."""

    def readout(self, hidden):
        return super().readout(hidden) + super().readout(2.0 * hidden)


def test_a_model_of_ones_own_is_counted_as_it_is():
    """The fault: a subclass whose base is counted. A module of another library has what its products have."""
    settings = Settings(batch=4, length=32, optimizer="adamw")
    plain, own = small(), models.from_linen(TwoHeads(60, 32, 64, 1, 2, 4, 2, 1000.0, 0.3, 0), 60)
    found, usual = footprint(own, settings), footprint(plain, settings)
    assert found.flops.forward - usual.flops.forward == 2 * 4 * 32 * 64 * 60
    assert found.flops.backward - usual.flops.backward == 2 * 2 * 4 * 32 * 64 * 60
    assert found.state_bytes == usual.state_bytes
    net = nnx.Sequential(nnx.Embed(5, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 4, rngs=nnx.Rngs(1)))
    model, params = models.from_nnx(net, vocab_size=4)
    found = footprint(model, settings, params=params)
    assert found.parameters == 5 * 8 + 8 * 4 + 4
    assert found.flops[:2] == (2 * 4 * 32 * 8 * 4, 2 * 2 * 4 * 32 * 8 * 4)
    with pytest.raises(InputError, match="params must be given, since NNXDenoiser cannot make its own"):
        footprint(model, settings)
    half = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params)
    with pytest.raises(InputError, match=r"params must be float32 where they are trained: .*; got bfloat16"):
        footprint(model, settings, params=half)


def test_an_objective_of_ones_own_is_counted_as_it_is():
    settings = Settings(batch=4, length=32)
    once, twice = footprint(small(), settings).flops, footprint(small(), settings, objective=Twice()).flops
    assert twice[:2] == (2 * once.forward, 2 * once.backward)


@pytest.mark.parametrize("make", [models.transformer, models.any_order, models.block_causal])
def test_the_line_through_two_shallow_models_is_exact(make):
    model, settings = make(60, length=16, width=16, depth=5, heads=2), Settings(batch=2, length=16)
    ours = footprint(model, settings)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), 16))
    assert ours.flops[:2] == flops_module._passes(model, shapes, settings, None, ours.objective)


@pytest.mark.processes
@pytest.mark.thorough
def test_the_compiler_is_told_of_the_context_in_another_process():
    settings, context = Settings(batch=4, length=8, optimizer="adamw"), np.ones((1, 5))
    model = models.transformer(6, length=8, width=8, depth=1, heads=1)
    found = footprint(model, settings, devices=2, context=context)
    told = extrapolated(model, found, show=False).compiled
    assert told.arguments - told.data == found.state_bytes
    with pytest.raises(InputError, match="context must be of dictionaries, tuples and lists"):
        compile_elsewhere(model, settings, context=Examples(np.ones((1, 5)), None))


def test_newton_schulz_counts_its_matrix_products():
    # x x^T, (x x^T)^2 and the last product with x, five times, for 3 x 4: (36 + 27 + 36) multiply-adds.
    assert newton_schulz_flops(3, 4) == newton_schulz_flops(4, 3) == 5 * 2 * (36 + 27 + 36)
    assert newton_schulz_flops(3, 5) == newton_schulz_flops(5, 3) == 2 * (4 * 45 + (9 + 5) * 27)  # three, then two


PROGRAM = """HloModule jit_step, entry_computation_layout={()->f32[]}

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add.1 = f32[] add(%a, %b)
}

%body.2 (carry: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %all-gather.1 = bf16[16,8]{1,0} all-gather(%x), channel_id=1, dimensions={0}
  ROOT %t = (s32[], f32[4,8]) tuple(%i, %y)
}

%condition.3 (carry: (s32[], f32[4,8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main.4 (p: f32[4,8]) -> f32[] {
  %w = (s32[], f32[4]) while(%init), condition=%condition.3, body=%body.2, backend_config={"known_trip_count":{"n":"5"}}
  %all-reduce.7 = (f32[4,8]{1,0}, pred[3]{0}) all-reduce(%p, %q), channel_id=2, to_apply=%sum
  %collective-permute.9 = s32[7]{0} collective-permute(%r), channel_id=3
  ROOT %all-reduce.8 = f32[] all-reduce(%z), channel_id=4, to_apply=%sum
}
"""


def test_messages_are_counted_as_often_as_they_are_sent():
    assert collectives(PROGRAM) == (
        Collective("all-gather", 5, 5 * 16 * 8 * 2),
        Collective("all-reduce", 2, 4 * 8 * 4 + 3 + 4),
        Collective("collective-permute", 1, 28),
    )


@pytest.mark.processes
@pytest.mark.thorough
def test_the_compiler_on_eight_devices_finds_the_bytes_we_count():
    settings = Settings(batch=8, length=32, optimizer="adamw")
    model = small(6)
    mesh = footprint(model, settings, {"data": 4, "model": 2})
    whole, line = compiled(model, mesh, show=False).compiled, extrapolated(model, mesh, show=False).compiled
    assert whole.arguments - whole.data == line.arguments - line.data == mesh.state_bytes
    assert (whole.blocks, line.blocks) == ((6,), (2, 4))
    assert line.temporaries == pytest.approx(whole.temporaries, rel=0.02)
    assert line.flops == pytest.approx(whole.flops, rel=0.02)
    assert {one.kind for one in whole.collectives} >= {"all-gather", "all-reduce"}
    everywhere = compile_elsewhere(model, settings, devices=8, show=False)
    assert everywhere.arguments - everywhere.data == footprint(model, settings, devices=8).state_bytes
    # Data parallel: one sum of all gradients, and of a few numbers beside.
    (messages,) = everywhere.collectives
    assert messages.kind == "all-reduce"
    assert 0 <= messages.bytes - 4 * mesh.parameters < 10_000


def test_what_goes_wrong_in_the_other_process_is_one_sentence(monkeypatch):
    settings = Settings(batch=4, length=32)

    def answer(code, error):
        return lambda *_, **__: subprocess.CompletedProcess([], code, "", error)

    monkeypatch.setattr(compiled_module.subprocess, "run", answer(1, "Traceback ...\nXlaRuntimeError: too large\n"))
    with pytest.raises(InputError, match="not be compiled on 1 virtual devices: XlaRuntimeError: too large"):
        compile_elsewhere(small(), settings, show=False)

    def late(*_, timeout, **__):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(compiled_module.subprocess, "run", late)
    with pytest.raises(InputError, match="took more than 2 s"):
        compile_elsewhere(small(), settings, limit=2, show=False)


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(InputError, match="batch must be a multiple of 32: 16 shares of rows, each in 2; got 16"):
        footprint(small(), Settings(batch=16, length=32, accumulate=2), MESH)
    with pytest.raises(InputError, match="model must be one of 10m, 100m, 1b, llada-8b; got '7b'"):
        named("7b")


def test_a_feed_forward_layer_may_be_a_fraction_wider():
    model = small(expansion=2.5)
    kernel = jax.eval_shape(lambda: model.init(jax.random.key(0), 8))["params"]["blocks_0"]["feed_forward"]["expand"]
    assert kernel["kernel"].shape == (64, 160)
    described = models.describe(model)
    assert models.from_description(json.loads(json.dumps(described))) == model
    # One model, one description.
    assert small(expansion=4.0) == small()
    assert type(models.describe(small(expansion=4.0))["expansion"]) is int
    for wrong in (0.0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="expansion must be positive and finite"):
            small(expansion=wrong)


def test_a_footprint_is_a_value():
    found = footprint(small(), Settings(batch=4, length=32))
    assert found == dataclasses.replace(found)
    assert np.isclose(found.flops.total, sum(found.flops))


def test_a_footprint_fits_a_screen():
    whole = Compiled(10**9, 10**9, 10**6, 10**12, tuple(Collective(kind, 9, 10**9) for kind in KINDS), 3.0, (2, 4))
    settings = Settings(batch=256, length=4096, optimizer="adamw")
    for found in (footprint(named("llada-8b"), settings, MESH), footprint(small(), Settings(batch=4, length=32))):
        assert len(repr(dataclasses.replace(found, compiled=whole))) < 24 * 80
        lines = f"state=<{len(found.state)} lines, {found.state_bytes:,} bytes on every device>"
        for part in (f"Footprint(parameters={found.parameters}, devices=", lines, "compiled=None, context=None, "):
            assert part in repr(found)


class Twice(MaskedNelbo):
    """The model is asked for everything twice, the second time of tokens turned round."""

    def losses(self, denoiser, params, examples, corrupted):
        once = super().losses(denoiser, params, examples, corrupted)
        turned = corrupted._replace(tokens=corrupted.tokens[:, ::-1], masked=corrupted.masked[:, ::-1])
        other = super().losses(denoiser, params, examples._replace(tokens=examples.tokens[:, ::-1]), turned)
        return once._replace(loss=once.loss + other.loss)


@pytest.mark.thorough
def test_the_objective_is_compiled_with_the_step():
    settings = Settings(batch=8, length=32, optimizer="adamw")
    one, two = compile_step(small(), settings), compile_step(small(), settings, objective=Twice())
    assert 1.7 < two.flops / one.flops < 2.1
    with pytest.raises(
        InputError, match=r"optimizer must be given where, and only where, settings\.optimizer is 'own'"
    ):
        footprint(small(), Settings(batch=8, length=32, optimizer="own"))
