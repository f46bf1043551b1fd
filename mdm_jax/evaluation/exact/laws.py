r"""The exact output laws of samplers in small worlds: no samples, no noise, and a derivative.

A partial state is a row of ``length`` tokens, some of them masked; there are ``(vocab_size + 1)^length``. The order of
states everywhere here is lexicographic: a state is a number in base ``vocab_size + 1``, the first position its leading
digit, the mask the digit ``vocab_size``. Laws are flat, ``float[vocab_size^length]``, in the order of
``table.probabilities.reshape(-1)`` (:mod:`mdm_jax.oracles`).

| sampler                                                              | law                      |
|----------------------------------------------------------------------|--------------------------|
| each token is revealed by its own coin (:mod:`mdm_jax.theory.plans.grids`) | :func:`ancestral_law`    |
| uniformly random order, fixed sizes (:mod:`mdm_jax.theory.plans`)    | :func:`random_order_law` |
| fixed sizes, the surest positions first                              | :func:`adaptive_law`     |
| any choice of positions that is a function of the partial state      | :func:`selective_law`    |

What all have in common: a set of masked positions is chosen, and its tokens are drawn independently of each other,
each from the denoiser's conditional law given the state *before* the step. One step moves mass along the pairs
``(state before, state after)``. For each position there are ``2 vocab_size + 1`` of them (a token before, a mask that
stays, a token drawn now), hence ``(2 vocab_size + 1)^length`` in all, at most 5^10 = 10 million within
:data:`MOST_STATES`. They are laid out as a tensor with one axis per position. What does not change from step to step,
the probabilities of the tokens drawn, is computed once; a step spreads the mass over the tensor axis by axis and sums
it up again. No index is looked up and no matrix is built.

Everything is pure JAX in the type of ``logits``: differentiable, ``jit`` and ``vmap`` where it says so.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models import denoiser as contract
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, require_choice, require_number, require_whole, verbatim
from mdm_jax.theory.energies import enumeration

MOST_STATES = 100_000
"""The largest ``(vocab_size + 1)^length``."""
_MOST_ENTRIES = 2**26
_ROWS = 4096

Numbers = ArrayLike | Sequence[float]
"""What can be made a float array."""
Sizes = Sequence[int] | np.ndarray
"""``int[steps]``: tokens revealed at each step."""


# ---------------------------------------------------------------------------------------------- conditionals


def all_states(length: int, vocab_size: int) -> Int[np.ndarray, "states length"]:
    """Every partial state, ``int32[(vocab_size + 1)^length, length]``, in the order of this module.

    Raises:
        InputError: more than :data:`MOST_STATES`, or more than 2^26 conditional probabilities.
    """
    length, vocab_size = require_whole("length", length, 1), require_whole("vocab_size", vocab_size, 2)
    require(length <= MOST_STATES, "length", length, f"at most {MOST_STATES}")  # before the power is taken
    states = (vocab_size + 1) ** length
    few = states <= MOST_STATES and states * length * vocab_size <= _MOST_ENTRIES
    given = verbatim(f"{vocab_size + 1}^{length}")
    require(few, "(vocab_size + 1)^length", given, f"at most {MOST_STATES} (8000 for a single token)")
    return enumeration.all_states(length, vocab_size, MOST_STATES).astype(np.int32)


def conditionals(
    denoiser: Denoiser, params: Params, length: int, context: Context = None
) -> Float[Array, "states length vocab_size"]:
    """What a denoiser says in every partial state: log-probabilities, float32, in nats.

    Args:
        denoiser: a trained model or an oracle's; ``vocab_size`` includes a mask that lies inside the logits.
        params: its parameters.
        length: of the sequences.
        context: passed to the denoiser, leading axis 1; the same for all states.

    Raises:
        InputError: too many states (see :func:`all_states`), or logits of a masked position that are no law.
    """
    states = all_states(length, denoiser.vocab_size)
    rows = min(_ROWS, len(states))
    tokens = np.where(states == denoiser.vocab_size, denoiser.mask_id, states)
    padded = np.pad(tokens, ((0, -len(states) % rows), (0, 0)), mode="edge").reshape(-1, rows, length)
    values = _conditionals(denoiser, params, jnp.asarray(padded), context)
    values = values.reshape(-1, length, denoiser.vocab_size)[: len(states)]
    if not isinstance(values, jax.core.Tracer):
        broken = np.argwhere(np.isnan(np.asarray(values)).any(axis=-1) & (states == denoiser.vocab_size))
        for state, position in broken.tolist():
            raise InputError(
                "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; at "
                f"position {position} of {tokens[state].tolist()} they are not."
            )
    return values


@functools.partial(jax.jit, static_argnames="denoiser")
def _conditionals(denoiser: Denoiser, params: Params, tokens: Array, context: Context) -> Array:
    rows = tokens.shape[1]
    shared = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape[1:])), context)

    def of_chunk(chunk: Array) -> Array:
        return jax.nn.log_softmax(contract.logits(denoiser, params, chunk, shared), axis=-1)

    return jax.lax.map(of_chunk, tokens)


def exact_profile(logits: Float[Array, "states length vocab_size"], target: Numbers) -> Float[Array, " length"]:
    """The denoiser's profile ``g(0) .. g(length - 1)`` on data from ``target``, nats per token, without sampling.

    ``g(i)`` is the mean of ``-log p(x_j | x_S)`` over the data, uniformly random sets ``S`` of ``i`` positions and
    uniformly random ``j`` outside. ``profiles.from_values`` makes it a profile; differentiable in ``logits``.

    Args:
        logits: of every partial state, as from :func:`conditionals`.
        target: the law of the data, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.

    Raises:
        InputError: a target of other states, or one that is no law (seen only where it is not traced).
    """
    target = target if isinstance(target, jax.core.Tracer) else checked_target(logits, target)
    return _exact_profile(logits, jnp.asarray(target, logits.dtype).reshape(-1))


def checked_target(logits: Array, target: Numbers) -> Float[np.ndarray, " sequences"]:
    """A law of the sequences that ``logits`` are about, as float64.

    Raises:
        InputError: one of other sequences, or one that is negative somewhere or does not sum to 1.
    """
    length, vocab_size = _sizes_of(logits)
    law = _as_float64(target).reshape(-1)
    good = law.size == vocab_size**length and bool((law >= 0).all() and abs(law.sum() - 1) < 1e-4)
    wanted = f"a law of the {vocab_size}^{length} sequences that logits are about"
    require(good, "target", target if law.ndim == 0 else law.tolist(), wanted)
    return law


def _as_float64(values: Any) -> Float[np.ndarray, "*any"]:
    """An array of numbers; one NaN where they are none."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return np.full(1, np.nan)


@jax.jit
def _exact_profile(logits: Array, target: Array) -> Array:
    length, vocab_size = _sizes_of(logits)
    base, marginal = vocab_size + 1, target
    for j in range(length):
        rows = marginal.reshape(base**j, vocab_size, -1)
        marginal = jnp.concatenate([rows, jnp.sum(rows, axis=1, keepdims=True)], axis=1)
    marginal = marginal.reshape(-1)
    masked = _masked(length, vocab_size)
    totals = jnp.zeros(length + 1, logits.dtype)
    for j in range(length):
        together = marginal.reshape(base**j, base, -1)[:, :vocab_size]
        log_prob = jnp.moveaxis(_where_masked(jax.nn.log_softmax, logits, j), -1, 1)
        here = together > 0
        cost = jnp.sum(jnp.where(here, -together * jnp.where(here, log_prob, 0.0), 0.0), axis=1)
        count = masked.reshape(base**j, base, -1)[:, vocab_size]
        totals = totals.at[jnp.asarray(count.reshape(-1))].add(cost.reshape(-1))
    left = np.arange(length, 0, -1)
    return totals[jnp.asarray(left)] / jnp.asarray(left * scipy.special.binom(length, left), logits.dtype)


# ---------------------------------------------------------------------------------------------- laws of samplers


def ancestral_law(logits: Float[Array, "states length vocab_size"], grid: Numbers) -> Float[Array, " sequences"]:
    """The output law of ancestral sampling: at step ``k`` each masked token is revealed by a coin of its own.

    The coin shows "reveal" with probability ``(a_k - a_{k-1}) / (1 - a_{k-1})``, so that each token falls into step
    ``k`` with probability ``a_k - a_{k-1}``, independently. Differentiable in ``grid`` and ``logits``; ``vmap`` over
    grids shares what does not depend on them. One executable for all grids of as many steps.

    Args:
        logits: of every partial state, as from :func:`conditionals`; normalised here, so they may be divided by a
            temperature. Entries at revealed positions are not read.
        grid: float[K + 1], the revealed fractions ``0 = a_0 <= ... <= a_K = 1`` (``Grid.fractions``).

    Returns:
        float[vocab_size^length], summing to 1.

    Raises:
        InputError: fractions that do not rise from 0 to 1 (seen only where they are not traced).
    """
    if not isinstance(grid, jax.core.Tracer):
        a = _as_float64(grid)
        good = a.ndim == 1 and len(a) > 1 and abs(a[0]) < 1e-5 and abs(a[-1] - 1) < 1e-5
        require(bool(good and np.all(np.diff(a) >= -1e-6)), "grid", a.tolist(), "fractions that rise from 0 to 1")
    return _ancestral_law(logits, jnp.asarray(grid, logits.dtype))


@jax.jit
def _ancestral_law(logits: Array, grid: Array) -> Array:
    length, vocab_size = _sizes_of(logits)
    chances = _chances(*_drawn_everywhere(logits))
    left = 1 - grid
    some = left[:-1] > 0  # else nothing is masked any more
    stay = jnp.where(some, left[1:] / jnp.where(some, left[:-1], 1.0), 0.0)

    @jax.checkpoint
    def step(mass: Array, stay: Array) -> tuple[Array, None]:
        return _move(mass, chances, length, vocab_size, stay, 1 - stay), None

    return _complete(jax.lax.scan(step, _all_masked(logits), stay)[0], length, vocab_size)


def random_order_law(logits: Float[Array, "states length vocab_size"], sizes: Sizes) -> Float[Array, " sequences"]:
    """The output law of ``sampling.sample``: a uniformly random order, ``sizes[k]`` tokens at step ``k``.

    Differentiable in ``logits``; one executable for all sizes.

    Args:
        logits: as in :func:`ancestral_law`.
        sizes: numbers of tokens, 0 or more, that sum to the length (``Plan.sizes``).

    Returns:
        float[vocab_size^length], summing to 1.
    """
    length, _ = _sizes_of(logits)
    knots = _knots(sizes, length)
    ways = scipy.special.binom(length - knots[:-1], np.diff(knots))
    return _random_order_law(logits, jnp.asarray(length - knots[1:], jnp.int32), jnp.asarray(ways, logits.dtype))


@jax.jit
def _random_order_law(logits: Array, left: Array, ways: Array) -> Array:
    length, vocab_size = _sizes_of(logits)
    chances, masked = _chances(*_drawn_everywhere(logits)), jnp.asarray(_masked(length, vocab_size), jnp.int32)

    @jax.checkpoint
    def step(mass: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        moved = _move(mass, chances, length, vocab_size)
        return jnp.where(masked == at[0], moved / at[1], 0.0), None

    return _complete(jax.lax.scan(step, _all_masked(logits), (left, ways))[0], length, vocab_size)


Rule = Callable[[Float[Array, "rows vocab_size"]], Float[Array, " rows"]]
"""How sure a denoiser is of a position, from its log-probabilities there; the surest positions come first."""


def _probability(log_probs: Float[Array, "rows vocab_size"]) -> Float[Array, " rows"]:
    return jnp.exp(jnp.max(log_probs, axis=-1))


def _margin(log_probs: Float[Array, "rows vocab_size"]) -> Float[Array, " rows"]:
    best = jnp.exp(jax.lax.top_k(log_probs, 2)[0])
    return best[:, 0] - best[:, 1]


def _entropy(log_probs: Float[Array, "rows vocab_size"]) -> Float[Array, " rows"]:
    return -jnp.sum(jax.scipy.special.entr(jnp.exp(log_probs)), axis=-1)


RULES: Mapping[str, Rule] = {"entropy": _entropy, "margin": _margin, "probability": _probability}
"""Rules by name: the least entropy, the largest margin between the best two tokens, the largest probability first."""


def adaptive_law(
    logits: Float[Array, "states length vocab_size"],
    rule: str | Rule,
    sizes: Sizes,
    tie: float = 1e-5,
) -> Float[Array, " sequences"]:
    """The output law of revealing the ``sizes[k]`` surest positions at step ``k``, each token drawn, not maximised.

    The rule sees the conditional laws and not the tokens drawn from them, so the order is a function of the partial
    state, and with the exact denoiser one token at a time gives the target itself.

    Args:
        logits: as in :func:`ancestral_law`.
        rule: one of :data:`RULES`, or any function of the log-probabilities.
        sizes: numbers of tokens, 0 or more, that sum to the length.
        tie: scores are rounded to multiples of it, and among equals the first position wins, so that rounding errors do
            not decide where a symmetric law leaves several positions equal. 0 compares exactly.

    Returns:
        float[vocab_size^length], summing to 1.
    """
    return selective_law(logits, surest(logits, rule, sizes, tie))


def surest(
    logits: Float[Array, "states length vocab_size"],
    rule: str | Rule,
    sizes: Sizes,
    tie: float = 1e-5,
) -> Bool[Array, "states length"]:
    """Which positions each partial state reveals next under :func:`adaptive_law`.

    States with a number of revealed tokens that ``sizes`` never lead to reveal as many as are left of their step.
    """
    if not callable(rule):
        require_choice("rule", rule, RULES)
        rule = RULES[rule]
    require_number("tie", tie, 0, 1e9, "0 or more, and finite")
    length, vocab_size = _sizes_of(logits)
    knots = _knots(sizes, length)
    revealed = length - _masked(length, vocab_size)
    # the next knot above what is revealed: empty steps are stepped over
    upto = knots[np.minimum(np.searchsorted(knots, revealed, side="right"), len(knots) - 1)]
    free = jnp.asarray(all_states(length, vocab_size) == vocab_size)
    scores = rule(jax.nn.log_softmax(jnp.where(free[:, :, None], logits, 0.0), axis=-1).reshape(-1, vocab_size))
    scores = jnp.round(scores / tie) if tie > 0 else scores
    scores = jnp.where(free, scores.reshape(-1, length), -jnp.inf)
    rank = jnp.argsort(jnp.argsort(-scores, axis=-1, stable=True), axis=-1)
    return free & (rank < jnp.asarray(upto - revealed)[:, None])


@jax.jit
def selective_law(
    logits: Float[Array, "states length vocab_size"], chosen: Bool[Array, "states length"]
) -> Float[Array, " sequences"]:
    """The output law where the positions to reveal next are a function of the partial state.

    Args:
        logits: as in :func:`ancestral_law`.
        chosen: which of its masked positions a partial state reveals next, at least one where there are any. (Revealed
            positions are not read.) A state that chooses none keeps its mass, which is then missing from the law.

    Returns:
        float[vocab_size^length].
    """
    length, vocab_size = _sizes_of(logits)
    stay, drawn = _drawn_everywhere(logits)
    base = vocab_size + 1
    yes = [chosen[:, j].reshape(base**j, base, -1)[:, vocab_size] for j in range(length)]
    stay = [jnp.where(mine, 0.0, one) for mine, one in zip(yes, stay)]
    drawn = [jnp.where(mine[:, :, None], law, 0.0) for mine, law in zip(yes, drawn)]
    chances = _chances(stay, drawn)

    @jax.checkpoint
    def step(mass: Array, _: None) -> tuple[Array, None]:
        return _move(mass, chances, length, vocab_size), None

    return _complete(jax.lax.scan(step, _all_masked(logits), None, length=length)[0], length, vocab_size)


# ---------------------------------------------------------------------------------------------- divergences


def total_variation(p: Numbers, q: Numbers) -> Float[Array, ""]:
    """``sum |p - q| / 2``, from 0 to 1."""
    p, q = _pair(p, q)
    return jnp.sum(jnp.abs(p - q)) / 2


def kl_divergence(p: Numbers, q: Numbers) -> Float[Array, ""]:
    """``sum p log(p / q)`` in nats; infinite where ``q`` rules out what ``p`` allows.

    The target first and the sampler's law second is what an expected NELBO bounds.
    """
    p, q = _pair(p, q)
    here, good = p > 0, (p > 0) & (q > 0)
    ratio = jnp.where(good, p, 1.0) / jnp.where(good, q, 1.0)
    return jnp.sum(jnp.where(good, p * jnp.log(ratio), jnp.where(here, jnp.inf, 0.0)))


def jensen_shannon(p: Numbers, q: Numbers) -> Float[Array, ""]:
    """The mean divergence of ``p`` and ``q`` from their mean, in nats: from 0 to log 2, always finite."""
    p, q = _pair(p, q)
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def _pair(p: Numbers, q: Numbers) -> tuple[Array, Array]:
    p, q = jnp.asarray(p, float), jnp.asarray(q, float)
    require(p.size == q.size, "the laws", verbatim(f"{p.size} and {q.size} states"), "over the same states")
    return p.reshape(-1), q.reshape(-1)


# ---------------------------------------------------------------------------------------------- machinery


def _sizes_of(logits: Array) -> tuple[int, int]:
    """``(length, vocab_size)``."""
    wanted = "conditionals of all (vocab_size + 1)^length partial states"
    shape = np.shape(logits)
    good = isinstance(logits, jax.Array | np.ndarray) and len(shape) == 3 and shape[0] == (shape[2] + 1) ** shape[1]
    require(good and jnp.issubdtype(logits.dtype, jnp.floating), "logits", verbatim(f"shape {shape}"), wanted)
    _, length, vocab_size = shape
    return length, vocab_size


@functools.lru_cache(maxsize=8)
def _masked(length: int, vocab_size: int) -> Int[np.ndarray, " states"]:
    """How many positions are masked in each state."""
    return np.sum(all_states(length, vocab_size) == vocab_size, axis=1)


def _knots(sizes: Sizes, length: int) -> Int[np.ndarray, " knots"]:
    """Tokens revealed before each step, filled up to one shape."""
    given = as_array(sizes)
    good = given.ndim == 1 and given.dtype.kind in "iu" and bool((given >= 0).all() and given.sum() == length)
    require(good, "sizes", given.tolist(), f"whole numbers, 0 or more, that sum to the length {length}")
    given = given[given > 0]
    return np.pad(np.append(0, np.cumsum(given)), (0, length - len(given)), mode="edge")


def _all_masked(logits: Array) -> Array:
    return jnp.zeros(logits.shape[0], logits.dtype).at[-1].set(1.0)


def _complete(mass: Array, length: int, vocab_size: int) -> Array:
    """The mass of states without a mask."""
    for j in range(length):
        mass = mass.reshape(vocab_size**j, vocab_size + 1, -1)[:, :vocab_size]
    return mass.reshape(-1)


def _where_masked(function: Callable[..., Array], logits: Array, position: int) -> Array:
    """``function`` of the logits at ``position`` in the states that mask it: [before, after, vocab_size]."""
    _, length, vocab_size = logits.shape
    base = vocab_size + 1
    mine = logits[:, position].reshape(base**position, base, base ** (length - position - 1), vocab_size)
    return function(mine[:, vocab_size], axis=-1)


def _drawn_everywhere(logits: Array) -> tuple[list[Array], list[Array]]:
    """``stay[before, after]``, all 1, and ``drawn[before, after, vocab_size]`` for each position."""
    drawn = [_where_masked(jax.nn.softmax, logits, j) for j in range(logits.shape[1])]
    return [jnp.ones_like(law[:, :, 0]) for law in drawn], drawn


def _chances(stay: Sequence[Array], drawn: Sequence[Array]) -> Array:
    """The product over positions, for every pair of states: float[(2 vocab_size + 1)^length].

    A digit of a pair says what became of a position: below ``vocab_size`` a token that was there before; at
    ``vocab_size`` a mask that stays (factor ``stay``); above, a token drawn now (factor ``drawn``). Factors depend on
    the state before, so they are spread over the digits of the other positions.
    """
    length, vocab_size = len(drawn), drawn[0].shape[-1]
    product = jnp.ones((), drawn[0].dtype)
    for j, (kept, law) in enumerate(zip(stay, drawn)):
        law = jnp.moveaxis(law, -1, 1)
        factor = jnp.concatenate([jnp.ones_like(law), kept[:, None, :], law], axis=1)
        product = product * _spread(factor, [i for i in range(length) if i != j], vocab_size)
    return product


def _spread(values: Array, positions: Sequence[int], vocab_size: int) -> Array:
    """Turn the digits of a state, at these positions (rising), into those of a pair, whatever becomes of a mask."""
    for j in positions:
        rows = values.reshape((2 * vocab_size + 1) ** j, vocab_size + 1, -1)
        masked = jnp.broadcast_to(rows[:, vocab_size:], (rows.shape[0], vocab_size, rows.shape[2]))
        values = jnp.concatenate([rows, masked], axis=1)
    return values.reshape(-1)


def _move(
    mass: Array, chances: Array, length: int, vocab_size: int, stay: ArrayLike = 1.0, go: ArrayLike = 1.0
) -> Array:
    """One step: mass over states before to mass over states after, each stay and each draw weighed further."""
    pairs = _spread(mass, range(length), vocab_size) * chances
    for j in range(length):
        rows = pairs.reshape((vocab_size + 1) ** j, 2 * vocab_size + 1, -1)
        revealed = rows[:, :vocab_size] + go * rows[:, vocab_size + 1 :]
        pairs = jnp.concatenate([revealed, stay * rows[:, vocab_size : vocab_size + 1]], axis=1)
    return pairs.reshape(-1)
