"""End-to-end truth: a model is trained on a law that is known exactly; what it learns is held against that law.

At several moments of the training, on sequences that the model has not seen:

* its profile (held-out loss, at the end increments and the training loss's own tally too) beside the exact ``h``;
* for plans of 4 and 8 steps the three errors of profiles/DERIVATIONS.md, "Total error is factorisation error plus
  learning error", each measured by itself along the same random paths:
  total = E[-log q(x | S)] - H (the model's predictions, the true tokens written in), factorisation = the same with the
  exact denoiser, learning = the sum of KL(exact || model) over the tokens revealed at each step.
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models, oracles
from mdm_jax.evaluation import estimate_profile
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.oracles import Oracle
from mdm_jax.sampling import path_log_prob, plan_knots, random_order
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import from_values
from mdm_jax.training import Settings, initial_state, tally
from mdm_jax.training.step import BLOCK, train_steps

CLAIM = Claim(
    "the learned profile approaches the exact one as training goes on, and total error = factorisation + learning",
    source="ours",
    minutes=4,
    seeds=(0, 1, 2, 3, 11),
)
LENGTH = 32
TRAINING_ROWS, ROWS = 50_000, 1024
BUDGETS = (4, 8)
PAUSES = (25, 50, 100, 200, 400, 800, 1600)
SIZE = {"width": 64, "depth": 2, "heads": 4}
QUICK_SIZE = {"width": 16, "depth": 1, "heads": 2}
Z = 1.96
SETTINGS = Settings(steps=1600, batch=32, length=LENGTH, ema_decay=0.98)


def laws() -> dict[str, Oracle]:
    """A law whose tokens share a hidden number, and one whose tokens depend on their neighbours."""
    chain = np.full((4, 4), 0.04) + 0.84 * np.roll(np.eye(4), 1, axis=1)
    return {"Polya urn": oracles.polya(LENGTH, 0.5), "Markov chain": oracles.markov(chain, LENGTH)}


@functools.partial(jax.jit, static_argnums=(0, 2))
def learning_error(
    denoiser: Denoiser, params: Params, exact: Denoiser, law: Params, tokens: Array, reveal_step: Array, steps: Array
) -> Array:
    """The sum of KL(exact || model) over the tokens that each step reveals: float32[rows], nats."""

    def one(step: Array) -> Array:
        canvas = jnp.where(reveal_step < step, tokens, denoiser.mask_id)
        theirs = jax.nn.log_softmax(models.logits(denoiser, params, canvas), axis=-1)
        truth = models.logits(exact, law, canvas)
        sure = truth > -jnp.inf
        gap = jnp.where(sure, jnp.exp(truth) * (jnp.where(sure, truth, 0.0) - theirs), 0.0)
        return jnp.sum(jnp.where(reveal_step == step, jnp.sum(gap, axis=-1), 0.0), axis=-1)

    return jnp.sum(jax.lax.map(one, steps), axis=0)


def three_errors(oracle: Oracle, denoiser: Denoiser, params: Params, plan: Plan, tokens: Array) -> dict[str, Any]:
    """Total, factorisation and learning error of a plan, each with its standard error, and the z of their sum."""
    rows = len(tokens)
    free = jnp.ones(tokens.shape, bool)
    knots = jnp.asarray(plan_knots(plan, rows))
    reveal_step = random_order(jax.random.key(11), knots, free)
    log_p = oracle.log_prob(np.asarray(tokens))
    steps = jnp.arange(max(BUDGETS))  # those beyond the plan reveal nothing
    values = {
        "total": log_p - np.asarray(path_log_prob(denoiser, params, tokens, reveal_step), np.float64),
        "factorisation": log_p
        - np.asarray(path_log_prob(oracle.denoiser, oracle.params, tokens, reveal_step), np.float64),
        "learning": np.asarray(
            learning_error(denoiser, params, oracle.denoiser, oracle.params, tokens, reveal_step, steps), np.float64
        ),
    }
    rest = values["total"] - values["factorisation"] - values["learning"]
    summary = {name: (float(x.mean()), float(x.std(ddof=1) / np.sqrt(rows))) for name, x in values.items()}
    return {**summary, "z": float(rest.mean() / (rest.std(ddof=1) / np.sqrt(rows)))}


def run(experiment: Experiment) -> Run:
    """Train on each law, pause, measure."""
    quick = experiment.quick
    pauses, rows = ((10, 20), 32) if quick else (PAUSES, ROWS)
    settings = Settings(steps=20, batch=8, length=LENGTH) if quick else SETTINGS
    chosen = dict(list(laws().items())[:1]) if quick else laws()
    size = QUICK_SIZE if quick else SIZE
    found = {
        name: experiment.part(name, lambda oracle=oracle: history(oracle, size, settings, pauses, rows))
        for name, oracle in chosen.items()
    }
    figure = Figure(figsize=(8, 5), layout="constrained")
    for axes, (name, moments) in zip(figure.subplots(2, 2), found.items()):
        picture(axes, name, from_values(chosen[name].entropies()).values, moments)
    return Run({"moments": found}, figure)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """How far the profile is from the exact one, first and last, and whether the three errors add up."""
    histories: Mapping[str, Any] = results["moments"]
    approached = all(moments[-1]["gap"] < moments[0]["gap"] / 5 for moments in histories.values())
    falls = all(
        b["gap"] < a["gap"] + 3 * (a["gap_error"] + b["gap_error"])
        for moments in histories.values()
        for a, b in itertools.pairwise(moments)
    )
    z = [abs(entry["z"]) for moments in histories.values() for moment in moments for entry in moment["plans"].values()]
    held = [approached, falls, max(z) < 3.5 and float(np.sqrt(np.mean(np.square(z)))) < 1.5]
    figures: dict[str, Any] = {"checks of the sum": len(z), "largest |z| of the sum": max(z)}
    for name, moments in histories.items():
        for when, moment in (("first", moments[0]), ("last", moments[-1])):
            gap, half = moment["gap"], Z * moment["gap_error"]
            figures[f"{name}: {when} gap, nats per token"] = [gap, gap - half, gap + half]
    ends = "; ".join(
        f"{name} from {moments[0]['gap']:.2g} to {moments[-1]['gap']:.2g} nats per token"
        for name, moments in histories.items()
    )
    return Conclusion(
        "holds" if all(held) else "partly" if any(held) else "does not",
        f"the gap falls on a {ends}; total = factorisation + learning in {len(z)} checks, largest |z| {max(z):.1f}",
        figures,
        f"{len(histories)} models at {len(next(iter(histories.values())))} moments each, {ROWS:,} sequences",
    )


def history(
    oracle: Oracle, size: Mapping[str, int], settings: Settings, pauses: tuple[int, ...], rows: int
) -> list[dict[str, Any]]:
    """What was measured at each pause of a training."""
    denoiser = models.transformer(oracle.vocab_size, length=LENGTH, **size)
    train = oracle.sample(jax.random.key(1), TRAINING_ROWS)
    fresh = oracle.sample(jax.random.key(2), rows)
    state = initial_state(denoiser, settings)
    step = jax.jit(train_steps, static_argnums=(0, 1), donate_argnums=2)
    exact = from_values(oracle.entropies())
    chosen: dict[str, Plan] = {}
    for k in BUDGETS:
        chosen |= {f"uniform, {k} steps": plans.uniform(LENGTH, k), f"optimal, {k} steps": plans.optimal(exact, k)}
    asked: dict[str, Any] = {"key": jax.random.key(3), "counts": np.arange(LENGTH)}
    # The exact law's own loss on the same sequences and orders takes most of the noise away.
    base = estimate_profile(oracle.denoiser, oracle.params, np.asarray(fresh), rows * LENGTH, **asked)
    moments, done = [], 0
    for pause in pauses:
        while done < pause:
            count = min(BLOCK, pause - done)
            state, _ = step(denoiser, settings, state, train, jnp.int32(count))
            done += count
        loss = estimate_profile(denoiser, state.ema_params, np.asarray(fresh), rows * LENGTH, **asked)
        free = tally.to_profile(jax.device_get(state.tally))
        gap = loss.means - base.means
        moments.append(
            {
                "step": pause,
                "loss": loss.means.tolist(),
                "loss_errors": loss.standard_errors.tolist(),
                "training": None if free is None else free.values.tolist(),
                "gap": float(np.mean(gap)),
                # Too large, if anything: the two share sequences and orders.
                "gap_error": loss.standard_error_of(np.full(LENGTH, 1 / LENGTH)),
                "plans": {
                    name: three_errors(oracle, denoiser, state.ema_params, plan, fresh) for name, plan in chosen.items()
                },
            }
        )
    moved = estimate_profile(
        denoiser, state.ema_params, np.asarray(fresh), rows * LENGTH, estimator="increments", **asked
    )
    moments[-1]["increments"] = moved.means.tolist()
    return moments


def picture(axes: Any, name: str, exact: np.ndarray, moments: list[dict[str, Any]]) -> None:
    """Profiles at all moments on the left, errors against training on the right."""
    left, right = axes
    shades = np.linspace(0.25, 0.95, len(moments))
    for moment, shade in zip(moments, shades):
        left.plot(moment["loss"], color=(0.1, 0.35, 0.7, shade), linewidth=1, label=f"step {moment['step']}")
    left.plot(moments[-1]["increments"], "--", color="#b45309", linewidth=1.2, label="increments, last")
    if moments[-1]["training"] is not None:
        left.plot(moments[-1]["training"], ":", color="#15803d", linewidth=1.4, label="training tally, last")
    left.plot(exact, color="black", linewidth=1.6, label="exact h")
    left.set(title=f"{name}: profile", xlabel="tokens revealed", ylabel="nats per token")
    left.legend(fontsize=6)
    steps = [moment["step"] for moment in moments]
    for plan, colour in zip(moments[0]["plans"], ("#1d6fb8", "#c2410c", "#6d4fa4", "#2e8059")):
        entries = [moment["plans"][plan] for moment in moments]
        right.errorbar(
            steps, [e["total"][0] for e in entries], [e["total"][1] for e in entries], color=colour, label=plan
        )
        both = [e["factorisation"][0] + e["learning"][0] for e in entries]
        right.plot(steps, both, "x", color=colour, markersize=5)
        right.axhline(entries[-1]["factorisation"][0], color=colour, linewidth=0.7, linestyle=":")
    right.set(xscale="log", yscale="log", xlabel="training step", ylabel="nats per sequence")
    right.set_title("total error (line), factorisation + learning (x), factorisation (dotted)", fontsize=8)
    right.legend(fontsize=6)
