"""BERT for masked tokens (Devlin et al. 2019): post-norm nn.TransformerEncoderLayer, token types,
a norm in the embedding, and the head dense + GELU + norm + tied decoder with a bias."""

import torch
from torch import nn
from torch.nn import functional as F

import golden
from encoder import HEADS, HIDDEN, WIDE, block_parameters
from golden import same, transposed

LAYERS, VOCABULARY, TIME, BATCH = 2, 11, 6, 3
EPSILON = 1e-12


class Bert(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = nn.Embedding(TIME, HIDDEN)
        self.token_types = nn.Embedding(2, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, eps=EPSILON)
        layer = nn.TransformerEncoderLayer(
            HIDDEN, HEADS, WIDE, dropout=0.0, activation="gelu", batch_first=True,
            layer_norm_eps=EPSILON,
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.transform = nn.Linear(HIDDEN, HIDDEN)
        self.transform_norm = nn.LayerNorm(HIDDEN, eps=EPSILON)
        self.decoder_bias = nn.Parameter(torch.zeros(VOCABULARY))

    def forward(self, tokens):
        types = torch.zeros_like(tokens)
        x = self.words(tokens) + self.positions(torch.arange(TIME)) + self.token_types(types)
        x = self.encoder(self.norm(x))
        x = self.transform_norm(F.gelu(self.transform(x)))
        return F.linear(x, self.words.weight, self.decoder_bias)


def parameters(model):
    all = [
        ("embedding.weight", model.words.weight, same),
        ("positions.weight", model.positions.weight, same),
        ("token_types.weight", model.token_types.weight, same),
        ("embedding_norm.weight", model.norm.weight, same),
        ("embedding_norm.bias", model.norm.bias, same),
        ("head.transform.weight", model.transform.weight, transposed),
        ("head.transform.bias", model.transform.bias, same),
        ("head.norm.weight", model.transform_norm.weight, same),
        ("head.norm.bias", model.transform_norm.bias, same),
        ("head.bias", model.decoder_bias, same),
    ]
    for index, layer in enumerate(model.encoder.layers):
        all += block_parameters(index, layer)
    assert len(all) == len(list(model.parameters()))
    return all


if __name__ == "__main__":
    model = Bert()
    golden.draw_parameters(model, seed=40)
    labels = golden.integers(41, VOCABULARY, BATCH, TIME)
    chosen = torch.rand(BATCH, TIME, generator=torch.Generator().manual_seed(42)) < 0.4
    tokens = labels.masked_fill(chosen, VOCABULARY - 1)
    loss = F.cross_entropy(
        model(tokens).reshape(-1, VOCABULARY), labels.masked_fill(~chosen, -100).reshape(-1)
    )
    run_file = (
        f"model: {{preset: bert, layers: {LAYERS}, hidden: {HIDDEN}, heads: {HEADS}, "
        f"feed_forward: {WIDE}, vocabulary: {VOCABULARY}, sequence: {TIME}, dropout: 0}}\n"
        f"data: {{source: synthetic}}\ntraining: {{global_batch: {BATCH}}}\n"
    )
    inputs = {"tokens": tokens, "labels": labels, "weights": chosen.double()}
    golden.write("bert", run_file, inputs, loss, parameters(model), 1.0 / chosen.sum().item())
