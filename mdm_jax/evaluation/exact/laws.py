r"""The exact output laws of samplers in small worlds: no samples, no noise, and a derivative.

Laws (output distributions) are flat, ``float[vocab_size^length]``, in the order of
``table.probabilities.reshape(-1)`` (:mod:`mdm_jax.oracles`).

| sampler                                                              | law                      |
|----------------------------------------------------------------------|--------------------------|
| each token is revealed by its own coin (:mod:`mdm_jax.theory.plans.grids`) | :func:`ancestral_law`    |
| uniformly random order, fixed sizes (:mod:`mdm_jax.theory.plans`)    | :func:`random_order_law` |
| fixed sizes, the surest positions first                              | :func:`adaptive_law`     |
| any choice of positions that is a function of the partial state      | :func:`selective_law`    |

What all have in common: a set of masked positions is chosen, and its tokens are drawn independently of each other,
each from the denoiser's conditional law given the state *before* the step (:mod:`mdm_jax.evaluation.exact.moves`). The
cost is in proportion to ``(2 vocab_size + 1)^length``, at most 5^10 = 10 million within
:data:`~mdm_jax.evaluation.exact.states.MOST_STATES`, and to the steps.

Source: ``DERIVATIONS.md``, beside this file.

Everything is pure JAX in the type of ``logits``: differentiable, ``jit`` and ``vmap`` where it says so.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.evaluation.exact.moves import all_masked, chances, complete, drawn_everywhere, move
from mdm_jax.evaluation.exact.states import Numbers, all_states, as_float64, masked_in, sizes_of
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_choice, require_number

Sizes = Sequence[int] | np.ndarray
"""``int[steps]``: tokens revealed at each step."""


def ancestral_law(logits: Float[Array, "states length vocab_size"], grid: Numbers) -> Float[Array, " sequences"]:
    """The output law of ancestral sampling: at step ``k`` each masked token is revealed by a coin of its own.

    The coin shows "reveal" with probability ``(a_k - a_{k-1}) / (1 - a_{k-1})``, so that each token falls into step
    ``k`` with probability ``a_k - a_{k-1}``, independently. Differentiable in ``grid`` and ``logits``; ``vmap`` over
    grids shares what does not depend on them. One executable for all grids of as many steps.

    Args:
        logits: of every partial state, as from :func:`~mdm_jax.evaluation.exact.states.conditionals`; normalised here,
            so they may be divided by a temperature. Entries at revealed positions are not read.
        grid: float[K + 1], the revealed fractions ``0 = a_0 <= ... <= a_K = 1`` (``Grid.fractions``).

    Returns:
        float[vocab_size^length], summing to 1.

    Raises:
        InputError: fractions that do not rise from 0 to 1 (seen only where they are not traced).

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(2, 0.5)  # 00, 01, 10, 11 with 3/8, 1/8, 1/8, 3/8
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=2)
        >>> print(mdm.evaluation.exact.ancestral_law(logits, np.asarray([0.0, 0.5, 1.0])))  # half the time at once
        [0.3125 0.1875 0.1875 0.3125]
    """
    if not isinstance(grid, jax.core.Tracer):
        a = as_float64(grid)
        good = a.ndim == 1 and len(a) > 1 and abs(a[0]) < 1e-5 and abs(a[-1] - 1) < 1e-5
        require(bool(good and np.all(np.diff(a) >= -1e-6)), "grid", a.tolist(), "fractions that rise from 0 to 1")
    return _ancestral_law(logits, jnp.asarray(grid, logits.dtype))


@jax.jit
def _ancestral_law(logits: Array, grid: Array) -> Array:
    length, vocab_size = sizes_of(logits)
    probabilities = chances(*drawn_everywhere(logits))
    left = 1 - grid
    some = left[:-1] > 0  # else nothing is masked any more
    stay = jnp.where(some, left[1:] / jnp.where(some, left[:-1], 1.0), 0.0)

    @jax.checkpoint
    def step(mass: Array, stay: Array) -> tuple[Array, None]:
        return move(mass, probabilities, length, vocab_size, stay, 1 - stay), None

    return complete(jax.lax.scan(step, all_masked(logits), stay)[0], length, vocab_size)


def random_order_law(logits: Float[Array, "states length vocab_size"], sizes: Sizes) -> Float[Array, " sequences"]:
    """The output law of ``sampling.sample``: a uniformly random order, ``sizes[k]`` tokens at step ``k``.

    Differentiable in ``logits``; one executable for all sizes.

    Args:
        logits: as in :func:`ancestral_law`.
        sizes: numbers of tokens, 0 or more, that sum to the length (``Plan.sizes``).

    Returns:
        float[vocab_size^length], summing to 1.

    Raises:
        InputError: sizes of another sum.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(2, 0.5)  # 00, 01, 10, 11 with 3/8, 1/8, 1/8, 3/8
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=2)
        >>> print(mdm.evaluation.exact.random_order_law(logits, [1, 1]))
        [0.375 0.125 0.125 0.375]
        >>> print(mdm.evaluation.exact.random_order_law(logits, [2]))
        [0.25 0.25 0.25 0.25]
    """
    return _random_order_law(logits, *steps_of(logits, sizes))


@jax.jit
def _random_order_law(logits: Array, left: Array, ways: Array) -> Array:
    return in_random_order(logits, chances(*drawn_everywhere(logits)), left, ways)


def steps_of(logits: Array, sizes: Sizes) -> tuple[Array, Array]:
    """What is left after each step of ``sizes``, and in how many ways its positions may be chosen; one shape."""
    length, _ = sizes_of(logits)
    knots = _knots(sizes, length)
    ways = scipy.special.binom(length - knots[:-1], np.diff(knots))
    return jnp.asarray(length - knots[1:], jnp.int32), jnp.asarray(ways, logits.dtype)


def in_random_order(logits: Array, probabilities: Array, left: Array, ways: Array) -> Array:
    """The law of steps in random order by the ``chances`` of each; of ``logits`` the shape counts."""
    length, vocab_size = sizes_of(logits)
    masked = jnp.asarray(masked_in(length, vocab_size), jnp.int32)

    @jax.checkpoint
    def step(mass: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        moved = move(mass, probabilities, length, vocab_size)
        return jnp.where(masked == at[0], moved / at[1], 0.0), None

    return complete(jax.lax.scan(step, all_masked(logits), (left, ways))[0], length, vocab_size)


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

    Raises:
        InputError: no such rule, sizes of another sum.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> law = mdm.evaluation.exact.adaptive_law(logits, "entropy", [1, 4])
        >>> law.shape, mdm.evaluation.exact.total_variation(world.probabilities, law).tolist()
        ((32,), 0.0)
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

    Args:
        logits: as in :func:`ancestral_law`.
        rule: as in :func:`adaptive_law`.
        sizes: likewise.
        tie: likewise.

    Returns:
        bool[states, length], for :func:`selective_law`.

    Raises:
        InputError: no such rule, sizes of another sum.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> chosen = mdm.evaluation.exact.surest(logits, "entropy", [1, 4])
        >>> chosen[-1].tolist()  # all masked: the first of equals
        [True, False, False, False, False]
    """
    if not callable(rule):
        require_choice("rule", rule, RULES)
        rule = RULES[rule]
    require_number("tie", tie, 0, 1e9, "0 or more, and finite")
    length, vocab_size = sizes_of(logits)
    knots = _knots(sizes, length)
    revealed = length - masked_in(length, vocab_size)
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

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(2, 0.5)  # 00, 01, 10, 11 with 3/8, 1/8, 1/8, 3/8
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=2)
        >>> masked = jnp.asarray(mdm.evaluation.exact.all_states(2, 2) == 2)
        >>> print(mdm.evaluation.exact.selective_law(logits, masked))  # all that are masked, at once
        [0.25 0.25 0.25 0.25]
        >>> print(mdm.evaluation.exact.selective_law(logits, masked.at[-1, 1].set(False)))  # the first one first
        [0.375 0.125 0.125 0.375]
    """
    length, vocab_size = sizes_of(logits)
    stay, drawn = drawn_everywhere(logits)
    base = vocab_size + 1
    yes = [chosen[:, j].reshape(base**j, base, -1)[:, vocab_size] for j in range(length)]
    stay = [jnp.where(mine, 0.0, one) for mine, one in zip(yes, stay)]
    drawn = [jnp.where(mine[:, :, None], law, 0.0) for mine, law in zip(yes, drawn)]
    probabilities = chances(stay, drawn)

    @jax.checkpoint
    def step(mass: Array, _: None) -> tuple[Array, None]:
        return move(mass, probabilities, length, vocab_size), None

    return complete(jax.lax.scan(step, all_masked(logits), None, length=length)[0], length, vocab_size)


def _knots(sizes: Sizes, length: int) -> Int[np.ndarray, " knots"]:
    """Tokens revealed before each step, filled up to one shape."""
    given = as_array(sizes)
    good = given.ndim == 1 and given.dtype.kind in "iu" and bool((given >= 0).all() and given.sum() == length)
    require(good, "sizes", given.tolist(), f"whole numbers, 0 or more, that sum to the length {length}")
    given = given[given > 0]
    return np.pad(np.append(0, np.cumsum(given)), (0, length - len(given)), mode="edge")
