"""Muon as Optax has it, state and all, with its Newton-Schulz iterations on the small Gram matrix.

Muon moves a matrix by its momentum with all singular values brought near 1. An odd polynomial does that, five times in
turn: ``X <- p(X X^T) X``. All factors are polynomials of the one matrix ``X X^T``, which is as small as the shorter
side of ``X``. So they can be multiplied among themselves, and ``X`` by their product at the end.

Rounding sets the limit. An error of the Gram matrix grows with each factor, by up to 12 times, and after five it stood
far above what Optax's form has. Made anew after three factors, the Gram matrix is right again, and the result is as
exact as Optax's at every condition. A matrix that is nearly square gains nothing by it and is iterated as usual.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Float

from mdm_jax.models.denoiser import Params

Taker = Literal["muon", "adam"]
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of ``1``, ``X X^T`` and its square in ``p``: Keller Jordan's, which are Optax's."""
MOMENTUM, EPSILON = 0.95, 1e-8


def muon(
    learning_rate: optax.Schedule,
    adam_learning_rate: optax.Schedule,
    weight_decay: float,
    takers: Callable[[Params], Any],
) -> optax.GradientTransformation:
    """``optax.contrib.muon`` with Nesterov's momentum and width scaling: its updates up to rounding, and its state.

    Args:
        learning_rate: of the matrices that Muon takes.
        adam_learning_rate: of all others.
        weight_decay: decoupled, of the matrices that Muon takes.
        takers: who takes which parameter, "muon" (matrices only) or "adam", as a tree of their structure.

    Source: Keller Jordan's Muon; arXiv 2502.16982; ``optax.contrib.muon``.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.training.muon import muon
        >>> moving = muon(lambda count: 0.1, lambda count: 0.1, 0.0, lambda params: {"matrix": "muon", "gain": "adam"})
        >>> params = {"matrix": jnp.eye(2), "gain": jnp.ones(2)}
        >>> updates, _ = moving.update(params, moving.init(params), params)
        >>> print(updates["matrix"].diagonal().round(2))  # near the rate times an orthogonal matrix
        [-0.11 -0.11]
    """
    matrices = optax.chain(
        optax.GradientTransformation(_first_state, _orthogonal_momentum),
        optax.identity(),  # in Optax's state too: there the scaling by shape is a link of its own
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    rest = optax.adamw(adam_learning_rate, b1=0.9, b2=0.95, eps=EPSILON, weight_decay=0.0, nesterov=True)
    return optax.partition({"muon": matrices, "adam": rest}, takers)


def orthogonalised(
    matrix: Float[Array, "rows columns"], coefficients: Float[Array, "3"]
) -> Float[Array, "rows columns"]:
    """Five Newton-Schulz iterations: the same singular vectors, with singular values of about .7 to 1.2.

    Args:
        matrix: of any shape.
        coefficients: of the iteration's polynomial.

    Source: as :func:`muon`.

    Example:
        >>> import jax.numpy as jnp
        >>> from mdm_jax.training.muon import COEFFICIENTS, orthogonalised
        >>> print(orthogonalised(jnp.diag(jnp.asarray([3.0, 4.0])), jnp.asarray(COEFFICIENTS)).diagonal().round(2))
        [0.72 1.11]
    """
    rows, columns = matrix.shape
    tall = rows > columns  # the small Gram matrix then stands on the right
    matrix = matrix / (jnp.linalg.norm(matrix) + EPSILON)
    for count in spans(rows, columns):
        gram = matrix.T @ matrix if tall else matrix @ matrix.T
        factor = product = _factor(gram, coefficients)
        for _ in range(count - 1):
            gram = (factor @ gram) @ factor
            factor = _factor(gram, coefficients)
            product = product @ factor  # all of them commute
        matrix = matrix @ product if tall else product @ matrix
    return matrix


def spans(rows: int, columns: int) -> tuple[int, ...]:
    """How many iterations each Gram matrix serves: where sides differ by half, three and two; else one each.

    A span of ``n`` takes two products with the matrix itself and ``4 n - 3`` of the small ones, which are cheaper where
    the sides differ.
    """
    short, long = sorted((rows, columns))
    return (3, 2) if 2 * long > 3 * short else (1,) * 5


def _factor(gram: Array, coefficients: Array) -> Array:
    one, linear, square = coefficients
    return one * jnp.eye(gram.shape[0], dtype=gram.dtype) + linear * gram + square * (gram @ gram)


def _first_state(params: Params) -> optax.contrib.MuonState:
    zeros = optax.tree.zeros_like(params)
    return optax.contrib.MuonState(jnp.zeros((), jnp.int32), zeros, jnp.asarray(COEFFICIENTS))


def _orthogonal_momentum(
    updates: Params, state: Any, params: Params | None = None
) -> tuple[Params, optax.contrib.MuonState]:
    """Nesterov's momentum, orthogonalised; longer by the root of how much wider than high a matrix is."""
    del params
    momentum = optax.tree.update_moment(updates, state.mu, MOMENTUM, 1)
    count = optax.safe_increment(state.count)
    ahead = jax.tree.map(
        lambda mean, gradient: MOMENTUM * mean + (1 - MOMENTUM) * gradient,
        optax.tree.bias_correction(momentum, MOMENTUM, optax.safe_increment(count)),
        optax.tree.bias_correction(updates, MOMENTUM, count),
    )

    def moved(matrix: Array) -> Array:
        rows, columns = matrix.shape
        coefficients = jnp.asarray(state.ns_coeffs, matrix.dtype)
        return max(1.0, columns / rows) ** 0.5 * orthogonalised(matrix, coefficients)

    return jax.tree.map(moved, ahead), optax.contrib.MuonState(count, momentum, state.ns_coeffs)
