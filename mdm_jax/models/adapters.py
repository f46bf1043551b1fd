"""Denoisers from what people have: a Flax Linen module, a Flax NNX module, a plain function.

A denoiser is pure, while training as while sampling: a module that draws random numbers when it is called, or changes
its own state, is refused with a sentence. In its evaluation form (dropout off, batch statistics as they are) it is one.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.calling import call, change_refused, check_call, parameters_of, random_refused
from mdm_jax.models.denoiser import Context, Params, checked_hidden, checked_logits
from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.support.keys import threefry
from mdm_jax.support.text import shortened

Whole = int | np.integer


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

    def __repr__(self) -> str:
        return f"LinenDenoiser({_told(self.module)}, vocab_size={self.vocab_size}, mask_id={self.mask_id})"

    @property
    def ragged(self) -> bool:
        """Whether it takes rows of different lengths: a module says so by an attribute ``ragged``."""
        return bool(getattr(self.module, "ragged", False))

    @property
    def _halves(self) -> bool:
        return hasattr(self.module, "encode") and hasattr(self.module, "readout")

    def _apply(self, params: Params, *inputs: Any, method: str | None = None, context: Context = None) -> Any:
        """A method of the module; a context is its last input, where there is one."""
        inputs = inputs if context is None else (*inputs, context)
        check_call(getattr(self.module, method or "__call__"), *inputs)
        try:
            return self.module.apply(params, *inputs, method=method)
        except flax.errors.InvalidRngError:
            raise random_refused("build it with nn.Dropout(..., deterministic=True)") from None
        except flax.errors.ModifyScopeVariableError:
            raise change_refused("its own variables", "build it with nn.BatchNorm(use_running_average=True)") from None

    def trains(self, params: Params) -> Any:
        """Of every leaf, whether it is a parameter."""
        first = (jax.tree_util.DictKey("params"),)
        return jax.tree_util.tree_map_with_path(lambda path, _: path[:1] == first, params)

    def init(self, key: PRNGKeyArray, length: int, context: Context = None) -> Params:
        """Fresh parameters: the variables that the module makes of one key, for one row of so many tokens.

        Raises:
            InputError: ``key`` is none.
        """
        key = threefry(key)
        inputs = (jnp.zeros((1, length), jnp.int32), *(() if context is None else (context,)))
        check_call(self.module.encode if self._halves else self.module.__call__, *inputs)
        if not self._halves:
            return self.module.init(key, *inputs)
        return self.module.init(key, *inputs, method=lambda module, *x: module.readout(module.encode(*x)))

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        if self._halves:
            return checked_hidden(self._apply(params, tokens, method="encode", context=context), tokens.shape)
        values = self._apply(params, tokens, context=context)
        return checked_logits(values, self.vocab_size, self.mask_id, tokens.shape)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        if not self._halves:
            return hidden
        values = self._apply(params, hidden, method="readout")
        return checked_logits(values, self.vocab_size, self.mask_id, hidden.shape[:-1])


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

    def __repr__(self) -> str:
        kind = re.search(r"type='?(\w+)", repr(self.graph))  # the module's own: it comes first
        name = "module" if kind is None else kind[1]
        return f"NNXDenoiser({name}, vocab_size={self.vocab_size}, mask_id={self.mask_id})"

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        inputs = (tokens,) if context is None else (tokens, context)
        if self.halves:
            return checked_hidden(self._call(params, lambda module: call(module.encode, *inputs)), tokens.shape)
        values = self._call(params, lambda module: call(module, *inputs))
        return checked_logits(values, self.vocab_size, self.mask_id, tokens.shape)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        if not self.halves:
            return hidden
        values = self._call(params, lambda module: call(module.readout, hidden))
        return checked_logits(values, self.vocab_size, self.mask_id, hidden.shape[:-1])

    def trains(self, params: Params) -> Any:
        """Of every leaf, whether it is a parameter."""

        def of(variable: Any) -> Any:
            if not isinstance(variable, nnx.Variable):
                raise InputError(
                    "params must be a state of nnx.Variables, as from_nnx returns it, to tell what is trained; got a "
                    f"leaf of type {type(variable).__name__}: make an array that is an attribute of the module an "
                    "nnx.Param (trained) or an nnx.Variable (held), and put a pure dict back into the state with "
                    "nnx.replace_by_pure_dict."
                )
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
                    raise random_refused(
                        "call module.eval() before from_nnx, and let the module draw nothing from its own nnx.Rngs"
                    )
                raise change_refused(name, "call module.eval() before from_nnx")
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
        values = self.function(params, tokens, *extra)
        return checked_logits(values, self.vocab_size, self.mask_id, tokens.shape)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        del params
        return hidden


def from_linen(module: linen.Module, vocab_size: Whole, mask_id: Whole | None = None) -> LinenDenoiser:
    """A Linen module as a denoiser.

    The module is called with tokens (and a context) and nothing else: flags like ``train`` or ``deterministic`` keep
    their defaults, in training too, so dropout that is off by default stays off.

    Args:
        module: has ``encode`` and ``readout``, or maps ``tokens: int32[rows, length]`` (and a context, if it takes
            one) to ``logits: float[rows, length, vocab_size]``.
        vocab_size: width of its logits.
        mask_id: the id of the mask token; ``vocab_size`` if left out, that is one past the real tokens. If it lies
            inside the logits (as in LLaDA), it is never drawn.

    Raises:
        InputError: no Linen module, or sizes that are none; at trace time, a module that cannot be called so, that is
            not pure, or that returns another shape.

    Example:
        >>> from flax import linen
        >>> import mdm_jax as mdm
        >>> class Net(linen.Module):
        ...     @linen.compact
        ...     def __call__(self, tokens):
        ...         return linen.Dense(4)(linen.Embed(5, 8)(tokens))  # the mask is an input, id 4, and no output
        >>> model = mdm.models.from_linen(Net(), vocab_size=4)
        >>> params = model.init(mdm.key(0), length=6)
        >>> model
        LinenDenoiser(Net(), vocab_size=4, mask_id=4)
    """
    require(isinstance(module, linen.Module), "module", module, "an instance of a flax.linen.Module")
    return _hashable(LinenDenoiser(module, *_ids(vocab_size, mask_id)), module)


def from_nnx(module: nnx.Module, vocab_size: Whole, mask_id: Whole | None = None) -> tuple[NNXDenoiser, Params]:
    """An NNX module as a denoiser, and its parameters; the module may have the forms of :func:`from_linen`.

    Call ``module.eval()`` first if it has dropout or batch statistics: it is taken as it is, for training too.

    Args:
        module: as for :func:`from_linen`.
        vocab_size: likewise.
        mask_id: likewise.

    Raises:
        InputError: as :func:`from_linen`.

    Example:
        >>> from flax import nnx
        >>> import mdm_jax as mdm
        >>> net = nnx.Sequential(nnx.Embed(5, 8, rngs=nnx.Rngs(0)), nnx.Linear(8, 4, rngs=nnx.Rngs(1)))
        >>> model, params = mdm.models.from_nnx(net, vocab_size=4)
        >>> model
        NNXDenoiser(Sequential, vocab_size=4, mask_id=4)
    """
    require(isinstance(module, nnx.Module), "module", module, "an instance of a flax.nnx.Module")
    graph, random, state = nnx.split(module, nnx.RngState, ...)
    leaves, structure = jax.tree.flatten(random)
    streams = (structure, tuple((leaf.shape, _kind(leaf)) for leaf in leaves)) if leaves else (None, ())
    halves = hasattr(module, "encode") and hasattr(module, "readout")
    return _hashable(NNXDenoiser(graph, halves, *_ids(vocab_size, mask_id), streams=streams), module), state


def from_function(function: Callable[..., Array], vocab_size: Whole, mask_id: Whole | None = None) -> FunctionDenoiser:
    """A plain function ``(params, tokens) -> logits`` or ``(params, tokens, context) -> logits`` as a denoiser.

    The function must be pure; compiled samplers are shared per function *object*, so define it once.

    Args:
        function: ``tokens`` is int32[rows, length]; it returns ``float[rows, length, vocab_size]``.
        vocab_size: width of its logits.
        mask_id: as for :func:`from_linen`.

    Raises:
        InputError: a function of other arguments, or sizes that are none; at trace time, another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> def biased(params, tokens):  # the same law everywhere
        ...     return jnp.broadcast_to(params, (*tokens.shape, 3))
        >>> model = mdm.models.from_function(biased, vocab_size=3)
        >>> masked = jnp.full((1, 2), model.mask_id)
        >>> print(mdm.models.logits(model, jnp.asarray([0.0, 1.0, 2.0]), masked))
        [[[0. 1. 2.]
          [0. 1. 2.]]]
    """
    wanted = "a function of (params, tokens) or (params, tokens, context)"
    given = parameters_of(function) if callable(function) else None
    require(given is not None, "function", function, wanted)
    assert given is not None
    taken = [parameter for parameter in given if parameter.kind in _POSITIONAL]
    more = [parameter for parameter in given if parameter.kind is parameter.KEYWORD_ONLY]
    must = all(parameter.default is not parameter.empty for parameter in more)
    require(len(taken) in (2, 3) and must, "function", function, wanted)
    # A third one with a value of its own might be anything: as a context it would be given None.
    for third in taken[2:]:
        told = third.default in (inspect.Parameter.empty, None)
        shown = verbatim(f"one with {third.name}={third.default!r}")
        require(told, "function", shown, f"{wanted}; give it other values by functools.partial({third.name}=...)")
    return _hashable(FunctionDenoiser(function, len(taken) == 3, *_ids(vocab_size, mask_id)), function)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def fields_of(module: linen.Module) -> dict[str, Any]:
    """A module's settings by name, without the parts that Flax counts among them."""
    names = [field.name for field in dataclasses.fields(module) if field.name not in ("parent", "name")]
    return {name: getattr(module, name) for name in names}


def _told(module: linen.Module) -> str:
    """A module on one line."""
    values = ", ".join(f"{name}={value!r}" for name, value in fields_of(module).items())
    return shortened(f"{type(module).__name__}({' '.join(values.split())})", 300)


def _ids(vocab_size: Any, mask_id: Any) -> tuple[int, int]:
    size = require_whole("vocab_size", vocab_size, 2, 2**31 - 2)
    return size, size if mask_id is None else require_whole("mask_id", mask_id, 0, 2**31 - 1)


def _hashable(denoiser: Any, made_of: Any) -> Any:
    """The denoiser, which compiled functions are shared by."""
    try:
        hash(denoiser)
    except TypeError as error:
        raise InputError(
            f"the {type(made_of).__name__} must be hashable, since compiled functions are kept by it ({error}): give "
            "it tuples for lists and dictionaries, and arrays as parameters."
        ) from None
    return denoiser


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
