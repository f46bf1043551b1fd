"""Models as JSON says them, and from JSON again: the library's own, published ones and the wrappers around these."""

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen

from mdm_jax.models.adapters import LinenDenoiser, fields_of
from mdm_jax.models.cached import (
    AnyOrderDenoiser,
    AnyOrderTransformer,
    BlockCausalDenoiser,
    BlockCausalTransformer,
    any_order,
    block_causal,
)
from mdm_jax.models.calibrating import Calibrated, calibrated
from mdm_jax.models.denoiser import Denoiser
from mdm_jax.models.framing import Framed, framed
from mdm_jax.models.latent import (
    DiffusionPrior,
    DiffusionPriorTransformer,
    JointDenoiser,
    JointTransformer,
    LatentDenoiser,
    LatentTransformer,
    diffusion_prior_transformer,
    joint_transformer,
    latent_transformer,
)
from mdm_jax.models.pretrained import NETWORKS, ByBlocksDenoiser, as_denoiser
from mdm_jax.models.transformers import RaggedTransformer, Transformer, transformer
from mdm_jax.models.wrappers import Shifted, Wrapper, banned, is_ban, shifted
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import shortened

_FAMILIES: dict[str, tuple[type, Callable[..., Any], type]] = {
    "transformer": (LinenDenoiser, transformer, Transformer),
    "ragged transformer": (LinenDenoiser, functools.partial(transformer, ragged=True), RaggedTransformer),
    "latent transformer": (LatentDenoiser, latent_transformer, LatentTransformer),
    "diffusion prior": (DiffusionPrior, diffusion_prior_transformer, DiffusionPriorTransformer),
    "any-order transformer": (AnyOrderDenoiser, any_order, AnyOrderTransformer),
    "block-causal transformer": (BlockCausalDenoiser, block_causal, BlockCausalTransformer),
    "joint diffusion": (JointDenoiser, joint_transformer, JointTransformer),
}
"""The library's own models: the kind of the denoiser, what makes one, and the kind of its network."""
_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null"}
_WRAPPERS: dict[str, Callable[..., Any]] = {
    "shifted": shifted,
    "banned": banned,
    "framed": framed,
    "calibrated": calibrated,
}
"""What may stand around a published model."""
_DEEPEST = 16


def describe(denoiser: Denoiser) -> dict[str, Any] | None:
    """What :func:`from_description` needs to rebuild one of the library's models; ``None`` for a user's own.

    Of a published model (:func:`mdm_jax.models.load_pretrained`) the wrappers around it that belong to it are described
    as well: shift, bans, frame, calibration.

    Returns:
        JSON: "family" ("transformer", "latent transformer", "diffusion prior" or "joint diffusion"), and every setting;
        of a published network "family" ("pretrained decoder"), "network" (its settings), "vocab_size" and "mask_id"; of
        a wrapper "family" ("framed"), its settings, and "denoiser", the description of what it is around.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> told = mdm.models.describe(model)
        >>> told["family"], told["width"], mdm.models.from_description(told) == model
        ('transformer', 16, True)
    """
    module = getattr(denoiser, "module", None)
    if module is None:
        return _wrapper(denoiser)
    network = next((name for name, kind in NETWORKS.items() if type(module) is kind), None)
    if network is not None and type(denoiser) in (LinenDenoiser, ByBlocksDenoiser):
        ids = {"vocab_size": denoiser.vocab_size, "mask_id": denoiser.mask_id}
        return {"family": network, "network": _plain(fields_of(module)), **ids}
    pair = type(denoiser), type(module)
    family = next((name for name, (kind, _, own) in _FAMILIES.items() if pair == (kind, own)), None)
    if family is None:
        return None
    settings = {name: value for name, value in fields_of(module).items() if (name, value) not in module.unsaid}
    return {"family": family, **settings}


def _wrapper(denoiser: Any) -> dict[str, Any] | None:
    """A wrapper that is around a published model; around others, and of other kinds, it is a user's own."""
    if type(denoiser) is Shifted:
        family, settings = "shifted", {}
    elif is_ban(denoiser):
        family, settings = "banned", {"ids": list(denoiser.setting)}
    elif type(denoiser) is Framed:
        family = "framed"
        settings = {"ids": list(denoiser.ids), "prefix": list(denoiser.prefix), "suffix": list(denoiser.suffix)}
    elif type(denoiser) is Calibrated:
        family = "calibrated"
        settings = {"fractions": list(denoiser.fractions), "temperatures": list(denoiser.temperatures)}
    else:
        return None
    inner = describe(denoiser.denoiser)
    return {"family": family, **settings, "denoiser": inner} if inner is not None and is_pretrained(inner) else None


def is_pretrained(description: Mapping[str, Any]) -> bool:
    """Whether a description is of a published model: one whose sizes are its own, and follow from no task.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.is_pretrained(mdm.models.describe(mdm.models.transformer(4)))
        False
    """
    return "network" in description or "denoiser" in description


def from_description(description: Any) -> LinenDenoiser | Wrapper:
    """The model that :func:`describe` described.

    Raises:
        InputError: not a model of this version of the library.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.from_description({"family": "transformer", "vocab_size": 4, "width": 16}).vocab_size
        4
        >>> mdm.models.from_description({"family": "mamba"})
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: model family must be 'transformer' or 'ragged transformer' or ...
    """
    return _made(description, _DEEPEST)


def _made(description: Any, depth: int) -> LinenDenoiser | Wrapper:
    family = description.get("family") if isinstance(description, dict) else description
    known = (*_FAMILIES, *NETWORKS, *_WRAPPERS)
    if not isinstance(family, str) or family not in known:
        raise InputError(f"model family must be {' or '.join(map(repr, known))}; got {shortened(repr(family))}.")
    settings = {name: value for name, value in description.items() if name != "family"}
    try:
        if family in _WRAPPERS:
            require(depth > 0, "model", family, f"at most {_DEEPEST} wrappers deep")
            return _WRAPPERS[family](_made(settings.pop("denoiser", None), depth - 1), **settings)
        if family in NETWORKS:
            network, ids = settings.pop("network", {}), settings
            return as_denoiser(_network(NETWORKS[family], network), **ids)
        _require_types("model", _FAMILIES[family][2], settings)
        return _FAMILIES[family][1](**settings)
    except TypeError as error:
        raise InputError(f"the model was described by another version of the library: {error}.") from None


def _network(kind: type[linen.Module], settings: Any) -> linen.Module:
    require(isinstance(settings, dict), "model network", settings, "an object of settings")
    _require_types("model network", kind, settings)
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def _require_types(told: str, network: type[linen.Module], settings: Mapping[str, Any]) -> None:
    """Refuse a setting that is not of the type that its field of the network has."""
    types = {field.name: field.type for field in dataclasses.fields(network)}
    for name in types.keys() & settings.keys():
        require(_is_of(settings[name], types[name]), f"{told} {name}", settings[name], _in_words(types[name]))


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of a type: whole numbers are numbers, lists are tuples."""
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list) and all(_is_of(one, inner[0]) for one in value)
    return any(_is_of(value, one) for one in inner) or type(value) in ((float, int) if kind is float else (kind,))


def _in_words(kind: Any) -> str:
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_in_words(inner[0])}"
    found = [one for one in inner or (kind,) if not (one is int and float in inner)]
    return " or ".join(_WORDS[one] for one in found)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
