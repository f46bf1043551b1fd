"""What experiments on samplers share: samples in batches, teacher-forced adaptive paths, entropy of samples, intervals.

Costs along a path are taken on sequences that the sampler did not draw, so they cannot be had by drawing few different
things; scores of samples can, and never stand here without the samples' own entropy.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from numpy.lib.stride_tricks import sliding_window_view

from experiments.tools.pooled import distinct_share, pooled_entropy
from experiments.tools.trained import trained
from mdm_jax import models, tasks
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import Rule, Sampler, View, sample
from mdm_jax.sampling.readings import Reading
from mdm_jax.sampling.rule import ready
from mdm_jax.tasks.pictures import DigitsTask
from mdm_jax.tasks.text_files import TextTask

BATCH = 16
"""Rows sampled together: on two cores a row of the demo model costs least so, and fewer rows wait for the slowest."""


def near(params: Params, tokens: Array) -> Array:
    """A model for quick runs, made by hand: a token is like those near it that are known."""
    seen = jax.nn.one_hot(tokens, len(params))
    return params + sum(jnp.roll(seen, offset, axis=1) for offset in (-2, -1, 1, 2))


def model_of(spec: str, quick: bool) -> tuple[Denoiser, Params, TextTask | DigitsTask]:
    """The demo recipe's model of a task; one made by hand if ``quick``."""
    if quick:
        task = tasks.from_spec(spec)
        denoiser, params = models.from_function(near, task.vocab_size), jnp.zeros(task.vocab_size)
    else:
        found, task = trained(spec, quick=False)
        denoiser, params = found.denoiser, found.params
    if not isinstance(task, TextTask | DigitsTask):
        raise TypeError(f"{spec} is neither text nor digits.")
    return denoiser, params, task


class Drawn(NamedTuple):
    """Samples: tokens int[rows, length], model calls of each row, log-probability along its path."""

    tokens: Int[np.ndarray, "rows length"]
    nfe: Int[np.ndarray, " rows"]
    log_prob: Float[np.ndarray, " rows"]


def in_batches(
    denoiser: Denoiser,
    params: Params,
    sampler: Sampler,
    length: int,
    rows: int,
    key: PRNGKeyArray,
    temperature: float = 1.0,
    batch: int = BATCH,
) -> Drawn:
    """``rows`` samples, a batch at a time; row ``r`` of batch ``b`` has the same random numbers under every sampler."""
    parts = []
    for start in range(0, rows, batch):
        made = sample(
            denoiser,
            params,
            sampler,
            min(batch, rows - start),
            key=jax.random.fold_in(key, start),
            length=length,
            temperature=temperature,
        )
        if np.any(np.asarray(made.remaining)):
            raise RuntimeError("A sampler left masks behind.")
        parts.append((np.asarray(made.tokens), np.asarray(made.nfe), np.asarray(made.log_prob, np.float64)))
    return Drawn(*map(np.concatenate, zip(*parts)))


def choice_of(
    rule: Rule, logits: Float[Array, "rows length vocab"], tokens: Int[Array, "rows length"], open_: Array
) -> Bool[Array, "rows length"]:
    """What a rule reveals, seeing these logits: for rules that read ``open`` positions and not the draws."""
    return _choice(ready(rule), logits, tokens, open_)


@jax.jit
def _choice(rule: Rule, logits: Array, tokens: Array, open_: Array) -> Array:
    rows, length, vocab = logits.shape
    logits = jnp.where(open_[:, :, None], logits, 0.0)
    nothing = jnp.zeros(rows * length, jnp.int32)
    reading = Reading(logits.reshape(-1, vocab), nothing, tokens.reshape(-1), open_.reshape(-1))
    measured = [measure(reading).reshape(rows, length) for measure in (rule.score, *rule.measures)]
    view = View(tokens, open_, ~open_, jnp.zeros(rows, jnp.int32), None, jax.random.split(jax.random.key(0), rows))
    view.read(nothing.reshape(rows, length), tuple(jnp.where(open_, values, -jnp.inf) for values in measured))
    choice = rule.choose(view)
    if rule.reads != "open" or choice.remask is not None or reading.looked_at_draw or view.looked_at_draw:
        raise ValueError("Only rules whose order is a function of what is revealed have a path to be forced.")
    return choice.reveal & open_


@functools.partial(jax.jit, static_argnums=0)
def _forced(denoiser: Denoiser, params: Params, rule: Rule, tokens: Array) -> tuple[Array, Array]:
    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        canvas, log_q, nfe = state
        masked = canvas == denoiser.mask_id
        logits = models.logits(denoiser, params, canvas)
        now = _choice(rule, logits, canvas, masked)
        law = jax.nn.log_softmax(jnp.where(masked[:, :, None], logits, 0.0), axis=-1)
        gain = jnp.take_along_axis(law, tokens[:, :, None], axis=-1)[:, :, 0]
        log_q = log_q + jnp.sum(jnp.where(now, gain, 0.0), axis=-1)
        return jnp.where(now, tokens, canvas), log_q, nfe + jnp.any(masked, axis=-1)

    rows = tokens.shape[0]
    start = jnp.full_like(tokens, denoiser.mask_id), jnp.zeros(rows), jnp.zeros(rows, jnp.int32)
    _, log_q, nfe = jax.lax.while_loop(lambda s: jnp.any(s[0] == denoiser.mask_id), step, start)
    return log_q, nfe


def forced_path(
    denoiser: Denoiser, params: Params, rule: Rule, tokens: Int[Any, "rows length"], batch: int = BATCH
) -> tuple[Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """``log q(tokens)`` in nats under a rule that is a function of what is revealed, and the model calls it takes.

    The path is a function of the sequence, so this is the log-probability of the sampler's law itself, not a bound.
    """
    rows = [jnp.asarray(tokens[start : start + batch], jnp.int32) for start in range(0, len(tokens), batch)]
    log_q, nfe = zip(*(_forced(denoiser, params, ready(rule), part) for part in rows))
    return np.concatenate([np.asarray(x, np.float64) for x in log_q]), np.concatenate([np.asarray(x) for x in nfe])


class Summary(NamedTuple):
    """A mean and its standard error."""

    mean: float
    error: float


def summary(values: Float[np.ndarray, " rows"]) -> Summary:
    """The mean over rows and its standard error."""
    return Summary(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))


def own_entropy(tokens: Int[np.ndarray, "rows length"], vocab_size: int) -> Float[np.ndarray, " rows"]:
    """Entropy of a token given the one before it, all rows pooled, bits: one number per row for the jackknife.

    The plug-in estimate is too low with few rows: compare it at equal numbers of rows only.
    """
    rows = tokens.astype(np.int64)
    return pooled_entropy(rows[:, :-1] * vocab_size + rows[:, 1:]) - pooled_entropy(rows[:, :-1])


def judged(
    task: TextTask | DigitsTask, tokens: Int[np.ndarray, "rows length"]
) -> dict[str, Float[np.ndarray, " rows"]]:
    """A task's score of samples and what tells whether it was had by drawing less: one number per row each.

    ``score``: trigram bits per character, or the distance to the nearest training picture. ``entropy``:
    :func:`own_entropy`. ``variety``: the share of distinct 4-grams, or the distance to the other samples on average.
    """
    rows = tokens.astype(np.int64)
    if isinstance(task, TextTask):
        variety = distinct_share(sliding_window_view(rows, 4, axis=1) @ (task.vocab_size ** np.arange(4)))
    else:
        apart = np.sqrt(np.sum((rows[:, None] - rows[None]) ** 2, axis=-1))
        variety = apart.sum(axis=1) / (len(rows) - 1)
    return {"score": task.score(tokens), "entropy": own_entropy(tokens, task.vocab_size), "variety": variety}


def nfe_at(quality: float, nfe: list[float], costs: list[float]) -> float:
    """Passes at which a rival's cost falls to ``quality``, straight lines between its budgets.

    A straight line is what tossing a coin between two budgets attains at least. Where even the smallest budget is good
    enough it is that one (an upper bound); NaN where none is.
    """
    if costs and quality >= costs[0]:
        return nfe[0]
    for left, right, above, below in zip(nfe, nfe[1:], costs, costs[1:]):
        if above >= quality >= below:
            return left if above == below else left + (right - left) * (above - quality) / (above - below)
    return float("nan")
