"""Make the golden numbers: logits of independent implementations, with weights that follow from names and shapes.

    PYTHONPATH=tests /path/to/python -m models.pretrained.golden.make [FAMILY ...]

The Python must have torch, transformers and d3-dna, and NumPy; it need not have JAX. Every family has a module beside
this one with a function ``cases() -> dict[str, Case]``; its numbers go to FAMILY.json.
"""

import dataclasses
import importlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from made_tensors import made

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Case:
    """A small model of a family.

    Attributes:
        config: config.json's content.
        tokens: rows of ids, -1 where nothing is.
        reference: of the tokens as an array: the shapes of the checkpoint's tensors by name, and the logits.
        settings: what the user says beside the configuration.
    """

    config: Mapping[str, Any]
    tokens: list[list[int]]
    reference: Callable[[np.ndarray], tuple[dict[str, tuple[int, ...]], np.ndarray]]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def filled(module: Any, published_name: Callable[[str], str] = str) -> dict[str, tuple[int, ...]]:
    """Give every parameter of a torch module the values that its published name stands for.

    Args:
        module: a ``torch.nn.Module``; of parameters that share memory the first name counts.
        published_name: from its own names to the checkpoint's.

    Returns:
        Shapes by published name.
    """
    import torch

    shapes = {}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            told = published_name(name)
            shapes[told] = tuple(parameter.shape)
            parameter.copy_(torch.from_numpy(made(told, shapes[told])))
    return shapes


def families() -> list[str]:
    """The modules beside this one."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "make")


def cases(family: str) -> dict[str, Case]:
    """The cases of a family, by name."""
    return importlib.import_module(f"models.pretrained.golden.{family}").cases()


def numbers(case: Case) -> dict[str, Any]:
    """What is kept of a case."""
    shapes, logits = case.reference(np.asarray(case.tokens))
    return {
        "config": dict(case.config),
        "settings": dict(case.settings),
        "tensors": {name: list(shape) for name, shape in shapes.items()},
        "tokens": case.tokens,
        "logits": [[[float(f"{value:.7g}") for value in place] for place in row] for row in logits.tolist()],
    }


def main(chosen: list[str]) -> None:
    """Write the numbers of the families that are named, or of all."""
    for family in chosen or families():
        kept = {name: numbers(case) for name, case in cases(family).items()}
        lines = [f"{json.dumps(name)}: {json.dumps(case, separators=(',', ':'))}" for name, case in kept.items()]
        (HERE / f"{family}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(family, *kept)


if __name__ == "__main__":
    main(sys.argv[1:])
