"""The ids of a checkpoint's tokens, from the file that its folder has them in."""

from pathlib import Path
from typing import Any

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json
from mdm_jax.support.text import printable

_LARGEST = 2**28  # bytes of a file of tokens
_BEFORE, _AFTER = ("<s>", "<pad>", "</s>", "<unk>"), ("<mask>",)  # what fairseq adds to dict.txt's own


def read_vocabulary(folder: str | Path) -> dict[str, int] | None:
    r"""Ids by token, or ``None`` where the folder has no file of tokens that is understood.

    That is the first there is of ``vocab.txt`` (a token a line), ``tokenizer.json``, ``vocab.json`` (an object) and
    fairseq's ``dict.txt`` (a token and a count a line, to which fairseq adds five of its own). Of a token that is there
    twice the last id counts, as in ``transformers``.

    Args:
        folder: of the checkpoint.

    Raises:
        InputError: a file that cannot be read, or that is damaged.

    Example:
        >>> from pathlib import Path
        >>> from mdm_jax.models.pretrained.families.vocabularies import read_vocabulary
        >>> Path("runs/tokens").mkdir(parents=True)
        >>> _ = Path("runs/tokens/dict.txt").write_text("A 1\nC 1\n")
        >>> read_vocabulary("runs/tokens")
        {'<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3, 'A': 4, 'C': 5, '<mask>': 6}
    """
    readers = {"vocab.txt": _lines, "tokenizer.json": _tokenizer, "vocab.json": _object, "dict.txt": _counted}
    for name, read in readers.items():
        path = Path(folder) / name
        if path.is_file():
            if path.stat().st_size > _LARGEST:
                raise InputError(f"{printable(str(path))} is too large to be a list of tokens.")
            found = read(path)
            if found is not None:
                return found
    return None


def _text(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split("\n")  # no other sign ends a line: each may be a token
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{printable(str(path))} cannot be read as text: {type(error).__name__}.") from None


def _lines(path: Path) -> dict[str, int]:
    lines = _text(path)
    return {line.removesuffix("\r"): i for i, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}


def _counted(path: Path) -> dict[str, int]:
    lines = [line.removesuffix(" #fairseq:overwrite") for line in _text(path) if line.strip()]
    return {token: i for i, token in enumerate((*_BEFORE, *(line.rsplit(" ", 1)[0] for line in lines), *_AFTER))}


def _tokenizer(path: Path) -> dict[str, int] | None:
    """Of the package ``tokenizers``: the model's tokens, an object or a list of pairs, and those added to them."""
    value = read_json(path, "a tokenizer")
    model = value.get("model") if isinstance(value, dict) else None
    told = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(told, list):
        told = {pair[0]: i for i, pair in enumerate(told) if isinstance(pair, list) and pair and type(pair[0]) is str}
    if not isinstance(told, dict):
        return None
    added = value.get("added_tokens") or []
    good = isinstance(added, list) and all(
        isinstance(one, dict) and type(one.get("content")) is str and "id" in one for one in added
    )
    return _checked(told | {one["content"]: one["id"] for one in added}, path) if good else None


def _object(path: Path) -> dict[str, int]:
    return _checked(read_json(path, "a vocabulary"), path)


def _checked(value: Any, path: Path) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(one) is int and one >= 0 for one in value.values()):
        raise InputError(f"{printable(str(path))} must say of each token which id it has, a whole number.")
    return value
