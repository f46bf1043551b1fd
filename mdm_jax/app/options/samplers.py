"""From the options of ``mdm-jax sample`` to a sampler, its plan and its denoiser."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from mdm_jax.app.options import latents, models
from mdm_jax.app.options.budgets import in_blocks, llada_steps
from mdm_jax.app.options.ends import end_token
from mdm_jax.app.options.labels import conditioned
from mdm_jax.app.options.own_plan import OwnPlan, own_plan
from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.models import Context, Denoiser, block_length, top_k, top_p
from mdm_jax.sampling import Blind, Rule, presets, rules
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
        notes: what else to tell the user.
        by_default: whether nobody asked for its number of steps.
    """

    sampler: Blind | Rule
    name: str
    numbers: dict[str, Any]
    plan: Plan | Grid | None
    frames: int
    end: int | None = None
    own: OwnPlan | None = None
    notes: Sequence[str] = ()
    by_default: bool = False

    def to_json(self) -> dict[str, Any]:
        """Name and numbers."""
        return {"name": self.name, **self.numbers}

    def __str__(self) -> str:
        """``surest by margin, plan sine, 16 steps, block 32``."""
        numbers = dict(self.numbers)
        steps = numbers.pop("steps", None)
        by = numbers.pop("order", None)
        plan = numbers.pop("plan", None)
        each = " in each block" if "blocks_of" in numbers else ""
        each += " (the default)" if self.by_default else ""
        source = "" if numbers.pop("plan_from", None) is None or self.own is None else f" ({self.own.told})"
        parts = [
            self.name.replace("_", " ") + (f" by {by}" if by else " order" if self.name in BLIND else ""),
            *([f"plan {printable(plan)}{source}"] if plan else []),
            *([("1 step" if steps == 1 else f"{steps} steps") + each] if steps else []),
            *(f"{name.replace('_', ' ')} {value!r}" for name, value in numbers.items()),
        ]
        return ", ".join(parts)


def choose(trained: Run, options: argparse.Namespace, canvas: Int32[np.ndarray, "... length"]) -> Chosen:
    """The sampler that the options describe, for this run and what is given.

    Args:
        trained: the run, which has a length, a vocabulary and perhaps a profile.
        options: checked by :func:`mdm_jax.app.options.sampler_checks.check`.
        canvas: int32[length], or int32[rows, length] with a row for each sample: the mask where tokens are to be drawn.
    """
    length, own_blocks = canvas.shape[-1], block_length(trained.denoiser)
    options = options if own_blocks is None else _in_blocks_of(own_blocks, options)
    block = options.block
    require(block is None or block <= length, "--block", block, f"at most {length}, the model's length")
    free = np.atleast_2d(canvas == trained.denoiser.mask_id)
    end = None if options.end is None else end_token(trained, options.end)
    looking = options.order if options.order in MEASURES else None
    own = own_plan(trained, _steps(trained, options, None), looking) if _follows_own_plan(options) else None
    if options.preset is not None:
        sampler, name, plan = _preset(trained, options, free, end is not None, own)
    else:
        sampler, name, plan = _by_options(trained, options, _alike(free), end is not None, own)
    numbers: dict[str, Any] = {"order": options.order or _DEFAULT_ORDER[name]} if name in _DEFAULT_ORDER else {}
    numbers |= {} if plan is None else {"plan": plan.name}
    numbers |= {} if own is None else {"plan_from": own.source}
    steps = _steps(trained, options, plan)
    if options.preset == "llada":
        steps = llada_steps(free, steps, block or own_blocks, in_all=own_blocks is None)
    numbers |= {"steps": steps} if steps is not None else {}
    numbers |= {} if own_blocks is None else {"blocks_of": own_blocks}
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
    frames = _frames(sampler, length, block or own_blocks, most, options.rows)
    usual = options.steps is None and options.plan is None and steps == _steps(trained, options, None)
    return Chosen(sampler, name, numbers, plan, frames, end, own, _notes(options, steps, own), usual)


def _in_blocks_of(own: int, options: argparse.Namespace) -> argparse.Namespace:
    """The options for a run whose model goes by blocks: steps and plans are of one of these, whether named or not.

    Raises:
        InputError: other blocks, or an order that is not one inside a block.
    """
    require(options.block in (None, own), "--block", options.block, f"left out, or {own} as the blocks of this run are")
    if options.order == "left_to_right":
        raise InputError("--order must be another than left_to_right: this run's model goes block by block, and the "
                         "order is that inside a block.")  # fmt: skip
    return argparse.Namespace(**{**vars(options), "block": None})


def _follows_own_plan(options: argparse.Namespace) -> bool:
    """Whether nothing else is asked for. With blocks it is not: that plan is for the whole sequence."""
    if options.preset is not None:
        return options.preset == "best"
    return all(getattr(options, name) is None for name in ("plan", "schedule", "threshold", "entropy_bound", "block"))


def choose_denoiser(trained: Run, options: argparse.Namespace, canvas: np.ndarray) -> tuple[Denoiser, Context]:
    """The run's denoiser, guided and cut as asked for, and its context. The cuts come last, and see the guided law."""
    denoiser = latents.drawing(trained, options.latent_draw)
    denoiser, context = conditioned(trained, options, denoiser, canvas, options.rows)
    if options.top_k is not None:
        size = denoiser.vocab_size
        require(options.top_k <= size, "--top-k", options.top_k, f"from 1 to {size}, the size of the vocabulary")
        denoiser = top_k(denoiser, options.top_k)
    return (denoiser if options.top_p is None else top_p(denoiser, options.top_p)), context


def _preset(
    trained: Run, options: argparse.Namespace, free: Bool[np.ndarray, "rows length"], ends: bool, own: OwnPlan | None
) -> tuple[Blind | Rule, str, Plan | None]:
    """A sampler by name. With blocks or an end, blind ones become the rules that do the same."""
    name, steps, block = options.preset, _steps(trained, options, None), options.block
    if name == "eb":
        return presets.eb(), name, None
    if name == "remdm":
        models.refuse_masking_again(trained, name)
        return presets.remdm(steps), name, None
    if name == "gidd":
        return latents.hybrid_rule(trained, steps, options.correct), name, None
    if name == "mdlm":
        same = ends or block is not None
        return (rules.remasked(grids.uniform(steps), 0.0) if same else presets.mdlm(steps)), name, None
    if name == "llada":
        # Blocks in which nothing is free (infilling) take none of the steps.
        busy = max(int(row.sum()) if block is None else block * len(in_blocks(row, block)) for row in free)
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
    length = models.planned(trained) if block is None else block
    one = length < trained.settings.length
    if options.plan is not None:
        value = read_json(options.plan, "a plan")
        if isinstance(value, dict) and value.get("format") == grids.FORMAT:
            return grids.load(options.plan)
        plan = plans.load(options.plan)
        wanted = f"a plan of length {length}, that of one block"
        if block is None and not one:
            wanted = f"a plan of length {length}, this run's" + ("" if free == length else f", or {free}, what is free")
        fits = plan.length == length or (block is None and not one and plan.length == free)
        require(fits, "--plan", f"{options.plan} of length {plan.length}", wanted)
        return plan
    steps = _steps(trained, options, None)
    if options.schedule is not None:
        return plans.from_schedule(schedule_text.parse(options.schedule), length, steps)
    return plans.uniform(length, steps)


def _steps(trained: Run, options: argparse.Namespace, plan: Plan | Grid | None) -> Any:
    """Steps as asked for or by default, checked; of one block where they are; ``None`` where they mean nothing.

    A plan may have fewer than were asked for.
    """
    if plan is not None:
        return plan.steps
    if options.preset == "eb" or options.threshold is not None or options.entropy_bound is not None:
        return None
    block = block_length(trained.denoiser) or (None if options.preset == "llada" else options.block)
    most = models.planned(trained) if block is None else block
    default = min(STEPS, most)
    if options.preset in ("mdlm", "remdm", "gidd"):
        most = MOST_STEPS
    steps: int = default if options.steps is None else options.steps
    what = f"from 1 to {most}" + (", the length of a block" if most == block else "")
    require(1 <= steps <= most, "--steps", steps, what)
    return steps


def _alike(free: Bool[np.ndarray, "rows length"]) -> int:
    """How many positions are free in every row, or the length where rows differ."""
    counts = np.unique(free.sum(axis=1))
    return int(counts[0]) if len(counts) == 1 else free.shape[1]


def _notes(options: argparse.Namespace, steps: int | None, own: OwnPlan | None) -> list[str]:
    """What to say of steps that are others than were asked for, and of the run's own plan."""
    said = [] if own is None or own.note is None else [own.note]
    asked = options.steps
    if asked is None or steps is None or steps == asked:
        return said
    if options.preset == "llada":
        return [
            *said,
            f"--steps {asked} come to {steps}: each block takes equally many, and each step reveals a token.",
        ]
    return [*said, f"--steps {asked} come to {steps}: by this plan the others would reveal nothing."]


def _frames(sampler: Blind | Rule, length: int, block: int | None, steps: int | None, rows: int) -> int:
    """The most steps that the sampler takes: those that both loops of :mod:`mdm_jax.sampling` cannot exceed."""
    blocks = 1 if block is None else -(-length // block)
    if isinstance(sampler, Blind):
        return min((steps or length) * blocks, length * rows)
    return length + (0 if sampler.steps is None else (steps or 0) * blocks)
