"""Denoisers from what people have: a Flax Linen module, a Flax NNX module, a plain function."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen, nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Params, checked_logits
from mdm_jax.support.errors import require


@dataclasses.dataclass(frozen=True)
class LinenDenoiser:
    """A Linen module as a denoiser; parameters are the whole variable dictionary that ``module.init`` returns.

    The module either has methods ``encode(tokens[, context])`` and ``readout(hidden)``, or is called as
    ``module(tokens[, context]) -> logits``, in which case the readout is the identity.
    """

    module: linen.Module
    vocab_size: int
    mask_id: int
    passes: int = 1

    @property
    def _halves(self) -> bool:
        return hasattr(self.module, "encode") and hasattr(self.module, "readout")

    def _apply(self, params: Params, *inputs: Any, method: str | None = None) -> Any:
        return self.module.apply(params, *inputs, method=method)

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
    """An NNX module as a denoiser; parameters are the state that ``nnx.split`` takes out of it."""

    graph: nnx.GraphDef
    halves: bool
    vocab_size: int
    mask_id: int
    passes: int = 1

    def encode(
        self, params: Params, tokens: Int[Array, "rows length"], context: Context = None
    ) -> Float[Array, "rows length d"]:
        module: Any = nnx.merge(self.graph, params)
        extra = () if context is None else (context,)
        if self.halves:
            return module.encode(tokens, *extra)
        return checked_logits(module(tokens, *extra), self.vocab_size, self.mask_id)

    def readout(self, params: Params, hidden: Float[Array, "*any d"]) -> Float[Array, "*any vocab_size"]:
        if not self.halves:
            return hidden
        module: Any = nnx.merge(self.graph, params)
        return checked_logits(module.readout(hidden), self.vocab_size, self.mask_id)


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

    Args:
        module: has ``encode`` and ``readout``, or maps ``tokens: int32[rows, length]`` (and a context, if it takes
            one) to ``logits: float[rows, length, vocab_size]``.
        vocab_size: width of its logits.
        mask_id: the id of the mask token; ``vocab_size`` if left out, that is one past the real tokens. If it lies
            inside the logits (as in LLaDA), it is never drawn.
    """
    return LinenDenoiser(module, *_ids(vocab_size, mask_id))


def from_nnx(module: nnx.Module, vocab_size: int, mask_id: int | None = None) -> tuple[NNXDenoiser, Params]:
    """An NNX module as a denoiser, and its parameters; the module may have the forms of :func:`from_linen`."""
    graph, state = nnx.split(module)
    halves = hasattr(module, "encode") and hasattr(module, "readout")
    return NNXDenoiser(graph, halves, *_ids(vocab_size, mask_id)), state


def from_function(function: Callable[..., Array], vocab_size: int, mask_id: int | None = None) -> FunctionDenoiser:
    """A plain function ``(params, tokens) -> logits`` or ``(params, tokens, context) -> logits`` as a denoiser.

    The function must be pure; compiled samplers are shared per function *object*, so define it once.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = sum(parameter.kind in kinds for parameter in inspect.signature(function).parameters.values())
    require(count in (2, 3), "function", function, "a function of (params, tokens) or (params, tokens, context)")
    return FunctionDenoiser(function, count == 3, *_ids(vocab_size, mask_id))


def _ids(vocab_size: int, mask_id: int | None) -> tuple[int, int]:
    require(vocab_size >= 2, "vocab_size", vocab_size, "at least 2")
    require(mask_id is None or mask_id >= 0, "mask_id", mask_id, "a token id, 0 or more")
    return vocab_size, vocab_size if mask_id is None else mask_id
