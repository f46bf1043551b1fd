"""interim."""
import jax.numpy as jnp
from flax import linen as nn
from mdm_jax.models.adapters import LinenDenoiser, from_linen


class Block(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x):
        w = x.shape[-1]
        h = nn.RMSNorm()(x)
        q, k, v = jnp.split(nn.Dense(3 * w, use_bias=False)(h).reshape(*h.shape[:2], self.heads, -1), 3, -1)
        a = nn.softmax(jnp.einsum("blhd,bmhd->bhlm", q, k) / q.shape[-1] ** 0.5)
        x = x + nn.Dense(w, use_bias=False)(jnp.einsum("bhlm,bmhd->blhd", a, v).reshape(x.shape))
        h = nn.RMSNorm()(x)
        return x + nn.Dense(w)(nn.gelu(nn.Dense(4 * w)(h)))


class Transformer(nn.Module):
    vocab_size: int
    length: int = 128
    width: int = 128
    depth: int = 4
    heads: int = 4

    def setup(self):
        self.embed = nn.Embed(self.vocab_size + 1, self.width)
        self.pos = self.param("pos", nn.initializers.normal(0.02), (self.length, self.width))
        self.blocks = [Block(self.heads) for _ in range(self.depth)]
        self.norm = nn.RMSNorm()
        self.head = nn.Dense(self.vocab_size)

    def encode(self, tokens, context=None):
        x = self.embed(tokens) + self.pos[None, : tokens.shape[1]]
        for b in self.blocks:
            x = b(x)
        return self.norm(x)

    def readout(self, hidden):
        return self.head(hidden)


def transformer(vocab_size, length=128, width=128, depth=4, heads=4) -> LinenDenoiser:
    return from_linen(Transformer(vocab_size, length, width, depth, heads), vocab_size)
