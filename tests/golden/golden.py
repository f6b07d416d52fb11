"""Writes golden values: parameters, inputs, loss and gradients of a small model, as JSON.

Each model beside this file is written in the idiom of PyTorch and shares no code with the
program. Values are computed in fp64 from parameters that fp32 holds exactly, so that both
precisions of the program can be held against them.
"""

import json
from pathlib import Path

import torch

torch.set_default_dtype(torch.float64)


def draw_parameters(model, seed):
    """Replaces all parameters by normal numbers of deviation 0.3 that fp32 holds; norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = 0.3 * torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1 and "norm" in name and name.endswith("weight"):
                values += 1.0
            parameter.copy_(values.float())


def integers(seed, high, *shape):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def quadratic(coefficients, shape):
    """Numbers of a formula, so that large inputs need not be stored: element i in row-major order
    is ((a i^2 + b i) mod m - (m - 1) / 2) / 256."""
    a, b, m = coefficients
    i = torch.arange(torch.Size(shape).numel())
    return ((a * i * i + b * i) % m - (m - 1) // 2).double().div(256).reshape(shape)


def entry(tensor):
    tensor = tensor.detach().contiguous()
    if tensor.dtype in (torch.int64, torch.int32):
        values = tensor.flatten().tolist()
    else:
        values = [float(f"{v:.9g}") for v in tensor.flatten().tolist()]
    return {"shape": list(tensor.shape), "values": values}


def write(name, run_file, inputs, loss, parameters, inverse_weight, joined=(), patterns=None):
    """Differentiates the loss and writes the file.

    parameters: (name in the program, parameter, layout), where layout brings a tensor of the
    parameter's shape into the program's; joined: the same for several parameters that are one in
    the program, with a layout of their list; patterns: inputs that quadratic() makes.
    """
    loss.backward()
    values, gradients = {}, {}
    for own_name, parameter, layout in parameters:
        values[own_name] = entry(layout(parameter))
        gradients[own_name] = entry(layout(parameter.grad))
    for own_name, several, layout in joined:
        values[own_name] = entry(layout(several))
        gradients[own_name] = entry(layout([parameter.grad for parameter in several]))
    golden = {
        "run_file": run_file,
        "inverse_weight": inverse_weight,
        "inputs": {key: entry(value) for key, value in inputs.items()} | (patterns or {}),
        "loss": loss.item(),
        "parameters": values,
        "gradients": gradients,
    }
    path = Path(__file__).parent / f"{name}.json"
    path.write_text(json.dumps(golden, separators=(",", ":")).replace("},", "},\n") + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes, loss {loss.item():.9g}")


def same(tensor):
    return tensor


def transposed(tensor):
    return tensor.t()
