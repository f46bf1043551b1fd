"""Floating-point operations of a training step of the library's transformer, by formula.

A multiplication and an addition are two operations. Forward and backward passes count matrix products only, the
optimiser everything: beside products of realistic widths the rest (norms, softmax, rotary positions, the loss) is a
few per cent, which is what XLA's own count of a compiled step shows above this one.
"""

from typing import Any, NamedTuple

import jax

from mdm_jax.models.cached import AnyOrderTransformer, BlockCausalTransformer
from mdm_jax.models.denoiser import Context
from mdm_jax.models.latent import LatentTransformer
from mdm_jax.models.latent.network import HIDDEN
from mdm_jax.models.transformers import Transformer
from mdm_jax.training.muon import spans
from mdm_jax.training.objective import MASKED_NELBO, Objective
from mdm_jax.training.optimizer import optimizer_of
from mdm_jax.training.settings import Settings

_ADAM, _MUON, _EVERY = 14, 8, 8
"""Per parameter: Adam's moments and update; Muon's momentum, normalisation and update; clipping, step, EMA."""


class StepFlops(NamedTuple):
    """Operations of one step over all devices.

    Attributes:
        forward: of the forward pass.
        backward: of the backward pass: two products for each of the forward pass, by inputs and by weights; of a
            context that is no label by weights alone.
        optimizer: of the update, the EMA of the parameters included.
    """

    forward: int
    backward: int
    optimizer: int

    @property
    def total(self) -> int:
        """All three."""
        return self.forward + self.backward + self.optimizer


def forward_flops(model: Transformer, tokens: int, length: int) -> int:
    """Matrix products of one forward pass of training.

    Every token meets each matrix once, ``2 rows columns`` operations, and every other position of its sequence twice
    (scores, mixture), ``4 length width`` in each block: what is not seen is computed too.

    Of a model with a cache two streams go through every block: content, and the questions or masked blocks that look
    at it. Through the last feed-forward layer and the head goes the second one alone. A block-causal model works in
    whole blocks, and each position meets those of its own block besides.

    Args:
        model: the transformer.
        tokens: in all sequences.
        length: of a sequence.
    """
    head = 2 * model.width * model.vocab_size
    if isinstance(model, AnyOrderTransformer):
        return tokens * (2 * model.depth * _block(model, length) - _feed_forward(model) + head)
    if isinstance(model, BlockCausalTransformer):
        padded = -(-length // model.block) * model.block
        blocks = 2 * model.depth * _block(model, padded + model.block) - _feed_forward(model)
        return tokens // length * (padded * blocks + length * head)
    return tokens * (model.depth * _block(model, length) + head)


def _block(model: Transformer, seen: int) -> int:
    """Of one block, for each token that looks at so many."""
    return 2 * model.width * 4 * model.width + _feed_forward(model) + 4 * seen * model.width


def _feed_forward(model: Transformer) -> int:
    return 4 * model.width * round(model.expansion * model.width)


def latent_flops(model: LatentTransformer, rows: int, length: int) -> tuple[int, int]:
    """Matrix products that latents add to one forward pass: those in the denoiser, and the recognition network.

    Every norm of every position is modulated by its latent, and in the recognition network by a mark of what it is to
    tell; a latent goes through a layer of its own before, and comes from the mean of its positions.

    Args:
        model: the transformer.
        rows: sequences.
        length: of a sequence.
    """
    size, width, depth = model.latent_size, model.width, model.recognition_depth
    modulation = 2 * size * 2 * width
    denoiser = rows * (length * (2 * model.depth + 1) * modulation + model.latents * 2 * 2 * size * HIDDEN * size)
    recognition = rows * length * (depth * _block(model, length) + (2 * depth + 1) * modulation)
    pooling = rows * model.latents * (2 * length * width + 2 * 2 * width * size)
    return denoiser, recognition + pooling


def context_flops(model: Transformer, rows: int, context: Context) -> int:
    """Matrix products of one forward pass by which a context modulates norms: two in each block, and the last one.

    Once for a row, whatever its streams.

    Args:
        model: the transformer.
        rows: sequences, each with a context of its own.
        context: one row of it, or its shape, [1, context]; ``None``: there is none. A label counts as the vector that
            stands for it, also where a row has none.
    """
    if context is None and model.classes == 0:
        return 0
    size = model.width if context is None or model.classes > 0 else context.shape[-1]
    return rows * (2 * model.depth + 1) * 2 * size * 2 * model.width


def newton_schulz_flops(rows: int, columns: int) -> int:
    """Of Muon's orthogonalisation of one matrix: for each Gram matrix two products with ``x``, the others are small."""
    short, long = sorted((rows, columns))
    return sum(2 * 2 * short * short * long + (4 * count - 3) * 2 * short**3 for count in spans(rows, columns))


def optimizer_flops(params: Any, settings: Settings, vocab_size: int) -> int:
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
    orthogonalised = sum(rows * columns for rows, columns in taken)
    products = sum(newton_schulz_flops(*shape) for shape in taken)
    return total + _ADAM * (sum(sizes) - orthogonalised) + _MUON * orthogonalised + products


def step_flops(
    model: Transformer, params: Any, settings: Settings, context: Context = None, objective: Objective = MASKED_NELBO
) -> StepFlops:
    """Of one training step, over all devices.

    Args:
        model: the transformer.
        params: its parameters, or their shapes.
        settings: how to train; batch, length and optimiser count.
        context: one row of what the model gets as a context, or its shape.
        objective: what is learned; several latents for each example (``draws``) are as many passes of the denoiser.

    Example:
        >>> import jax
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> shapes = jax.eval_shape(lambda: model.init(mdm.key(0), length=8))
        >>> mdm.footprint.step_flops(model.module, shapes, settings)
        StepFlops(forward=217088, backward=434176, optimizer=884640)
    """
    forward = forward_flops(model, settings.batch * settings.length, settings.length)
    modulation = context_flops(model, settings.batch, context)
    optimizer = optimizer_flops(params, settings, model.vocab_size)
    if isinstance(model, LatentTransformer):
        denoiser, recognition = latent_flops(model, settings.batch, settings.length)
        forward = getattr(objective, "draws", 1) * (forward + denoiser) + recognition
    learned = 2 if model.classes > 0 else 1  # the vectors of labels have a gradient, what is given has none
    return StepFlops(forward + modulation, 2 * forward + learned * modulation, optimizer)
