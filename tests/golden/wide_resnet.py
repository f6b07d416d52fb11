"""Wide residual network of bottleneck blocks (He et al. 2016, stride in the 3x3 convolution;
Zagoruyko & Komodakis 2016) in nn.Conv2d and nn.BatchNorm2d, a batch norm for every group."""

import torch
from torch import nn
from torch.nn import functional as F

import golden
from golden import quadratic, same, transposed, values_of

CHANNELS, WIDTH, IMAGE, CLASSES, BATCH, GROUP = 2, 1, 64, 3, 4, 2


class GroupNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are of GROUP consecutive samples."""

    def forward(self, x):
        return torch.cat([super(GroupNorm, self).forward(part) for part in x.split(GROUP)])


class Normalised(nn.Module):
    def __init__(self, inputs, outputs, side=1, stride=1):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
        self.norm = GroupNorm(outputs)

    def forward(self, x):
        return self.norm(self.convolution(x))


class Bottleneck(nn.Module):
    def __init__(self, inputs, channels, stride):
        super().__init__()
        self.first = Normalised(inputs, channels)
        self.second = Normalised(channels, channels * WIDTH, side=3, stride=stride)
        self.third = Normalised(channels * WIDTH, 4 * channels)
        self.projection = Normalised(inputs, 4 * channels, stride=stride)

    def forward(self, x):
        y = self.third(F.relu(self.second(F.relu(self.first(x)))))
        return F.relu(self.projection(x) + y)


class WideResnet(nn.Module):
    """One block a stage."""

    def __init__(self):
        super().__init__()
        self.stem = Normalised(3, CHANNELS, side=7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        blocks, inputs = [], CHANNELS
        for stage in range(4):
            channels = CHANNELS << stage
            blocks.append(Bottleneck(inputs, channels, stride=1 if stage == 0 else 2))
            inputs = 4 * channels
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, CLASSES)

    def forward(self, images):
        x = self.blocks(self.pool(F.relu(self.stem(images))))
        return self.classifier(x.mean((2, 3)))


def side_first(weight):
    return weight.permute(2, 3, 1, 0)


def side_last(weight):
    return weight.permute(3, 2, 0, 1)


BACK = {same: same, transposed: transposed, side_first: side_last}


def normalised_parameters(name, layer):
    return [
        (f"{name}.convolution.weight", layer.convolution.weight, side_first),
        (f"{name}.norm.weight", layer.norm.weight, same),
        (f"{name}.norm.bias", layer.norm.bias, same),
    ]


def parameters(model):
    all = normalised_parameters("stem", model.stem)
    for index, block in enumerate(model.blocks):
        for name, layer in (("1", block.first), ("2", block.second), ("3", block.third),
                            ("projection", block.projection)):
            all += normalised_parameters(f"layers.{index}.{name}", layer)
    all += [
        ("classifier.weight", model.classifier.weight, transposed),
        ("classifier.bias", model.classifier.bias, same),
    ]
    assert len(all) == len(list(model.parameters()))
    return all


def fill(model):
    """Gives every parameter a formula; returns them by the program's names."""
    formulas = {}
    with torch.no_grad():
        for index, (name, parameter, layout) in enumerate(parameters(model)):
            is_scale = name.endswith("norm.weight")
            formulas[name] = quadratic(layout(parameter).shape, 11 + 2 * index, 2.0**-10,
                                       offset=1.0 if is_scale else 0.0)
            parameter.copy_(BACK[layout](values_of(formulas[name])))
    return formulas


if __name__ == "__main__":
    model = WideResnet()
    formulas = fill(model)
    formulas["images"] = quadratic((BATCH, IMAGE, IMAGE, 3), 11, 2.0**-8)
    images = values_of(formulas["images"])
    labels = golden.integers(61, CLASSES, BATCH)
    loss = F.cross_entropy(model(images.permute(0, 3, 1, 2)), labels)
    run_file = (
        f"model: {{preset: wide_resnet, layers: 14, channels: {CHANNELS}, width: {WIDTH}, "
        f"image: {IMAGE}, classes: {CLASSES}, batch_norm: {{group: {GROUP}}}}}\n"
        f"data: {{source: synthetic}}\ntraining: {{global_batch: {BATCH}}}\n"
    )
    inputs = {"images": images, "labels": labels, "weights": torch.ones(BATCH)}
    golden.write("wide_resnet", run_file, inputs, loss, parameters(model), 1.0 / BATCH,
                 formulas=formulas)
