"""Denoisers from what people have: a Flax Linen module, a Flax NNX module, a plain function.

A denoiser is pure, while training as while sampling: a module that draws random numbers when it is called, or changes
its own state, is refused with a sentence. In its evaluation form (dropout off, batch statistics as they are) it is one.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Params, checked_logits
from mdm_jax.support.errors import InputError, require, verbatim


@dataclasses.dataclass(frozen=True)
class LinenDenoiser:
    """A Linen module as a denoiser; parameters are the whole variable dictionary that ``module.init`` returns.

    The module either has methods ``encode(tokens[, context])`` and ``readout(hidden)``, or is called as
    ``module(tokens[, context]) -> logits``, in which case the readout is the identity. Of the dictionary the collection
    "params" is trained; others are given to the module as they are.
    """

    module: linen.Module
    vocab_size: int
    mask_id: int
    passes: int = 1

    @property
    def _halves(self) -> bool:
        return hasattr(self.module, "encode") and hasattr(self.module, "readout")

    def _apply(self, params: Params, *inputs: Any, method: str | None = None) -> Any:
        try:
            return self.module.apply(params, *inputs, method=method)
        except flax.errors.InvalidRngError:
            raise _random("build it with nn.Dropout(..., deterministic=True)") from None
        except flax.errors.ModifyScopeVariableError:
            raise _changing("its own variables", "build it with nn.BatchNorm(use_running_average=True)") from None

    def trains(self, params: Params) -> Any:
        """Of every leaf, whether it is a parameter."""
        first = (jax.tree_util.DictKey("params"),)
        return jax.tree_util.tree_map_with_path(lambda path, _: path[:1] == first, params)

    def init(self, key: PRNGKeyArray, length: int, context: Context = None) -> Params:
        inputs = (jnp.zeros((1, length), jnp.int32), *(() if context is None else (context,)))
        if not self._halves:
            return self.module.init(key, *inputs)
        return self.module.init(key, *inputs, method=lambda module, *x: module.readout(module.encode(*x)))

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        extra = () if context is None else (context,)
        if self._halves:
            return self._apply(params, tokens, *extra, method="encode")
        return checked_logits(self._apply(params, tokens, *extra), self.vocab_size, self.mask_id)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        if not self._halves:
            return hidden
        return checked_logits(self._apply(params, hidden, method="readout"), self.vocab_size, self.mask_id)


@dataclasses.dataclass(frozen=True)
class NNXDenoiser:
    """An NNX module as a denoiser; parameters are the state that ``nnx.split`` takes out of it, random state left out.

    Of the state what is an ``nnx.Param`` is trained; other variables are given to the module as they are.
    """

    graph: nnx.GraphDef
    halves: bool
    vocab_size: int
    mask_id: int
    passes: int = 1
    streams: tuple[Any, tuple[tuple[tuple[int, ...], str], ...]] = (None, ())
    """Structure, shapes and types of the random state: a module cannot be made without one, though it draws nothing."""

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        extra = () if context is None else (context,)
        if self.halves:
            return self._call(params, lambda module: module.encode(tokens, *extra))
        return checked_logits(self._call(params, lambda module: module(tokens, *extra)), self.vocab_size, self.mask_id)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        if not self.halves:
            return hidden
        return checked_logits(self._call(params, lambda module: module.readout(hidden)), self.vocab_size, self.mask_id)

    def trains(self, params: Params) -> Any:
        """Of every leaf, whether it is a parameter."""

        def of(variable: Any) -> Any:
            known = isinstance(variable, nnx.Variable)
            wanted = "the state that from_nnx returned, a tree of nnx.Variable"
            require(known, "params", verbatim(f"a leaf of type {type(variable).__name__}"), wanted)
            return jax.tree.map(lambda _: isinstance(variable, nnx.Param), variable)

        return jax.tree.map(of, params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))

    def _call(self, params: Params, method: Callable[[Any], Any]) -> Any:
        """What a method of the module returns; refused if it leaves the module another one than it was."""
        structure, leaves = self.streams
        still = () if structure is None else (jax.tree.unflatten(structure, [_zeros(*leaf) for leaf in leaves]),)
        # Variables of its own, at this level of tracing: what it changes in them must not reach the caller's.
        module = nnx.merge(self.graph, *still, jax.tree.map(lambda leaf: leaf, params))
        before = _values(module)
        value = method(module)
        after = _values(module)
        for name, leaf in before.items():
            if after.get(name) is not leaf:
                if name in _values(module, nnx.RngState):
                    raise _random("call module.eval() before from_nnx")
                raise _changing(name, "call module.eval() before from_nnx")
        return value


@dataclasses.dataclass(frozen=True)
class FunctionDenoiser:
    """A function ``(params, tokens[, context]) -> logits`` as a denoiser whose readout is the identity."""

    function: Callable[..., Array]
    takes_context: bool
    vocab_size: int
    mask_id: int
    passes: int = 1

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        require(context is None or self.takes_context, "context", context, "left out: this function takes none")
        extra = (context,) if self.takes_context else ()
        return checked_logits(self.function(params, tokens, *extra), self.vocab_size, self.mask_id)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        del params
        return hidden


def from_linen(module: linen.Module, vocab_size: int, mask_id: int | None = None) -> LinenDenoiser:
    """A Linen module as a denoiser.

    The module is called with tokens (and a context) and nothing else: flags like ``train`` or ``deterministic`` keep
    their defaults, in training too, so dropout that is off by default stays off.

    Args:
        module: has ``encode`` and ``readout``, or maps ``tokens: int32[rows, length]`` (and a context, if it takes
            one) to ``logits: float[rows, length, vocab_size]``.
        vocab_size: width of its logits.
        mask_id: the id of the mask token; ``vocab_size`` if left out, that is one past the real tokens. If it lies
            inside the logits (as in LLaDA), it is never drawn.
    """
    return LinenDenoiser(module, *_ids(vocab_size, mask_id))


def from_nnx(module: nnx.Module, vocab_size: int, mask_id: int | None = None) -> tuple[NNXDenoiser, Params]:
    """An NNX module as a denoiser, and its parameters; the module may have the forms of :func:`from_linen`.

    Call ``module.eval()`` first if it has dropout or batch statistics: it is taken as it is, for training too.
    """
    graph, random, state = nnx.split(module, nnx.RngState, ...)
    leaves, structure = jax.tree.flatten(random)
    streams = (structure, tuple((leaf.shape, _kind(leaf)) for leaf in leaves)) if leaves else (None, ())
    halves = hasattr(module, "encode") and hasattr(module, "readout")
    return NNXDenoiser(graph, halves, *_ids(vocab_size, mask_id), streams=streams), state


def from_function(function: Callable[..., Array], vocab_size: int, mask_id: int | None = None) -> FunctionDenoiser:
    """A plain function ``(params, tokens) -> logits`` or ``(params, tokens, context) -> logits`` as a denoiser.

    The function must be pure; compiled samplers are shared per function *object*, so define it once.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = "a function of (params, tokens) or (params, tokens, context)"
    require(callable(function), "function", function, wanted)
    taken = [parameter for parameter in inspect.signature(function).parameters.values() if parameter.kind in kinds]
    require(len(taken) in (2, 3), "function", function, wanted)
    # A third one with a value of its own might be anything: as a context it would be given None.
    for third in taken[2:]:
        told = third.default in (inspect.Parameter.empty, None)
        shown = verbatim(f"one with {third.name}={third.default!r}")
        require(told, "function", shown, f"{wanted}; give it other values by functools.partial({third.name}=...)")
    return FunctionDenoiser(function, len(taken) == 3, *_ids(vocab_size, mask_id))


def _ids(vocab_size: int, mask_id: int | None) -> tuple[int, int]:
    require(vocab_size >= 2, "vocab_size", vocab_size, "at least 2")
    require(mask_id is None or mask_id >= 0, "mask_id", mask_id, "a token id, 0 or more")
    return vocab_size, vocab_size if mask_id is None else mask_id


def _random(remedy: str) -> InputError:
    return InputError(
        "the module draws random numbers when it is called (dropout, most likely), and a denoiser may not, in training "
        f"or in sampling: {remedy}, or with a rate of 0."
    )


def _changing(what: str, remedy: str) -> InputError:
    return InputError(
        f"the module changes {what} when it is called (batch statistics or a cache, most likely), and a denoiser may "
        f"not: {remedy}."
    )


def _values(module: Any, kind: Any = nnx.Not(nnx.Intermediate)) -> dict[str, Any]:  # noqa: B008
    """The values in a module by the names of their variables; what it has merely noted of a call is passed over."""
    found = jax.tree_util.tree_leaves_with_path(nnx.state(module, kind))
    return {jax.tree_util.keystr(path[:-1], simple=True, separator="/"): leaf for path, leaf in found}


def _kind(leaf: Any) -> str:
    """The name of an array's type, or of the implementation of an array of keys."""
    return str(jax.random.key_impl(leaf)) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.name


def _zeros(shape: tuple[int, ...], kind: str) -> Array:
    """Zeros of a :func:`_kind`. JAX arrays: NumPy's could be changed in place, and nobody would see it."""
    return jnp.zeros(shape, kind if kind in np.sctypeDict else jax.random.key(0, impl=kind).dtype)
