"""Ids with a meaning of their own: the mask, what frames a row, what is never predicted.

Most configurations of masked language models do not say which id the mask is; a vocabulary does, by the names that
special tokens have had since BERT and fairseq.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from mdm_jax.models.pretrained.families.configurations import mask_of, told
from mdm_jax.support.errors import require, require_whole

_CLASS = ("[CLS]", "<s>", "<cls>")
_END = ("[SEP]", "</s>", "<eos>")
_MASK = ("[MASK]", "<mask>")
_NEVER = ("[PAD]", "<pad>", "[UNK]", "<unk>", "<null_1>")
_UNUSED = r"\[unused\d+\]|madeupword\d+"


def specials_of(
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: int,
    frame: tuple[int, int] | None = None,
    never: Collection[str] = (),
) -> dict[str, Any]:
    """What :class:`~mdm_jax.models.pretrained.Published` says of ids: the user's, else by the vocabulary's tokens.

    Args:
        config: config.json's content, of which "mask_token_id" is read.
        settings: the user's; "vocabulary" is the id of each token.
        rows: ids are below it.
        frame: what stands before and after a row where no vocabulary tells it.
        never: further tokens that are not predicted.

    Raises:
        InputError: nothing says which id the mask is, two things say it differently, or an id that is none; a setting
            that these families do not have.

    Example:
        >>> from mdm_jax.models.pretrained.families.special_ids import specials_of
        >>> vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "A": 5}
        >>> found = specials_of({}, {"vocabulary": vocabulary}, rows=6)
        >>> found["mask_id"], found["prefix"], found["suffix"], found["banned"]
        (4, (2,), (3,), (0, 1, 2, 3))
        >>> specials_of({}, {}, rows=6)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: mask_id must be given, as config.json has no 'mask_token_id'; got None.
    """
    vocabulary: Mapping[str, int] = settings.get("vocabulary") or {}
    settings = {name: value for name, value in settings.items() if name != "vocabulary"}
    require(settings.get("block") is None, "block", settings.get("block"), "left out, as this network has none")
    masks, before, after = ([vocabulary[t] for t in names if t in vocabulary] for names in (_MASK, _CLASS, _END))
    mask_id = mask_of(config, settings, rows, "mask_token_id", otherwise=masks[0] if masks else None)
    if masks and settings.get("mask_id") is None:
        require(mask_id == masks[0], "mask_id", mask_id, f"given, as the vocabulary says that it is {masks[0]}")
    if before and after:
        frame = before[0], after[0]
    tokens = {*_CLASS, *_END, *_NEVER, *never}
    banned = {i for token, i in vocabulary.items() if token in tokens or re.fullmatch(_UNUSED, token)}
    found = told(settings, {}, shift=False, banned=tuple(sorted((banned | {*(frame or ())}) - {mask_id})))
    for name, one in zip(("prefix", "suffix"), frame or ()):
        found[name] = (one,) if settings.get(name) is None else found[name]
    for name in ("prefix", "suffix", "banned"):
        for one in found[name]:
            require_whole(name, one, 0, rows - 1)
    return {"mask_id": mask_id, **found}


def frame_of(config: Mapping[str, Any], before: str, after: str) -> tuple[int, int] | None:
    """What stands before and after a row, where the configuration names an id for both.

    Example:
        >>> from mdm_jax.models.pretrained.families.special_ids import frame_of
        >>> frame_of({"bos_token_id": 0, "eos_token_id": 2}, "bos_token_id", "eos_token_id")
        (0, 2)
    """
    first, last = config.get(before), config.get(after)
    return (first, last) if type(first) is int and type(last) is int else None
