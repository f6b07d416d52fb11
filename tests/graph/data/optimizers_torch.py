#!/usr/bin/env python3
"""Writes optimizers_torch.txt: parameters after each of five steps of PyTorch's optimizers in fp64.

Run as `optimizers_torch.py > optimizers_torch.txt`. Element i of the gradient of step t (from 1) is
sin(1 + i + 3 t); a parameter starts at cos(i) / 2. The matrix is 4 x 3, the vector has 5 elements.
"""
import torch

STEPS = 5
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.02, weight_decay=0.1),
}

for name, make in OPTIMIZERS.items():
    for kind, shape in (("matrix", (4, 3)), ("vector", (5,))):
        count = torch.Size(shape).numel()
        index = torch.arange(count, dtype=torch.float64)
        parameter = torch.nn.Parameter((torch.cos(index) / 2).reshape(shape))
        optimizer = make([parameter])
        for t in range(1, STEPS + 1):
            parameter.grad = torch.sin(1 + index + 3 * t).reshape(shape)
            optimizer.step()
            values = parameter.detach().flatten().tolist()
            print(name, kind, t, *(repr(v) for v in values))
