"""Llama (Touvron et al. 2023) with grouped heads: RMS norm, rotary positions, SwiGLU, no bias."""

import torch
from torch import nn
from torch.nn import functional as F

import golden
from golden import same, transposed

LAYERS, HIDDEN, HEADS, KEY_HEADS, WIDE, VOCABULARY, TIME, BATCH = 2, 16, 4, 2, 6, 11, 7, 2
SIZE = HIDDEN // HEADS
BASE = 100.0
EPSILON = 1e-5


class RmsNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * self.weight


def rotate_half(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def rotary(x):
    """x [batch, heads, time, size]"""
    frequencies = 1.0 / BASE ** (torch.arange(0, SIZE, 2).double() / SIZE)
    angles = torch.outer(torch.arange(TIME).double(), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return x * angles.cos() + rotate_half(x) * angles.sin()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = nn.Linear(HIDDEN, HEADS * SIZE, bias=False)
        self.k_proj = nn.Linear(HIDDEN, KEY_HEADS * SIZE, bias=False)
        self.v_proj = nn.Linear(HIDDEN, KEY_HEADS * SIZE, bias=False)
        self.o_proj = nn.Linear(HEADS * SIZE, HIDDEN, bias=False)

    def forward(self, x):
        def heads(y, count):
            return y.view(BATCH, TIME, count, SIZE).transpose(1, 2)

        q = rotary(heads(self.q_proj(x), HEADS))
        k = rotary(heads(self.k_proj(x), KEY_HEADS)).repeat_interleave(HEADS // KEY_HEADS, dim=1)
        v = heads(self.v_proj(x), KEY_HEADS).repeat_interleave(HEADS // KEY_HEADS, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(BATCH, TIME, HEADS * SIZE))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_norm = RmsNorm()
        self.attention = Attention()
        self.post_norm = RmsNorm()
        self.gate_proj = nn.Linear(HIDDEN, WIDE, bias=False)
        self.up_proj = nn.Linear(HIDDEN, WIDE, bias=False)
        self.down_proj = nn.Linear(WIDE, HIDDEN, bias=False)

    def forward(self, x):
        x = x + self.attention(self.input_norm(x))
        y = self.post_norm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = RmsNorm()
        self.lm_head = nn.Linear(HIDDEN, VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def parameters(model):
    all = [
        ("embedding.weight", model.embed_tokens.weight, same),
        ("final_norm.weight", model.norm.weight, same),
        ("head.weight", model.lm_head.weight, same),
    ]
    for index, layer in enumerate(model.layers):
        name = f"layers.{index}"
        group = HEADS // KEY_HEADS
        all += [
            (f"{name}.norm1.weight", layer.input_norm.weight, same),
            (f"{name}.attention.query.weight", layer.attention.q_proj.weight,
             lambda w: w.t().reshape(HIDDEN, KEY_HEADS, group, SIZE)),
            (f"{name}.attention.output.weight", layer.attention.o_proj.weight,
             lambda w: w.t().reshape(KEY_HEADS, group, SIZE, HIDDEN)),
            (f"{name}.norm2.weight", layer.post_norm.weight, same),
            (f"{name}.feed_forward.gate.weight", layer.gate_proj.weight, transposed),
            (f"{name}.feed_forward.in.weight", layer.up_proj.weight, transposed),
            (f"{name}.feed_forward.out.weight", layer.down_proj.weight, transposed),
        ]
    return all


def key_values(model):
    """Keys and values are two weights here and one of the program, [hidden, 2, heads, size]."""
    for index, layer in enumerate(model.layers):
        both = (layer.attention.k_proj.weight, layer.attention.v_proj.weight)

        def stacked(pair):
            shaped = [w.t().reshape(HIDDEN, KEY_HEADS, SIZE) for w in pair]
            return torch.stack(shaped, dim=1)

        yield f"layers.{index}.attention.key_value.weight", both, stacked


if __name__ == "__main__":
    model = Llama()
    golden.draw_parameters(model, seed=30)
    tokens = golden.integers(31, VOCABULARY, BATCH, TIME)
    labels = golden.integers(32, VOCABULARY, BATCH, TIME)
    loss = F.cross_entropy(model(tokens).reshape(-1, VOCABULARY), labels.reshape(-1))
    run_file = (
        f"model: {{preset: llama, layers: {LAYERS}, hidden: {HIDDEN}, heads: {HEADS}, "
        f"key_value_heads: {KEY_HEADS}, feed_forward: {WIDE}, vocabulary: {VOCABULARY}, "
        f"sequence: {TIME}, rotary_base: {BASE}}}\n"
        f"data: {{source: synthetic}}\ntraining: {{global_batch: {BATCH}}}\n"
    )
    inputs = {"tokens": tokens, "labels": labels, "weights": torch.ones(BATCH, TIME)}
    golden.write("llama", run_file, inputs, loss, parameters(model), 1.0 / (BATCH * TIME),
                 joined=key_values(model))
