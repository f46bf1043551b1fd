"""What is kept of an evaluation: which model's store is opened, and what each row is known by there."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mdm_jax.evaluation.samples.execution import Execution
from mdm_jax.evaluation.samples.fingerprints import Owner, fingerprint, host
from mdm_jax.evaluation.samples.store import Row, RowId, Store
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.sampling import Blind, Rule
from mdm_jax.support.errors import require
from mdm_jax.support.locks import exclusive
from mdm_jax.support.processes import together
from mdm_jax.support.version import VERSION
from mdm_jax.theory.plans import Plan


@contextlib.contextmanager
def opened(execution: Execution, denoiser: Denoiser, params: Params, length: int) -> Iterator[Store | None]:
    """The store, locked; ``None`` if there is none, or in other processes than the first."""
    if execution.store is None:
        yield None
        return
    path, name = Path(execution.store), execution.name
    together(lambda: require(not path.is_dir(), "store", str(path), "a .jsonl file; this is a folder"))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    model = {
        "mdm_jax": VERSION,
        "denoiser": fingerprint(denoiser, owner=None if name is None else (name,)),
        "parameters": fingerprint({jax.tree_util.keystr(place): host(leaf) for place, leaf in leaves}),
    }
    if name is not None:
        model = {"name": name, **model}
    with contextlib.ExitStack() as stack:

        def opened() -> Store | None:
            if jax.process_index() > 0:
                return None
            stack.enter_context(exclusive(path.with_name(f".{path.name}.lock"), f"the store {path}"))
            return Store(path, model, length, max(denoiser.vocab_size - 1, denoiser.mask_id))

        yield together(opened)


def keep(kept: Store | None, rows: Mapping[RowId, Row]) -> None:
    """Write finished rows, in the first process; the others wait for it."""
    together(lambda: None if kept is None else kept.add(rows))


def row_ids(
    samplers: Mapping[str, Blind | Rule],
    key: PRNGKeyArray,
    temperature: float,
    canvas: np.ndarray,
    context: Context,
    name: str | None,
) -> list[list[RowId]]:
    """What identifies each row, by sampler and sample."""
    owner = None if name is None else (name,)
    law = fingerprint(str(jax.random.key_impl(key)), jax.random.key_data(key), temperature)
    leaves, tree = jax.tree.flatten(jax.tree.map(np.asarray, context))
    rows = [fingerprint(law, row, tree, [leaf[s] for leaf in leaves], owner=owner) for s, row in enumerate(canvas)]
    found = [identity(sampler, owner and (*owner, label)) for label, sampler in samplers.items()]
    return [[(fingerprint(one, row), s) for s, row in enumerate(rows)] for one in found]


def identity(sampler: Blind | Rule, owner: Owner = None) -> str:
    """What a sampler does: neither what it is called nor where it came from, but for functions of its owner's."""
    if isinstance(sampler, Rule):
        return fingerprint(sampler.replace(rows=None), owner=owner)  # pyright: ignore[reportAttributeAccessIssue]
    plan = sampler.plans[0]
    numbers = plan.sizes if isinstance(plan, Plan) else plan.fractions
    order = sampler.order if isinstance(sampler.order, str) else np.atleast_2d(np.asarray(sampler.order, np.int64))[0]
    origin = () if sampler.origin is None else (sampler.origin,)
    return fingerprint(type(plan), numbers, order, sampler.block, *origin, owner=owner)
