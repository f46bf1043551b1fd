"""Rows of many samplers as one array program: which of them share a batch, and how a batch runs on each device.

Every batch has one shape, and every device runs the same program on a batch of its own, with no communication: so a
sample is the same bit for bit wherever and beside whatever it is drawn. (Rows divided by the compiler, by bare
``NamedSharding``, would meet in global sorts, and be computed in other shapes.)
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int

from mdm_jax.evaluation.samples.fingerprints import host
from mdm_jax.models.denoiser import Context, Denoiser, Params, begun
from mdm_jax.sampling import Blind, Rule, blind_loop
from mdm_jax.sampling.adaptive import unmarked
from mdm_jax.sampling.rule import alike, joined, ready, require_fit
from mdm_jax.support.devices import DATA, local_devices
from mdm_jax.support.keys import key_of
from mdm_jax.theory.plans import Plan


class Rows(NamedTuple):
    """What a batch draws: ``sampler`` is int32[rows, length], the step of each position, or a rule for so many rows."""

    sampler: Any
    canvas: Any
    ids: Any
    context: Context


class Drawn(NamedTuple):
    """What came of it."""

    tokens: Int[Any, "*devices rows length"]
    nfe: Int[Any, "*devices rows"]
    remaining: Int[Any, "*devices rows"]
    log_prob: Float[Any, "*devices rows"]


Outcome = tuple[Drawn, Bool[Any, "*devices rows"]]
"""What a program draws, and where ``log_prob`` is none: NaN is put in on the host (``jax_debug_nans`` looks at what
programs return)."""


class Batch(NamedTuple):
    """Which rows: the sampler's and the sample's number of each, padded to the batch's size by the last one.

    Attributes:
        structure: equal where batches run the same program.
        samplers: int[rows].
        samples: int[rows].
        filled: how many of them are no padding.
    """

    structure: Hashable
    samplers: np.ndarray
    samples: np.ndarray
    filled: int


def normal(sampler: Blind | Rule, denoiser: Denoiser, free: Bool[np.ndarray, "samples length"]) -> Blind | Rule:
    """A rule with its numbers on the host and its functions in the tree; blind orders as they are.

    Raises:
        InputError: a rule whose plan is not for what is free, or whose end is no token of the denoiser's.
    """
    if isinstance(sampler, Blind):
        return sampler
    require_fit(sampler, denoiser, free)
    return jax.device_get(ready(sampler.replace(planned=None)))  # pyright: ignore[reportAttributeAccessIssue]


def cut(samplers: Sequence[Blind | Rule], wanted: np.ndarray, batch: int) -> list[Batch]:
    """The rows that are ``wanted``, in batches that can be drawn together and need similarly many steps.

    Args:
        samplers: as :func:`normal` returns them.
        wanted: bool[samplers, samples].
        batch: rows of each.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, sampler in enumerate(samplers):
        groups.setdefault(_group(sampler), []).append(i)
    batches = []
    for group, members in groups.items():
        ordered = sorted(members, key=lambda i: budget(samplers[i]))
        pairs = np.array([(i, s) for i in ordered for s in np.flatnonzero(wanted[i])], np.int64).reshape(-1, 2)
        for start in range(0, len(pairs), batch):
            part = pairs[start : start + batch]
            padded = np.pad(part, ((0, batch - len(part)), (0, 0)), mode="edge")
            batches.append(Batch(_structure(group), padded[:, 0], padded[:, 1], len(part)))
    return sorted(batches, key=lambda one: repr(one.structure))  # stable: neighbours run the same program


def rows_of(
    batch: Batch, samplers: Sequence[Blind | Rule], canvas: np.ndarray, context: Context, key: jax.Array, mask_id: int
) -> Rows:
    """The arrays of a batch. ``canvas`` is int32[samples, length], ``context`` has a leading axis of samples."""
    chosen = [samplers[i] for i in batch.samplers]
    given, ids = canvas[batch.samples], batch.samples.astype(np.int32)
    first = chosen[0]
    if isinstance(first, Rule):
        sampler = joined(chosen)  # pyright: ignore[reportArgumentType]
    else:
        order = first.order
        if not isinstance(order, str):
            order = np.stack([np.atleast_2d(np.asarray(one.order))[0] for one in chosen])  # pyright: ignore[reportAttributeAccessIssue]
        many = Blind([one.plans[0] for one in chosen], order, first.block, first.origin)  # pyright: ignore[reportAttributeAccessIssue,reportArgumentType]
        sampler = np.asarray(many.reveal_step(key, jnp.asarray(given == mask_id), jnp.asarray(ids)))
    return Rows(sampler, given, ids, jax.tree.map(lambda leaf: np.asarray(leaf)[batch.samples], context))


def budget(sampler: Blind | Rule) -> float:
    """How many steps it takes, roughly: what rows of one batch should have in common. Nothing else depends on it."""
    if isinstance(sampler, Blind):
        plan = sampler.plans[0]
        return float(plan.steps) if isinstance(plan, Plan) else plan.expected_steps(4096)
    tables = [leaf for leaf in jax.tree.leaves(sampler) if not callable(leaf) and np.ndim(leaf) == 2]
    return float(max((len(np.unique(table)) for table in tables), default=0))


def _group(sampler: Blind | Rule) -> Hashable:
    """What rows of one batch share."""
    if isinstance(sampler, Rule):
        return alike(sampler)
    order = sampler.order if isinstance(sampler.order, str) else "given"
    plan = sampler.plans[0]
    return (
        "blind",
        type(plan).__name__,
        order,
        (sampler.block, sampler.origin),
        plan.length if isinstance(plan, Plan) else None,
    )


def _structure(group: Any) -> Hashable:
    """What batches of one program share: all blind orders are an array of steps, rules may differ in numbers."""
    if group[0] == "blind":
        return "blind"
    tree, leaves = group
    return tree, tuple(leaf if callable(leaf) else leaf[:2] for leaf in leaves)


def default_batch(denoiser: Denoiser, params: Params, length: int, context: Context) -> int:
    """Rows of a batch on one device, from the length and from the width of the hidden vectors.

    On CPU 2,048 positions, where a row of the demo model costs least (caches); elsewhere 65,536. Fewer where the hidden
    vectors of the batch, counted sixteen times in float32 for what a network keeps beside them, would exceed a quarter
    of the device's memory. From 1 to 64 rows on CPU, to 1,024 elsewhere.
    """
    cpu = jax.default_backend() == "cpu"
    positions = 2048 if cpu else 65_536
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        one = jax.ShapeDtypeStruct((1, length), np.int32)
        first = jax.tree.map(lambda leaf: leaf[:1], context)

        def encoded(params: Params, tokens: jax.Array, context: Context) -> jax.Array:
            context = begun(denoiser, params, key_of(0)[None], context)
            return denoiser.encode(params, tokens, context)

        hidden = jax.eval_shape(encoded, params, one, first)
        positions = min(positions, int(limit / 4 / (16 * 4 * hidden.shape[-1])))
    return int(np.clip(positions // length, 1, 64 if cpu else 1024))


class Runner(NamedTuple):
    """Draws ``at_once`` batches: ``run(params, rows) -> Drawn``, each with a leading axis of so many."""

    at_once: int
    run: Callable[[Params, Sequence[Rows]], Drawn]
    params: Params


def runner(
    denoiser: Denoiser, params: Params, key: jax.Array, temperature: float, devices: int | None, mesh: Mesh | None
) -> Runner:
    """How batches are drawn: on the default device, by ``pmap`` on some local ones, or by ``shard_map`` over a mesh.

    Raises:
        InputError: more devices than there are.
    """
    law = np.asarray(jax.random.key_data(key)), np.float32(temperature)
    name = str(jax.random.key_impl(key))
    if mesh is not None:
        compiled, count = _on_mesh(denoiser, name, mesh), mesh.shape[DATA]
        spread = jax.tree.map(functools.partial(_placed, mesh), params)
        place = functools.partial(_divided, NamedSharding(mesh, PartitionSpec(DATA)))
        return Runner(count, lambda params, rows: _fetched(compiled(params, place(_stacked(rows)), *law)), spread)
    if devices is not None:
        chosen = local_devices(devices)
        mapped = _on_devices(denoiser, name, chosen)
        everywhere = NamedSharding(Mesh(np.asarray(chosen), (DATA,)), PartitionSpec())
        spread = jax.device_put(params, everywhere)  # once, and not at every launch
        return Runner(devices, lambda params, rows: _fetched(mapped(params, _stacked(rows), *law)), spread)

    def plain(params: Params, rows: Sequence[Rows]) -> Drawn:
        # Its loops are compiled, and shared with `sample`.
        return jax.tree.map(lambda part: part[None], _fetched(_draw(denoiser, name, params, rows[0], *law)))

    return Runner(1, plain, params)


def _draw(denoiser: Denoiser, key_kind: str, params: Params, rows: Rows, key_data: Any, temperature: Any) -> Outcome:
    """One batch, as :func:`mdm_jax.sampling.sample` draws it."""
    key = jax.random.wrap_key_data(key_data, impl=key_kind)
    more: dict[str, Any] = {"key": key, "temperature": temperature, "context": rows.context}
    more |= {"row_ids": jnp.asarray(rows.ids), "record": None, "frames": None}  # as `sample` does: one program
    canvas = jnp.asarray(rows.canvas)
    if isinstance(rows.sampler, Rule):
        made, undefined = unmarked(denoiser, params, canvas, rows.sampler, **more)
    else:
        made, undefined = blind_loop(denoiser, params, canvas, jnp.asarray(rows.sampler), **more), None
    undefined = jnp.zeros(made.log_prob.shape, bool) if undefined is None else undefined
    return Drawn(made.tokens, made.nfe, made.remaining, made.log_prob), undefined


@functools.lru_cache(maxsize=16)
def _on_devices(denoiser: Denoiser, key_kind: str, devices: tuple[Any, ...]) -> Callable[..., Outcome]:
    draw = functools.partial(_draw, denoiser, key_kind)
    return jax.pmap(draw, in_axes=(None, 0, None, None), devices=devices)


@functools.lru_cache(maxsize=16)
def _on_mesh(denoiser: Denoiser, key_kind: str, mesh: Mesh) -> Callable[..., Outcome]:
    def draw(params: Params, rows: Rows, key_data: jax.Array, temperature: jax.Array) -> Outcome:
        mine = jax.tree.map(lambda leaf: leaf[0], rows)
        return jax.tree.map(lambda part: part[None], _draw(denoiser, key_kind, params, mine, key_data, temperature))

    everywhere, divided = PartitionSpec(), PartitionSpec(DATA)
    # Manual in "data" alone: along other axes the compiler divides the network as its parameters are.
    mapped = jax.shard_map(
        draw,
        mesh=mesh,
        in_specs=(everywhere, divided, everywhere, everywhere),
        out_specs=divided,
        axis_names={DATA},
        check_vma=False,
    )
    return jax.jit(mapped, out_shardings=NamedSharding(mesh, everywhere))  # every process gets every row


def _placed(mesh: Mesh, leaf: Any) -> jax.Array:
    """A leaf of parameters on the mesh: where it lies if it is there already, else on every device."""
    if isinstance(leaf, jax.Array) and leaf.sharding.device_set == set(mesh.devices.flat):
        return leaf
    return _divided(NamedSharding(mesh, PartitionSpec()), host(leaf))


def _divided(sharding: NamedSharding, tree: Any) -> Any:
    """Host arrays, the same in every process, as global ones."""

    def place(leaf: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(place, tree)


def _stacked(rows: Sequence[Rows]) -> Rows:
    """Batches on a new leading axis, one for each device; what rules share is repeated."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *rows)


def _fetched(outcome: Outcome) -> Drawn:
    drawn, undefined = jax.tree.map(np.asarray, outcome)
    return drawn._replace(log_prob=np.where(undefined, np.float32(np.nan), drawn.log_prob))


def launches(batches: Sequence[Batch], count: int) -> list[list[Batch]]:
    """``count`` batches at a time that run the same program; the last ones filled up with copies that do not count."""
    found: list[list[Batch]] = []
    for batch in batches:
        room = bool(found) and len(found[-1]) < count and found[-1][0].structure == batch.structure
        found[-1].append(batch) if room else found.append([batch])
    return [group + [group[-1]._replace(filled=0)] * (count - len(group)) for group in found]
