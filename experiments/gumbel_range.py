"""Does one race over vocabulary and mask, in a fine grid, sample with too little entropy? And where does ours stand?

MDLM, MD4 and others decide at each step of a time grid *whether* a position is revealed and *what* it becomes by one
race: the largest of ``log weight + Gumbel`` over the vocabulary and the mask, where a token weighs its probability
times the step's share ``1 / (K - k)``. JAX's default Gumbels come from 23 random bits and end at 15.94, so tokens of
small weight lose more often than they should, and the finer the grid, the more so (arXiv 2409.02908): the samples have
less entropy and a "better" perplexity. ``mode="high"`` has a wider range. Here two separate draws decide.

The world is as plain as can be: tokens are independent with Zipf's law over 1,024 of them, and the denoiser knows it.
All K steps of the race are run in float32, step by step, until a position is revealed. Not every number of a race is
needed: in the default mode no Gumbel exceeds 15.9424, so once the mask's own number is drawn, the tokens that could not
beat it with the largest number there is are left undrawn. (The others' numbers are independent of theirs: the law of
the winner is the same.) The wide mode has no such limit and draws everything, for fewer positions.

Beside the simulation stands a formula for the *floor-quantised* race (tokens' exponentials ``-log U`` are whole
multiples of ``e = 2^-23``): a token of weight ``w`` wins a step of small shares with probability
``e / (exp(e / w) - 1)`` instead of ``w``. It gives the law of whole trajectories for any K, and for vocabularies that
cannot be simulated.

Measured: the cross-entropy of the samples under the true law (what a perfect judge calls log-perplexity; unbiased), and
their entropy, by the plug-in estimate with Miller and Madow's correction (still too low with so few positions: compare
equal numbers) and jackknife errors.

Claimed before measuring: at K = 16,384 the default race loses more than .1 nats of cross-entropy (over 3 standard
errors), and more than at K = 64; the wide mode and ours lose less than 3 standard errors of it at every K; the formula
is within 3 standard errors of the default race everywhere.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure
from scipy.special import entr

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.judging import Summary, summary
from mdm_jax import models
from mdm_jax.sampling import presets, sample

CLAIM = Claim(
    "at 16,384 steps a joint race with default noise loses over .1 nats of cross-entropy, more than at 64; the wide "
    "mode and two separate draws lose nothing that 3 standard errors could tell, and the floor-quantised law tells the "
    "loss",
    source="arXiv 2409.02908",
    minutes=15,
    seeds=(16, 64, 256, 1024, 4096, 16384),
)
VOCABULARY = 1024
Z = 1.96
LARGEST = 15.9425
"""Above every default Gumbel of JAX: 15.942385."""
MODES = {"default": "low", "wide": "high"}
STEPS = (16, 64, 256, 1024, 4096, 16384)
POSITIONS = {"default": 1024, "wide": 256}
FINEST_POSITIONS = {"default": 1024, "wide": 128}
OURS = 16384
CURVE = tuple(2**k for k in range(4, 15))
EARLIER = {64: 6.84, 1024: 5.21, 16384: 3.48}
"""Entropies of Zipf's law over 50,000 tokens at the first step by the quantised law, calculated before; true 7.56."""
_COLOURS = {"default": "#c2410c", "wide": "#1d6fb8", "ours": "#111111"}


def zipf(vocab_size: int) -> np.ndarray:
    """``p_v`` in proportion to ``1 / v``."""
    weights = 1 / np.arange(1, vocab_size + 1)
    return weights / weights.sum()


def step_law(weights: np.ndarray, bits: int = 23) -> np.ndarray:
    """The chance of each token to win one step against the mask and the others, by the floor-quantised law."""
    cell = 2.0**-bits / weights
    return weights * np.where(cell < 700, cell / np.expm1(np.minimum(cell, 700)), 0.0)


def trajectory_law(law: np.ndarray, steps: int) -> np.ndarray:
    """The law of a revealed token over all steps of a uniform grid, by the quantised law of each."""
    masked, total = 1.0, np.zeros_like(law)
    for k in range(steps - 1):
        won = masked * step_law(law / (steps - k))
        total += won
        masked -= won.sum()
    return total + masked * law  # the last step has no mask to race against: a plain draw


@functools.partial(jax.jit, static_argnames=("few", "mode"))
def races(
    key: Array,
    masked: Array,
    tokens: Array,
    log_law: Array,
    first: Array,
    last: Array,
    steps: Array,
    few: int,
    mode: str,
) -> tuple[Array, Array]:
    """Steps ``first <= k < last``: float32 races over mask and vocabulary. ``few`` tokens are drawn for everyone.

    Positions whose mask has a number so small that a rarer token could beat it draw the rest of the vocabulary too.
    """
    count, vocab = tokens.shape[0], log_law.shape[0]

    def step(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        masked, tokens = state
        mask_key, few_key, rest_key = jax.random.split(jax.random.fold_in(key, k), 3)
        share = 1.0 / (steps - k).astype(jnp.float32)
        score = log_law + jnp.log(share)
        mask = jnp.log1p(-share) + jax.random.gumbel(mask_key, (count,), jnp.float32, mode=mode)
        noise = jax.random.gumbel(few_key, (count, few), jnp.float32, mode=mode)
        ahead = score[:few] + noise
        best, largest = jnp.argmax(ahead, axis=-1), jnp.max(ahead, axis=-1)
        if few < vocab:
            more = masked & (score[few] + LARGEST >= jnp.maximum(mask, largest))
            places = jnp.nonzero(more, size=count, fill_value=count)[0]
            chunk = 32

            def rest(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
                at, best, largest = state
                where = jax.lax.dynamic_slice(places, (at,), (chunk,))
                noise = jax.random.gumbel(
                    jax.random.fold_in(rest_key, at), (chunk, vocab - few), jnp.float32, mode=mode
                )
                ahead = score[few:] + noise
                top, at_top = jnp.max(ahead, axis=-1), few + jnp.argmax(ahead, axis=-1)
                known = largest[jnp.minimum(where, count - 1)]
                best = best.at[jnp.where(top > known, where, count)].set(at_top, mode="drop")
                return at + chunk, best, largest.at[where].max(top, mode="drop")

            total = jnp.sum(more)
            _, best, largest = jax.lax.while_loop(lambda s: s[0] < total, rest, (jnp.int32(0), best, largest))
        won = masked & (largest > mask)
        return masked & ~won, jnp.where(won, best, tokens)

    return jax.lax.fori_loop(first, last, step, (masked, tokens))


def simulate(law: np.ndarray, steps: int, count: int, mode: str, key: Array) -> np.ndarray:
    """Tokens of ``count`` positions after all races; segments of steps, so that revealed positions are let go."""
    log_law = jnp.asarray(np.log(law), jnp.float32)
    found = np.full(count, -1)
    left, first, part = np.arange(count), 0, 0
    while first < steps:
        last = min(first + max((steps - first) // 2, 1), steps)
        few = len(law)
        if mode == "low":  # those that can beat a mask with a number of -log(1), at the middle of the segment
            reach = law * (1 / (steps - (first + last) / 2)) * np.exp(LARGEST)
            few = min(max(64, 1 << int(np.sum(reach > 1)).bit_length()), len(law))
        size = max(64, 1 << (len(left) - 1).bit_length())
        masked = jnp.arange(size) < len(left)
        masked, tokens = races(
            jax.random.fold_in(key, part), masked, jnp.full(size, -1), log_law,
            jnp.int32(first), jnp.int32(last), jnp.int32(steps), few, mode,
        )  # fmt: skip
        done = ~np.asarray(masked)[: len(left)]
        found[left[done]] = np.asarray(tokens)[: len(left)][done]
        left, first, part = left[~done], last, part + 1
        if not len(left):
            break
    return found


def constant(params: Array, tokens: Array) -> Array:
    """A denoiser that ignores its input."""
    return jnp.broadcast_to(params, (*tokens.shape, params.shape[0]))


def ours(law: np.ndarray, steps: int, count: int, key: Array) -> np.ndarray:
    """The same grid by ``presets.mdlm``."""
    length = 64
    params = jnp.asarray(np.log(law), jnp.float32)
    denoiser = models.from_function(constant, len(law))
    made = sample(denoiser, params, presets.mdlm(steps), count // length, key=key, length=length)
    return np.asarray(made.tokens).reshape(-1)


def judge(tokens: np.ndarray, law: np.ndarray) -> dict[str, Any]:
    """Cross-entropy under the true law, and the samples' own entropy, nats."""
    counts = np.bincount(tokens, minlength=len(law)).astype(np.float64)

    def corrected(counts: np.ndarray) -> float:
        return float(entr(counts / counts.sum()).sum() + ((counts > 0).sum() - 1) / (2 * counts.sum()))

    whole, seen = corrected(counts), np.flatnonzero(counts)
    without = np.array([corrected(counts - (np.arange(len(law)) == v)) for v in seen])
    spread = np.average((without - np.average(without, weights=counts[seen])) ** 2, weights=counts[seen])
    return {
        "positions": len(tokens),
        "cross_entropy": summary(-np.log(law[tokens])),
        "entropy": Summary(whole, float(np.sqrt((len(tokens) - 1) * spread))),
    }


def measured(law: np.ndarray, steps: int, quick: bool) -> dict[str, Any]:
    """Both races and our two draws on a grid of so many steps."""
    key, found = jax.random.key(steps), {}
    for name, mode in MODES.items():
        count = 256 if quick else (POSITIONS if steps < STEPS[-1] else FINEST_POSITIONS)[name]
        found[name] = judge(simulate(law, steps, count, mode, key), law)
    tokens = ours(law, steps, 1024 if quick else OURS, key)
    found["ours"] = judge(tokens, law)
    # The entropy's bias depends on the number of positions.
    few = judge(tokens[: found["default"]["positions"]], law)
    found["ours"]["entropy_of_as_many_as_the_default_race"] = few["entropy"]
    return found


def quantised(law: np.ndarray, steps: int) -> dict[str, float]:
    """What the floor-quantised law says of a grid."""
    told = trajectory_law(law, steps)
    return {
        "cross_entropy": float(-told @ np.log(law)),
        "entropy": float(entr(told).sum()),
        "50,000 tokens": float(entr(trajectory_law(zipf(50_000), steps)).sum()),
    }


def first_step(steps: int) -> dict[str, float]:
    """Of Zipf's law over 50,000 tokens at the first step, beside an earlier calculation of the same."""
    first = step_law(zipf(50_000) / steps)
    return {
        "earlier": EARLIER[steps],
        "formula": float(entr(first / first.sum()).sum()),
        "share of reveals": float(first.sum() * steps),
    }


def run(experiment: Experiment) -> Run:
    """Race, draw, judge."""
    quick, law = experiment.quick, zipf(VOCABULARY)
    grids, curve = ((16, 64), (16, 64)) if quick else (STEPS, CURVE)
    by_steps = {k: experiment.part(f"{k} steps", lambda k=k: measured(law, k, quick)) for k in grids}
    results = {
        "truth": float(entr(law).sum()),
        "truth_50000": float(entr(zipf(50_000)).sum()),
        "measured": {name: {str(k): one[name] for k, one in by_steps.items()} for name in (*MODES, "ours")},
        "quantised": {str(k): quantised(law, k) for k in grids},
        "first step": {str(k): first_step(k) for k in EARLIER},
        "curve": experiment.part(
            "the quantised law",
            lambda: {
                str(vocab): {k: float(-trajectory_law(zipf(vocab), k) @ np.log(zipf(vocab))) for k in curve}
                for vocab in (VOCABULARY, 50_000)
            },
        ),
    }
    return Run(results, picture(results))


def gap(results: Mapping[str, Any], name: str, steps: str) -> tuple[float, float]:
    """Nats of cross-entropy that the samples lack, and the standard error."""
    value = results["measured"][name][steps]["cross_entropy"]
    return results["truth"] - value["mean"], value["error"]


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """What each way of drawing loses, and whether the formula tells it."""
    measured_, told = results["measured"], results["quantised"]
    finest, coarse = max(told, key=int), "64"
    lost, error = gap(results, "default", finest)
    loses = lost > 0.1 and lost > 3 * error and lost > gap(results, "default", coarse)[0]
    fair = all(abs(gap(results, name, k)[0]) < 3 * gap(results, name, k)[1] for name in ("wide", "ours") for k in told)
    tells = all(
        abs(one["cross_entropy"]["mean"] - told[k]["cross_entropy"]) < 3 * one["cross_entropy"]["error"]
        for k, one in measured_["default"].items()
    )
    figures: dict[str, Any] = {}
    for name, called in (("default", "one race"), ("wide", "one race, wide noise"), ("ours", "two draws")):
        for k in told:
            value, wide = gap(results, name, k)
            figures[f"nats lost by {called}, {int(k):,} steps"] = [value, value - Z * wide, value + Z * wide]
    figures["nats lost by one race by the formula, finest grid"] = results["truth"] - told[finest]["cross_entropy"]
    figures["half the widest interval of two draws"] = max(Z * gap(results, "ours", k)[1] for k in told)
    held = [loses, fair, tells]
    ours_, wide = gap(results, "ours", finest)
    return Conclusion(
        "holds" if all(held) else "partly" if loses else "does not",
        f"at {int(finest):,} steps one race loses {lost:.2f} nats ({lost - Z * error:.2f} to {lost + Z * error:.2f}), "
        f"two draws {ours_:+.3f} ({ours_ - Z * wide:+.3f} to {ours_ + Z * wide:+.3f})",
        figures,
        f"{measured_['default'][finest]['positions']:,} positions by the race and "
        f"{measured_['ours'][finest]['positions']:,} by two draws, on each grid",
    )


def picture(results: Mapping[str, Any]) -> Figure:
    """Cross-entropy less the truth's against K: what was simulated, and the formula's, of 50,000 tokens too."""
    truth = results["truth"]
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="#8a949e", linewidth=1)
    for (vocab, values), line, true in zip(results["curve"].items(), ("-", "--"), (truth, results["truth_50000"])):
        axes.plot(
            list(map(int, values)), [v - true for v in values.values()], line, color=_COLOURS["default"], linewidth=1.2,
            label=f"one race, quantised law, {int(vocab):,}",
        )  # fmt: skip
    names = {"default": "one race, default noise", "wide": 'one race, mode="high"', "ours": "two draws (mdm_jax)"}
    for i, (name, by_steps) in enumerate(results["measured"].items()):
        axes.errorbar(
            [int(k) * 1.06 ** (i - 1) for k in by_steps],
            [one["cross_entropy"]["mean"] - truth for one in by_steps.values()],
            [Z * one["cross_entropy"]["error"] for one in by_steps.values()],
            fmt="osD"[i], color=_COLOURS[name], markersize=5, capsize=2, linewidth=1, label=f"{names[name]}, 1,024",
        )  # fmt: skip
    axes.set(xscale="log", xlabel="steps of the grid", ylabel="log-perplexity of samples less the truth, nats")
    axes.set_xticks(list(STEPS), [f"{k:,}" for k in STEPS])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure
