"""The library's transformer again, in PyTorch: a second framework to time (and check) the first against."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

# PyTorch is an optional extra, so that type checkers may not find it.
# pyright: basic, reportMissingImports=false


def norm(inputs, gain):
    return inputs * torch.rsqrt(inputs.square().mean(-1, keepdim=True) + 1e-6) * gain


class Block(nn.Module):
    def __init__(self, width, heads, expansion, reach):
        super().__init__()
        self.heads, self.reach = heads, reach
        for name in ("attention_norm", "feed_forward_norm"):
            self.register_parameter(name, nn.Parameter(torch.ones(width)))
        for name in ("query_norm", "key_norm"):
            self.register_parameter(name, nn.Parameter(torch.ones(width // heads)))
        for name in ("attention_mixing", "feed_forward_mixing"):
            self.register_parameter(name, nn.Parameter(torch.zeros(2 * reach + 1, width)))
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.expand = nn.Linear(width, expansion * width, bias=False)
        self.contract = nn.Linear(expansion * width, width, bias=False)

    def mix(self, inputs, taps):
        length = inputs.shape[1]
        padded = functional.pad(inputs, (0, 0, self.reach, self.reach))
        for k in range(2 * self.reach + 1):
            inputs = inputs + taps[k] * padded[:, k : k + length]
        return inputs

    def forward(self, inputs, cosine, sine):
        rows, length, width = inputs.shape
        normed = self.mix(norm(inputs, self.attention_norm), self.attention_mixing)
        parts = self.query_key_value(normed).split(width, dim=-1)
        query, key, value = (p.view(rows, length, self.heads, -1).transpose(1, 2) for p in parts)
        query = rotate(norm(query, self.query_norm), cosine, sine)
        key = rotate(norm(key, self.key_norm), cosine, sine)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        inputs = inputs + self.output(mixed.transpose(1, 2).reshape(rows, length, width))
        normed = self.mix(norm(inputs, self.feed_forward_norm), self.feed_forward_mixing)
        return inputs + self.contract(functional.relu(self.expand(normed)).square())


def rotate(inputs, cosine, sine):
    first, second = inputs.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Twin(nn.Module):
    def __init__(self, module):
        """From the Flax module's fields."""
        super().__init__()
        self.embedding = nn.Embedding(module.vocab_size + 1, module.width)
        self.blocks = nn.ModuleList(
            Block(module.width, module.heads, module.expansion, module.reach) for _ in range(module.depth)
        )
        self.final_norm = nn.Parameter(torch.ones(module.width))
        self.head = nn.Linear(module.width, module.vocab_size, bias=False)
        half = module.width // module.heads // 2
        angles = torch.arange(module.length)[:, None] * module.rotary_base ** (-torch.arange(half) / half)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def forward(self, tokens):
        length = tokens.shape[1]
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden, self.cosine[:length], self.sine[:length])
        return self.head(norm(hidden, self.final_norm))

    def copy_from(self, params):
        """Take over the weights of the Flax model."""
        flat = params["params"]
        with torch.no_grad():
            _set(self.embedding.weight, flat["embedding"]["embedding"])
            _set(self.final_norm, flat["final_norm"]["gain"])
            _set(self.head.weight, flat["head"]["kernel"], transpose=True)
            for i, block in enumerate(self.blocks):
                theirs = flat[f"blocks_{i}"]
                for name in ("attention_norm", "feed_forward_norm"):
                    _set(getattr(block, name), theirs[name]["gain"])
                for name in ("query_norm", "key_norm"):
                    _set(getattr(block, name), theirs["attention"][name]["gain"])
                for name in ("attention_mixing", "feed_forward_mixing"):
                    _set(getattr(block, name), theirs[name]["taps"])
                for name in ("query_key_value", "output"):
                    _set(getattr(block, name).weight, theirs["attention"][name]["kernel"], transpose=True)
                for name in ("expand", "contract"):
                    _set(getattr(block, name).weight, theirs["feed_forward"][name]["kernel"], transpose=True)


def _set(parameter, value, transpose=False):
    array = torch.tensor(np.asarray(value))
    parameter.copy_(array.T if transpose else array)
