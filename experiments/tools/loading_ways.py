"""One way of loading a checkpoint, in a process of its own: ``python -m experiments.tools.loading_ways WAY FOLDER``.

It prints the seconds, the processor's seconds and the peak in bytes as a line of JSON. Nothing is imported that the way
does not need, since that would count; imports are not timed.
"""

import json
import sys
import time
from collections.abc import Callable

from experiments.tools import resident


def main(way: str, folder: str) -> None:
    load = WAYS[way](folder)
    begin, processor = time.perf_counter(), time.process_time()
    load()
    seconds, used = time.perf_counter() - begin, time.process_time() - processor
    print(json.dumps({"seconds": seconds, "processor": used, "peak": resident.peak()}))


def _ours(folder: str) -> Callable[[], object]:
    import jax

    from mdm_jax.models import load_pretrained

    jax.devices()  # JAX itself has begun
    return lambda: jax.block_until_ready(load_pretrained(folder, mask_id=5, shift=False).params)


def _nothing(folder: str) -> Callable[[], object]:
    """Ours, ready to load."""
    _ours(folder)
    return lambda: None


def _mapped(folder: str, **options: bool) -> Callable[[], object]:
    from transformers import LlamaForCausalLM  # pyright: ignore[reportMissingImports]

    def load() -> None:
        model = LlamaForCausalLM.from_pretrained(folder, dtype="auto", **options)
        for parameter in model.parameters():
            float(parameter.detach().sum())

    return load


def _copied(folder: str) -> Callable[[], object]:
    return _mapped(folder, disable_mmap=True)


def _floor(folder: str) -> Callable[[], object]:
    """Every byte read once, into a buffer that is used again and again, and hashed."""
    import hashlib
    from pathlib import Path

    def load() -> None:
        with (Path(folder) / "model.safetensors").open("rb") as stream:
            hashlib.file_digest(stream, "sha256")

    return load


WAYS: dict[str, Callable[[str], Callable[[], object]]] = {
    "ours": _ours,
    "mapped": _mapped,
    "copied": _copied,
    "floor": _floor,
    "nothing": _nothing,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
