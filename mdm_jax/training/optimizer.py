"""How parameters are moved: by Muon (and Adam for what is no hidden matrix), by AdamW, or as a user says."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mdm_jax.models.calling import parameters_of
from mdm_jax.models.denoiser import Params
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.files import digest
from mdm_jax.support.text import shortened
from mdm_jax.training.muon import Taker, muon
from mdm_jax.training.settings import OWN, RECIPES, Settings


def optimizer_of(
    settings: Settings, vocab_size: int, own: optax.GradientTransformation | None = None
) -> optax.GradientTransformationExtraArgs:
    """The Optax optimiser that ``settings`` describe: clipping, warm-up and linear decay, decoupled weight decay.

    Its state counts the steps of the whole run, and so do moments go on; the learning rate is of the stage.

    Args:
        settings: how to train.
        vocab_size: tells embeddings and heads, which Muon is not meant for, from the matrices between hidden layers.
        own: a transformation that takes its place, whole.

    Raises:
        InputError: the settings call for one of the user's own, and none is given; or the other way round.
    """
    if own is not None or settings.optimizer == OWN:
        wanted = f"given where, and only where, settings.optimizer is {OWN!r}: it is {settings.optimizer!r}"
        require((own is None) == (settings.optimizer != OWN), "optimizer", own, wanted)
        assert own is not None
        return _as_usual(own)
    span = settings.steps - settings.begin  # of this stage
    warm = round(settings.warmup * span)

    def rate(peak: float) -> optax.Schedule:
        def at(count: Any) -> Any:
            count = jnp.asarray(count - settings.begin, jnp.float32)
            rise = (count + 1) / max(1, warm)
            fall = (span - count) / max(1, span - warm)
            return peak * jnp.clip(jnp.minimum(rise, fall), 0.0, 1.0)

        return at

    if settings.optimizer == "adamw":
        chosen = optax.adamw(
            rate(settings.learning_rate), b1=0.9, b2=0.98, weight_decay=settings.weight_decay, mask=_matrices
        )
    else:
        chosen = muon(
            rate(settings.learning_rate),
            rate(settings.adam_fraction * settings.learning_rate),
            settings.weight_decay,
            lambda params: _takers(params, vocab_size),
        )
    return _as_usual(optax.chain(optax.clip_by_global_norm(settings.clip), chosen))


def check_optimizer(given: Any) -> optax.GradientTransformation | None:
    """A user's own transformation, seen to be one; ``None`` where a recipe is named.

    Raises:
        InputError: it is neither, or cannot be hashed.
    """
    if isinstance(given, str) and given in RECIPES:
        return None
    own: Any = given.gradient_transformation() if isinstance(given, optax.MultiSteps) else given
    wanted = '"adamw", "muon" or any optax.GradientTransformation'
    require(isinstance(own, optax.GradientTransformation), "optimizer", own, wanted)
    try:
        hash(own)
    except TypeError as error:
        require(False, "optimizer", verbatim(str(error)), "of hashable functions, since compiled steps are kept by it")
    return own


def check_update(own: optax.GradientTransformation, trained: Params) -> None:
    """Refuse a user's own transformation that cannot move these parameters, without running it.

    Args:
        own: the transformation.
        trained: what it would move, or the shapes of it.

    Raises:
        InputError: it asks for more than a step gives it, or what it makes has other structures, shapes or types than
            it is given.
    """

    def moved(trained: Params, loss: Any) -> tuple[Any, Any]:
        moving = _as_usual(own)
        before = moving.init(trained)
        updates, after = moving.update(trained, before, trained, value=loss)
        # As a step does, which takes them only where they are finite.
        new, old = (optax.apply_updates(trained, updates), after), (trained, before)
        return jax.tree.map(lambda new, old: jnp.where(True, new, old), new, old), old

    wanted = "a transformation that needs no more than gradient, state, parameters and the loss (as value)"
    try:
        new, old = jax.eval_shape(moved, trained, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"optimizer must be {wanted}; this one fails: {shortened(said, 200)}") from error
    for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(new), jax.tree.leaves(old), strict=True):
        kinds = [verbatim(f"{leaf.dtype} of shape {leaf.shape}") for leaf in (one, other)]
        where = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        good = (one.shape, one.dtype) == (other.shape, other.dtype)
        require(good, "optimizer", kinds[0], f"one whose update keeps shapes and types: {kinds[1]} at {where}")


def describe_state(state: Any) -> dict[str, Any]:
    """What a run can tell of a transformation: the kinds of its state, how many arrays, a digest of paths and shapes.

    Args:
        state: its state, or the shapes of it.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    told = [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]
    return {"state": _kinds(state), "arrays": len(told), "digest": digest("\n".join(told))}


def _kinds(state: Any) -> list[str]:
    """The names of the states that a transformation is chained of."""
    if isinstance(state, dict):
        return [name for part in state.values() for name in _kinds(part)]
    if not isinstance(state, tuple):
        return []
    own = [type(state).__name__] if hasattr(state, "_fields") else []
    return [*own, *(name for part in state for name in _kinds(part))]


def _as_usual(given: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The same in the types that JAX has by default: Optax mixes them, and would keep some of its state in float64.

    It is told of ``value`` where it takes it.
    """
    inner = optax.with_extra_args_support(given)
    taken = parameters_of(inner.update)
    told = taken is None or any(one.kind is one.VAR_KEYWORD or one.name == "value" for one in taken)

    @contextmanager
    def types(params: Params) -> Iterator[None]:
        double = any(jnp.dtype(leaf.dtype).itemsize == 8 for leaf in jax.tree.leaves(params))
        with jax.numpy_dtype_promotion("standard"), nullcontext() if double else jax.enable_x64(False):
            yield

    def init(params: Params) -> Any:
        with types(params):
            return inner.init(params)

    def update(updates: Any, state: Any, params: Params | None = None, *, value: Any = None) -> tuple[Any, Any]:
        with types(params):
            return inner.update(updates, state, params, **({"value": value} if told else {}))

    return optax.GradientTransformationExtraArgs(init, update)


def _matrices(params: Params) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


_BESIDE = ("modulation/", "latent_expand/", "latent_contract/", "recognition_mean/", "recognition_log_scale/")
"""Kernels that a context or a latent goes through, by their names. Muon's steps are as long where a gradient is nothing
but noise: a latent that tells nothing would become noise in every norm."""


def _takers(params: Params, vocab_size: int) -> Any:
    """Muon takes the kernels between hidden layers, Adam all other parameters.

    Those that a context or a latent goes through are left to Adam too. The head is told by its name, "head"; in a model
    that names none so, by its output axis of ``vocab_size``.
    """

    def name_of(path: tuple[Any, ...]) -> str:
        return f"{jax.tree_util.keystr(path, simple=True, separator='/')}/"

    named = any("head/" in name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))

    def one(path: tuple[Any, ...], leaf: Any) -> Taker:
        name = name_of(path)
        is_head = "head/" in name if named else leaf.shape[-1:] == (vocab_size,)
        beside = any(part in name for part in _BESIDE)
        inside = name.endswith("kernel/") and leaf.ndim == 2 and not is_head and not beside
        return "muon" if inside else "adam"

    return jax.tree_util.tree_map_with_path(one, params)
