"""The any-order network: against its formulas in NumPy, its cache against one pass, and what nobody may see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import LENGTH, VOCAB, random_ranks, random_tokens, tiny

from mdm_jax import models
from mdm_jax.models.cached import network
from mdm_jax.models.extending import block_length
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.usefixtures("strict_types")

ROWS, SLOTS = 4, 4  # of most calls, which share their programs then


@functools.partial(jax.jit, static_argnums=0)
def _asked(model, params, tokens, rank, bound, context):
    return model.readout(params, model.encode_ranked(params, tokens, rank, bound, context))


def asked(model, params, tokens, rank, bound, context=None):
    """Logits of a question at every position."""
    return np.asarray(_asked(model, params, tokens, rank, bound, context))


@functools.partial(jax.jit, static_argnums=0)
def extended(model, params, cache, positions, tokens, revealed):
    """The cache, and logits of all slots."""
    cache, hidden = model.extend(params, cache, positions, tokens, revealed)
    return cache, model.readout(params, hidden)


# ----------------------------------------------------------------------------------------------- the formulas in NumPy


class Formula:
    """The network in float64, one entry at a time: an entry is content or a question, at a position, with a limit.

    It looks at content whose rank is below its limit, and at itself.
    """

    def __init__(self, model, params, context=None):
        self.net, self.context = model.module, context
        self.weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])

    def norm(self, weights, vector):
        normed = vector / np.sqrt(np.mean(vector**2) + 1e-6) * weights["gain"]
        if self.context is None or "modulation" not in weights:
            return normed
        gain, shift = np.split(self.context @ weights["modulation"]["kernel"], 2)
        return normed * (1 + gain) + shift

    def turned(self, vector, position):
        half = len(vector) // 2
        angle = position * self.net.rotary_base ** (-np.arange(half) / half)
        turned = (vector[:half] + 1j * vector[half:]) * np.exp(1j * angle)
        return np.concatenate([turned.real, turned.imag])

    def logits(self, tokens, rank, bound):
        """Of one row: [length, vocab_size]."""
        length, net = len(tokens), self.net
        embedding = self.weights["embedding"]["embedding"]
        content = [(i, rank[i]) for i in range(length)]
        entries = content + [(i, bound[i]) for i in range(length)]
        turns = np.arange(length)[:, None] * net.rotary_base ** (-2 * np.arange(net.width // 2) / net.width)
        waves = net.embedding_scale * np.concatenate([np.sin(turns), np.cos(turns)], axis=1)
        hidden = [embedding[token] + wave for token, wave in zip([*tokens, *[net.vocab_size] * length], [*waves] * 2)]

        def mixed(taps, normed):
            found = []
            for entry, (i, limit) in enumerate(entries):
                total = normed[entry] * (1 + taps[net.reach])
                for j in range(max(0, i - net.reach), min(length, i + net.reach + 1)):
                    if j != i and rank[j] < limit:
                        total = total + taps[net.reach + j - i] * normed[j]
                found.append(total)
            return found

        for depth in range(net.depth):
            block = self.weights[f"blocks_{depth}"]
            attention = block["attention"]
            normed = [self.norm(block["attention_norm"], vector) for vector in hidden]
            projected = [vector @ attention["query_key_value"]["kernel"]
                         for vector in mixed(block["attention_mixing"]["taps"], normed)]  # fmt: skip
            per_head = [vector.reshape(3, net.heads, -1) for vector in projected]
            query = [[self.turned(self.norm(attention["query_norm"], one), i) for one in parts[0]]
                     for parts, (i, _) in zip(per_head, entries)]  # fmt: skip
            key = [[self.turned(self.norm(attention["key_norm"], one), i) for one in parts[1]]
                   for parts, (i, _) in zip(per_head, entries)]  # fmt: skip
            found = []
            for entry, (_, limit) in enumerate(entries):
                seen = [entry] + [j for j in range(length) if rank[j] < limit]
                heads = []
                for head in range(net.heads):
                    scores = np.array([query[entry][head] @ key[j][head] for j in seen])
                    weight = np.exp(scores / np.sqrt(net.width // net.heads))
                    values = np.array([per_head[j][2][head] for j in seen])
                    heads.append(weight / weight.sum() @ values)
                found.append(np.concatenate(heads) @ attention["output"]["kernel"])
            hidden = [one + more for one, more in zip(hidden, found)]
            normed = [self.norm(block["feed_forward_norm"], vector) for vector in hidden]
            layer, more = block["feed_forward"], []
            for vector in mixed(block["feed_forward_mixing"]["taps"], normed):
                more.append(np.maximum(vector @ layer["expand"]["kernel"], 0) ** 2 @ layer["contract"]["kernel"])
            hidden = [one + two for one, two in zip(hidden, more)]
        final = [self.norm(self.weights["final_norm"], vector) for vector in hidden[length:]]
        return np.array(final) @ self.weights["head"]["kernel"]


@pytest.mark.core
@pytest.mark.parametrize("context", [0, 3])
def test_a_ranked_pass_is_the_formula(context):
    """Rows: one token at a time; steps of several, some positions never revealed; all see all; nobody sees anything."""
    model, params = tiny(context=context)
    told = np.random.default_rng(5).normal(size=(ROWS, context)).astype(np.float32) if context else None
    tokens, rank = random_tokens(ROWS), random_ranks(ROWS)
    bound = np.stack([rank[0], rank[1] // 4 * 4, np.full(LENGTH, LENGTH, np.int32), np.zeros(LENGTH, np.int32)])
    rank[1, rank[1] >= 8] = np.iinfo(np.int32).max
    found = asked(model, params, tokens, rank, bound, told)
    for row in range(ROWS):
        formula = Formula(model, params, None if told is None else told[row].astype(np.float64))
        wanted = formula.logits(tokens[row], rank[row], bound[row])
        assert np.abs(wanted).max() > 0.5
        np.testing.assert_allclose(found[row], wanted, atol=2e-4)


@pytest.mark.core
def test_a_question_knows_where_it_stands():
    """Nothing is revealed: the laws of all positions differ. (They were one, and digits cost a fifth of a bit more.)"""
    model, params = tiny()
    rank = random_ranks(ROWS)
    law = asked(model, params, random_tokens(ROWS), rank, np.zeros_like(rank))[0]
    apart = np.abs(law[:, None] - law[None]).max(axis=-1)
    assert np.all(apart[~np.eye(LENGTH, dtype=bool)] > 1e-3)


# ------------------------------------------------------------------------------------------------------------ no leak


@pytest.mark.core
def test_a_token_changes_no_question_of_its_rank_or_a_smaller_one():
    """Row i has another token at position i: exactly 0 where nothing may be seen, something everywhere else."""
    model, params = tiny()
    rank = np.broadcast_to(random_ranks(1), (LENGTH, LENGTH))
    tokens = np.broadcast_to(random_tokens(1), (LENGTH, LENGTH))
    other = np.where(np.eye(LENGTH, dtype=bool), (tokens + 1) % VOCAB, tokens).astype(np.int32)
    before = asked(model, params, tokens[:ROWS], rank[:ROWS], rank[:ROWS])[0]
    after = [asked(model, params, *(one[i : i + ROWS] for one in (other, rank, rank))) for i in range(0, LENGTH, ROWS)]
    moved = np.abs(np.concatenate(after) - before).max(axis=-1)
    may_see = rank > np.diag(rank)[:, None]
    assert np.all(moved[~may_see] == 0)
    assert np.all(moved[may_see] > 1e-6)


def test_what_is_kept_of_a_token_never_changes():
    """Bit for bit, whatever is absorbed and asked later."""
    model, params = tiny()
    order = np.argsort(random_ranks(ROWS), axis=1).astype(np.int32)
    tokens = np.take_along_axis(random_tokens(ROWS), order, axis=1)
    cache, first = model.empty(params, ROWS, LENGTH, SLOTS), np.array([4, 2, 1, 3], np.int32)
    kept = []
    for at, revealed in ((0, first), (4, 4 - first), (8, first)):
        cache, _ = extended(model, params, cache, order[:, at : at + 4], tokens[:, at : at + 4], revealed)
        kept.append(cache.kept)
    axis = {"key": 3, "value": 2, "attention": 1, "feed_forward": 1}  # along which what is kept lies
    for later in kept[1:]:
        for one, two in zip(kept[0], later, strict=True):
            for name, along in axis.items():
                before, after = (np.moveaxis(np.asarray(getattr(layer, name)), along, 1) for layer in (one, two))
                for row in range(ROWS):
                    np.testing.assert_array_equal(before[row, : first[row]], after[row, : first[row]])
                    assert np.any(before[row, : first[row]] != 0)


# ------------------------------------------------------------------------------------------------- cache and one pass


@pytest.mark.parametrize(("seed", "piece"), [(0, network.PIECE), (1, network.PIECE), (2, network.PIECE), (3, 5)])
def test_absorbing_in_any_slots_is_one_ranked_pass(seed, piece, monkeypatch):
    """Rows go on at different paces, in passes of four slots: tokens, questions, empty slots as they come.

    Whether what is kept is one piece or several.
    """
    monkeypatch.setattr(network, "PIECE", piece)
    model, params = tiny() if piece > LENGTH + SLOTS else tiny(depth=1)  # one that was not compiled with another
    rng = np.random.default_rng(seed)
    tokens, rank = random_tokens(ROWS, seed=seed), random_ranks(ROWS, seed=seed)
    order = np.argsort(rank, axis=1)
    wanted = [asked(model, params, tokens, rank, np.full_like(rank, count)) for count in range(LENGTH + 1)]
    cache, absorbed, looked = model.empty(params, ROWS, LENGTH, SLOTS), np.zeros(ROWS, np.int32), 0
    while np.any(absorbed < LENGTH):
        positions, words = np.full((ROWS, SLOTS), LENGTH, np.int32), np.full((ROWS, SLOTS), VOCAB, np.int32)
        revealed, ends = np.zeros(ROWS, np.int32), np.zeros(ROWS, np.int32)
        for row in range(ROWS):
            revealed[row] = min(rng.integers(0, SLOTS + 1), LENGTH - absorbed[row])
            fresh, left = np.split(order[row, absorbed[row] :], [revealed[row]])
            ends[row] = revealed[row] + rng.integers(0, min(SLOTS - revealed[row], len(left)) + 1)
            questions = rng.permutation(left)[: ends[row] - revealed[row]]
            positions[row, : ends[row]] = np.concatenate([fresh, questions])
            words[row, : revealed[row]] = tokens[row, fresh]
        cache, found = extended(model, params, cache, positions, words, revealed)
        absorbed = absorbed + revealed
        np.testing.assert_array_equal(cache.absorbed, absorbed)
        for row in range(ROWS):
            slots = slice(revealed[row], ends[row])
            looked += ends[row] - revealed[row]
            truth = wanted[absorbed[row]][row, positions[row, slots]]
            np.testing.assert_allclose(found[row, slots], truth, atol=1e-4)
    assert looked > 5


def test_plain_encode_is_everything_revealed_from_left_to_right():
    """Canvases with holes: absorbed in the order of their positions, then asked at the holes."""
    model, params = tiny()
    tokens, masked = random_tokens(ROWS), np.random.default_rng(2).random((ROWS, LENGTH)) < 0.5
    canvas = np.where(masked, model.mask_id, tokens).astype(np.int32)
    plain = np.asarray(jax.jit(functools.partial(models.logits, model))(params, jnp.asarray(canvas)))
    order = np.argsort(masked, axis=1, kind="stable").astype(np.int32)
    words, known = np.take_along_axis(canvas, order, axis=1), (~masked).sum(axis=1)
    cache, found = model.empty(params, ROWS, LENGTH, SLOTS), np.zeros_like(plain)
    for part in ("tokens", "questions"):
        for at in range(0, LENGTH, SLOTS):
            revealed = np.clip(known - at, 0, SLOTS) if part == "tokens" else np.zeros(ROWS)
            positions = order[:, at : at + SLOTS]
            cache, logits = extended(
                model, params, cache, positions, words[:, at : at + SLOTS], revealed.astype(np.int32)
            )
            np.put_along_axis(found, positions[..., None], np.asarray(logits), axis=1)
    np.testing.assert_allclose(found[masked], plain[masked], atol=1e-4)


@pytest.mark.core
def test_its_parameters_are_those_of_the_transformer_with_equal_settings():
    plain = models.transformer(VOCAB, length=LENGTH, width=16, depth=2, heads=2)
    one, two = (
        jax.eval_shape(functools.partial(each.init, length=LENGTH), jax.random.key(3)) for each in (tiny()[0], plain)
    )
    assert one == two


# -------------------------------------------------------------------------------------------------- types and slopes


def test_in_bfloat16_the_cache_is_half_as_large_and_says_nearly_the_same():
    """Eight bits of mantissa, some per cent after two blocks: cosine of all logits above .99."""
    model, params = tiny()
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    order = np.argsort(random_ranks(ROWS), axis=1).astype(np.int32)
    words, found = np.take_along_axis(random_tokens(ROWS), order, axis=1), []
    for each in (params, half):
        cache = model.empty(each, ROWS, LENGTH, SLOTS)
        after, logits = cache, None
        for at, revealed in ((0, 4), (4, 2)):
            slots = order[:, at : at + SLOTS], words[:, at : at + SLOTS], np.full(ROWS, revealed, np.int32)
            after, logits = extended(model, each, after, *slots)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), cache) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), after
        )
        kind = jax.tree.leaves(each)[0].dtype
        assert {leaf.dtype for leaf in jax.tree.leaves(after.kept)} == {kind}
        assert logits.dtype == jnp.float32
        found.append(np.asarray(logits)[:, 2:].ravel())
    one, two = found
    assert not np.array_equal(one, two)
    assert one @ two > 0.99 * np.linalg.norm(one) * np.linalg.norm(two)


@pytest.mark.core
def test_slopes_of_a_ranked_pass_are_finite_and_right():
    """Against central differences along a random direction; also where the first question sees itself alone."""
    model, params = tiny()
    tokens, rank = jnp.asarray(random_tokens(2)), jnp.asarray(random_ranks(2))

    @jax.jit
    def cost(params):
        logits = model.readout(params, model.encode_ranked(params, tokens, rank, rank))
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[..., None], axis=-1))

    slope = jax.jit(jax.grad(cost))(params)
    assert all(np.all(np.isfinite(leaf)) and np.any(leaf != 0) for leaf in jax.tree.leaves(slope))
    rng = np.random.default_rng(4)
    way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), params)
    after, before = (
        float(cost(jax.tree.map(lambda leaf, one, step=step: leaf + step * one, params, way))) for step in (1e-3, -1e-3)
    )
    along = sum(float(np.vdot(one, two)) for one, two in zip(jax.tree.leaves(slope), jax.tree.leaves(way)))
    assert along == pytest.approx((after - before) / 2e-3, rel=0.03)


@pytest.mark.thorough
def test_rows_of_another_length_and_alone_are_the_same_rows():
    """A model serves any length up to its own; what a row is told does not depend on the batch."""
    model, params = tiny()
    tokens, rank = random_tokens(3, 7), random_ranks(3, 7)
    many = asked(model, params, tokens, rank, rank)
    np.testing.assert_allclose(asked(model, params, tokens[1:2], rank[1:2], rank[1:2])[0], many[1], atol=1e-5)
    longer = np.full((3, LENGTH), model.mask_id, np.int32)
    later = np.full((3, LENGTH), np.iinfo(np.int32).max, np.int32)
    longer[:, :7], later[:, :7] = tokens, rank
    np.testing.assert_allclose(asked(model, params, longer, later, later)[:, :7], many, atol=1e-5)


# ------------------------------------------------------------------------------------------------- who goes by ranks


def double(logits):
    return 2 * logits


def same(tokens):
    return tokens


@pytest.mark.core
def test_wrappers_pass_the_cache_on_unless_they_change_what_is_seen():
    model = tiny()[0]
    kept = [models.guided(model), models.banned(model, (1,)), models.tempered(models.top_k(model, 2), 0.5),
            models.top_p(model, 0.5), models.hooked(model, double)]  # fmt: skip
    lost = [models.without_cache(model), models.shifted(model), models.hooked(model, double, same),
            models.guided(models.shifted(model))]  # fmt: skip
    for one in kept:
        assert models.can_extend(one)
        assert models.by_rank(one)
        assert one.slots == model.slots
    for one in (*lost, models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2)):
        assert not models.can_extend(one)
        assert not models.by_rank(one)
    assert block_length(models.guided(model)) is None


@pytest.mark.core
def test_what_it_refuses():
    model, params = tiny()
    tokens, rank = jnp.zeros((1, LENGTH + 1), jnp.int32), jnp.arange(LENGTH + 1, dtype=jnp.int32)[None]

    def ask(model, params, length, context=None):
        return jax.eval_shape(model.encode_ranked, params, *(one[:, :length] for one in (tokens, rank, rank)), context)

    with pytest.raises(InputError, match=f"tokens must be at most {LENGTH} long, as the model is; got {LENGTH + 1}"):
        ask(model, params, LENGTH + 1)
    with pytest.raises(InputError, match=f"tokens must be at most {LENGTH} long, as the model is"):
        jax.eval_shape(model.encode, params, tokens)
    with pytest.raises(InputError, match="context must be left out: this model was made without one"):
        ask(model, params, 3, jnp.zeros((1, 2), jnp.float32))
    model, params = tiny(context=3)
    with pytest.raises(InputError, match="context must be given, as this model's parameters were made for one"):
        ask(model, params, 3)
    with pytest.raises(InputError, match=r"context must be of shape \(rows, numbers\), one vector for each row; got"):
        ask(model, params, 3, jnp.zeros((1, 3, 3), jnp.float32))
    with pytest.raises(InputError, match="width must be a multiple of 2"):
        models.any_order(VOCAB, width=10, heads=4)
