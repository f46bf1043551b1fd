"""Where and how samples are drawn: on which devices, how many at once, what is kept, what is shown."""

import dataclasses
from pathlib import Path

from jax.sharding import Mesh

from mdm_jax.support.devices import DATA
from mdm_jax.support.errors import require, require_whole, verbatim


@dataclasses.dataclass(frozen=True)
class Execution:
    """Where and how :func:`~mdm_jax.evaluation.evaluate` and :func:`~mdm_jax.evaluation.race` draw. What is drawn does
    not depend on it, but for the rounding of the network in batches of another size.

    Attributes:
        devices: draw on so many local devices at once, by ``pmap``.
        mesh: or on a mesh with an axis "data" (:func:`mdm_jax.support.devices.make_mesh`), of several processes too:
            each must call this alike, and each gets all results.
        batch: rows that each device draws together; from length, width and memory if left out
            (:func:`mdm_jax.evaluation.samples.batches.default_batch`).
        store: a ``.jsonl`` file that keeps every finished batch: rows that are there are not drawn again. One file
            serves any samplers, keys and temperatures of one model.
        name: beside ``store``, what you call your own model and rules, in one word: "my model 3". What this library,
            Flax, Optax, JAX and NumPy define is known to a store. A class or a function of yours is not, as its code is
            not all that it does: give it another name whenever what it does changes. Parameters are always compared.
        progress: show a progress bar.

    Raises:
        InputError: both ``devices`` and ``mesh``, or a value that cannot be.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.evaluation.Execution(batch=64, store="rows.jsonl").store
        'rows.jsonl'
        >>> mdm.evaluation.Execution(store="rows.txt")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: store must be the path of a .jsonl file; got 'rows.txt'.
    """

    devices: int | None = None
    mesh: Mesh | None = None
    batch: int | None = None
    store: str | Path | None = None
    name: str | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for field in ("devices", "batch"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, require_whole(field, getattr(self, field), 1))
        store, mesh, name = self.store, self.mesh, self.name
        good = store is None or (isinstance(store, str | Path) and Path(store).suffix == ".jsonl")
        require(good, "store", str(store) if isinstance(store, Path) else store, "the path of a .jsonl file")
        require(mesh is None or isinstance(mesh, Mesh), "mesh", mesh, "a mesh (support.devices.make_mesh makes one)")
        require(self.devices is None or mesh is None, "mesh", mesh, "left out where devices is given")
        axes = (DATA,) if mesh is None else mesh.axis_names
        require(DATA in axes, "mesh", verbatim(f"axes {axes}"), "one with an axis 'data'")
        require(name is None or (isinstance(name, str) and name != ""), "name", name, "some text, as in 'my model 3'")


USUAL = Execution()
"""On the default device, nothing kept, nothing shown."""


def require_execution(given: object) -> None:
    """Refuse what is no :class:`Execution`."""
    wanted = "an Execution, as in evaluation.Execution(store='rows.jsonl')"
    require(isinstance(given, Execution), "execution", given, wanted)
