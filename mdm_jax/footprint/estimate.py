"""What a training run would take, before it is started: bytes on every device, operations, messages.

No weight is allocated: shapes come from abstract evaluation, bytes of the state from its sharding (exact), operations
from formulas, and what only a compiler knows from :mod:`mdm_jax.footprint.compiler`.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AbstractMesh

from mdm_jax.footprint.compiler import Compiled
from mdm_jax.footprint.flops import StepFlops, step_flops
from mdm_jax.footprint.lines import Line, grouped
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.cached import AnyOrderTransformer, BlockCausalTransformer
from mdm_jax.models.classes import LABEL
from mdm_jax.models.denoiser import Context
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.models.latent import LatentTransformer
from mdm_jax.models.transformers import RaggedTransformer, Transformer
from mdm_jax.support.devices import DATA
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.training.contexts import shapes_of
from mdm_jax.training.devices import explain
from mdm_jax.training.objective import MASKED_NELBO, Objective
from mdm_jax.training.objectives import (
    AnyOrderNelbo,
    BlockNelbo,
    JointLatentBound,
    fitting_objective,
    without_dropout,
)
from mdm_jax.training.objectives.latents import LatentObjective
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import TrainState, initial_state

_KNOWN = Transformer, RaggedTransformer, LatentTransformer, AnyOrderTransformer, BlockCausalTransformer
"""Of a subclass that is not known here the formula would count its base."""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What a run would take.

    Attributes:
        parameters: of the model.
        devices: how many.
        mesh: sizes of the mesh's axes; ``None`` for ``pmap`` (everything on every device).
        settings: how it would be trained.
        state: what lives from step to step, line by line.
        gradients: bytes of all gradients on every device, divided as the parameters; they live during a step.
        flops: operations of a step, over all devices.
        compiled: what the compiler says; ``None`` if it was not asked.
        context: the shape of one row of what the model gets as a context; ``None`` if it gets none.
        objective: what is learned.
    """

    parameters: int
    devices: int
    mesh: dict[str, int] | None
    settings: Settings
    state: tuple[Line, ...]
    gradients: int
    flops: StepFlops
    compiled: Compiled | None = None
    context: Context = None
    objective: Objective = MASKED_NELBO

    def __repr__(self) -> str:
        told = {field.name: repr(getattr(self, field.name)) for field in dataclasses.fields(self)}
        told["state"] = f"<{len(self.state)} lines, {self.state_bytes:,} bytes on every device>"
        return f"Footprint({', '.join(f'{name}={value}' for name, value in told.items())})"

    @property
    def state_bytes(self) -> int:
        """Bytes on every device that live from step to step: exact."""
        return sum(line.bytes for line in self.state)

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.settings.batch * self.settings.length


def footprint(
    denoiser: LinenDenoiser,
    settings: Settings,
    mesh: Mapping[str, int] | None = None,
    devices: int = 1,
    context: Context = None,
    objective: Objective | None = None,
) -> Footprint:
    """All that needs no compiler; takes seconds at any size.

    Args:
        denoiser: one of the library's transformers.
        settings: how to train.
        mesh: sizes of the axes "data" and "model"; without it everything is on each of ``devices``.
        devices: how many; a mesh has its own number.
        context: one row of what the model gets as a context, float32[1, context], or its shape; ``None`` if it gets
            none, or if its classes say so.
        objective: what is learned, one of the library's own; of a model with latents, one of theirs. The model's own
            (:func:`~mdm_jax.training.objectives.fitting_objective`) if left out.

    Raises:
        InputError: another model, an objective that cannot train it, a context that it does not take, or a batch that
            cannot be divided.

    Example:
        >>> import mdm_jax as mdm
        >>> model, settings = mdm.footprint.named("10m"), mdm.training.Settings(batch=8, length=256)
        >>> found = mdm.footprint.footprint(model, settings)
        >>> f"{found.parameters:,} parameters, {found.state_bytes:,} bytes, {found.flops.total:,} operations"
        '10,000,384 parameters, 122,261,536 bytes, 179,344,052,224 operations'
        >>> found = mdm.footprint.footprint(model, settings, mesh={"data": 4, "model": 2})
        >>> f"{found.state_bytes:,} bytes on each of {found.devices}"
        '15,827,488 bytes on each of 8'
    """
    model = denoiser.module
    if not isinstance(model, Transformer) or type(model) not in _KNOWN:
        raise InputError("the model must be one of the library's transformers: operations are counted by its formula.")
    objective = fitting_objective(denoiser) if objective is None else objective
    _require_objective(denoiser, without_dropout(objective))
    count, shares = (devices, devices) if mesh is None else (math.prod(mesh.values()), mesh.get(DATA, 1))
    require(count >= 1, "devices", count, "at least 1")
    wanted = f"a multiple of {shares * settings.accumulate}: {shares} shares of rows, each in {settings.accumulate}"
    require(settings.batch % (shares * settings.accumulate) == 0, "batch", settings.batch, wanted)
    labels = {LABEL: jax.ShapeDtypeStruct((1,), np.int32)}
    shown = shapes_of(labels if context is None and model.classes > 0 else context)
    good = shown is None or (isinstance(shown, jax.ShapeDtypeStruct) and len(shown.shape) == 2)
    wanted = "one array of shape [1, context], as the library's transformers take it"
    if model.classes > 0:
        good, wanted = shown == labels, f'{{"{LABEL}": int32[1]}}, as a model with classes takes it'
    require(good, "context", context, wanted)
    state: TrainState = jax.eval_shape(functools.partial(initial_state, denoiser, settings), None, shown)
    sizes = {DATA: 1} if mesh is None else dict(mesh)
    abstract = AbstractMesh(tuple(sizes.values()), tuple(sizes))
    lines = grouped(explain(abstract, state))
    gradients = sum(line.bytes for line in lines if line.section == "params")
    return Footprint(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        devices=count,
        mesh=None if mesh is None else dict(mesh),
        settings=settings,
        state=lines,
        gradients=gradients,
        flops=step_flops(model, state.params, settings, shown, objective),
        context=shown,
        objective=objective,
    )


def _require_objective(denoiser: LinenDenoiser, objective: Objective) -> None:
    """Refuse an objective that cannot train the model: operations of no step would be counted.

    Raises:
        InputError: one of latents without them, or none of theirs with them; of ranks or blocks for a model that has
            none, or another for one that has them, whose passes are counted by its own.
    """
    shown = verbatim(str(objective.describe().get("name", type(objective).__name__)))
    asks = isinstance(objective, LatentObjective | JointLatentBound)
    latent = isinstance(objective, LatentObjective) and isinstance(denoiser.module, LatentTransformer)
    wanted = "one of latents, as training.LatentSurrogate(), for a model with latents, and none of them for another"
    require(latent or not (asks or isinstance(denoiser.module, LatentTransformer)), "objective", shown, wanted)
    good = by_rank(denoiser) == isinstance(objective, AnyOrderNelbo)
    require(good, "objective", shown, "training.AnyOrderNelbo() for a model that goes by ranks, and for no other")
    blocks = block_length(denoiser) is not None
    good = blocks == isinstance(objective, BlockNelbo)
    require(good, "objective", shown, "training.BlockNelbo() for a model that goes by blocks, and for no other")
