"""What a training run would take, before it is started: bytes on every device, operations, messages.

No weight is allocated: shapes come from abstract evaluation, bytes of the state from its sharding (exact), operations
from the program that JAX traces, and what only a compiler knows from :mod:`mdm_jax.footprint.compiler`.
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
from mdm_jax.models.classes import LABEL, classes_of
from mdm_jax.models.denoiser import Context, Denoiser, Params, layers
from mdm_jax.models.parameters import parted
from mdm_jax.models.transformers import Transformer
from mdm_jax.support.devices import DATA
from mdm_jax.support.errors import require, verbatim
from mdm_jax.training.contexts import shapes_of
from mdm_jax.training.devices import explain
from mdm_jax.training.objective import MASKED_NELBO, Objective
from mdm_jax.training.objectives import fitting_objective
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import TrainState, initial_state


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
    denoiser: Denoiser,
    settings: Settings,
    mesh: Mapping[str, int] | None = None,
    devices: int = 1,
    context: Context = None,
    objective: Objective | None = None,
    params: Params = None,
) -> Footprint:
    """All that needs no compiler; takes seconds at any size.

    Args:
        denoiser: any model.
        settings: how to train.
        mesh: sizes of the axes "data" and "model"; without it everything is on each of ``devices``.
        devices: how many; a mesh has its own number.
        context: one row of what is known of the data's rows, or its shape: float32[1, context] for one of the library's
            transformers; ``None`` if nothing is, or if the model's classes say so.
        objective: what is learned. The model's own (:func:`~mdm_jax.training.objectives.fitting_objective`) if left
            out.
        params: the parameters or their shapes, of a model that cannot make its own (NNX modules, plain functions).

    Raises:
        InputError: an objective that cannot train the model, a context that it does not take, parameters that are not
            trained as they are (bfloat16), a batch that cannot be divided, or products that cannot be counted
            (:func:`~mdm_jax.footprint.matrix_products`).

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
    objective = fitting_objective(denoiser) if objective is None else objective
    count, shares = (devices, devices) if mesh is None else (math.prod(mesh.values()), mesh.get(DATA, 1))
    require(count >= 1, "devices", count, "at least 1")
    wanted = f"a multiple of {shares * settings.accumulate}: {shares} shares of rows, each in {settings.accumulate}"
    require(settings.batch % (shares * settings.accumulate) == 0, "batch", settings.batch, wanted)
    known = _known(denoiser, context)
    shown = jax.eval_shape(objective.context, known)
    state: TrainState = jax.eval_shape(functools.partial(initial_state, denoiser, settings), params, shown)
    trained = parted(denoiser, state.params)[0]
    for leaf in jax.tree.leaves(trained):
        wide = "float32 where they are trained: what is narrower is measured and sampled"
        require(leaf.dtype.itemsize >= 4, "params", verbatim(leaf.dtype.name), wide)
    place = abstract_mesh(mesh)
    return Footprint(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        devices=count,
        mesh=None if mesh is None else dict(mesh),
        settings=settings,
        state=grouped(explain(place, state)),
        gradients=sum(part.bytes for part in explain(place, trained)),
        flops=step_flops(denoiser, state.params, settings, known, objective),
        context=known,
        objective=objective,
    )


def abstract_mesh(mesh: Mapping[str, int] | None) -> AbstractMesh:
    """A mesh of devices that need not be there; of one device, where everything is on each.

    Args:
        mesh: sizes of the axes "data" and "model".
    """
    sizes = {DATA: 1} if mesh is None else dict(mesh)
    return AbstractMesh(tuple(sizes.values()), tuple(sizes))


def _known(denoiser: Denoiser, context: Context) -> Context:
    """The shapes of one row of a context; of one of the library's transformers one that it takes."""
    classes = classes_of(denoiser)
    labels = {LABEL: jax.ShapeDtypeStruct((1,), np.int32)}
    known = shapes_of(labels if context is None and classes > 0 else context)
    good, wanted = True, ""
    if isinstance(getattr(list(layers(denoiser))[-1], "module", None), Transformer):
        good = known is None or (isinstance(known, jax.ShapeDtypeStruct) and len(known.shape) == 2)
        wanted = "one array of shape [1, context], as the library's transformers take it"
    if classes > 0:
        good, wanted = known == labels, f'{{"{LABEL}": int32[1]}}, as a model with classes takes it'
    require(good, "context", context, wanted)
    return known
