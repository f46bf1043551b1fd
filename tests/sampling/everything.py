"""Every order, rule, preset and wrapper of the library on one small world: what tests of global flags go through."""

import jax
import numpy as np
from worlds import wrong_world

from mdm_jax import models, sampling
from mdm_jax.sampling import presets, readings, rules
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan, grids

LENGTH, VOCAB, ROWS = 4, 3, 6
MODEL, PARAMS = wrong_world(LENGTH, VOCAB)
PLAN = Plan(np.array([1, 2, 1]), "t")
CANVAS = np.array([[3, 3, 3, 3], [3, 1, 3, 3], [0, 3, 3, 2], [2, 2, 3, 3], [3, 3, 3, 1], [0, 1, 2, 0]], np.int32)


def add_one(logits):
    return logits + 1


def same_tokens(tokens):
    return tokens


def _guidance(denoiser):
    return models.guidance(CANVAS, denoiser, 1.5)


BLIND = {
    "plan": lambda: PLAN,
    "plans": lambda: [plans.uniform(LENGTH, 1 + k % LENGTH) for k in range(ROWS)],
    "grid": lambda: grids.uniform(5),
    "grids": lambda: [grids.uniform(1 + k) for k in range(ROWS)],
    "mdlm": lambda: presets.mdlm(6),
    "best": lambda: presets.best(profiles.from_values(np.array([1.0, 0.7, 0.5, 0.4])), 2),
    "left to right": lambda: sampling.Blind(PLAN, "left_to_right"),
    "permutation": lambda: sampling.Blind(PLAN, np.array([2, 0, 3, 1])),
    "permutations": lambda: sampling.Blind(PLAN, np.stack([np.roll([2, 0, 3, 1], k) for k in range(ROWS)])),
    "blocks": lambda: sampling.Blind(plans.uniform(2, 2), block=2),
}
RULES = {
    "surest": lambda: rules.surest(PLAN),
    "margin": lambda: rules.surest([plans.uniform(LENGTH, 1 + k % LENGTH) for k in range(ROWS)], readings.margin),
    "noisy": lambda: rules.surest(PLAN).replace(order_temperature=0.7),
    "quota": lambda: rules.quota(3),
    "llada": lambda: presets.llada(LENGTH, 4, 2),
    "confident": lambda: rules.confident(0.5),
    "entropy bound": lambda: presets.eb(0.5),
    "at random": lambda: rules.at_random(plans.uniform(2, 2)).replace(block=2, end=1),
    "remdm": lambda: presets.remdm(6, 0.3),
    "remdm rescale": lambda: rules.remasked(grids.uniform(5), 0.4, "rescale"),
    "remdm confidence": lambda: presets.remdm(6, 0.8, "confidence"),
    "remdm at 0": lambda: rules.remasked(grids.uniform(5), 0.0),
    "self-planned": lambda: rules.self_planned(PLAN),
    "self-planned, published": lambda: rules.self_planned(PLAN, 0.8, readings.held_or_proposal_probability),
    "self-corrected": lambda: rules.self_corrected(plans.uniform(LENGTH, 4), (2, 1, 1)),
    "hybrid": lambda: rules.hybrid(grids.uniform(4), 0.4, correct=2, temperature=0.5),
}
WRAPPERS = {
    "guided": models.guided,
    "shifted": models.shifted,
    "banned": lambda model: models.banned(model, (1,)),
    "tempered": lambda model: models.tempered(model, 0.5),
    "tempered to 0": lambda model: models.tempered(model, 0),
    "top k": lambda model: models.top_k(model, 2),
    "top p": lambda model: models.top_p(model, 0.8),
    "hooked": lambda model: models.hooked(model, add_one, same_tokens),
    "all": lambda model: models.top_p(models.banned(models.shifted(models.guided(model)), (2,)), 0.9),
}
EVERY = [*(("sampler", name) for name in (*BLIND, *RULES)), *(("wrapper", name) for name in WRAPPERS)]


def sampled(kind, name, key, model=MODEL, params=PARAMS, **more):
    """What the sampler or wrapper of this name draws on the ragged canvas, as NumPy arrays."""
    sampler = PLAN if kind == "wrapper" else {**BLIND, **RULES}[name]()
    wrapped = WRAPPERS[name](model) if kind == "wrapper" else model
    context = _guidance(wrapped) if wrapped.passes == 2 else None
    more = {"canvas": CANVAS, "context": context, **more}
    return jax.tree.map(np.asarray, sampling.sample(wrapped, params, sampler, key=key, **more))
