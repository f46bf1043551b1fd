r"""How a file and its settings are written in one line: ``KIND:PATH?name=value&flag``.

The settings begin at the last ``?`` behind which all names are known, so that a path may have question marks. Nothing
is encoded; ``\t`` in a value is a tab.
"""

import os
import re
from collections.abc import Mapping

from mdm_jax.support.errors import InputError, require

Known = Mapping[str, str | None]
"""The settings of a kind by name: what the value is called, ``None`` for a flag, which has none."""
Settings = dict[str, str]
"""Those that were given; the value of a flag is empty."""

_LOOKS_SET = re.compile(r"[a-z_]+(=[^&]*)?(&[a-z_]+(=[^&]*)?)*")


def parsed(kind: str, text: str, known: Known) -> tuple[str, Settings]:
    """The path and the settings that ``text`` writes.

    Args:
        kind: the word before the colon, for messages.
        text: what stands behind the colon.
        known: the settings of this kind.

    Raises:
        InputError: an unknown setting, one without its value, a flag with one, one that comes twice, or a file whose
            name is the whole of ``text``.

    Example:
        >>> from mdm_jax.tasks.spelling import parsed
        >>> parsed("npy", "rows.npy?vocab=5&flat", {"vocab": "SIZE", "flat": None})
        ('rows.npy', {'vocab': '5', 'flat': ''})
        >>> parsed("npy", "what?.npy", {"vocab": "SIZE"})
        ('what?.npy', {})
    """
    place = len(text)
    while (place := text.rfind("?", 0, place)) >= 0:
        items = [item.partition("=") for item in text[place + 1 :].split("&")]
        if all(name in known for name, _, _ in items):
            path = text[:place]
            if _exists(text):
                raise InputError(
                    f"spec must tell a file from its settings: {kind}:{text} is read as the file {path!r} with the "
                    f"settings {text[place + 1 :]!r}, and there is a file {text!r}; rename that."
                )
            return path, _checked(kind, items, known)
    tail = text.rpartition("?")[2]
    if "?" in text and _LOOKS_SET.fullmatch(tail) and not _exists(text):
        wrong = next(name for name in (item.partition("=")[0] for item in tail.split("&")) if name not in known)
        raise InputError(f"spec must have {_listed(known)} behind {kind}:PATH; got {wrong!r} in {kind}:{text}.")
    return text, {}


def spelled(kind: str, path: str, settings: Mapping[str, object], known: Known) -> str:
    """The line that :func:`parsed` reads as ``path`` and ``settings``, in their order.

    Args:
        kind: the word before the colon.
        path: of the file.
        settings: values by name; ``None`` and ``False`` are left out, ``True`` is a flag.
        known: the settings of this kind.

    Raises:
        InputError: no line is read so, as when the name of the file ends as settings do.

    Example:
        >>> from mdm_jax.tasks.spelling import spelled
        >>> spelled("npy", "/rows.npy", {"vocab": 5, "pad": None}, {"vocab": "SIZE", "pad": "ID"})
        'npy:/rows.npy?vocab=5'
    """
    told = {name: value for name, value in settings.items() if value is not None and value is not False}
    texts = {name: "" if value is True else str(value).replace("\t", "\\t") for name, value in told.items()}
    written = "&".join(name if told[name] is True else f"{name}={text}" for name, text in texts.items())
    line = f"{path}?{written}" if written else path
    back = {name: text.replace("\\t", "\t") for name, text in texts.items()}
    try:
        same = parsed(kind, line, known) == (path, back)
    except InputError:
        same = False
    if not same:
        raise InputError(
            f"spec must be read back as it is written, and {kind}:{line} would not be: neither the name of a file nor "
            'a value may hold "?" or "&" before what could be settings; rename the file, or choose another value.'
        )
    return f"{kind}:{line}"


def whole(settings: Settings, name: str, example: str) -> int | None:
    """The setting ``name`` as a whole number, which may be negative; ``None`` where it was not given.

    Raises:
        InputError: it is something else.
    """
    text = settings.get(name)
    if text is None:
        return None
    digits = text.removeprefix("-")
    right = digits.isascii() and digits.isdigit() and len(digits) <= 10
    require(right, name, text, f"a whole number, as in {example}")
    return int(text)


def _checked(kind: str, items: list[tuple[str, str, str]], known: Known) -> Settings:
    found: Settings = {}
    for name, equals, value in items:
        if name in found:
            raise InputError(f"spec must give a setting of {kind}: once; {name!r} comes twice.")
        wanted = known[name]
        if bool(equals) != (wanted is not None):
            right = f"{name}={wanted}" if wanted else f"{name}, without a value"
            raise InputError(f"spec must give {right}; got {f'{name}{equals}{value}'!r}.")
        found[name] = value.replace("\\t", "\t")
    return found


def _listed(known: Known) -> str:
    names = [name if value is None else f"{name}={value}" for name, value in known.items()]
    if len(names) < 2:
        return f"no setting but {names[0]}" if names else "no settings"
    return f"no settings but {', '.join(names[:-1])} and {names[-1]}"


def _exists(path: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(path))
    except ValueError:  # a NUL
        return False
