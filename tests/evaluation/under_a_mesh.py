"""What is measured and drawn with no mesh active, and within meshes of several kinds, as JSON: eight devices needed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from latent_worlds import SEQUENCES, table_world
from worlds import draw_rows, exact_world

from mdm_jax.evaluation import (
    Execution,
    estimate_profile,
    evaluate,
    held_out_nelbo,
    latent_profile,
    path_nelbo,
)
from mdm_jax.sampling import rules, sample
from mdm_jax.support.devices import make_mesh
from mdm_jax.theory import plans

KEY = jax.random.key(3)
SAMPLERS = {"two steps": plans.uniform(3, 2), "surest": rules.surest(plans.uniform(3, 2))}


def found(params):
    table, denoiser, _ = exact_world(3)
    rows = draw_rows(table, 24, 0)

    model, weights = table_world()
    within = jax.random.key(3)  # under a mesh it lies on it, and so do the numbers of a rule
    surest = rules.surest(plans.uniform(3, 2))

    def tokens(**ways):
        where = Execution(batch=2, **ways)
        score = lambda x: x.sum(axis=1)  # noqa: E731
        return evaluate(denoiser, params, SAMPLERS, 4, score, key=within, length=3, execution=where).tokens

    return {
        "profile": estimate_profile(denoiser, params, rows, 96, key=KEY, estimator="increments").means.tolist(),
        "profile with latents": latent_profile(model, weights, SEQUENCES, 24, key=KEY).means.tolist(),
        "held-out": held_out_nelbo(denoiser, params, rows, key=KEY).tolist(),
        "paths": path_nelbo(denoiser, params, rows, [SAMPLERS["two steps"]], key=KEY).tolist(),
        "blind": sample(denoiser, params, SAMPLERS["two steps"], 4, key=within).tokens.tolist(),
        "adaptive": sample(denoiser, params, surest, 4, key=within, length=3).tokens.tolist(),
        "plain": tokens().tolist(),
        "pmap": tokens(devices=4).tolist(),
        "mesh": tokens(mesh=make_mesh({"data": 4})).tolist(),
    }


def everywhere():
    """Meshes of one axis and of two, of either kind; parameters made outside them and within."""
    params = np.asarray(exact_world(3)[2])
    yield "none", found(jnp.asarray(params))
    for shape, axes, kind, within in (
        ((8,), ("data",), AxisType.Auto, True),
        ((8,), ("data",), AxisType.Explicit, False),
        ((4, 2), ("data", "model"), AxisType.Auto, False),
        ((4, 2), ("data", "model"), AxisType.Explicit, True),
    ):
        outside = jnp.asarray(params)
        with jax.set_mesh(jax.make_mesh(shape, axes, (kind,) * len(shape))):
            made = jnp.asarray(params) if within else outside
            yield f"{axes} {kind}, made {'within' if within else 'outside'}", found(made)


if __name__ == "__main__":
    print(json.dumps(dict(everywhere())))
