"""Three ways to run the one training step: on a device, on the devices of a process (``pmap``), on a mesh (``jit``).

Each takes and returns a :class:`~mdm_jax.training.step.TrainState` that looks the same from outside, so the loop around
them does not know which it has; results are the same up to rounding. A checkpoint written one way is read in any other.
"""

import functools
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxtyping import Array, Int

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.support.devices import DATA, local_devices
from mdm_jax.support.errors import InputError, require
from mdm_jax.training.batches import Drawn
from mdm_jax.training.devices import TOGETHER, AlongAxis, OnMesh, Rows, shardings
from mdm_jax.training.objective import MASKED_NELBO, Objective
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import Data, Metrics, TrainState, initial_params, initial_state, train_steps


class Job(NamedTuple):
    """What is trained, and how: all that decides the compiled step, wherever it runs. Hashable.

    Attributes:
        denoiser: the model.
        settings: how to train.
        objective: what is learned.
        optimizer: a user's own transformation, or the recipe that the settings name.
    """

    denoiser: Denoiser
    settings: Settings
    objective: Objective = MASKED_NELBO
    optimizer: optax.GradientTransformation | None = None


@runtime_checkable
class Way(Protocol):
    """A way to run the step."""

    @property
    def rows(self) -> Rows:
        """How a batch is divided."""
        ...

    def abstract(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        """Shapes, types and places of a state, without making one: what a checkpoint is read into."""
        ...

    def initial(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        """The state before the first step."""
        ...

    def steps(self, job: Job, state: TrainState, train: Data, count: int) -> tuple[TrainState, Metrics]:
        """As :func:`~mdm_jax.training.step.train_steps`; ``state`` is given up."""
        ...

    def put(self, data: Any) -> Any:
        """Data, a pytree of NumPy arrays, on every device."""
        ...

    def rows_here(self, batch: int) -> Int[np.ndarray, " rows"]:
        """Which rows of a batch the devices of this process need, ascending."""
        ...

    def put_rows(self, drawn: Drawn, batch: int) -> Drawn:
        """Batches of several steps, of which NumPy arrays hold the rows that are needed here, where a step wants them.

        Args:
            drawn: arrays of shape [steps, rows here, ...].
            batch: rows of a batch in all.
        """
        ...

    def released(self, params: Params) -> Params:
        """Parameters as they are handed out when training is over."""
        ...


class OnOneDevice:
    """``jit`` on the default device."""

    rows = TOGETHER

    def abstract(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        return _placed(_shapes(job, params, context), SingleDeviceSharding(jax.local_devices()[0]))

    def initial(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        # Committed to its device, as a restored state is: otherwise resuming compiles the step anew.
        return jax.device_put(_initial(job, params, context), SingleDeviceSharding(jax.local_devices()[0]))

    def steps(self, job: Job, state: TrainState, train: Data, count: int) -> tuple[TrainState, Metrics]:
        return _steps(job, state, train, jnp.int32(count), self.rows)

    def put(self, data: Any) -> Any:
        return jax.tree.map(jnp.asarray, data)

    def rows_here(self, batch: int) -> Int[np.ndarray, " rows"]:
        return np.arange(batch)

    def put_rows(self, drawn: Drawn, batch: int) -> Drawn:
        return jax.device_put(drawn, SingleDeviceSharding(jax.local_devices()[0]))

    def released(self, params: Params) -> Params:
        return params


class OnDevices:
    """``pmap`` over devices of this process: each works on its share of the batch, gradients are summed by ``psum``.

    Args:
        count: how many devices.
    """

    def __init__(self, count: int) -> None:
        require(jax.process_count() == 1, "devices", count, "left out in a run of several processes; give a mesh")
        self.devices = local_devices(count)
        self._everywhere = NamedSharding(Mesh(np.asarray(self.devices), (DATA,)), PartitionSpec())
        self.rows = AlongAxis(DATA, count)

    def abstract(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        return _placed(_shapes(job, params, context), self._everywhere)

    def initial(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        return jax.device_put(_initial(job, params, context), self._everywhere)

    def steps(self, job: Job, state: TrainState, train: Data, count: int) -> tuple[TrainState, Metrics]:
        run = _pmapped(job, self.rows, self.devices)
        return run(state, train, jnp.int32(count), np.zeros(len(self.devices), np.int32))

    def put(self, data: Any) -> Any:
        return jax.device_put(data, self._everywhere)

    def rows_here(self, batch: int) -> Int[np.ndarray, " rows"]:
        return np.arange(batch)

    def put_rows(self, drawn: Drawn, batch: int) -> Drawn:
        return self.put(drawn)  # each device sees all rows of data in memory, too

    def released(self, params: Params) -> Params:
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), params)


class OnAMesh:
    """``jit`` over a mesh, of one process or several: rows along "data", parameters along both axes.

    Args:
        mesh: axes among "data" and "model"; see :func:`mdm_jax.support.devices.make_mesh`.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._drawn = NamedSharding(mesh, PartitionSpec(None, DATA if DATA in mesh.axis_names else None))
        self.rows = OnMesh(mesh)

    def abstract(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        shapes = _shapes(job, params, context)
        return jax.tree.map(_at, shapes, shardings(self.rows.mesh, shapes))

    def initial(self, job: Job, params: Params | None = None, context: Context = None) -> TrainState:
        places = shardings(self.rows.mesh, _shapes(job, params, context))
        return jax.jit(_begun, static_argnums=0, out_shardings=places)(job, params, context)

    def steps(self, job: Job, state: TrainState, train: Data, count: int) -> tuple[TrainState, Metrics]:
        places = jax.tree.map(lambda leaf: leaf.sharding, state)
        leaves, tree = jax.tree.flatten(places)
        run = _meshed(job, self.rows, tree, tuple(leaves))
        return run(state, train, np.int32(count))

    def put(self, data: Any) -> Any:
        def one(values: np.ndarray) -> Array:
            return jax.make_array_from_callback(values.shape, self._everywhere, lambda index: values[index])

        return jax.tree.map(one, data)

    def rows_here(self, batch: int) -> Int[np.ndarray, " rows"]:
        parts = self._drawn.addressable_devices_indices_map((1, batch)).values()
        return np.unique(np.concatenate([np.arange(batch)[part[1]] for part in parts if part is not None]))

    def put_rows(self, drawn: Drawn, batch: int) -> Drawn:
        here = self.rows_here(batch)

        def one(values: np.ndarray) -> Array:
            def part(index: Any) -> np.ndarray:
                return values[:, np.searchsorted(here, np.arange(batch)[index[1]])]

            return jax.make_array_from_callback((len(values), batch, *values.shape[2:]), self._drawn, part)

        return jax.tree.map(one, drawn)

    def released(self, params: Params) -> Params:
        return params  # they may be too large for one device


def choose(devices: int | None = None, mesh: Mesh | None = None) -> Way:
    """The way that a user asks for: a mesh, a number of devices, or neither.

    Raises:
        InputError: both, or several processes and no mesh.
    """
    if devices is not None and mesh is not None:
        raise InputError("devices and mesh cannot both be given: a mesh says how many devices it has.")
    if mesh is not None:
        wanted = 'a mesh, as support.devices.make_mesh({"data": 2}) makes it'
        require(isinstance(mesh, Mesh), "mesh", mesh, wanted)
        return OnAMesh(mesh)
    if devices is not None:
        return OnDevices(devices)
    require(jax.process_count() == 1, "mesh", None, f"given, since there are {jax.process_count()} processes")
    return OnOneDevice()


def check(way: Way, settings: Settings) -> None:
    """Refuse a batch that cannot be divided as ``way`` does.

    Raises:
        InputError: the batch is no multiple of devices times accumulated parts.
    """
    parts = way.rows.parts * settings.accumulate
    wanted = f"a multiple of {parts}: {way.rows.parts} shares of rows, {settings.accumulate} accumulated parts of each"
    require(settings.batch % parts == 0, "batch", settings.batch, wanted)


def encoded(job: Job, params: Params | None) -> Any:
    """The shapes of what the model makes of one row without a context, to see whether it can be run so."""

    def one(params: Params | None) -> Any:
        begun = initial_params(job.denoiser, job.settings, params)
        return job.denoiser.encode(begun, jnp.zeros((1, job.settings.length), jnp.int32))

    return jax.eval_shape(one, params)


def fetch(tree: Any) -> Any:
    """A tree of arrays as NumPy arrays, on every process: all of them must ask for it."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return leaf
        place = leaf.sharding
        assert isinstance(place, NamedSharding)  # all that this library makes
        return jax.jit(lambda value: value, out_shardings=NamedSharding(place.mesh, PartitionSpec()))(leaf)

    return jax.tree.map(lambda leaf: np.asarray(one(leaf)), tree)


def is_writer() -> bool:
    """Whether this process is the one that writes files."""
    return jax.process_index() == 0


def _begun(job: Job, params: Params | None, context: Context) -> TrainState:
    return initial_state(job.denoiser, job.settings, params, context, job.optimizer)


def _went_on(job: Job, state: TrainState, train: Data, count: Array, rows: Rows) -> tuple[TrainState, Metrics]:
    return train_steps(job.denoiser, job.settings, state, train, count, rows, job.objective, job.optimizer)


def _shapes(job: Job, params: Params | None, context: Context) -> TrainState:
    return jax.eval_shape(functools.partial(_begun, job), params, context)


def _at(leaf: jax.ShapeDtypeStruct, place: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def _placed(shapes: TrainState, place: Any) -> TrainState:
    return jax.tree.map(lambda leaf: _at(leaf, place), shapes)


_initial = jax.jit(_begun, static_argnums=0)
_steps = jax.jit(_went_on, static_argnums=(0, 4), donate_argnums=1)


@functools.lru_cache(maxsize=8)
def _pmapped(job: Job, rows: AlongAxis, devices: tuple[Any, ...]) -> Any:
    """``train_steps`` on every device; state in and out as one, not once per device."""

    def each(state: TrainState, train: Data, count: Array, _: Array) -> tuple[TrainState, Metrics]:
        return _went_on(job, state, train, count, rows)

    # pmap wants something to map over: a zero for each device.
    return jax.pmap(each, rows.axis, in_axes=(None, None, None, 0), out_axes=None, devices=devices, donate_argnums=0)  # pyright: ignore[reportCallIssue]


@functools.lru_cache(maxsize=8)
def _meshed(job: Job, rows: OnMesh, tree: Any, leaves: tuple[Any, ...]) -> Any:
    """``train_steps`` over the mesh; the state stays where it is."""
    everywhere = NamedSharding(rows.mesh, PartitionSpec())

    def whole(state: TrainState, train: Data, count: Array) -> tuple[TrainState, Metrics]:
        return _went_on(job, state, train, count, rows)

    return jax.jit(whole, out_shardings=(jax.tree.unflatten(tree, leaves), everywhere), donate_argnums=0)
