"""Plain NumPy doubles of what the samplers do, written from formulas and from what other programs do, not from ours.

Everything is float64 and loops over rows and positions: slow, and easy to check by eye.
"""

import itertools

import jax.numpy as jnp
import numpy as np

from mdm_jax import models


def chi_square(counts, law):
    """Pearson's statistic in standard deviations above its mean; cells that expect less than 10 are one cell."""
    expected = counts.sum() * law
    rare = expected < 10
    if expected[rare].sum() > 1:
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    else:
        assert counts[rare].sum() < 10
        counts, expected = counts[~rare], expected[~rare]
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


# ------------------------------------------------------------------------------------------------- draws by halving


def number_of(bits):
    """The float32 number that 64 random bits (uint64) stand for: the high half counts in 2^-32, the low in 2^-64."""
    high = (bits >> np.uint64(32)).astype(np.uint32).astype(np.float32)
    low = (bits & np.uint64(0xFFFFFFFF)).astype(np.uint32).astype(np.float32)
    return high * np.float32(2.0**-32) + (low + np.float32(1)) * np.float32(2.0**-64)


def chance_below(share, total):
    """Probability, to the last of 2^64 bit patterns, that ``number * total < share`` in float32: by bisection."""
    low = np.zeros(share.shape, np.uint64)  # so many patterns pass at least
    high = np.full(share.shape, 2**63, np.uint64)  # the smaller share is at most a half; checked below
    one = np.uint64(1)
    passes = lambda pattern: number_of(pattern) * total < share  # noqa: E731
    assert not passes(high + np.uint64(2**50)).any()
    high += np.uint64(2**50)
    for _ in range(64):
        middle = (low + high) // np.uint64(2)
        good = (low < high) & passes(middle)
        low, high = np.where(good, middle + one, low), np.where(good, high, middle)
    return low.astype(np.float64) * 2.0**-64


def tree_of(weights):
    """Generations of sums of float32 weights, the root first; padded with zeros to a power of two."""
    levels = (len(weights) - 1).bit_length()
    below = np.zeros(1 << levels, np.float32)
    below[: len(weights)] = weights
    generations = [below]
    for level in reversed(range(levels)):
        below = below[: 1 << level] + below[1 << level :]
        generations.append(below)
    return generations[::-1]


def halving_law(weights):
    """The exact law of drawing by halving with ideal bits: products of decision probabilities, float64."""
    law = np.ones(1)
    for below in tree_of(weights)[1:]:
        left, right = below[: len(law)], below[len(law) :]
        small = chance_below(np.minimum(left, right), left + right)
        # When the smaller half is not meant, it is the larger; of equal halves, "small" is the left one.
        go_left = np.where(right < left, 1 - small, small)
        law = np.concatenate([law * go_left, law * np.where(right < left, small, 1 - small)])
    return law[: len(weights)]


def halving(bits, weights):
    """The class that each row of ``bits: uint32[draws, levels, 2]`` leads to."""
    node = np.zeros(len(bits), np.int64)
    for level, below in enumerate(tree_of(weights)[1:]):
        count = 1 << level
        left, right = below[node], below[node + count]
        number = number_of(bits[:, level, 0].astype(np.uint64) << np.uint64(32) | bits[:, level, 1].astype(np.uint64))
        small = number * (left + right) < np.minimum(left, right)
        node = node + np.where(small == (right < left), count, 0)
    return node


def softmax(logits, axis=-1):
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


def log_softmax(logits, axis=-1):
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis=axis, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=axis, keepdims=True))


def block_width(vocab_size):
    """Written from the docstring: one block up to 256, else the least divisor from the square root to four times it."""
    if vocab_size <= 256:
        return vocab_size
    root = int(np.sqrt(vocab_size))
    for width in range(root, 4 * root):
        if vocab_size % width == 0:
            return width
    return 1 << root.bit_length()


def blocked_law(logits, temperature=1.0):
    """The law of ``draws.categorical`` with ideal bits: halving of the blocks, then of the block's classes."""
    logits = np.asarray(logits, np.float32)
    weights = np.exp((logits - logits.max()) / np.float32(temperature))
    width = block_width(len(logits))
    weights = np.pad(weights, (0, -len(weights) % width)).reshape(-1, width)
    blocks = halving_law(weights.sum(axis=1, dtype=np.float32))
    some = weights.sum(axis=1) > 0
    within = [share * halving_law(row) if good else 0 * row for share, row, good in zip(blocks, weights, some)]
    return np.concatenate(within)[: len(logits)]


# ---------------------------------------------------------------------------------------------------------- readings


def max_probability(logits):
    """Log of the largest probability, from what is left over: exact however near to 1."""
    logits = np.sort(np.asarray(logits, np.float64), axis=-1)
    return -np.log1p(np.exp(logits[..., :-1] - logits[..., -1:]).sum(axis=-1))


def margin(logits):
    p = np.sort(softmax(logits), axis=-1)
    return p[..., -1] - p[..., -2]


def negative_entropy(logits):
    p, log_p = np.sort(softmax(logits), axis=-1), np.sort(log_softmax(logits), axis=-1)
    log_p[..., -1] = max_probability(logits)
    return np.where(p > 0, p * np.where(p > 0, log_p, 0), 0).sum(axis=-1)


# -------------------------------------------------------------------------------------------- exact laws of samplers


class World:
    """A denoiser of a small world as a table: ``log_p[state]`` is [length, vocab_size], a state a tuple."""

    def __init__(self, logits):
        """``logits[(vocab_size + 1)^length, length, vocab_size]`` in the order of :func:`worlds.lookup_logits`."""
        _, self.length, self.vocab_size = logits.shape
        self.mask = self.vocab_size
        states = itertools.product(range(self.vocab_size + 1), repeat=self.length)
        self.logits = dict(zip(states, np.asarray(logits, np.float64)))
        self.log_p = {state: log_softmax(rows) for state, rows in self.logits.items()}

    def free(self, state):
        return [j for j, token in enumerate(state) if token == self.mask]

    def complete(self):
        return itertools.product(range(self.vocab_size), repeat=self.length)


def law_of(world, choose):
    """The law of complete sequences where ``choose(world, state) -> [(chance, positions)]`` says what comes next."""
    mass = {(world.mask,) * world.length: 1.0}
    law = np.zeros((world.vocab_size,) * world.length)
    while mass:
        after = {}
        for state, weight in mass.items():
            if not world.free(state):
                law[state] += weight
                continue
            for chance, positions in choose(world, state):
                for tokens in itertools.product(range(world.vocab_size), repeat=len(positions)):
                    p, new = weight * chance, list(state)
                    for j, token in zip(positions, tokens):
                        p, new[j] = p * np.exp(world.log_p[state][j, token]), token
                    after[tuple(new)] = after.get(tuple(new), 0.0) + p
        mass = after
    return law


def sure_first(world, state, score):
    """Masked positions, the surest first, the first of equals first."""
    free = world.free(state)
    sureness = score(world.logits[state])
    return sorted(free, key=lambda j: (-sureness[j], j))


def by_plan(sizes, score):
    """So many of the surest positions as the plan says."""
    knots = np.cumsum(sizes)

    def choose(world, state):
        done = world.length - len(world.free(state))
        return [(1.0, sure_first(world, state, score)[: min(k for k in knots if k > done) - done])]

    return choose


def left_to_right(sizes):
    return by_plan(sizes, lambda logits: -np.arange(len(logits)))


def at_random_in_blocks(sizes, block):
    """Blocks from left to right; in each so many as the plan says, each subset as likely."""
    knots = np.cumsum(sizes)

    def choose(world, state):
        first = min(world.free(state)) // block * block
        free = [j for j in world.free(state) if j < first + block]
        done = min(block, world.length - first) - len(free)
        subsets = list(itertools.combinations(free, min(k for k in knots if k > done) - done))
        return [(1 / len(subsets), subset) for subset in subsets]

    return choose


def entropy_bounded(bound, score=negative_entropy):
    """The largest k with (sum - max) of the first k entropies within the bound, written with sums as they stand."""

    def choose(world, state):
        order = sure_first(world, state, score)
        entropy = -negative_entropy(world.logits[state])[order]
        good = [k for k in range(1, len(order) + 1) if entropy[:k].sum() - entropy[:k].max() <= bound]
        return [(1.0, order[: max(good, default=1)])]

    return choose


def confident(threshold, score=max_probability):
    """All above the threshold, at least the surest (Fast-dLLM)."""

    def choose(world, state):
        p = softmax(world.logits[state]).max(axis=-1)
        above = [j for j in world.free(state) if p[j] > threshold]
        return [(1.0, above or sure_first(world, state, score)[:1])]

    return choose


def remasking_law(world, fractions, sigmas):
    """The law of ReMDM after the last step, by moving the mass of all partial states (positions are independent)."""
    shape = (world.vocab_size + 1,) * world.length
    mass = np.zeros(shape)
    mass[(world.mask,) * world.length] = 1.0
    for a, b, sigma in zip(fractions[:-1], fractions[1:], sigmas):
        after = np.zeros(shape)
        for state in np.argwhere(mass > 0):
            state = tuple(int(token) for token in state)
            moved = np.array(mass[state])
            for j, token in enumerate(state):
                own = np.zeros(world.vocab_size + 1)
                if token == world.mask:
                    reveal = (b - (1 - sigma) * a) / (1 - a)
                    own[:-1] = reveal * np.exp(world.log_p[state][j])
                    own[-1] = (1 - b - sigma * a) / (1 - a)
                else:
                    own[token], own[-1] = 1 - sigma, sigma
                moved = np.multiply.outer(moved, own)
            after += moved
        mass = after
    return mass[(slice(0, -1),) * world.length]


def sigma_max(a, b):
    return 1.0 if a == 0 else min(1.0, (1 - b) / a)


def forced_path(world, sequence, choose):
    """Log-probability of a sequence along the path it makes, and the sizes of the steps; for one certain choice."""
    state, total, sizes = (world.mask,) * world.length, 0.0, []
    while world.free(state):
        ((_, positions),) = choose(world, state)
        total += sum(world.log_p[state][j, sequence[j]] for j in positions)
        state = tuple(sequence[j] if j in positions else token for j, token in enumerate(state))
        sizes.append(len(positions))
    return total, sizes


# ----------------------------------------------------------------------------------------- what other programs do

ROWS, LENGTH, VOCAB = 12, 16, 7
MASK = VOCAB
FRAMES = 2 * LENGTH


def hashed_logits(params, tokens):
    """Logits that depend on every token and position and look random: sines of a random linear map."""
    weights, shift = params
    hot = (tokens[:, :, None] == jnp.arange(VOCAB + 1)[None, None, :]).astype(jnp.float32)
    inner = jnp.einsum("rlt,ltjv->rjv", hot, weights) + shift[None]
    return 3.0 * jnp.sin(inner) + 2.0 * jnp.sin(2.3 * inner + 1.0)


DENOISER = models.from_function(hashed_logits, VOCAB)


def hashed_params():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(LENGTH, VOCAB + 1, LENGTH, VOCAB)).astype(np.float32)
    return jnp.asarray(weights), jnp.asarray(rng.normal(size=(LENGTH, VOCAB)).astype(np.float32))


def hashed_in_numpy(params):
    weights, shift = (np.asarray(p, np.float64) for p in params)

    def logits(tokens):
        inner = sum(weights[i, token] for i, token in enumerate(tokens)) + shift
        return 3 * np.sin(inner) + 2 * np.sin(2.3 * inner + 1)

    return logits


def ragged(kind):
    """Canvases int32[ROWS, LENGTH]: blank; prompts of 0 to 11 tokens; holes anywhere."""
    rng = np.random.default_rng(5)
    tokens = rng.integers(VOCAB, size=(ROWS, LENGTH))
    at = np.arange(LENGTH)[None, :]
    free = {
        "blank": np.ones((ROWS, LENGTH), bool),
        "prompts": at >= np.arange(ROWS)[:, None],
        "holes": rng.uniform(size=(ROWS, LENGTH)) < 0.7,
    }[kind]
    return np.where(free, MASK, tokens).astype(np.int32)


# All are greedy: temperature 0, confidences without ties. ``logits(tokens[length]) -> [length, vocab_size]``.


def walk(logits, canvas, mask, commit, end=None, most=1000):
    """Steps of one row: ``commit(step, tokens, logits) -> {position: token}``, the mask's id for "mask again".

    Once a drawn ``end`` stands before the first mask, the masks are filled with it (step -2).

    Returns the tokens after every step and the step at which each position was last revealed, -1 where it was not.
    """
    tokens, frames, when = list(canvas), [], [-1] * len(canvas)
    for step in range(most):
        if mask not in tokens:
            break
        for j, token in commit(step, tokens, logits(np.array(tokens))).items():
            tokens[j], when[j] = int(token), -1 if token == mask else step
        first = tokens.index(mask) if mask in tokens else len(tokens)
        if any(canvas[j] == mask and tokens[j] == end for j in range(first)):
            for j in range(first, len(tokens)):
                if tokens[j] == mask:
                    tokens[j], when[j] = end, -2
        frames.append(list(tokens))
    return np.array(frames), np.array(when)


def blocks_of(canvas, mask, block):
    """The positions of each block, counted from the first masked one."""
    first = list(canvas).index(mask)
    return [range(at, min(at + block, len(canvas))) for at in range(first, len(canvas), block)]


def llada(logits, canvas, mask, steps, block):
    """LLaDA's ``generate``, ``low_confidence``: for each block its masks shared over its steps, extras first.

    ``steps`` are those of a block. Steps whose share is 0 do nothing (LLaDA pays a pass for them, we do not).
    """
    tokens, frames, when, step = list(canvas), [], [-1] * len(canvas), 0
    for positions in blocks_of(canvas, mask, block):
        masks = sum(tokens[j] == mask for j in positions)
        for quota in [masks // steps + (k < masks % steps) for k in range(steps)]:
            if quota == 0:
                continue
            p = softmax(logits(np.array(tokens)))
            proposal = p.argmax(axis=-1)
            confidence = {j: p[j, proposal[j]] for j in positions if tokens[j] == mask}
            for j in sorted(confidence, key=lambda j: -confidence[j])[:quota]:
                tokens[j], when[j] = int(proposal[j]), step
            frames.append(list(tokens))
            step += 1
    return np.array(frames), np.array(when)


def dllm_quotas(masks, steps):
    """dllm's linear schedule: ``round(left (1 - s/t))`` with t = i/S, s = (i-1)/S, Python's rounding."""
    sizes = []
    for i in range(steps, 0, -1):
        sizes.append(round((masks - sum(sizes)) * (1 - ((i - 1) / steps) / (i / steps))))
    return [size for size in sizes if size > 0]


def top_by_sizes(logits, canvas, mask, sizes, score):
    """Dream and MaskGIT: at each step so many of the surest masked positions take their best token."""

    def commit(step, tokens, values):
        free = [j for j, token in enumerate(tokens) if token == mask]
        order = sorted(free, key=lambda j: -score(values[j]))
        return {j: values[j].argmax() for j in order[: sizes[step]]}

    return walk(logits, canvas, mask, commit)


def fast_dllm(logits, canvas, mask, threshold, block, end=None):
    """Fast-dLLM: in each block all above the threshold, at least the surest."""

    def commit(_, tokens, values):
        current = next(b for b in blocks_of(canvas, mask, block) if any(tokens[j] == mask for j in b))
        free = [j for j in current if tokens[j] == mask]
        p = softmax(values).max(axis=-1)
        chosen = [j for j in free if p[j] > threshold] or [max(free, key=lambda j: p[j])]
        return {j: values[j].argmax() for j in chosen}

    return walk(logits, canvas, mask, commit, end)


def eb_sampler(logits, canvas, mask, bound):
    """EB-Sampler: cumsum - cummax of the sorted entropies within the bound, at least one."""

    def commit(_, tokens, values):
        free = np.array([j for j, token in enumerate(tokens) if token == mask])
        entropy = -negative_entropy(values[free])
        order = np.argsort(entropy)
        sorted_entropy = entropy[order]
        within = np.cumsum(sorted_entropy) - np.maximum.accumulate(sorted_entropy) <= bound
        return {j: values[j].argmax() for j in free[order[: max(int(within.sum()), 1)]]}

    return walk(logits, canvas, mask, commit)


def path_planning(logits, canvas, mask, sizes, strength):
    """P2 with the held token scored: after step i the ``sum(sizes[:i])`` surest of all free positions are revealed."""
    free = [j for j, token in enumerate(canvas) if token == mask]

    def commit(step, tokens, values):
        log_p = log_softmax(values)
        score = {
            j: log_p[j].max() if tokens[j] == mask else strength * log_p[j, tokens[j]]  # as sure as ...
            for j in free
        }
        lowest = sorted(free, key=lambda j: score[j])[: len(free) - sum(sizes[: step + 1])]
        new = {j: mask for j in lowest if tokens[j] != mask}
        new |= {j: log_p[j].argmax() for j in free if tokens[j] == mask and j not in lowest}
        return new

    return walk(logits, canvas, mask, commit)


def free_correction(logits, canvas, mask, sizes, most=(16, 8, 4)):
    """FreeCorrection: running means of the held tokens' probabilities; late steps mask the worst of them again."""
    free, steps = [j for j, token in enumerate(canvas) if token == mask], len(sizes)
    history = {}

    def commit(step, tokens, values):
        p = softmax(values)
        for j in free:
            if tokens[j] != mask:
                history.setdefault(j, []).append(p[j, tokens[j]])
        masked = [j for j in free if tokens[j] == mask]
        held = [j for j in free if tokens[j] != mask]
        keep, again = len(free) - sum(sizes[: step + 1]), 0
        if 5 * step > 2 * steps and step < steps - 1:
            again = min(keep, most[min(5 * step // steps - 2, 2)], len(held))
        worst = sorted(held, key=lambda j: np.mean(history[j]))[:again]
        for j in worst:
            history.pop(j)
        best = sorted(masked, key=lambda j: -p[j].max())[: len(masked) - (keep - again)]
        return dict.fromkeys(worst, mask) | {j: p[j].argmax() for j in best}

    return walk(logits, canvas, mask, commit)
