"""Reading config.json: what must be there, what must be as we know it, and what the user says instead."""

from collections.abc import Mapping
from typing import Any

from mdm_jax.support.errors import InputError, is_list, require, require_whole

Config = Mapping[str, Any]
SETTINGS = ("mask_id", "shift", "end_id", "banned", "prefix", "suffix", "block", "length", "vocabulary")
"""What a user may say beside config.json, which cannot always be trusted; and the folder's own tokens."""


def whole(config: Config, key: str, least: int = 1) -> int:
    """A whole number of config.json.

    Raises:
        InputError: it is not there, or is none.

    Example:
        >>> from mdm_jax.models.pretrained.families.configurations import whole
        >>> whole({"n_layers": 32}, "n_layers")
        32
        >>> whole({}, "n_layers")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: config.json's n_layers must be a whole number, 1 or more; got None.
    """
    return require_whole(_named(key), config.get(key), least)


def number(config: Config, key: str) -> float:
    """A positive number of config.json.

    Raises:
        InputError: it is not there, or is none.
    """
    value = config.get(key)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    require(good, _named(key), value, "a positive number")
    return float(value)  # pyright: ignore[reportArgumentType]


def must_be(config: Config, key: str, *right: Any, absent: Any) -> None:
    """Refuse a checkpoint whose config.json says something that the network here is not.

    Args:
        config: config.json's content.
        key: of it.
        right: the values that it may have.
        absent: what stands for a key that is not there, as the checkpoint's own code has it.

    Raises:
        InputError: another value.

    Example:
        >>> from mdm_jax.models.pretrained.families.configurations import must_be
        >>> must_be({"alibi": True}, "alibi", False, absent=False)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: config.json's alibi must be False for this network; got True.
    """
    value = config.get(key, absent)
    good = any(type(value) is type(one) and value == one for one in right)
    require(good, _named(key), value, f"{' or '.join(map(repr, right))} for this network")


def mask_of(config: Config, settings: Config, rows: int, *keys: str, otherwise: int | None = None) -> int:
    """The mask's id: the user's, else config.json's.

    Args:
        config: config.json's content.
        settings: the user's.
        rows: ids that are embedded.
        keys: where config.json may say it, the first one first.
        otherwise: what it is where neither says it.

    Raises:
        InputError: nobody says it, or it is not embedded.
    """
    said = [settings.get("mask_id"), *(config.get(key) for key in keys), otherwise]
    found = next((value for value in said if value is not None), None)
    if found is None:
        told = " or ".join(map(repr, keys))
        raise InputError(f"mask_id must be given, as config.json has no {told}; got None.")
    return require_whole("mask_id", found, 0, rows - 1)


def length_of(config: Config, settings: Config, key: str) -> int:
    """The longest sequence: the user's, else config.json's."""
    return whole(config, key) if settings.get("length") is None else require_whole("length", settings["length"], 1)


def told(settings: Config, config: Config, shift: bool, banned: tuple[int, ...] = ()) -> dict[str, Any]:
    """What :class:`~mdm_jax.models.pretrained.Published` says beside the network, of the user and else of config.json.

    Args:
        settings: the user's, of :data:`SETTINGS`.
        config: config.json's content.
        shift: whether this family is shifted where the user does not say so.
        banned: ids that this family never predicts where the user does not say so.

    Raises:
        InputError: a setting that is none, or of a wrong kind.

    Example:
        >>> from mdm_jax.models.pretrained.families.configurations import told
        >>> told({"banned": [3]}, {"eos_token_id": 2}, shift=False)
        {'shift': False, 'prefix': (), 'suffix': (), 'banned': (3,), 'end_id': 2}
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    require(not unknown, "settings", unknown, f"of {', '.join(SETTINGS)}")
    said = settings.get("shift")
    require(said is None or isinstance(said, bool), "shift", said, "True or False")
    end = config.get("eos_token_id")  # some have a list, of which none ends a text for sure
    end = settings["end_id"] if settings.get("end_id") is not None else end if type(end) is int else None
    return {
        "shift": shift if said is None else said,
        "prefix": _ids(settings, "prefix", ()),
        "suffix": _ids(settings, "suffix", ()),
        "banned": _ids(settings, "banned", banned),
        "end_id": None if end is None else require_whole("end_id", end, 0),
    }


def _ids(settings: Config, name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    given = settings.get(name)
    if given is None:
        return otherwise
    require(is_list(given), name, given, "a list of token ids")
    return tuple(require_whole(name, one, 0) for one in given)


def _named(key: str) -> str:
    return f"config.json's {key}"
