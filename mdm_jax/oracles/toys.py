"""The two toy targets of arXiv 2509.13866: five tokens, each ``a`` (0) or ``b`` (1)."""

from collections.abc import Callable

import numpy as np

from mdm_jax.oracles.tables import Table, table

_LENGTH = 5


def toy_left() -> Table:
    """Target L: ``aaaaa`` or ``bbbbb``, one half each.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.oracles.toy_left().entropy()  # log 2
        0.6931
    """
    return _uniform_where(lambda bs: (bs == 0) | (bs == _LENGTH))


def toy_right() -> Table:
    """Target R: the twenty sequences with two or three ``a``, equally likely.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.oracles.toy_right().entropy()  # log 20
        2.9957
    """
    return _uniform_where(lambda bs: (bs == 2) | (bs == 3))


def _uniform_where(allowed: Callable[[np.ndarray], np.ndarray]) -> Table:
    support = allowed(np.indices((2,) * _LENGTH).sum(axis=0))
    return table(support / support.sum())
