"""The usual samplers by name, each with its source.

| preset        | what it is                                            | nfe               | source           |
|---------------|-------------------------------------------------------|-------------------|------------------|
| :func:`mdlm`  | ancestral sampling, linear schedule                   | at most ``steps`` | arXiv 2406.07524 |
| :func:`llada` | surest proposals first, equal shares, blocks          | ``steps``         | arXiv 2502.09992 |
| :func:`eb`    | as many positions as their entropies allow            | as it takes       | arXiv 2505.24857 |
| :func:`remdm` | ancestral sampling that masks again                   | at most ``steps`` | arXiv 2503.00307 |
| :func:`best`  | random order, the best sizes for this very model      | at most ``steps`` | arXiv 2510.25544 |

All but ``llada`` are meant for temperature 1; LLaDA is used at temperature 0, above which its order is biased
(:mod:`mdm_jax.sampling.readings`).
"""

from typing import Literal

from mdm_jax.sampling import rules
from mdm_jax.sampling.readings import negative_entropy
from mdm_jax.sampling.rule import Rule
from mdm_jax.sampling.samplers import Blind
from mdm_jax.support.errors import require_whole
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import Profile, posterior_profile

MOST_STEPS = 2**20
"""Of a uniform grid: each row's has so many numbers."""


def mdlm(steps: int) -> Blind:
    """MDLM's ``ddpm``: ancestral sampling on a uniform grid. Steps that reveal nothing call no model.

    Differences from the public code: whether a token is revealed and which one it is are two draws, in full range; no
    first time of 1e-5 is cut off, so nothing is left over to be filled by argmax.

    Args:
        steps: from 1 to 2^20; ``nfe`` is at most that, or that for each block of a model that goes by blocks.

    Raises:
        InputError: another number.

    Source: arXiv 2406.07524.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> out = mdm.sample(world.denoiser, world.params, mdm.presets.mdlm(4), rows=2, length=8, key=mdm.key(0))
        >>> out.remaining.tolist(), int(out.batch_nfe) <= 4
        ([0, 0], True)
    """
    require_whole("steps", steps, 1, MOST_STEPS)
    return Blind(grids.uniform(steps))


def llada(length: int, steps: int, block: int | None = None) -> Rule:
    """LLaDA's ``generate`` with ``low_confidence``: ``steps`` shared over the blocks, quotas with extras first.

    Args:
        length: positions to be generated, for sharing ``steps`` out.
        steps: in all; each block has ``steps / blocks`` of them (rounded up, where LLaDA refuses).
        block: its ``block_length``; one block if left out. Of a model that goes by blocks it must be the model's: if
            left out, each block takes all ``steps``.

    Raises:
        InputError: numbers that are no whole ones of at least 1.

    Source: arXiv 2502.09992.

    Example:
        >>> import mdm_jax as mdm
        >>> world, rule = mdm.oracles.polya(8, 0.5), mdm.presets.llada(length=8, steps=4, block=4)
        >>> out = mdm.sample(world.denoiser, world.params, rule, rows=2, length=8, temperature=0, key=mdm.key(0))
        >>> [out.reveal_step[0].tolist().count(step) for step in range(4)], out.nfe.tolist()
        ([2, 2, 2, 2], [4, 4])
    """
    require_whole("length", length, 1, 2**31 - 1)
    require_whole("steps", steps, 1, 2**31 - 1)
    if block is not None:
        require_whole("block", block, 1, 2**31 - 1)
    if block is None:
        return rules.quota(steps)
    blocks = -(-length // block)
    return rules.quota(-(-steps // blocks)).replace(block=block)  # pyright: ignore[reportAttributeAccessIssue]


def eb(bound: float = 0.1) -> Rule:
    """The EB-Sampler: least entropy first, together while what that costs is within ``bound`` nats per step.

    Args:
        bound: as in :func:`~mdm_jax.sampling.rules.entropy_bounded`.

    Source: arXiv 2505.24857.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> mdm.sample(world.denoiser, world.params, mdm.presets.eb(), rows=2, length=5, key=mdm.key(0)).nfe.tolist()
        [2, 2]
    """
    return rules.entropy_bounded(bound, negative_entropy)


def remdm(steps: int, strength: float = 0.04, strategy: Literal["cap", "rescale", "confidence"] = "cap") -> Rule:
    """ReMDM on a uniform grid. Where to begin: ``cap`` at .02 to .05, ``confidence`` at 1.

    See :func:`~mdm_jax.sampling.rules.remasked`. Source: arXiv 2503.00307.

    Args:
        steps: from 1 to 2^20.
        strength: ``eta``, from 0 to 1.
        strategy: ``cap``, ``rescale`` or ``confidence``.

    Raises:
        InputError: another number of steps, strength or strategy.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(8, 0.5)
        >>> out = mdm.sample(world.denoiser, world.params, mdm.presets.remdm(4), rows=2, length=8, key=mdm.key(0))
        >>> out.remaining.tolist(), int(out.batch_nfe) <= 4
        ([0, 0], True)
    """
    require_whole("steps", steps, 1, MOST_STEPS)
    return rules.remasked(grids.uniform(steps), strength, strategy)


def best(profile: Profile, steps: int) -> Blind:
    """Random order with the sizes that cost least for the model whose ``profile`` this is, as far as that is known.

    Of a measured profile they are those of its posterior mean, which does not chase noise; of an exact one its own.

    Args:
        profile: of the model.
        steps: from 1 to the profile's length.

    Raises:
        InputError: as :func:`mdm_jax.theory.plans.optimal`.

    Source: arXiv 2510.25544.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> mdm.presets.best(profile, 4).plan.sizes.tolist()
        [1, 1, 2, 4]
    """
    return Blind(plans.optimal(posterior_profile(profile).profile, steps))
