"""What a family says of a published checkpoint: the network it is of, and where each parameter lies in its files."""

import dataclasses
from collections.abc import Mapping

from flax import linen


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a parameter lies in a checkpoint.

    Attributes:
        names: what the tensor may be called; the first that is there is taken. ``"{i}"`` is the number of a layer: such
            a parameter has a leading axis of layers, and each is a tensor of its own.
        ranges: of the tensor's first axis, from and up to, put one after another (of a fused query, key and value);
            none is all of it.
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Published:
    """A published checkpoint as a denoiser of ours.

    Attributes:
        family: what people call it ("LLaDA", "BERT").
        module: the network: a Linen module with ``encode`` and ``readout``, hashable.
        vocab_size: rows of its head; ids are as in the checkpoint.
        mask_id: the mask's id, as in the checkpoint.
        sources: of each parameter, by its path below "params" ("layers/attention/query/weight").
        layers: how many numbers ``"{i}"`` stands for, from 0.
        ignored: regular expressions that match whole names of tensors that no network of ours needs (buffers, poolers).
        shift: whether position i - 1 predicts token i (Dream's convention).
        prefix: ids that stand before every row (CLS, BOS).
        suffix: ids that stand after it (SEP, EOS).
        banned: special ids that are never predicted, the mask aside.
        end_id: the id that ends a text, if there is one.
    """

    family: str
    module: linen.Module
    vocab_size: int
    mask_id: int
    sources: Mapping[str, Source]
    layers: int
    ignored: tuple[str, ...] = ()
    shift: bool = False
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()
    end_id: int | None = None
