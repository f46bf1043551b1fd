"""Floating-point operations of a training step, of any model and any objective.

A multiplication and an addition are two operations. Forward and backward passes count matrix products only, one by one
in what JAX traces (:mod:`mdm_jax.footprint.products`), and the optimiser everything: beside products of realistic
widths the rest (norms, softmax, rotary positions, the loss) is a few per cent, which is what XLA's own count of a
compiled step shows above this one.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mdm_jax.footprint.depths import SHALLOW, at_depth, depth_of, of_depth
from mdm_jax.footprint.products import matrix_products
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.parameters import parted
from mdm_jax.support.keys import key_of
from mdm_jax.training.muon import COEFFICIENTS, orthogonalised
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective
from mdm_jax.training.optimizer import optimizer_of
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import initial_params, loss_and_gradient

_ADAM, _MUON, _EVERY = 14, 8, 8
"""Per parameter: Adam's moments and update; Muon's momentum, normalisation and update; clipping, step, EMA."""


class StepFlops(NamedTuple):
    """Operations of one step over all devices.

    Attributes:
        forward: of the forward pass.
        backward: of the backward pass: two products for each of the forward pass, by inputs and by weights, where both
            are moved; of a context that is no label by weights alone.
        optimizer: of the update, the EMA of the parameters included.
    """

    forward: int
    backward: int
    optimizer: int

    @property
    def total(self) -> int:
        """All three."""
        return self.forward + self.backward + self.optimizer


def step_flops(
    denoiser: Denoiser,
    params: Params,
    settings: Settings,
    context: Context = None,
    objective: Objective = MASKED_NELBO,
) -> StepFlops:
    """Of one training step, over all devices.

    The library's own models with many blocks are traced with two and four of them: the line through both is exact.

    Args:
        denoiser: any model.
        params: its parameters, or their shapes.
        settings: how to train; batch, length and optimiser count.
        context: one row of what is known of the data's rows, or its shape.
        objective: what is learned, of any kind.

    Raises:
        InputError: an objective that cannot train the model; products that cannot be counted
            (:func:`~mdm_jax.footprint.matrix_products`).

    Example:
        >>> import jax
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> shapes = jax.eval_shape(lambda: model.init(mdm.key(0), length=8))
        >>> mdm.footprint.step_flops(model, shapes, settings)
        StepFlops(forward=217088, backward=434176, optimizer=884640)
    """
    optimizer = optimizer_flops(parted(denoiser, params)[0], settings, denoiser.vocab_size)
    depth = depth_of(denoiser)
    if depth is None or depth <= SHALLOW[1]:
        return StepFlops(*_passes(denoiser, params, settings, context, objective), optimizer)
    shown, found = jax.eval_shape(objective.context, context), []
    for shallow in (of_depth(denoiser, blocks) for blocks in SHALLOW):
        fewer = jax.eval_shape(functools.partial(initial_params, shallow, settings), None, shown)
        found.append(_passes(shallow, fewer, settings, context, objective))
    forward, backward = (at_depth(depth, *figures) for figures in zip(*found, strict=True))
    return StepFlops(forward, backward, optimizer)


def _passes(
    denoiser: Denoiser, params: Params, settings: Settings, context: Context, objective: Objective
) -> tuple[int, int]:
    """Matrix products of the forward and the backward pass of a whole batch."""
    whole = dataclasses.replace(settings, accumulate=1)
    tokens = jax.ShapeDtypeStruct((settings.batch, settings.length), jnp.int32)
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((settings.batch, *leaf.shape[1:]), leaf.dtype), context)
    examples = Examples(tokens, rows)

    def corrupted(examples: Examples) -> Any:
        return objective.corrupt(key_of(0), denoiser, examples, jnp.float32(0.5))

    batch = examples, jax.eval_shape(corrupted, examples)
    forward = matrix_products(lambda params, *batch: objective.losses(denoiser, params, *batch), params, *batch)
    step = functools.partial(loss_and_gradient, denoiser, whole, objective=objective)
    return forward, matrix_products(step, params, *batch) - forward


@functools.lru_cache(256)
def newton_schulz_flops(rows: int, columns: int) -> int:
    """Of Muon's orthogonalisation of one matrix."""
    matrix = jax.ShapeDtypeStruct((rows, columns), jnp.float32)
    return matrix_products(orthogonalised, matrix, jnp.asarray(COEFFICIENTS))


def optimizer_flops(params: Params, settings: Settings, vocab_size: int) -> int:
    """Of the update of all parameters, their EMA included; elementwise operations are counted by hand.

    Args:
        params: parameters or their shapes.
        settings: how to train.
        vocab_size: of the model.
    """
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    total = _EVERY * sum(sizes)
    if settings.optimizer == "adamw":
        return total + _ADAM * sum(sizes)
    state = jax.eval_shape(optimizer_of(settings, vocab_size).init, params)
    # Muon keeps one moment, of the matrices it takes, and nothing else of two axes that Adam has not.
    taken = [leaf.shape for leaf in jax.tree.leaves(state[1].inner_states["muon"]) if len(leaf.shape) == 2]
    matrices = sum(rows * columns for rows, columns in taken)
    products = sum(newton_schulz_flops(*shape) for shape in taken)
    return total + _ADAM * (sum(sizes) - matrices) + _MUON * matrices + products
