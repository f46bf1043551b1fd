"""From the options of ``mdm-jax sample`` to a sampler, its plan and its denoiser."""

import argparse
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int32

from mdm_jax.app.options import latents
from mdm_jax.app.options.own_plan import OwnPlan, own_plan
from mdm_jax.models import Denoiser, Guidance, guidance, guided, top_k, top_p
from mdm_jax.sampling import Blind, Rule, presets, readings, rules
from mdm_jax.sampling.rule import require_end
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import read_json
from mdm_jax.support.text import printable
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids
from mdm_jax.theory.plans.grids import Grid
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.training import Run

STEPS = 16
"""Unless others are asked for, or the model is shorter."""
MOST_STEPS = 2**16
"""Of ancestral sampling, which may have more steps than there are tokens: most reveal nothing then."""

MEASURES = {
    "probability": readings.max_probability,
    "margin": readings.margin,
    "entropy": readings.negative_entropy,
}
"""The orders that look at the model."""
BLIND = ("random", "left_to_right")
"""Those that do not."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A sampler and what to say of it.

    Attributes:
        sampler: what :func:`mdm_jax.sampling.sample` takes.
        name: the preset, the order or the rule.
        numbers: its numbers, as JSON.
        plan: the plan or grid that it follows, if it follows one.
        frames: the most steps that it can take.
        end: the token that ends a sequence, if one does.
        own: the run's own plan, if that is the one.
    """

    sampler: Blind | Rule
    name: str
    numbers: dict[str, Any]
    plan: Plan | Grid | None
    frames: int
    end: int | None = None
    own: OwnPlan | None = None

    def to_json(self) -> dict[str, Any]:
        """Name and numbers."""
        return {"name": self.name, **self.numbers}

    def __str__(self) -> str:
        """``surest by margin, plan sine, 16 steps, block 32``."""
        numbers = dict(self.numbers)
        steps = numbers.pop("steps", None)
        by = numbers.pop("order", None)
        plan = numbers.pop("plan", None)
        source = "" if numbers.pop("plan_from", None) is None or self.own is None else f" ({self.own.told})"
        parts = [
            self.name.replace("_", " ") + (f" by {by}" if by else " order" if self.name in BLIND else ""),
            *([f"plan {printable(plan)}{source}"] if plan else []),
            *([f"{steps} steps" if steps != 1 else "1 step"] if steps else []),
            *(f"{name.replace('_', ' ')} {value!r}" for name, value in numbers.items()),
        ]
        return ", ".join(parts)


def choose(trained: Run, options: argparse.Namespace, canvas: Int32[np.ndarray, " length"]) -> Chosen:
    """The sampler that the options describe, for this run and what is given.

    Args:
        trained: the run, which has a length, a vocabulary and perhaps a profile.
        options: checked by :func:`mdm_jax.app.options.sampler_checks.check`.
        canvas: int32[length], the mask where tokens are to be drawn.
    """
    length, block = len(canvas), options.block
    require(block is None or block <= length, "--block", block, f"at most {length}, the model's length")
    free = np.flatnonzero(canvas == trained.denoiser.mask_id)
    end = None if options.end is None else _end(trained, options.end)
    own = own_plan(trained, _steps(options, length, None)) if _follows_own_plan(options) else None
    if options.preset is not None:
        sampler, name, plan = _preset(trained, options, free, end is not None, own)
    else:
        sampler, name, plan = _by_options(trained, options, len(free), end is not None, own)
    numbers: dict[str, Any] = {"order": options.order or _DEFAULT_ORDER[name]} if name in _DEFAULT_ORDER else {}
    numbers |= {} if plan is None else {"plan": plan.name}
    numbers |= {} if own is None else {"plan_from": own.source}
    numbers |= {"steps": steps} if (steps := _steps(options, length, plan)) is not None else {}
    names = ("threshold", "entropy_bound", "block", "order_temperature", "correct")
    named = {name: getattr(options, name) for name in names}
    numbers |= {name: value for name, value in (named | {"end": options.end}).items() if value is not None}
    if isinstance(sampler, Rule):
        changes = {"block": block, "end": end, "order_temperature": options.order_temperature}
        changes = {name: value for name, value in changes.items() if value is not None}
        if options.preset == "llada":
            changes.pop("block", None)  # it is in there, with its share of the steps
        sampler = sampler.replace(**changes)  # pyright: ignore[reportAttributeAccessIssue]
    most = None if steps is None else steps + (options.correct or 0)
    return Chosen(sampler, name, numbers, plan, _frames(sampler, length, block, most, options.rows), end, own)


def _follows_own_plan(options: argparse.Namespace) -> bool:
    """Whether nothing else is asked for. With blocks it is not: that plan is for the whole sequence."""
    if options.preset is not None:
        return options.preset == "best"
    return all(getattr(options, name) is None for name in ("plan", "schedule", "threshold", "entropy_bound", "block"))


def choose_denoiser(trained: Run, options: argparse.Namespace, canvas: np.ndarray) -> tuple[Denoiser, Guidance | None]:
    """The run's denoiser, guided and cut as asked for, and its context. The cuts come last, and see the guided law."""
    denoiser, context = latents.drawing(trained, options.latent_draw), None
    if options.guidance is not None:
        denoiser = guided(denoiser)
        context = guidance(canvas, denoiser, options.guidance, rows=options.rows)
    if options.top_k is not None:
        size = denoiser.vocab_size
        require(options.top_k <= size, "--top-k", options.top_k, f"from 1 to {size}, the size of the vocabulary")
        denoiser = top_k(denoiser, options.top_k)
    return (denoiser if options.top_p is None else top_p(denoiser, options.top_p)), context


def _preset(
    trained: Run, options: argparse.Namespace, free: np.ndarray, ends: bool, own: OwnPlan | None
) -> tuple[Blind | Rule, str, Plan | None]:
    """A sampler by name. With blocks or an end, blind ones become the rules that do the same."""
    name, steps, block = options.preset, _steps(options, trained.settings.length, None), options.block
    if name == "eb":
        return presets.eb(), name, None
    if name == "remdm":
        return presets.remdm(steps), name, None
    if name == "gidd":
        return latents.hybrid_rule(trained, steps, options.correct), name, None
    if name == "mdlm":
        same = ends or block is not None
        return (rules.remasked(grids.uniform(steps), 0.0) if same else presets.mdlm(steps)), name, None
    if name == "llada":
        # Blocks in which nothing is free (infilling) take none of the steps.
        busy = len(free) if block is None or len(free) == 0 else block * len(np.unique((free - free[0]) // block))
        return presets.llada(max(busy, 1), steps, block), name, None
    assert own is not None  # the preset "best"
    return (rules.at_random(own.plan) if ends else Blind(own.plan)), name, own.plan


_DEFAULT_ORDER = {"surest": "probability", "confident": "probability", "entropy_bounded": "entropy"}


def _by_options(
    trained: Run, options: argparse.Namespace, free: int, ends: bool, own: OwnPlan | None
) -> tuple[Blind | Rule, str, Plan | Grid | None]:
    """A sampler from an order, a bound and a plan."""
    if options.threshold is not None:
        return rules.confident(options.threshold, MEASURES[options.order or "probability"]), "confident", None
    if options.entropy_bound is not None:
        score = MEASURES[options.order or "entropy"]
        return rules.entropy_bounded(options.entropy_bound, score), "entropy_bounded", None
    plan = choose_plan(trained, options, free) if own is None else own.plan
    if isinstance(plan, Grid):
        alone = options.order in (None, "random") and options.block is None
        require(
            alone, "--plan", f"{options.plan}, a grid", "a plan beside --order or --block: a grid's order is random"
        )
        return (rules.remasked(plan, 0.0) if ends else Blind(plan)), "ancestral", plan
    if options.order in MEASURES:
        return rules.surest(plan, MEASURES[options.order]), "surest", plan
    if options.order == "left_to_right":
        return Blind(plan, "left_to_right"), "left_to_right", plan
    return (rules.at_random(plan) if ends else Blind(plan, block=options.block)), "random", plan


def choose_plan(trained: Run, options: argparse.Namespace, free: int) -> Plan | Grid:
    """The plan (or grid) file, the schedule rounded to ``--steps``, or equal shares of a block.

    A plan of the run's length is scaled to the ``free`` positions; one made for so many fits as it is. With blocks the
    plan is that of one block, with equal shares if nothing else is asked for: the profile's optimum is one for the
    whole sequence.
    """
    block = options.block
    length = trained.settings.length if block is None else block
    if options.plan is not None:
        value = read_json(options.plan, "a plan")
        if isinstance(value, dict) and value.get("format") == grids.FORMAT:
            return grids.load(options.plan)
        plan = plans.load(options.plan)
        wanted = f"a plan of length {length}, that of one block"
        if block is None:
            wanted = f"a plan of length {length}, this run's" + ("" if free == length else f", or {free}, what is free")
        fits = plan.length == length or (block is None and plan.length == free)
        require(fits, "--plan", f"{options.plan} of length {plan.length}", wanted)
        return plan
    steps = _steps(options, trained.settings.length, None)
    if options.schedule is not None:
        return plans.from_schedule(schedule_text.parse(options.schedule), length, steps)
    return plans.uniform(length, steps)


def _steps(options: argparse.Namespace, length: int, plan: Plan | Grid | None) -> Any:
    """Steps as asked for or by default, checked; of one block where they are; ``None`` where they mean nothing.

    A plan may have fewer than were asked for.
    """
    if plan is not None:
        return plan.steps
    if options.preset == "eb" or options.threshold is not None or options.entropy_bound is not None:
        return None
    block = None if options.preset == "llada" else options.block
    most = length if block is None else block
    default = min(STEPS, most)
    if options.preset in ("mdlm", "remdm", "gidd"):
        most = MOST_STEPS
    steps: int = default if options.steps is None else options.steps
    what = f"from 1 to {most}" + (", the length of a block" if most == block else "")
    require(1 <= steps <= most, "--steps", steps, what)
    return steps


def _frames(sampler: Blind | Rule, length: int, block: int | None, steps: int | None, rows: int) -> int:
    """The most steps that the sampler takes: those that both loops of :mod:`mdm_jax.sampling` cannot exceed."""
    blocks = 1 if block is None else -(-length // block)
    if isinstance(sampler, Blind):
        return min((steps or length) * blocks, length * rows)
    return length + (0 if sampler.steps is None else (steps or 0) * blocks)


def _end(trained: Run, text: str) -> int:
    """The token that ``text`` writes."""
    try:
        tokens = trained.vocabulary.encode(text)
    except InputError:
        tokens = np.zeros(0, np.int32)
    require(len(tokens) == 1, "--end", text, "one token of this run's vocabulary")
    require_end(int(tokens[0]), trained.denoiser, "--end")
    return int(tokens[0])
