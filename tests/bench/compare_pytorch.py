"""Times the steps of tests/bench/compare.sh in PyTorch and prints one JSON object.

    python3 compare_pytorch.py gpt  LAYERS HIDDEN HEADS VOCABULARY BATCH SEQUENCE [--compile]
    python3 compare_pytorch.py mlp  LAYERS HIDDEN FEATURES CLASSES BATCH          [--compile]
    python3 compare_pytorch.py wide_resnet BLOCKS CHANNELS WIDTH IMAGE CLASSES BATCH [--compile]

BLOCKS are those of the four stages, a digit each: 3463.

A step is: gradients to none, forward, mean cross-entropy, backward, AdamW. One process with
--threads threads; under torchrun (WORLD_SIZE set), DistributedDataParallel over gloo, BATCH samples
a rank. Figures: the median and the least of --steps seconds after --warmup steps.
--packaged: the optimizer and the attention that a script takes which chooses nothing (a loop of
operations per parameter, softmax by hand); otherwise the fused AdamW and
scaled_dot_product_attention.
"""
import argparse
import json
import os
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    def __init__(self, hidden, heads, packaged):
        super().__init__()
        self.heads, self.packaged = heads, packaged
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, x):
        b, t, e = x.shape
        q, k, v = (y.view(b, t, self.heads, e // self.heads).transpose(1, 2)
                   for y in self.qkv(x).split(e, dim=2))
        if self.packaged:
            scores = q @ k.transpose(-2, -1) / (e // self.heads) ** 0.5
            hidden_keys = torch.ones(t, t, dtype=torch.bool).triu(1)
            y = scores.masked_fill(hidden_keys, float("-inf")).softmax(-1) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(y.transpose(1, 2).reshape(b, t, e))


class Block(nn.Module):
    def __init__(self, hidden, heads, packaged):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attention = Attention(hidden, heads, packaged)
        self.wide = nn.Linear(hidden, 4 * hidden)
        self.out = nn.Linear(4 * hidden, hidden)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.out(functional.gelu(self.wide(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """Logits over the vocabulary with the embedding's weights, as in GPT-2."""

    def __init__(self, layers, hidden, heads, vocabulary, sequence, packaged):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.positions = nn.Embedding(sequence, hidden)
        self.blocks = nn.Sequential(*(Block(hidden, heads, packaged) for _ in range(layers)))
        self.norm = nn.LayerNorm(hidden)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        return functional.linear(self.norm(self.blocks(x)), self.embedding.weight)


class Bottleneck(nn.Module):
    def __init__(self, inputs, channels, width, stride):
        super().__init__()
        sizes = [(inputs, channels, 1, 1), (channels, channels * width, 3, stride),
                 (channels * width, 4 * channels, 1, 1)]
        self.parts = nn.ModuleList(normalised_convolution(*size) for size in sizes)
        self.projection = (normalised_convolution(inputs, 4 * channels, 1, stride)
                           if inputs != 4 * channels or stride > 1 else nn.Identity())

    def forward(self, x):
        y = functional.relu(self.parts[0](x))
        y = self.parts[2](functional.relu(self.parts[1](y)))
        return functional.relu(self.projection(x) + y)


def normalised_convolution(inputs, outputs, side, stride):
    return nn.Sequential(nn.Conv2d(inputs, outputs, side, stride, (side - 1) // 2, bias=False),
                         nn.BatchNorm2d(outputs))


def wide_resnet(blocks, channels, width, classes):
    layers = [normalised_convolution(3, channels, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = channels
    for stage, count in enumerate(int(digit) for digit in str(blocks)):
        f = channels << stage
        for i in range(count):
            layers.append(Bottleneck(inputs, f, width, 2 if stage > 0 and i == 0 else 1))
            inputs = 4 * f
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def perceptron(layers, hidden, features, classes):
    sizes = [features] + layers * [hidden]
    hidden_layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden_layers, nn.Linear(sizes[-1], classes))


def model_and_batch(options):
    if options.model == "gpt":
        layers, hidden, heads, vocabulary, batch, sequence = options.sizes
        tokens = torch.randint(vocabulary, (batch, sequence + 1))
        model = Gpt(layers, hidden, heads, vocabulary, sequence, options.packaged)
        return model, tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    if options.model == "wide_resnet":
        blocks, channels, width, image, classes, batch = options.sizes
        layout = torch.contiguous_format if options.packaged else torch.channels_last
        return (wide_resnet(blocks, channels, width, classes).to(memory_format=layout),
                torch.randn(batch, 3, image, image).to(memory_format=layout),
                torch.randint(classes, (batch,)))
    layers, hidden, features, classes, batch = options.sizes
    model = perceptron(layers, hidden, features, classes)
    return model, torch.randn(batch, features), torch.randint(classes, (batch,))


def timed_steps(options, model, inputs, labels):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1,
                                  **({"foreach": False} if options.packaged else {"fused": True}))

    def loss_of():
        logits = model(inputs)
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))

    loss_function = torch.compile(loss_of) if options.compile else loss_of
    seconds = []
    for _ in range(options.warmup + options.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_function()
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - start)
    return seconds[options.warmup:]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["gpt", "mlp", "wide_resnet"])
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--packaged", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2)
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(options.threads)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
    model, inputs, labels = model_and_batch(options)
    if ranks > 1:
        model = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=not options.packaged)
    seconds = timed_steps(options, model, inputs, labels)
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps({"median": statistics.median(seconds), "least": min(seconds),
                          "version": torch.__version__}), flush=True)
    if ranks > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
