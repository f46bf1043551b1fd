"""How the rows of a batch are divided over devices: the only thing in which the three ways of running a step differ."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped

from mdm_jax.support.devices import DATA
from mdm_jax.training.devices.sharding import gathered


@runtime_checkable
class Rows(Protocol):
    """The division of a batch; hashable, since it decides the executable."""

    @property
    def parts(self) -> int:
        """How many parts there are; the batch must be a multiple of it."""
        ...

    def take_share(self, batch: Any) -> Any:
        """Of arrays whose leading axis is the batch, the rows that are this program's to work on."""
        ...

    def pin_rows(self, batch: Any) -> Any:
        """Some of this program's rows, told once more where they lie: inside a loop a compiler forgets."""
        ...

    def mean_over_shares(self, tree: Any) -> Any:
        """The mean over all rows, of means over this program's rows."""
        ...

    def gather_params(self, params: Any) -> Any:
        """Parameters, told how they lie where they are used: whole along "data"."""
        ...

    def gather_rows(self, values: Shaped[Array, " rows *more"]) -> Shaped[Array, " batch *more"]:
        """The values of all rows, in the batch's order, of those of this program's rows."""
        ...


@dataclasses.dataclass(frozen=True)
class Together:
    """One program that works on all of them."""

    parts: int = 1

    def take_share(self, batch: Any) -> Any:
        return batch

    def pin_rows(self, batch: Any) -> Any:
        return batch

    def mean_over_shares(self, tree: Any) -> Any:
        return tree

    def gather_params(self, params: Any) -> Any:
        return params

    def gather_rows(self, values: Shaped[Array, " rows *more"]) -> Shaped[Array, " batch *more"]:
        return values


TOGETHER = Together()
"""All rows in one program: what a step takes if it is told nothing else."""


@dataclasses.dataclass(frozen=True)
class AlongAxis:
    """One program per device under ``pmap``: consecutive rows to each, means by ``psum`` over the named axis."""

    axis: str
    parts: int

    def take_share(self, batch: Any) -> Any:
        def part(leaf: Array) -> Array:
            rows = leaf.shape[0] // self.parts
            return jax.lax.dynamic_slice_in_dim(leaf, jax.lax.axis_index(self.axis) * rows, rows)

        return jax.tree.map(part, batch)

    def pin_rows(self, batch: Any) -> Any:
        return batch

    def mean_over_shares(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.lax.psum(leaf, self.axis) / self.parts, tree)

    def gather_params(self, params: Any) -> Any:
        return params

    def gather_rows(self, values: Shaped[Array, " rows *more"]) -> Shaped[Array, " batch *more"]:
        # A sum of parts and zeros, not a gather: so the compiler knows that it is the same everywhere.
        rows = values.shape[0]
        whole = jnp.zeros((rows * self.parts, *values.shape[1:]), values.dtype)
        start = jax.lax.axis_index(self.axis) * rows
        return jax.lax.psum(jax.lax.dynamic_update_slice_in_dim(whole, values, start, 0), self.axis)


@dataclasses.dataclass(frozen=True)
class OnMesh:
    """One program over a mesh: the compiler divides the work, told only where the rows lie."""

    mesh: Mesh

    @property
    def parts(self) -> int:
        return self.mesh.shape.get(DATA, 1)

    def take_share(self, batch: Any) -> Any:
        spec = PartitionSpec(DATA) if DATA in self.mesh.axis_names else PartitionSpec()
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, NamedSharding(self.mesh, spec)), batch)

    def pin_rows(self, batch: Any) -> Any:
        return self.take_share(batch)

    def mean_over_shares(self, tree: Any) -> Any:
        return tree

    def gather_params(self, params: Any) -> Any:
        return jax.lax.with_sharding_constraint(params, gathered(self.mesh, params))

    def gather_rows(self, values: Shaped[Array, " rows *more"]) -> Shaped[Array, " batch *more"]:
        return jax.lax.with_sharding_constraint(values, NamedSharding(self.mesh, PartitionSpec()))
