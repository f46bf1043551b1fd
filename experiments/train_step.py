"""A training step takes no longer than the same step of the same network in PyTorch, on the same cores.

Also: what many steps per compiled call bring. XLA on CPU allocates a program's temporary buffers anew at each call,
and the kernel faults them in page by page; inside one call they are reused. PyTorch is the optional extra ``torch``.
"""

import functools
import statistics
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.timing import alternate, as_figure, paired_ratio, said
from mdm_jax import models
from mdm_jax.training import Settings, initial_state, mask_counts, train_step
from mdm_jax.training.step import BLOCK, train_steps

CLAIM = Claim(
    "our training step takes no longer than PyTorch's of the same network",
    source="ours",
    minutes=1,
    needs={"torch": "torch"},
)
VOCAB, LENGTH, BATCH = 103, 64, 32
ROUNDS = 15
QUICK_SIZE = {"width": 16, "depth": 1, "heads": 2}


def run(experiment: Experiment) -> Run:
    """Alternate the variants, ``BLOCK`` steps each turn; AdamW throughout, since PyTorch's Muon is another one."""
    size = QUICK_SIZE if experiment.quick else {}
    denoiser = models.transformer(VOCAB, length=LENGTH, **size)
    settings = Settings(steps=10_000, batch=BATCH, length=LENGTH, optimizer="adamw", learning_rate=1e-3)
    train = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, 100_000), jnp.int32)
    many = jax.jit(train_steps, static_argnums=(0, 1), donate_argnums=2)
    single = jax.jit(train_step, static_argnums=(0, 1), donate_argnums=2)
    states = {name: initial_state(denoiser, settings) for name in ("one step per call", "ten steps per call")}

    def one_by_one() -> None:
        state = states["one step per call"]
        for _ in range(BLOCK):
            state, _ = single(denoiser, settings, state, train)
        states["one step per call"] = jax.block_until_ready(state)

    def together() -> None:
        state, _ = many(denoiser, settings, states["ten steps per call"], train, jnp.int32(BLOCK))
        states["ten steps per call"] = jax.block_until_ready(state)

    pytorch, difference = torch_variant(denoiser, settings, np.asarray(train))
    variants = {"one step per call": one_by_one, "ten steps per call": together, "PyTorch": pytorch}
    seconds = alternate(variants, 2 if experiment.quick else ROUNDS)

    speed = {name: BLOCK * BATCH * LENGTH / statistics.median(values) for name, values in seconds.items()}
    results = {
        "tokens_per_second": {name: round(value) for name, value in speed.items()},
        "seconds_of_ten_steps": seconds,
        "one_by_one_over_together": paired_ratio(seconds["one step per call"], seconds["ten steps per call"]),
        "ours_over_pytorch": paired_ratio(seconds["ten steps per call"], seconds["PyTorch"]),
        "largest_difference_of_logits": difference,
    }
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(speed), list(speed.values()), color="#4c72b0")
    axes.set_xlabel("training tokens per second (median)")
    return Run(results, figure)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Our time over PyTorch's, and what ten steps per call bring; the spread is that of the rounds."""
    together = results["one_by_one_over_together"]
    ratio, apart = results["ours_over_pytorch"], results["largest_difference_of_logits"]
    return Conclusion(
        "holds" if ratio["median"] <= 1 else "does not",
        f"our time is {said(ratio)} of PyTorch's; ten steps per call are {said(together)} times as fast as one",
        {
            "ten steps per call, times as fast as one": as_figure(together),
            "our time over PyTorch's": as_figure(ratio),
            "largest difference of logits": apart,
        },
        f"{len(results['seconds_of_ten_steps']['ten steps per call'])} rounds, the variants taking turns",
    )


def torch_variant(denoiser, settings, train):
    """Ten steps in PyTorch on equal data volume, and how far its logits are from ours with equal weights."""
    import torch  # pyright: ignore[reportMissingImports]

    from experiments.tools.torch_twin import Twin

    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    twin = Twin(denoiser.module)
    params = denoiser.init(jax.random.key(0), LENGTH)
    # Zero-initialised outputs would hide differences: perturb every weight.
    leaves, tree = jax.tree.flatten(params)
    params = jax.tree.unflatten(tree, [x + 0.05 * generator.standard_normal(x.shape).astype("float32") for x in leaves])
    twin.copy_from(params)
    tokens = generator.integers(0, VOCAB + 1, (4, LENGTH))
    ours = models.logits(denoiser, params, jnp.asarray(tokens, jnp.int32))
    difference = float(np.abs(np.asarray(ours) - twin(torch.tensor(tokens)).detach().numpy()).max())

    optimizer = torch.optim.AdamW(twin.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    average = [parameter.detach().clone() for parameter in twin.parameters()]
    mask = functools.partial(jax.jit(mask_counts, static_argnums=2), mask_id=denoiser.mask_id)
    batch = torch.tensor(train[: BATCH * LENGTH].reshape(BATCH, LENGTH), dtype=torch.long)
    corrupted = mask(jax.random.key(0), jnp.asarray(batch.numpy(), jnp.int32))
    seen = torch.tensor(np.asarray(corrupted.tokens), dtype=torch.long)
    weight = torch.tensor(np.asarray(corrupted.masked) * np.asarray(corrupted.weight)[:, None])

    def steps() -> None:
        for _ in range(BLOCK):
            optimizer.zero_grad(set_to_none=True)
            losses = torch.nn.functional.cross_entropy(twin(seen).transpose(1, 2), batch, reduction="none")
            ((losses * weight).sum(-1).mean() / LENGTH).backward()
            torch.nn.utils.clip_grad_norm_(twin.parameters(), settings.clip)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, list(twin.parameters()), 1 - settings.ema_decay)

    return steps, difference
