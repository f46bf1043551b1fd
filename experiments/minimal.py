"""The whole idea in a hundred plain lines of JAX, without the library: train, profile, tune, sample.

The data come from an urn: a coin of unknown bias, thrown 64 times. The first tokens tell the bias, so they should be
revealed slowly; the rest can come in large steps. ``python experiments/minimal.py`` takes a minute on two cores.
mdm_jax does the same for your own models and data; tests hold the two against each other.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

LENGTH, VOCAB_SIZE, WIDTH, DEPTH, HEADS, BATCH, UPDATES = 64, 2, 32, 1, 4, 64, 600
MASK = VOCAB_SIZE


def draw(rows, seed):
    """Rows of the urn: every row has a bias of its own, from Beta(1/2, 1/2)."""
    random = np.random.default_rng(seed)
    return (random.random((rows, LENGTH)) < random.beta(0.5, 0.5, (rows, 1))).astype(np.int32)


def initial_params(key):
    """A small transformer that sees in both directions."""
    keys = iter(jax.random.split(key, 3 + 4 * DEPTH))
    shapes = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}

    def matrix(rows, columns):
        return jax.random.normal(next(keys), (rows, columns)) / rows**0.5

    blocks = [{name: matrix(*shape) for name, shape in shapes.items()} for _ in range(DEPTH)]
    ends = {"token": matrix(VOCAB_SIZE + 1, WIDTH), "place": matrix(LENGTH, WIDTH), "head": matrix(WIDTH, VOCAB_SIZE)}
    return {"blocks": blocks, **ends}


def norm(x):
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-6)


def network(params, tokens):
    """Logits ``[rows, LENGTH, VOCAB_SIZE]`` of what stands at each place, from tokens of which some are masks."""
    x = params["token"][tokens] + params["place"][None]
    for block in params["blocks"]:
        heads = (norm(x) @ block["qkv"]).reshape(*x.shape[:2], 3, HEADS, WIDTH // HEADS)
        mixed = jax.nn.dot_product_attention(heads[:, :, 0], heads[:, :, 1], heads[:, :, 2])
        x = x + mixed.reshape(x.shape) @ block["out"]
        x = x + jax.nn.gelu(norm(x) @ block["up"]) @ block["down"]
    return norm(x) @ params["head"]


def cost(logits_of, params, tokens, revealed, key, mask=MASK):
    """Mean nats of a hidden token in each row, where ``revealed[row]`` random tokens of it are known."""
    ranks = jax.random.uniform(key, tokens.shape).argsort(axis=1).argsort(axis=1)
    hidden = ranks >= revealed[:, None]
    logits = logits_of(params, jnp.where(hidden, mask, tokens))
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
    return (nats * hidden).sum(axis=1) / hidden.sum(axis=1)


def train(rows, key, updates=UPDATES):
    """Minimise the NELBO: the mean cost of a hidden token, when every number of known tokens is equally likely."""
    optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 100, updates))
    params, rows = initial_params(key), jnp.asarray(rows)

    def loss(params, key):
        pick, spread, order = jax.random.split(key, 3)
        batch = rows[jax.random.randint(pick, (BATCH,), 0, len(rows))]
        spots = (jnp.arange(BATCH) + jax.random.uniform(spread, (BATCH,))) / BATCH  # stratified over the batch
        return cost(network, params, batch, (spots * LENGTH).astype(jnp.int32), order).mean()  # nats per token

    @jax.jit
    def update(params, state, key):
        value, slope = jax.value_and_grad(loss)(params, key)
        change, state = optimizer.update(slope, state)
        return optax.apply_updates(params, change), state, value

    state = optimizer.init(params)
    for step in range(updates):
        params, state, value = update(params, state, jax.random.fold_in(key, step))
        if step % 200 == 199:
            print(f"update {step + 1}: {value:.3f} nats per token")
    return params


def profile(logits_of, params, rows, key, mask=MASK):
    """``g(i)``: what a hidden token costs when ``i`` random others are known, for every ``i``, in nats."""

    @jax.jit
    def at(i):
        return cost(logits_of, params, rows, jnp.full(len(rows), i), jax.random.fold_in(key, i), mask).mean()

    return np.array([at(i) for i in range(rows.shape[1])], np.float64)


def expected_nelbo(g, sizes):
    """What a plan costs in expectation: each step pays the price at its beginning for all that it reveals."""
    return sum(n * g[known] for n, known in zip(sizes, np.cumsum(sizes) - sizes, strict=True))


def optimal_sizes(g, steps):
    """The plan of ``steps`` steps that costs least, by dynamic programming from the end."""
    length = len(g)
    least = np.append(np.full(length, np.inf), 0.0)  # what the rest costs in 0, 1, ... steps, by how many are known
    choices = []
    for _ in range(steps):
        rest = [[n * g[i] + least[i + n] for n in range(1, length - i + 1)] for i in range(length)]
        choices.append([1 + int(np.argmin(costs)) for costs in rest])
        least = np.append([min(costs) for costs in rest], np.inf)
    sizes = []
    for choice in reversed(choices):
        sizes.append(choice[sum(sizes)])
    return np.array(sizes)


def sample(logits_of, params, sizes, rows, key, mask=MASK):
    """Reveal ``sizes[k]`` random tokens at step ``k``, all drawn at once from what the network says."""
    order, tokens_key = jax.random.split(key)
    step_of = jnp.tile(np.repeat(np.arange(len(sizes)), sizes), (rows, 1))
    reveal_step = jax.random.permutation(order, step_of, axis=1, independent=True)
    tokens = jnp.full(reveal_step.shape, mask)
    for step in range(len(sizes)):
        drawn = jax.random.categorical(jax.random.fold_in(tokens_key, step), logits_of(params, tokens))
        tokens = jnp.where(reveal_step == step, drawn, tokens)
    return tokens


if __name__ == "__main__":
    params = train(draw(20_000, seed=0), jax.random.key(0))
    held_out = draw(4_000, seed=1)
    g = profile(network, params, held_out, jax.random.key(1))
    print(f"spread of the number of ones: {held_out.sum(axis=1).std():.1f} in the data")
    for name, sizes in (("uniform", np.full(8, LENGTH // 8)), ("optimal", optimal_sizes(g, 8))):
        ones = sample(network, params, sizes, 4_000, jax.random.key(2)).sum(axis=1)
        print(f"{name} {sizes}: {expected_nelbo(g, sizes):.2f} nats per row, spread {ones.std():.1f}")
    print(f"one token per step: {g.sum():.2f} nats per row")
