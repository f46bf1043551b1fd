"""What experiments ask of a published model: profile, temperatures, plans, and what they cost.

Where models come from: :mod:`experiments.tools.wheels`, or :mod:`experiments.tools.made_checkpoints` where only the
code is to be run; their functions can be had here, too.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

import mdm_jax as mdm
from experiments.tools.grouped import by_group, curve, interval, steps_as_good
from experiments.tools.made_checkpoints import made_up
from experiments.tools.wheels import required_wheel, unpacked, wheel_of
from mdm_jax import models
from mdm_jax.models import Denoiser, Pretrained
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan

__all__ = [
    "Asked",
    "answers",
    "interval",
    "made_up",
    "of_real_tokens",
    "real_tokens",
    "required_wheel",
    "unpacked",
    "wheel_of",
]


def of_real_tokens(loaded: Pretrained, tokens: Sequence[str]) -> Denoiser:
    """A loaded model of these tokens alone, in this order, framed as its family has it."""
    assert loaded.vocabulary is not None
    ids = [loaded.vocabulary[token] for token in tokens]
    return models.framed(loaded.denoiser, ids, loaded.published.prefix, loaded.published.suffix)


def real_tokens(loaded: Pretrained) -> list[str]:
    """The texts of a vocabulary that are no special tokens: neither banned nor the mask."""
    assert loaded.vocabulary is not None
    special = {*loaded.published.banned, *loaded.published.prefix, *loaded.published.suffix, loaded.published.mask_id}
    by_id = sorted((i, text) for text, i in loaded.vocabulary.items() if i < loaded.published.vocab_size)
    return [text for i, text in by_id if i not in special and not text.startswith(("[unused", "[UNK", "[PAD"))]


@dataclasses.dataclass(frozen=True)
class Asked:
    """How much is measured.

    Attributes:
        budgets: numbers of steps.
        encodings: of the profile.
        most: the optimal plans and the equal ones of so many steps and of fewer make the curves.
        passes: of the orders by confidence with equal sizes.
        margin: whether they go by the margin, too.
        thresholds: probabilities from which a token is revealed.
        bare: numbers of steps for which the model without temperatures is judged, too.
        samples: drawn of each plan.
        grid: of Beta schedules, along each axis.
    """

    budgets: tuple[int, ...] = (4, 8, 16, 32)
    encodings: int = 512
    most: int = 64
    passes: tuple[int, ...] = (4, 8, 16)
    margin: bool = True
    thresholds: tuple[float, ...] = (0.5, 0.7, 0.9)
    bare: tuple[int, ...] = (4, 8, 16, 32)
    samples: int = 32
    grid: int = 64


Part = Callable[[str, Callable[[], Any]], Any]
Rows = Int[np.ndarray, "rows length"]


def answers(
    denoiser: Denoiser, params: Any, choosing: Rows, judging: Rows, groups: Sequence[str], asked: Asked, part: Part
) -> dict[str, Any]:
    """Profile, temperatures, plans, and what they cost; all costs in bits per token, intervals over groups.

    Args:
        denoiser: a published model of real tokens alone.
        params: its parameters.
        choosing: rows that choose temperatures and plans.
        judging: rows that choose nothing.
        groups: of each judging row: rows of a group depend on each other, and each group counts the same.
        asked: how much of it.
        part: keeps what is done, as ``Experiment.part`` does.
    """
    length, scale = choosing.shape[1], 1 / (choosing.shape[1] * np.log(2))
    found = part("temperatures", lambda: _temperatures(denoiser, params, choosing))
    model = models.calibrated(denoiser, found["fractions"], found["temperatures"])
    measured = part("profile", lambda: _profile(model, params, choosing, asked.encodings))
    profile = profiles.from_rows(length, np.asarray(measured["counts"]), np.asarray(measured["rows"]))
    believed = profiles.posterior_profile(profile).profile
    tuned = mdm.tune(profile, list(asked.budgets), grid=asked.grid, steps=list(asked.budgets))
    named = {
        **{f"beta {k}": tuned.plans[k]["best beta"] for k in asked.budgets},
        **{f"cosine {k}": plans.from_schedule(mdm.schedules.maskgit(), length, k) for k in asked.budgets},
    }
    best = plans.optimal_for_every_budget(believed, asked.most)
    named |= {f"optimal {k}": best.plan(k) for k in range(1, asked.most + 1)}
    named |= {f"uniform {k}": plans.uniform(length, k) for k in range(1, asked.most + 1)}
    costs = part("costs", lambda: _costs(model, params, judging, named, groups))
    by_name = {name: np.asarray(values) * scale for name, values in costs.items()}
    compared = []
    for k in asked.budgets:
        ours = by_name[f"optimal {k}"]
        compared.append({
            "steps": k, "sizes": best.sizes(k), "predicted": float(believed.expected_nelbo(best.sizes(k))) * scale,
            **{name: interval(by_name[f"{name} {k}"]) for name in ("optimal", "uniform", "cosine", "beta")},
            **{f"{name} less": interval(by_name[f"{name} {k}"] - ours) for name in ("uniform", "cosine", "beta")},
            "uniform twice less": _less(by_name, f"uniform {2 * k}", ours),
            "uniform steps as good": steps_as_good(curve(by_name, "uniform"), ours),
            "schedule": tuned.plans[k]["best beta"].name,
        })  # fmt: skip
    same = {str(k): named[f"optimal {k}"] for k in asked.bare}
    raw = part("without temperatures", lambda: _costs(denoiser, params, judging, same, groups))
    return {
        "length": length,
        "choosing": len(choosing),
        "judging": len(judging),
        "groups": len(set(groups)),
        "temperatures": found,
        "profile": {
            "counts": measured["counts"],
            "bits": profile.means / np.log(2),
            "errors": np.std(measured["rows"], axis=0, ddof=1) / np.sqrt(len(measured["rows"])) / np.log(2),
            "sequences": len(measured["rows"]),
        },
        "compared": compared,
        "curves": {name: curve(by_name, name).mean(axis=1).round(4) for name in ("optimal", "uniform")},
        "raw less": {k: interval(np.asarray(values) * scale - by_name[f"optimal {k}"]) for k, values in raw.items()},
        "orders": part("orders", lambda: _orders(model, params, judging, groups, asked, by_name, scale)),
    }


def _temperatures(denoiser: Denoiser, params: Any, rows: Rows) -> dict[str, Any]:
    found = mdm.evaluation.calibrate(denoiser, params, rows, key=mdm.key(1), progress=True)
    told = {name: np.asarray(getattr(found, name)) for name in ("fractions", "temperatures")}
    bits = {name: np.asarray(getattr(found, name)) / np.log(2) for name in ("before", "after")}
    return {**told, **bits, "gain": [end / np.log(2) for end in found.gain]}


def _profile(denoiser: Denoiser, params: Any, rows: Rows, encodings: int) -> dict[str, Any]:
    profile = mdm.estimate_profile(denoiser, params, rows, encodings, key=mdm.key(2), progress=True)
    assert profile.shares is not None
    return {"counts": profile.counts, "rows": profile.shares.round(6)}


def _costs(
    denoiser: Denoiser, params: Any, rows: Rows, named: Mapping[str, Plan], groups: Sequence[str]
) -> dict[str, Any]:
    """Nats of each plan, a number for each group."""
    values = mdm.evaluation.plan_costs(denoiser, params, rows, list(named.values()), key=mdm.key(3), progress=True)
    return dict(zip(named, by_group(values, groups).round(5)))


def _orders(
    denoiser: Denoiser,
    params: Any,
    rows: Rows,
    groups: Sequence[str],
    asked: Asked,
    by_name: Mapping[str, np.ndarray],
    scale: float,
) -> list[dict[str, Any]]:
    """Orders by confidence, teacher-forced, beside random order with optimal sizes at as many passes."""
    margin, optimal, told = mdm.sampling.readings.margin, curve(by_name, "optimal"), []
    settings: list[tuple[str, str, Any]] = []
    for k in asked.passes:
        equal = plans.uniform(rows.shape[1], k)
        settings.append(("largest probability", f"{k} equal steps", mdm.rules.surest(equal)))
        if asked.margin:
            settings.append(("margin", f"{k} equal steps", mdm.rules.surest(equal, margin)))
    settings += [("threshold", f"{one:g}", mdm.rules.confident(one)) for one in asked.thresholds]
    for order, setting, rule in settings:
        forced = mdm.sampling.forced_log_prob(denoiser, params, jnp.asarray(rows), rule, key=mdm.key(4))
        costs = by_group(-np.asarray(forced.log_prob, np.float64)[None], groups)[0] * scale
        passes = float(by_group(np.asarray(forced.nfe, np.float64)[None], groups).mean())
        reached = np.clip(passes, 1, len(optimal))
        steps = int(min(np.floor(reached), len(optimal) - 1))
        beside = optimal[steps - 1] + (reached - steps) * (optimal[steps] - optimal[steps - 1])
        finite = bool(np.isfinite(costs).all())
        told.append({
            "order": order, "setting": setting, "passes": passes,
            "cost": interval(costs) if finite else None,
            "random less": interval(beside - costs) if finite else None,
        })  # fmt: skip
    return told


def _less(by_name: Mapping[str, np.ndarray], name: str, ours: np.ndarray) -> list[float] | None:
    """What ours saves against it; ``None`` where it was not measured."""
    return interval(by_name[name] - ours) if name in by_name else None
