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
    """Replaces all parameters by normal numbers of deviation 0.3, in steps of 2^-10, which fp32 and
    the file hold exactly; norms around 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = 0.3 * torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1 and "norm" in name and name.endswith("weight"):
                values += 1.0
            parameter.copy_((1024 * values).round() / 1024)


def integers(seed, high, *shape):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def quadratic(shape, b, scale, offset=0.0):
    """A formula instead of values, for large tensors: element i in row-major order is
    ((37 i^2 + b i) mod 1009 - 504) * scale + offset, with a scale that is a power of 2."""
    return {"shape": list(shape), "quadratic": [37, b, 1009], "scale": scale, "offset": offset}


def values_of(formula):
    a, b, m = formula["quadratic"]
    i = torch.arange(torch.Size(formula["shape"]).numel())
    numbers = ((a * i * i + b * i) % m - (m - 1) // 2).double()
    return (numbers * formula["scale"] + formula["offset"]).reshape(formula["shape"])


def entry(tensor, digits=12):
    tensor = tensor.detach().contiguous()
    if tensor.dtype in (torch.int64, torch.int32):
        values = tensor.flatten().tolist()
    else:
        values = [float(f"{v:.{digits}g}") for v in tensor.flatten().tolist()]
    return {"shape": list(tensor.shape), "values": values}


def write(name, run_file, inputs, loss, parameters, inverse_weight, joined=(), formulas=None):
    """Differentiates the loss and writes the file.

    parameters: (name in the program, parameter, layout), where layout brings a tensor of the
    parameter's shape into the program's; joined: the same for several parameters that are one in
    the program, with a layout of their list; formulas: what quadratic() makes, by name, in the place of values.
    """
    loss.backward()
    formulas = formulas or {}
    digits = 7 if formulas else 9
    values, gradients = {}, {}
    for own_name, parameter, layout in parameters:
        values[own_name] = formulas.get(own_name) or entry(layout(parameter))
        gradients[own_name] = entry(layout(parameter.grad), digits)
    for own_name, several, layout in joined:
        values[own_name] = entry(layout(several))
        gradients[own_name] = entry(layout([parameter.grad for parameter in several]), digits)
    golden = {
        "run_file": run_file,
        "inverse_weight": inverse_weight,
        "inputs": {
            key: formulas.get(key) or entry(value) for key, value in inputs.items()
        },
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
