"""How public code samples masked diffusion models, written again for one and the same transformer.

Three ways, each with its own semantics (what is drawn, in which precision, for which positions), in our own words:

* ``mdlm``: a Python loop of ancestral steps. Every step makes all logits at all positions, turns them into weights
  (``probability x chance of leaving the mask`` for tokens, ``chance of staying`` for the mask) and lets all positions
  race, ``argmax(w / (1e-10 - log(U + 1e-10)))`` in float32; positions without a mask are copied back. A last forward
  fills what is still masked with the argmax ("noise removal").
* ``llada``: a Python loop with as many tokens per step as a uniform plan says. At temperature 1, float64 Gumbel noise
  over the whole vocabulary at all positions, positions by a random score; at temperature 0 no noise, positions by the
  probability of the argmax from the full softmax. Per row one top-k.
* ``md4``: one compiled ``fori_loop`` of ancestral steps over all logits, ``jax.random.categorical`` over vocabulary and
  mask at all positions; a last forward decodes.

The first two exist in PyTorch, in which their originals are written, and in JAX, where the forward is one compiled call
and what follows is dispatched operation by operation. Where it was doubtful the faster way was taken: what MDLM does
between the logits and the race is part of the compiled forward in JAX and written in place in PyTorch.

A sampler here is a function ``(steps, seed) -> int array [rows, length]``.
"""

import dataclasses
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax import models
from mdm_jax.models.adapters import LinenDenoiser

# PyTorch is an optional extra, so that type checkers may not find it.
# pyright: basic, reportMissingImports=false

Sampler = Callable[[int, int], Any]
NEVER = -1e6
"""Added to the mask's logit, as MDLM does."""
LAST_TIME = 1e-5
"""Where MDLM's time grid ends."""

HAS_TORCH = importlib.util.find_spec("torch") is not None


def with_mask_logit(denoiser: LinenDenoiser, params: Any) -> tuple[LinenDenoiser, Any]:
    """The same network with a logit for the mask too, as MDLM's has: one more column of the head, zero."""
    module: Any = denoiser.module
    wider = models.from_linen(dataclasses.replace(module, vocab_size=module.vocab_size + 1), module.vocab_size + 1)
    inner = dict(params["params"])
    inner["embedding"] = {"embedding": jnp.pad(inner["embedding"]["embedding"], ((0, 1), (0, 0)))}
    inner["head"] = {"kernel": jnp.pad(inner["head"]["kernel"], ((0, 0), (0, 1)))}
    return wider, {"params": inner}


def grid(steps: int) -> np.ndarray:
    """MDLM's times, from 1 to nearly 0; with its log-linear noise the chance of a mask is the time itself."""
    return np.linspace(1.0, LAST_TIME, steps + 1)


def mdlm_jax(denoiser: LinenDenoiser, params: Any, rows: int, length: int) -> Sampler:
    wider, padded = with_mask_logit(denoiser, params)
    mask = denoiser.mask_id

    def log_probs(params: Any, x: jax.Array) -> jax.Array:
        logits = models.logits(wider, params, x).at[..., mask].add(NEVER)
        logits = jax.nn.log_softmax(logits)
        copied = jnp.where(jax.nn.one_hot(x, mask + 1, dtype=bool), 0.0, NEVER)
        return jnp.where((x != mask)[..., None], copied, logits)

    @jax.jit
    def weights(params: Any, x: jax.Array, now: jax.Array, then: jax.Array) -> jax.Array:
        return (jnp.exp(log_probs(params, x)) * (now - then)).at[..., mask].set(then)

    removal = jax.jit(lambda params, x: jnp.argmax(log_probs(params, x), axis=-1).astype(jnp.int32))

    def sampler(steps: int, seed: int) -> jax.Array:
        key, times = jax.random.key(seed), grid(steps).astype(np.float32)
        x = jnp.full((rows, length), mask, jnp.int32)
        for now, then in itertools.pairwise(times):
            key, step_key = jax.random.split(key)
            w = weights(padded, x, now, then)
            u = jax.random.uniform(step_key, w.shape, jnp.float32)
            race = 1e-10 - jnp.log(u + 1e-10)
            drawn = jnp.argmax(w / race, axis=-1).astype(jnp.int32)
            x = jnp.where(x != mask, x, drawn)
        return removal(padded, x).block_until_ready()

    return sampler


def llada_jax(denoiser: LinenDenoiser, params: Any, rows: int, length: int, greedy: bool) -> Sampler:
    """``greedy``: temperature 0 and positions by confidence; else temperature 1 and positions at random."""
    forward = jax.jit(lambda params, x: models.logits(denoiser, params, x))
    mask = denoiser.mask_id

    def proposal(logits: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens and scores of all positions."""
        if greedy:
            tokens = jnp.argmax(logits, axis=-1)
            return tokens, jnp.take_along_axis(jax.nn.softmax(logits), tokens[..., None], axis=-1)[..., 0]
        noise_key, score_key = jax.random.split(key)
        noise = -jnp.log(jax.random.uniform(noise_key, logits.shape, jnp.float64))
        tokens = jnp.argmax(jnp.exp(logits.astype(jnp.float64)) / noise, axis=-1)
        return tokens, jax.random.uniform(score_key, tokens.shape, jnp.float32)

    def sampler(steps: int, seed: int) -> jax.Array:
        sizes = uniform_sizes(length, steps)
        key = jax.random.key(seed)
        x = jnp.full((rows, length), mask, jnp.int32)
        for size in sizes:
            logits = forward(params, x)
            with jax.enable_x64(True):
                key, step_key = jax.random.split(key)
                tokens, score = proposal(logits, step_key)
                score = jnp.where(x == mask, score, -jnp.inf)
                chosen = jnp.zeros((rows, length), bool)
                for row in range(rows):
                    chosen = chosen.at[row, jax.lax.top_k(score[row], size)[1]].set(True)
                x = jnp.where(chosen, tokens.astype(jnp.int32), x)
        return x.block_until_ready()

    return sampler


def md4_jax(denoiser: LinenDenoiser, params: Any, rows: int, length: int) -> Sampler:
    mask = denoiser.mask_id

    @jax.jit
    def generate(params: Any, steps: jax.Array, key: jax.Array) -> jax.Array:
        def step(i: jax.Array, x: jax.Array) -> jax.Array:
            now = (steps - i) / steps
            # alpha = 1 - time: the chance of being revealed now, of those still masked.
            chance = (1 / steps) / now
            probs = chance * jax.nn.softmax(models.logits(denoiser, params, x))
            stay = jnp.full((*x.shape, 1), 1 - chance)
            both = jnp.log(jnp.concatenate([probs, stay], axis=-1))
            drawn = jax.random.categorical(jax.random.fold_in(key, i), both)
            return jnp.where(x == mask, drawn.astype(jnp.int32), x)

        x = jax.lax.fori_loop(0, steps, step, jnp.full((rows, length), mask, jnp.int32))
        return jnp.where(x == mask, jnp.argmax(models.logits(denoiser, params, x), axis=-1), x)

    return lambda steps, seed: generate(params, jnp.int32(steps), jax.random.key(seed)).block_until_ready()


def uniform_sizes(length: int, steps: int) -> list[int]:
    """Equal numbers per step, one more in the first steps where they do not divide: LLaDA's."""
    return [length // steps + (k < length % steps) for k in range(steps)]


def mdlm_torch(denoiser: LinenDenoiser, params: Any, rows: int, length: int) -> Sampler:
    import torch

    from experiments.tools.torch_twin import Twin

    wider, padded = with_mask_logit(denoiser, params)
    mask = denoiser.mask_id
    twin = Twin(wider.module).eval()
    twin.copy_from(padded)

    def log_probs(x):
        logits = twin(x)
        logits[:, :, mask] += NEVER
        logits -= torch.logsumexp(logits, dim=-1, keepdim=True)
        done = x != mask
        logits[done] = NEVER
        logits[done, x[done]] = 0
        return logits

    def sampler(steps: int, seed: int):
        torch.manual_seed(seed)
        times = grid(steps).tolist()
        with torch.no_grad():
            x = torch.full((rows, length), mask)
            for now, then in itertools.pairwise(times):
                w = log_probs(x).exp() * (now - then)
                w[:, :, mask] = then
                race = 1e-10 - (torch.rand_like(w) + 1e-10).log()
                drawn = (w / race).argmax(dim=-1)
                x = torch.where(x != mask, x, drawn)
            return log_probs(x).argmax(dim=-1)

    return sampler


def llada_torch(denoiser: LinenDenoiser, params: Any, rows: int, length: int, greedy: bool) -> Sampler:
    """As :func:`llada_jax`."""
    import torch

    from experiments.tools.torch_twin import Twin

    mask = denoiser.mask_id
    twin = Twin(denoiser.module).eval()
    twin.copy_from(params)

    def proposal(logits):
        if greedy:
            tokens = logits.argmax(dim=-1)
            return tokens, logits.softmax(dim=-1).gather(-1, tokens[..., None])[..., 0]
        logits = logits.to(torch.float64)
        noise = -torch.rand_like(logits).log()
        return (logits.exp() / noise).argmax(dim=-1), torch.rand(logits.shape[:2])

    def sampler(steps: int, seed: int):
        torch.manual_seed(seed)
        with torch.no_grad():
            x = torch.full((rows, length), mask)
            for size in uniform_sizes(length, steps):
                masked = x == mask
                tokens, score = proposal(twin(x))
                score = torch.where(masked, score, -torch.inf)
                chosen = torch.zeros_like(masked)
                for row in range(rows):
                    chosen[row, score[row].topk(size).indices] = True
                x[chosen] = tokens[chosen]
            return x

    return sampler


def twin_difference(denoiser: LinenDenoiser, params: Any, length: int) -> float:
    """The greatest difference of a logit between the two frameworks, with equal weights."""
    import torch

    from experiments.tools.torch_twin import Twin

    tokens = np.random.default_rng(0).integers(0, denoiser.mask_id + 1, (2, length))
    twin = Twin(denoiser.module).eval()
    twin.copy_from(params)
    with torch.no_grad():
        theirs = twin(torch.tensor(tokens)).numpy()
    ours = models.logits(denoiser, params, jnp.asarray(tokens, jnp.int32))
    return float(np.abs(np.asarray(ours) - theirs).max())


def blind(denoiser: LinenDenoiser, params: Any, rows: int, length: int) -> dict[str, Sampler]:
    """All samplers in random order at temperature 1, by name."""
    task = (denoiser, params, rows, length)
    samplers = {"MDLM, JAX": mdlm_jax(*task), "LLaDA, JAX": llada_jax(*task, greedy=False), "MD4, JAX": md4_jax(*task)}
    if HAS_TORCH:
        samplers |= {"MDLM, PyTorch": mdlm_torch(*task), "LLaDA, PyTorch": llada_torch(*task, greedy=False)}
    return samplers


def surest(denoiser: LinenDenoiser, params: Any, rows: int, length: int) -> dict[str, Sampler]:
    """The samplers that reveal what they are surest of, at temperature 0."""
    task = (denoiser, params, rows, length)
    samplers = {"LLaDA, JAX": llada_jax(*task, greedy=True)}
    return samplers | ({"LLaDA, PyTorch": llada_torch(*task, greedy=True)} if HAS_TORCH else {})
