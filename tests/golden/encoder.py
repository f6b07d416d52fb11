"""What gpt, bert and moe share: sizes, the causal mask, and the parameters of an encoder layer of
PyTorch (norm1, self_attn, norm2, linear1, linear2) under the program's names and in its shapes."""

import torch

from golden import same, transposed

HIDDEN, HEADS, WIDE = 8, 2, 12


def causal(time):
    """True where a query must not see a key."""
    return torch.ones(time, time, dtype=torch.bool).triu(1)


def attention_parameters(index, layer):
    """Those of the norms and of the attention."""
    size = HIDDEN // HEADS
    name, attention = f"layers.{index}", layer.self_attn
    return [
        (f"{name}.norm1.weight", layer.norm1.weight, same),
        (f"{name}.norm1.bias", layer.norm1.bias, same),
        (f"{name}.attention.qkv.weight", attention.in_proj_weight,
         lambda w: w.t().reshape(HIDDEN, 3, HEADS, size)),
        (f"{name}.attention.qkv.bias", attention.in_proj_bias, lambda b: b.reshape(3, HEADS, size)),
        (f"{name}.attention.output.weight", attention.out_proj.weight,
         lambda w: w.t().reshape(HEADS, size, HIDDEN)),
        (f"{name}.attention.output.bias", attention.out_proj.bias, same),
        (f"{name}.norm2.weight", layer.norm2.weight, same),
        (f"{name}.norm2.bias", layer.norm2.bias, same),
    ]


def block_parameters(index, layer):
    name = f"layers.{index}.feed_forward"
    return [
        *attention_parameters(index, layer),
        (f"{name}.in.weight", layer.linear1.weight, transposed),
        (f"{name}.in.bias", layer.linear1.bias, same),
        (f"{name}.out.weight", layer.linear2.weight, transposed),
        (f"{name}.out.bias", layer.linear2.bias, same),
    ]
