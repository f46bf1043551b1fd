"""Sampling costs little more than the encodings it cannot do without, and far less than public code pays.

Everything on one transformer (width 128, 4 layers), batch 16, length 128; ratios of paired, alternating repeats.

* The *floor* is one compiled scan of K encodings. The *references* are the same scan plus what no sampler can leave
  out, laid out beforehand: for a blind order logits and a draw of each position once (keys ready, positions in order,
  chunks that fit exactly); for the order by greatest probability the greatest logit, its token and the logsumexp of
  the positions that are still masked at each step, without sorting, choosing, gathering or scattering. Ours is timed
  as a user calls it: ``sample(...)``, its checks, its random order and its log-probabilities included.
* The *peers* (``experiments/tools/peers.py``) are the ways of MDLM, LLaDA and MD4 on the same weights; where there are
  two versions of one (PyTorch, the optional extra ``torch``, and JAX) the verdict looks at the faster.
* Memory is the temporary memory of compiled programs at batch 64, length 256; they are not run.
* Compilation: the first call of ``sample`` for several K, each with all caches cleared, and the executables that all
  these K together leave behind.
* Parts: what reading out and drawing cost, operation by operation, for as many positions as one batch has.
"""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

from experiments.tools import peers
from experiments.tools.compiling import compiled_anew
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run, Verdict
from experiments.tools.timing import alternate, as_figure, paired_ratio
from mdm_jax import models
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.sampling import draws, rules, sample
from mdm_jax.support.progress import remark
from mdm_jax.theory import plans

CLAIM = Claim(
    "a blind order takes at most 1.10 and the order by greatest probability at most 1.15 of the work that cannot be "
    "avoided; both are faster than public code (2.5 times at 1,024 tokens, 30 at 32,768; greedily 3), with less memory "
    "(a tenth, a quarter), and compile once for every number of steps",
    source="ours",
    minutes=30,
)
BATCH, LENGTH = 16, 128
CHUNK = 128
"""Positions that a reference reads out together: of 32, 128, 512 and 2048 the fastest at 32,768 tokens."""
FLOOR, BLIND, BLIND_REFERENCE = "floor", "blind", "blind reference"
SUREST, SUREST_REFERENCE = "surest", "surest reference"
BLIND_LIMIT, SUREST_LIMIT = 1.10, 1.15
TIMES_FASTER = {"blind": {1024: 2.5, 32768: 30.0}, "surest": {32768: 3.0}}
"""Claimed advantage over every peer, by vocabulary."""
MEMORY_LIMIT = {"blind": 1 / 10, "surest": 1 / 4}
COMPILE_LIMIT, COMPILE_SPREAD = 10.0, 1.5
"""Seconds, and the slowest over the fastest compilation: more than that would not be noise."""

Ratio = dict[str, float]
Variants = dict[str, Callable[[], object]]


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much one run measures."""

    depth: int = 4
    vocabs: Sequence[int] = (32, 1024, 32768)
    steps: Sequence[int] = (16, 64)
    rounds: int = 9
    peer_rounds: int = 3
    large: int = 32768
    """From this vocabulary on ``rounds_at_large`` repeats, and peers only for the first of ``steps``."""
    rounds_at_large: int = 5
    peer_rounds_at_large: int = 1
    memory: tuple[int, int, int] = (64, 256, 32768)
    """Rows, length, vocabulary."""
    compile_steps: Sequence[int] = (1, 16, 64, 256)
    compile_length: int = 256
    orders: Sequence[str] = ("blind", "surest")
    """Whose memory and compilation are measured."""
    quick: bool = False

    def rounds_of(self, vocab: int, peer: bool) -> int:
        if vocab >= self.large:
            return self.peer_rounds_at_large if peer else self.rounds_at_large
        return self.peer_rounds if peer else self.rounds

    def peer_steps(self, vocab: int) -> Sequence[int]:
        return self.steps[:1] if vocab >= self.large else self.steps


QUICK = Extent(
    1, (256,), (8,), 2, 1, memory=(16, 64, 1024), compile_steps=(8,), compile_length=64, orders=("blind",), quick=True
)


@dataclasses.dataclass(frozen=True)
class Model:
    denoiser: LinenDenoiser
    params: Any


def run(experiment: Experiment) -> Run:
    """All parts, one after the other; compilation last, since it clears the caches."""
    extent = QUICK if experiment.quick else Extent()
    cells, against, parts = [], [], []
    for vocab in extent.vocabs:
        of_one = experiment.part(f"{vocab} tokens", lambda vocab=vocab: at_vocabulary(vocab, extent))
        parts.append(of_one["parts"])
        cells += of_one["cells"]
        against += of_one["against"]
    results = {
        "batch": BATCH,
        "length": LENGTH,
        "beside_references": cells,
        "beside_peers": against,
        "temporary_memory": experiment.part(
            "memory", lambda: temporary_memory(*extent.memory, extent.depth, extent.orders)
        ),
        "compilation": experiment.part("compilation", lambda: compile_times(extent)),
        "parts_of_one_batch": parts,
        "pytorch": peers.HAS_TORCH,
        "repeats": {
            "references": [extent.rounds, extent.rounds_at_large],
            "peers": [extent.peer_rounds, extent.peer_rounds_at_large],
            "note": f"second number: from {extent.large} tokens on, where peers run with {extent.steps[0]} steps only",
        },
    }
    if not peers.HAS_TORCH:
        remark("PyTorch is not installed (pip install -e '.[torch]'): peers in JAX only.")
    return Run(results, picture(cells, against))


def at_vocabulary(vocab: int, extent: Extent) -> dict[str, Any]:
    """What one vocabulary costs: operation by operation, beside the references, beside the peers."""
    model = make_model(vocab, LENGTH, extent.depth)
    return {
        "parts": {"vocabulary": vocab, "milliseconds": cost_of_parts(model, extent)},
        "cells": [beside_references(model, steps, extent) for steps in extent.steps],
        "against": [beside_peers(model, steps, extent) for steps in extent.peer_steps(vocab)],
    }


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """A verdict on each part of the claim, and the ratios."""
    cells, against = results["beside_references"], results["beside_peers"]
    memory, compilation = results["temporary_memory"], results["compilation"]
    claims = judge(cells, against, memory, compilation)
    figures: dict[str, Any] = {}
    for cell in cells:
        for order in OURS:
            figures[f"{order}: over the unavoidable, {where(cell)}"] = as_figure(cell[f"{order}_over_reference"])
            figures[f"{order}: over the bare encodings, {where(cell)}"] = as_figure(cell[f"{order}_over_floor"])
    for cell in against:
        for order in OURS:
            for peer, ratio in fastest(cell[order]).items():
                figures[f"{order}: {peer} over ours, {where(cell)}"] = ratio
    for name, size in memory["bytes"].items():
        figures[f"temporary MB, {name}"] = size / 1e6
    for order in (order for order in OURS if order in compilation):
        seconds = list(compilation[order]["seconds"].values())
        middle = statistics.median(seconds)
        figures[f"{order}: seconds to compile"] = [middle, min(seconds), max(seconds)]
    ends = {
        order: [f"{end(cell[f'{order}_over_reference']['median'] for cell in cells):.2f}" for end in (min, max)]
        for order in OURS
    }
    good = sum(claim["verdict"] == "holds" for claim in claims.values())
    return Conclusion(
        overall([claim["verdict"] for claim in claims.values()]),
        f"random order takes {' to '.join(ends['blind'])} of the work that cannot be avoided, the order by greatest "
        f"probability {' to '.join(ends['surest'])}; {good} of {len(claims)} parts of the claim hold",
        figures,
        f"{len(cells)} combinations of vocabulary and steps, {BATCH} x {LENGTH} tokens; medians of "
        f"{' or '.join(map(str, results['repeats']['references']))} rounds",
    )


def make_model(vocab: int, length: int, depth: int) -> Model:
    """The transformer with every weight perturbed: its outputs start at zero, and equal logits are no test."""
    denoiser = models.transformer(vocab, length=length, width=128, depth=depth)
    rng = np.random.default_rng(0)
    params = denoiser.init(jax.random.key(0), length)
    return Model(denoiser, jax.tree.map(lambda x: x + 0.05 * rng.standard_normal(x.shape, np.float32), params))


# The floor and the references.


@functools.partial(jax.jit, static_argnames=("denoiser", "steps"))
def floor(denoiser: LinenDenoiser, params: Any, tokens: jax.Array, steps: int) -> jax.Array:
    """``steps`` encodings, each of tokens that depend on the one before, so that none can leave the loop."""

    def encoding(tokens: jax.Array, _: None) -> tuple[jax.Array, None]:
        hidden = denoiser.encode(params, tokens)
        never = jnp.sum(hidden, axis=-1) > 1e30
        return jnp.where(never, 0, tokens), None

    return lax.scan(encoding, tokens, None, steps)[0]


@functools.partial(jax.jit, static_argnames=("denoiser", "steps"))
def blind_reference(
    denoiser: LinenDenoiser, params: Any, tokens: jax.Array, keys: jax.Array, temperature: jax.Array, steps: int
) -> jax.Array:
    """The floor, and at each step logits and a draw of the next ``rows x length / steps`` positions."""
    total = tokens.size
    share = total // steps

    def step(flat: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
        hidden = denoiser.encode(params, flat.reshape(tokens.shape))
        hidden = hidden.reshape(total, -1)
        for start in range(0, share, CHUNK):
            at, size = k * share + start, min(CHUNK, share - start)
            logits = denoiser.readout(params, lax.dynamic_slice_in_dim(hidden, at, size))
            drawn = draws.categorical(lax.dynamic_slice_in_dim(keys, at, size), logits, temperature)[0]
            flat = lax.dynamic_update_slice_in_dim(flat, drawn, at, 0)
        return flat, None

    return lax.scan(step, tokens.reshape(-1), jnp.arange(steps))[0]


@functools.partial(jax.jit, static_argnames=("denoiser", "steps"))
def surest_reference(
    denoiser: LinenDenoiser, params: Any, tokens: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array]:
    """The floor, and at each step the greatest logit, its token and the logsumexp where masks would still be."""
    total = tokens.size
    share = total // steps
    small = min(share, CHUNK)

    def step(state: tuple[jax.Array, jax.Array], k: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        hidden = denoiser.encode(params, state[0].reshape(tokens.shape))
        hidden = hidden.reshape(total, -1)

        def chunk(start: jax.Array, size: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            logits = denoiser.readout(params, lax.dynamic_slice_in_dim(hidden, start, size))
            best, largest, total_log = best_and_sum(logits)
            flat = lax.dynamic_update_slice_in_dim(state[0], best, start, 0)
            return flat, lax.dynamic_update_slice_in_dim(state[1], largest - total_log, start, 0)

        # What is left after k steps are the last positions: whole chunks, then exactly the rest.
        first = k * share
        whole = (total - first) // CHUNK
        rest = first + whole * CHUNK
        state = lax.fori_loop(0, whole, lambda i, s: chunk(first + i * CHUNK, CHUNK, s), state)
        state = lax.fori_loop(0, (total - rest) // small, lambda i, s: chunk(rest + i * small, small, s), state)
        return state, None

    return lax.scan(step, (tokens.reshape(-1), jnp.zeros(total)), jnp.arange(steps))[0]


def best_and_sum(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The token of the greatest logit, that logit, and the logsumexp: the fastest way that we know on CPU."""
    best, largest = draws.best_of_blocks(draws.in_blocks(logits))
    return best, largest, largest + jnp.log(jnp.sum(jnp.exp(logits - largest[:, None]), axis=-1))


def canvas_of(model: Model, rows: int = BATCH, length: int = LENGTH) -> jax.Array:
    return jnp.full((rows, length), model.denoiser.mask_id, jnp.int32)


def our_blind(model: Model, steps: int, length: int = LENGTH, rows: int = BATCH, seed: int = 0) -> jax.Array:
    plan, key = plans.uniform(length, steps), jax.random.key(seed)
    return sample(model.denoiser, model.params, plan, rows, key=key).tokens.block_until_ready()


def our_surest(model: Model, steps: int, length: int = LENGTH, rows: int = BATCH, seed: int = 0) -> jax.Array:
    rule, key = rules.surest(plans.uniform(length, steps)), jax.random.key(seed)
    drawn = sample(model.denoiser, model.params, rule, rows, key=key, length=length, temperature=0.0)
    return drawn.tokens.block_until_ready()


OURS = {"blind": our_blind, "surest": our_surest}


def beside_references(model: Model, steps: int, extent: Extent) -> dict[str, Any]:
    """Floor, references and ours take turns; also twice the floor's steps, which must take twice the time."""
    denoiser, params = model.denoiser, model.params
    tokens = canvas_of(model)
    rows, positions = jnp.divmod(jnp.arange(tokens.size), LENGTH)
    keys = jax.block_until_ready(draws.position_keys(jax.random.key(0), rows, positions))
    one = jnp.float32(1.0)
    variants: Variants = {
        FLOOR: lambda: floor(denoiser, params, tokens, steps).block_until_ready(),
        "floor of twice the steps": lambda: floor(denoiser, params, tokens, 2 * steps).block_until_ready(),
        BLIND_REFERENCE: lambda: blind_reference(denoiser, params, tokens, keys, one, steps).block_until_ready(),
        BLIND: lambda: our_blind(model, steps),
        SUREST_REFERENCE: lambda: jax.block_until_ready(surest_reference(denoiser, params, tokens, steps)),
        SUREST: lambda: our_surest(model, steps),
    }
    if steps != extent.steps[0]:  # Once is enough, and twice 64 steps are slow.
        del variants["floor of twice the steps"]
    seconds = alternate(variants, extent.rounds_of(denoiser.vocab_size, peer=False))
    ratios = {
        "blind_over_reference": paired_ratio(seconds[BLIND], seconds[BLIND_REFERENCE]),
        "surest_over_reference": paired_ratio(seconds[SUREST], seconds[SUREST_REFERENCE]),
        "blind_over_floor": paired_ratio(seconds[BLIND], seconds[FLOOR]),
        "surest_over_floor": paired_ratio(seconds[SUREST], seconds[FLOOR]),
    }
    if "floor of twice the steps" in seconds:
        ratios["twice_the_steps_over_floor"] = paired_ratio(seconds["floor of twice the steps"], seconds[FLOOR])
    return {"vocabulary": denoiser.vocab_size, "steps": steps, **ratios, "seconds": seconds}


# The peers.


def beside_peers(model: Model, steps: int, extent: Extent) -> dict[str, Any]:
    """Ours and the peers take turns, for both kinds of order."""
    task = (model.denoiser, model.params, BATCH, LENGTH)
    vocab = model.denoiser.vocab_size
    result: dict[str, Any] = {"vocabulary": vocab, "steps": steps}
    for order, make in (("blind", peers.blind), ("surest", peers.surest)):
        samplers = make(*task)
        if extent.quick:
            samplers = {name: samplers[name] for name in list(samplers)[-1:]}
        complete = {name: bool((np.asarray(sampler(1, 0)) != vocab).all()) for name, sampler in samplers.items()}
        ours = functools.partial(OURS[order], model, steps)
        theirs = {name: eased(sampler, steps) for name, sampler in samplers.items()}
        seconds = alternate({"ours": ours, **theirs}, extent.rounds_of(vocab, peer=True))
        ratios = {name: paired_ratio(seconds[name], seconds["ours"]) for name in samplers}
        result[order] = {"times_ours": ratios, "left_no_mask": complete, "seconds": seconds}
    return result


def eased(sampler: peers.Sampler, steps: int) -> Callable[[], object]:
    """The sampler; its first call, which ``alternate`` does not time, makes two steps only: peers can take minutes."""
    first = iter([min(2, steps)])
    return lambda: sampler(next(first, steps), 1)


# Memory and compilation.


@functools.partial(jax.jit, static_argnames=("denoiser",))
def all_logits(denoiser: LinenDenoiser, params: Any, tokens: jax.Array, steps: jax.Array) -> jax.Array:
    """The plainest loop: all logits of the batch, read once at each step."""

    def step(_: jax.Array, tokens: jax.Array) -> jax.Array:
        best = jnp.argmax(models.logits(denoiser, params, tokens), axis=-1).astype(jnp.int32)
        return jnp.where(tokens == denoiser.mask_id, best, tokens)

    return lax.fori_loop(0, steps, step, tokens)


def temporary_memory(rows: int, length: int, vocab: int, depth: int, orders: Sequence[str]) -> dict[str, Any]:
    """Bytes of temporaries, from shapes alone."""
    denoiser = models.transformer(vocab, length=length, width=128, depth=depth)
    params = jax.eval_shape(lambda: denoiser.init(jax.random.key(0), length))
    tokens, number = jax.ShapeDtypeStruct((rows, length), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    plan = plans.uniform(length, length // 2)

    def ours(what: Any, temperature: float) -> jax.stages.Lowered:
        draw = lambda params, key: sample(denoiser, params, what, rows, key=key, length=length, temperature=temperature)  # noqa: E731
        return jax.jit(draw).lower(params, key)

    asked = {"blind": (plan, 1.0), "surest": (rules.surest(plan), 0.0)}
    lowered = {"all logits": all_logits.lower(denoiser, params, tokens, number)}
    lowered |= {order: ours(*asked[order]) for order in orders}
    sizes = {name: temporaries(program) for name, program in lowered.items()}
    return {
        "rows": rows,
        "length": length,
        "vocabulary": vocab,
        "bytes": sizes,
        "over_all_logits": {order: sizes[order] / sizes["all logits"] for order in orders},
    }


def temporaries(program: jax.stages.Lowered) -> int:
    analysis: Any = program.compile().memory_analysis()
    return analysis.temp_size_in_bytes


def compile_times(extent: Extent) -> dict[str, Any]:
    """Seconds that the first call of ``sample`` takes longer than the second, and executables left by all K."""
    model = make_model(1024, extent.compile_length, extent.depth)
    result: dict[str, Any] = {"length": extent.compile_length, "vocabulary": 1024}
    for order in extent.orders:
        ours = OURS[order]
        call = functools.partial(ours, model, length=extent.compile_length, rows=2)
        seconds = {}
        with compiled_anew():
            for steps in extent.compile_steps:
                jax.clear_caches()
                seconds[str(steps)] = timed(lambda: call(steps)) - timed(lambda: call(steps))  # noqa: B023
        after_one = executables()  # of the last number of steps; then all others
        for steps in extent.compile_steps[:-1]:
            call(steps)
        result[order] = {"seconds": seconds, "after_one_number_of_steps": after_one, "after_all": executables()}
    return result


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def executables() -> dict[str, int]:
    """How many executables each compiled function of the sampling package holds, by name."""
    modules = [m for name, m in sys.modules.items() if name.startswith("mdm_jax.sampling.")]
    functions = {f"{f.__module__}.{f.__name__}": f for m in modules for f in vars(m).values() if is_compiled(f)}
    return {name: size for name, f in functions.items() if (size := f._cache_size())}


def is_compiled(value: Any) -> bool:
    return hasattr(value, "_cache_size") and getattr(value, "__module__", "").startswith("mdm_jax.sampling")


# What the parts cost.


@functools.partial(jax.jit, static_argnames=("denoiser", "read", "size"))
def over_chunks(
    denoiser: LinenDenoiser, params: Any, hidden: jax.Array, read: Callable[..., Any], keys: jax.Array, size: int
) -> Any:
    """``read(logits, keys)`` of every hidden vector, in chunks."""

    def chunk(_: None, at: jax.Array) -> tuple[None, Any]:
        logits = denoiser.readout(params, lax.dynamic_slice_in_dim(hidden, at, size))
        return None, read(logits, lax.dynamic_slice_in_dim(keys, at, size))

    return lax.scan(chunk, None, jnp.arange(0, len(hidden), size))[1]


def race(logits: jax.Array, keys: jax.Array, mode: str) -> jax.Array:
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], jnp.float32, mode=mode))(keys)
    return jnp.argmax(logits + noise, axis=-1)


PARTS: dict[str, Callable[[jax.Array, jax.Array], Any]] = {
    "logits, maximum": lambda logits, keys: jnp.max(logits, axis=-1),
    "logits, argmax": lambda logits, keys: jnp.argmax(logits, axis=-1),
    "logits, argmax by blocks": lambda logits, keys: draws.best_of_blocks(draws.in_blocks(logits)),
    "logits, argmax by blocks, logsumexp": lambda logits, keys: best_and_sum(logits),
    "logits, our draw": lambda logits, keys: draws.categorical(keys, logits, jnp.float32(1.0)),
    "logits, Gumbel noise (JAX's default), argmax": lambda logits, keys: race(logits, keys, "low"),
    "logits, Gumbel noise (full range), argmax": lambda logits, keys: race(logits, keys, "high"),
}


def cost_of_parts(model: Model, extent: Extent) -> dict[str, float]:
    """Median milliseconds of reading out, and of reading out and drawing, ``BATCH x LENGTH`` positions."""
    total = BATCH * LENGTH
    hidden = jax.random.normal(jax.random.key(1), (total, 128))
    keys = jax.random.split(jax.random.key(2), total)
    calls: Variants = {name: functools.partial(read_all, model, hidden, read, keys) for name, read in PARTS.items()}
    if extent.quick:
        calls = {name: calls[name] for name in list(calls)[-3:]}
    seconds = alternate(calls, extent.rounds_of(model.denoiser.vocab_size, peer=False))
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def read_all(model: Model, hidden: jax.Array, read: Callable[..., Any], keys: jax.Array) -> None:
    jax.block_until_ready(over_chunks(model.denoiser, model.params, hidden, read, keys, CHUNK))


# Verdicts, tables, picture.


def judge(
    cells: Sequence[Mapping[str, Any]],
    against: Sequence[Mapping[str, Any]],
    memory: Mapping[str, Any],
    compilation: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """One verdict per claim, from the numbers."""
    claims: dict[str, dict[str, Any]] = {}
    for order, limit in (("blind", BLIND_LIMIT), ("surest", SUREST_LIMIT)):
        values = {where(cell): cell[f"{order}_over_reference"]["median"] for cell in cells}
        claims[f"{order}: at most {limit:.2f} of its reference"] = verdict_of(values, lambda x, most=limit: x <= most)
    for order, wanted in TIMES_FASTER.items():
        for vocab, least in wanted.items():
            here = [cell for cell in against if cell["vocabulary"] == vocab]
            values = {f"{peer}, {where(cell)}": x for cell in here for peer, x in fastest(cell[order]).items()}
            name = f"{order}: at least {least:g} times as fast as peers at {vocab:,} tokens"
            claims[name] = verdict_of(values, lambda x, least=least: x >= least)
    for order, ratio in memory["over_all_logits"].items():
        most = MEMORY_LIMIT[order]
        name = f"{order}: at most 1/{1 / most:.0f} of the temporary memory of all logits"
        claims[name] = verdict_of({"": ratio}, lambda x, most=most: x <= most)
    for order in (order for order in OURS if order in compilation):
        seconds = compilation[order]["seconds"]
        name = f"{order}: compiles in less than {COMPILE_LIMIT:g} s for every number of steps"
        claims[name] = verdict_of(seconds, lambda x: x < COMPILE_LIMIT)
        spread = max(seconds.values()) / min(seconds.values())
        name = f"{order}: compile time does not depend on the number of steps (within a factor of {COMPILE_SPREAD})"
        claims[name] = verdict_of({"": spread}, lambda x: x <= COMPILE_SPREAD)
        more = sum(compilation[order]["after_all"].values()) - sum(
            compilation[order]["after_one_number_of_steps"].values()
        )
        claims[f"{order}: executables added by further numbers of steps"] = verdict_of({"": more}, lambda x: x == 0)
    return claims


def where(cell: Mapping[str, Any]) -> str:
    return f"{cell['vocabulary']} tokens, K = {cell['steps']}"


def fastest(order: Mapping[str, Any]) -> dict[str, float]:
    """For each peer the smaller of its versions' median ratios to ours."""
    result: dict[str, float] = {}
    for name, ratio in order["times_ours"].items():
        peer = name.split(",")[0]
        result[peer] = min(result.get(peer, float("inf")), ratio["median"])
    return result


def verdict_of(values: Mapping[str, float], good: Callable[[float], bool]) -> dict[str, Any]:
    reached = {name: bool(good(value)) for name, value in values.items()}
    if not reached:
        return {"verdict": "not tested", "values": {}, "reached": {}}
    verdict = "holds" if all(reached.values()) else "partly" if any(reached.values()) else "does not"
    return {"verdict": verdict, "values": dict(values), "reached": reached}


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    tested = [verdict for verdict in verdicts if verdict != "not tested"]
    if all(verdict == "holds" for verdict in tested):
        return "holds" if len(tested) == len(verdicts) else "partly"
    return "does not" if all(verdict == "does not" for verdict in tested) else "partly"


def picture(cells: Sequence[Mapping[str, Any]], against: Sequence[Mapping[str, Any]]) -> Figure:
    """Left: ours over what cannot be avoided. Right: how many times as long public code takes."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    vocabs = sorted({cell["vocabulary"] for cell in cells})
    beside(left, cells, vocabs)
    above(right, against, vocabs)
    for axes in (left, right):
        axes.set_xticks(range(len(vocabs)), [f"{vocab:,}" for vocab in vocabs])
        axes.set_xlabel("vocabulary", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def beside(axes: Any, cells: Sequence[Mapping[str, Any]], vocabs: list[int]) -> None:
    steps = sorted({cell["steps"] for cell in cells})
    kinds = [(order, k) for order in OURS for k in steps]
    colours = {"blind": ("#fdba74", "#c2410c"), "surest": ("#93c5fd", "#1d4ed8")}
    names = {"blind": "random order", "surest": "greatest probability"}
    width = 0.8 / len(kinds)
    for i, (order, k) in enumerate(kinds):
        chosen = {c["vocabulary"]: c[f"{order}_over_reference"] for c in cells if c["steps"] == k}
        bars(axes, [chosen.get(vocab) for vocab in vocabs], i, width, colours[order][i % 2], f"{names[order]}, K = {k}")
    axes.axhline(1.0, color="#1d2730", lw=0.8)
    axes.axhline(BLIND_LIMIT, color="#c2410c", lw=0.8, ls=":")
    axes.axhline(SUREST_LIMIT, color="#1d4ed8", lw=0.8, ls=":")
    axes.set_ylim(0.8, max(1.4, *axes.get_ylim()))
    axes.set_title("time / work that cannot be avoided", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def above(axes: Any, against: Sequence[Mapping[str, Any]], vocabs: list[int]) -> None:
    first = min(cell["steps"] for cell in against)
    here = {cell["vocabulary"]: cell for cell in against if cell["steps"] == first}
    kinds = [
        (order, name) for order in OURS for name in dict.fromkeys(n for c in here.values() for n in fastest(c[order]))
    ]
    shades = ["#fdba74", "#ea580c", "#9a3412", "#1d4ed8"]
    names = {"blind": "random order", "surest": "greatest probability"}
    width = 0.8 / len(kinds)
    for i, (order, peer) in enumerate(kinds):
        ratios = [
            min((r for n, r in here[v][order]["times_ours"].items() if n.startswith(peer)), key=lambda r: r["median"])
            if v in here
            else None
            for v in vocabs
        ]
        bars(axes, ratios, i, width, shades[i % len(shades)], f"{peer}, {names[order]}", label_bars=True)
    axes.axhline(1.0, color="#1d2730", lw=0.8)
    axes.set_yscale("log")
    axes.set_ylim(0.6, 6 * axes.get_ylim()[1])
    axes.set_title(f"public code: times as long as ours (K = {first})", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def bars(
    axes: Any, ratios: Sequence[Ratio | None], i: int, width: float, colour: str, label: str, label_bars: bool = False
) -> None:
    """One series, whiskers from the least to the greatest ratio."""
    for place, ratio in enumerate(ratios):
        if ratio is None:
            continue
        at = place - 0.4 + (i + 0.5) * width
        middle = ratio["median"]
        error = [[middle - ratio["min"]], [ratio["max"] - middle]]
        ends = {"lw": 0.8, "ecolor": "#1d2730"}
        axes.bar(at, middle, 0.92 * width, yerr=error, color=colour, label=label, error_kw=ends)
        label = "_"  # one entry in the legend
        if label_bars:
            axes.text(at, ratio["max"] * 1.1, f"{middle:.2g}", ha="center", fontsize=7)
