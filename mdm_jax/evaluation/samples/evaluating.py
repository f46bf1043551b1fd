"""Hundreds of samplers on common random numbers: rows of one array program."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.samples import batches
from mdm_jax.evaluation.samples.execution import USUAL, Execution, require_execution
from mdm_jax.evaluation.samples.keeping import keep, opened, row_ids
from mdm_jax.evaluation.samples.results import Evaluation
from mdm_jax.evaluation.samples.store import Row, RowId, Store
from mdm_jax.models.classes import check_labels
from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens, require_model
from mdm_jax.models.probes import nan_for_masks
from mdm_jax.sampling import Blind, Rule, Sampler
from mdm_jax.sampling.requests import require_temperature
from mdm_jax.sampling.samplers import in_blocks_of
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import key_of, threefry
from mdm_jax.support.processes import together
from mdm_jax.support.progress import bar
from mdm_jax.theory.plans import Plan

Score = Callable[[Int[np.ndarray, "rows length"]], Float[Any, " rows"]]
"""``score(tokens) -> float[rows]``. It sees all samples of one sampler at once, so it may look at them together."""

_MOST_TOKENS = 2**31


@usual()
def evaluate(
    denoiser: Denoiser,
    params: Params,
    samplers: Sampler | Iterable[Sampler] | Mapping[str, Sampler],
    samples: int,
    score: Score | Mapping[str, Score],
    *,
    key: PRNGKeyArray,
    temperature: float | int = 1.0,
    canvas: ArrayLike | None = None,
    length: int | None = None,
    context: Context = None,
    baseline: str | Mapping[str, str] | None = None,
    execution: Execution = USUAL,
) -> Evaluation:
    """Draw samples with every sampler and score them.

    Sample ``s`` of every sampler has the random numbers of row ``s`` (``sample(..., row_ids=[s], key=key)`` draws the
    same), so differences between samplers are sharper than scores. All pairs of sampler and sample are rows of
    batches of one shape: any number of plans, grids and blind orders runs one executable, and rules one for each set of
    functions. A row depends neither on the rows beside it nor on the devices along the axis "data", bit for bit; with
    another batch size, or with parameters divided along other axes, it is the same but for the rounding of the network
    (see :func:`~mdm_jax.sampling.sample`), which hardly ever changes a token. So it is beside other rows, of a model
    with a cache: they decide how many slots work in it at a time. ``log_prob`` may differ in its last
    digits, since a batch adds its terms in an order of its own.

    Args:
        denoiser: the model.
        params: its parameters; with a mesh they may lie divided over it.
        samplers: plans, grids, blind orders or rules, by name or in a row (then named after themselves), or one of
            them.
        samples: of each sampler.
        score: what to judge by, or several by name, the first the one that matters. Each is called once for every
            sampler, with its samples without masks, int32[rows, length].
        key: of all draws.
        temperature: divides the logits of the draws; 0 is the argmax.
        canvas: int32[length], what is given, ``denoiser.mask_id`` elsewhere; or int32[samples, length], for each sample
            its own.
        length: where neither a canvas nor plans tell it.
        context: passed to the denoiser, leading axis ``samples``.
        baseline: the sampler that the others are compared with, or one for each.
        execution: on which devices, in what batches, what is kept in which file, and whether a bar shows it.

    Returns:
        An :class:`~mdm_jax.evaluation.samples.results.Evaluation`: every sample, its scores, tables and differences.

    Raises:
        InputError: no samplers, a baseline that is none of them, a canvas of a wrong shape or with an id that is no
            token's, a store of another model, one that somebody else is using, or one of a model without a ``name``
            that cannot be told from others.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> def breaks(tokens):  # neighbours that differ
        ...     return (tokens[:, 1:] != tokens[:, :-1]).sum(axis=1)
        >>> samplers = {"one by one": mdm.plans.uniform(5, 5), "at once": mdm.plans.uniform(5, 1)}
        >>> found = mdm.evaluate(world.denoiser, world.params, samplers, 16, breaks, key=mdm.key(0))
        >>> print(found.table())
        sampler     nfe          score
        ------------------------------
        one by one  5.0  0.000 ± 0.000
        at once     1.0  2.062 ± 0.266
        >>> found.difference("at once", "one by one").decided
        True
    """
    samples = require_whole("samples", samples, 1, _MOST_TOKENS - 1)
    require_execution(execution)
    batch = execution.batch
    require_model(denoiser, params)
    named = {
        name: one if isinstance(one, Rule) else in_blocks_of(denoiser, one) for name, one in _named(samplers).items()
    }
    scores = dict(score) if isinstance(score, Mapping) else {"score": score}
    callable_ = len(scores) > 0 and all(map(callable, scores.values()))
    require(callable_, "score", score, "a function, or a mapping from names to functions, at least one")
    require_temperature(temperature)
    temperature = float(temperature)
    names = tuple(named)
    wanted = "the name of a sampler, or a mapping from names to names"
    require(baseline is None or isinstance(baseline, str | Mapping), "baseline", baseline, wanted)
    for one in [baseline] if isinstance(baseline, str) else [*(baseline or {}), *(baseline or {}).values()]:
        require(one in named, "baseline", one, f"one of the samplers, as in {names[0]!r}")
    if baseline is not None and not isinstance(baseline, str):
        lacking = [name for name in names if name not in baseline]
        require(not lacking, "baseline", list(baseline), f"one for every sampler; {lacking[:3]} lack theirs")
    given = _canvas(denoiser, list(named.values()), canvas, length, samples)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(context)]
    wanted = f"a pytree of arrays whose leading axis is samples, {samples}"
    require(all(shape[:1] == (samples,) for shape in shapes), "context", verbatim(f"of shapes {shapes}"), wanted)
    check_labels(denoiser, context)
    key = threefry(key)
    order_key, token_key = jax.random.split(key)

    tokens = len(names) * given.size
    require(tokens < _MOST_TOKENS, "samples", samples, f"so few that all tokens, here {tokens:,}, are fewer than 2^31")
    require(
        (batch or 1) * given.shape[1] < _MOST_TOKENS, "batch", batch, "so small that its tokens are fewer than 2^31"
    )
    samplers = [batches.normal(sampler, denoiser, given == denoiser.mask_id) for sampler in named.values()]
    runner = batches.runner(denoiser, params, token_key, temperature, execution.devices, execution.mesh)
    size = batches.default_batch(denoiser, params, given.shape[1], context) if batch is None else batch
    table = _Table(len(samplers), samples, given.shape[1])
    with opened(execution, denoiser, params, given.shape[1]) as kept:
        known: list[list[RowId]] = []
        if execution.store is not None:
            named = dict(zip(names, samplers))
            known = row_ids(named, key, temperature, given, context, execution.name)
            table.fill(kept, known)
        work = batches.launches(batches.cut(samplers, ~table.done, size), runner.at_once)
        missing = int((~table.done).sum())
        shown = execution.progress and jax.process_index() == 0
        with bar(table.done.size, "evaluate", "row", shown, start=table.done.size - missing) as advance:
            for launch in work:
                arrays = [batches.rows_of(one, samplers, given, context, order_key, denoiser.mask_id) for one in launch]
                drawn = runner.run(runner.params, arrays)
                rows = table.put(launch, drawn)
                if execution.store is not None:
                    keep(kept, {known[i][s]: table.row(i, s) for i, s in rows})
                advance(len(rows))
    _warn_of_masks(denoiser, params, context, table)
    return Evaluation(
        names=names,
        scores={name: _scored(name, one, table) for name, one in scores.items()},
        nfe=table.nfe,
        remaining=table.remaining,
        log_prob=table.log_prob,
        tokens=table.tokens,
        baseline=baseline,
        drawn=missing,
    )


class _Table:
    """Results as they come in, by sampler and sample."""

    def __init__(self, samplers: int, samples: int, length: int) -> None:
        shape = samplers, samples
        self.done = np.zeros(shape, bool)
        self.tokens = np.zeros((*shape, length), np.int32)
        self.nfe, self.remaining = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self.log_prob = np.zeros(shape, np.float32)

    def row(self, sampler: int, sample: int) -> Row:
        at = sampler, sample
        return Row(self.tokens[at], int(self.nfe[at]), int(self.remaining[at]), float(self.log_prob[at]))

    def put(self, launch: Sequence[batches.Batch], drawn: batches.Drawn) -> list[tuple[int, int]]:
        """Enter what a launch drew; which rows these are."""
        found: list[tuple[int, int]] = []
        for place, batch in enumerate(launch):
            at = batch.samplers[: batch.filled], batch.samples[: batch.filled]
            for name in drawn._fields:
                getattr(self, name)[at] = getattr(drawn, name)[place, : batch.filled]
            self.done[at] = True
            found += zip(*(part.tolist() for part in at))
        return found

    def fill(self, kept: Store | None, known: Sequence[Sequence[RowId]]) -> None:
        """Enter what the store has; with several processes the first one reads, and tells the others."""
        wanted: dict[RowId, list[tuple[int, int]]] = {}
        for i, names in enumerate(known):
            for s, name in enumerate(names):
                wanted.setdefault(name, []).append((i, s))  # the same plan may be there under two names

        def read() -> None:
            for name, row in () if kept is None else kept.read():
                for at in wanted.get(name, ()):
                    self.tokens[at], self.nfe[at], self.remaining[at], self.log_prob[at] = row
                    self.done[at] = True

        together(read)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils  # slow to import, and rarely needed

            told = multihost_utils.broadcast_one_to_all(vars(self))
            vars(self).update(jax.tree.map(np.array, told))


def _warn_of_masks(denoiser: Denoiser, params: Params, context: Context, table: _Table) -> None:
    """Say that rows could not be drawn: they have masks left and no log-probability."""
    lawless = (table.remaining > 0) & np.isnan(table.log_prob)
    if lawless.any():
        first = begun(denoiser, params, key_of(0)[None], jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), context))
        cause = nan_for_masks(denoiser, params, table.tokens.shape[2], first)
        cause = cause or "the model's logits are no law there (NaN, or -inf for every token)."
        warnings.warn(f"{int(lawless.sum())} of {lawless.size} rows have masks left: {cause}", stacklevel=4)


def _named(samplers: Sampler | Iterable[Sampler] | Mapping[str, Sampler]) -> dict[str, Blind | Rule]:
    """What is evaluated, by name; what has no name is called after its plan and its steps."""
    wanted = "a sequence or a mapping of plans, grids, blind orders or rules"
    many = [samplers] if isinstance(samplers, Sampler) else samplers
    require(isinstance(many, Iterable) and not isinstance(many, str | bytes), "samplers", samplers, wanted)
    pairs: list[Any] = list(many.items() if isinstance(many, Mapping) else enumerate(many))
    require(len(pairs) > 0, "samplers", samplers, "at least one plan, grid, blind order or rule")
    named: dict[str, Blind | Rule] = {}
    for label, sampler in pairs:
        require(
            isinstance(sampler, Sampler), f"samplers[{label!r}]", sampler, "a plan, a grid, a blind order or a rule"
        )
        if isinstance(many, Mapping):
            require(isinstance(label, str), "samplers", label, "named by text")
        label = label if isinstance(many, Mapping) else _label(sampler)
        one = sampler if isinstance(sampler, Blind | Rule) else Blind(sampler)
        rows = one.rows if isinstance(one, Rule) else (one.rows or len(one.plans))
        require(rows in (None, 1), f"samplers[{label!r}]", verbatim(f"one for {rows} rows"), "for one row, or for any")
        name, copies = label, 1
        while name in named:
            copies += 1
            name = f"{label} ({copies})"
        named[name] = one
    return named


def _label(sampler: Sampler) -> str:
    if isinstance(sampler, Rule):
        return f"rule {getattr(getattr(sampler.choose, 'func', sampler.choose), '__name__', '')}".strip()
    plan = sampler.plans[0] if isinstance(sampler, Blind) else sampler
    order = f" {sampler.order}" if isinstance(sampler, Blind) and isinstance(sampler.order, str) else ""
    return f"{plan.name}, {plan.steps} steps" + (order if order != " random" else "")


def _canvas(
    denoiser: Denoiser, samplers: Sequence[Blind | Rule], canvas: ArrayLike | None, length: int | None, samples: int
) -> np.ndarray:
    """What is given to each sample: int32[samples, length]."""
    if canvas is None:
        whole = [sampler.plans[0] for sampler in samplers if isinstance(sampler, Blind) and sampler.block is None]
        if length is None:
            told = {plan.length for plan in whole if isinstance(plan, Plan)}
            wanted = "given, or else a canvas: the samplers tell none" if not told else "given, or plans of one length"
            require(len(told) == 1, "length", sorted(told) or None, wanted)
            length = told.pop()
        length = require_whole("length", length, 1, _MOST_TOKENS - 1)
        return np.broadcast_to(np.full(length, denoiser.mask_id, np.int32), (samples, length))
    array = np.asarray(checked_tokens(denoiser, canvas, "canvas", masks=True))
    good = array.ndim in (1, 2) and array.shape[-1] >= 1 and (array.ndim == 1 or len(array) == samples)
    require(good, "canvas", verbatim(f"shape {array.shape}"), f"of shape [length] or [{samples}, length]")
    known = length is None or require_whole("length", length, 1, _MOST_TOKENS - 1) == array.shape[-1]
    require(known, "length", length, f"that of the canvas, {array.shape[-1]}")
    return np.broadcast_to(array, (samples, array.shape[-1]))


def _scored(name: str, score: Score, table: _Table) -> Float[np.ndarray, "samplers samples"]:
    """Scores of complete rows; NaN where masks are left."""
    values = np.full(table.nfe.shape, np.nan)
    for i, complete in enumerate(table.remaining == 0):
        if complete.any():
            tokens = table.tokens[i][complete]
            found = as_array(score(tokens))
            real = found.dtype.kind in "biuf" or jnp.issubdtype(found.dtype, np.floating)  # bfloat16 is of kind V
            found = found.astype(np.float64) if real else as_array(None)
            wanted = f"a function from int32{list(tokens.shape)} to float[{len(tokens)}]"
            require(found.shape == (len(tokens),), f"score {name!r}", verbatim(f"shape {found.shape}"), wanted)
            values[i, complete] = found
    return values
