"""Oracles: laws that can be solved exactly, each with an exact sampler, denoiser, log-probability and profile."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdm_jax.oracles.chains import MarkovChain, markov
    from mdm_jax.oracles.mixtures import Mixture, binsaw, mixture
    from mdm_jax.oracles.oracle import Oracle
    from mdm_jax.oracles.specs import from_spec
    from mdm_jax.oracles.tables import Table, table, tabulate
    from mdm_jax.oracles.toys import toy_left, toy_right
    from mdm_jax.oracles.urns import PolyaUrn, polya

_HOMES = {
    "MarkovChain": "chains",
    "Mixture": "mixtures",
    "Oracle": "oracle",
    "PolyaUrn": "urns",
    "Table": "tables",
    "binsaw": "mixtures",
    "from_spec": "specs",
    "markov": "chains",
    "mixture": "mixtures",
    "polya": "urns",
    "table": "tables",
    "tabulate": "tables",
    "toy_left": "toys",
    "toy_right": "toys",
}
__all__ = [
    "MarkovChain",
    "Mixture",
    "Oracle",
    "PolyaUrn",
    "Table",
    "binsaw",
    "from_spec",
    "markov",
    "mixture",
    "polya",
    "table",
    "tabulate",
    "toy_left",
    "toy_right",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"mdm_jax.oracles.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mdm_jax.oracles' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
