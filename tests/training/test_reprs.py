"""What a run, a state and a model print fits a screen, says what it is, and touches no traced array."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from toys import SETTINGS, PatternTask, tiny_transformer

from mdm_jax import models
from mdm_jax.training import fit, initial_state

SCREEN = 24 * 80


class Wide(linen.Module):
    """Fields that print long."""

    layers: tuple[int, ...]

    @linen.compact
    def __call__(self, tokens):
        return linen.Embed(7, 6)(tokens)


def test_a_run_says_where_it_is_how_far_and_of_what():
    run = fit(tiny_transformer(), PatternTask(), steps=1, settings=SETTINGS, progress=False)
    text = repr(run)
    assert len(text) < 600
    for part in ("in memory", "step 1 of 1", "pattern", "arrays", "LinenDenoiser(Transformer(vocab_size=6, length=8"):
        assert part in text
    assert repr(run.tally) == "Tally(length=8, examples=16.0 in effect, over 8 of the counts)"


def test_a_state_counts_its_arrays_and_may_be_traced():
    state = initial_state(tiny_transformer(), SETTINGS)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    text = repr(state)
    assert text.startswith(
        f"TrainState(step=0, params=<{len(jax.tree.leaves(state.params))} arrays, {numbers:,} numbers>"
    )
    assert len(text) < 300
    shapes = jax.eval_shape(lambda: state)
    assert "Tally(<1 array, 8 numbers> each)" in repr(shapes)
    seen = []
    jax.jit(lambda state: seen.append(repr(state)) or jnp.zeros(()))(state)
    assert len(seen[0]) < 300


def test_models_of_all_kinds_print_a_line_or_two():
    module = nnx.Sequential(nnx.Embed(7, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 6, rngs=nnx.Rngs(0)))
    wide = models.from_linen(Wide(tuple(range(1000))), 6)
    for denoiser, begins in (
        (tiny_transformer(), "LinenDenoiser(Transformer(vocab_size=6, length=8, width=16"),
        (wide, "LinenDenoiser(Wide(layers=(0, 1, 2"),
        (models.from_nnx(module, 6)[0], "NNXDenoiser(Sequential, vocab_size=6, mask_id=6)"),
        (models.guided(models.top_p(wide, 0.9)), "Guided(denoiser=Ruled(denoiser=LinenDenoiser("),
    ):
        assert repr(denoiser).startswith(begins)
        assert len(repr(denoiser)) < SCREEN / 4
        assert "\n" not in repr(denoiser)
