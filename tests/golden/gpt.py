"""GPT-2 in nn.TransformerEncoderLayer: pre-norm, exact GELU, learned positions, tied head."""

import torch
from torch import nn
from torch.nn import functional as F

import golden
from encoder import HEADS, HIDDEN, WIDE, block_parameters, causal
from golden import same

LAYERS, VOCABULARY, TIME, BATCH = 2, 11, 6, 3


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = nn.Embedding(TIME, HIDDEN)
        layer = nn.TransformerEncoderLayer(
            HIDDEN, HEADS, WIDE, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(
            layer, LAYERS, norm=nn.LayerNorm(HIDDEN), enable_nested_tensor=False
        )

    def forward(self, tokens, hidden_pairs):
        x = self.tokens(tokens) + self.positions(torch.arange(TIME))
        x = self.blocks(x, mask=hidden_pairs)
        return F.linear(x, self.tokens.weight)


def of_other_documents(documents):
    """True where a query must not see a key, for each head of each sample."""
    hidden = documents[:, :, None] != documents[:, None, :]
    return hidden.repeat_interleave(HEADS, dim=0)


def parameters(model):
    all = [
        ("embedding.weight", model.tokens.weight, same),
        ("positions.weight", model.positions.weight, same),
        ("final_norm.weight", model.blocks.norm.weight, same),
        ("final_norm.bias", model.blocks.norm.bias, same),
    ]
    for index, layer in enumerate(model.blocks.layers):
        all += block_parameters(index, layer)
    assert len(all) == len(list(model.parameters()))
    return all


MODEL = (
    f"model: {{preset: gpt, layers: {LAYERS}, hidden: {HIDDEN}, heads: {HEADS}, "
    f"feed_forward: {WIDE}, vocabulary: {VOCABULARY}, sequence: {TIME}, dropout: 0}}\n"
    "data: {source: synthetic%s}\n"
    f"training: {{global_batch: {BATCH}%s}}\n"
)


def make(name, smoothing, with_documents, reduction, seed):
    model = Gpt()
    golden.draw_parameters(model, seed)
    tokens = golden.integers(seed + 1, VOCABULARY, BATCH, TIME)
    labels = golden.integers(seed + 2, VOCABULARY, BATCH, TIME)
    ignored = torch.zeros(BATCH, TIME, dtype=torch.bool)
    ignored[0, 1] = ignored[2, 3:] = True
    inputs = {"tokens": tokens, "labels": labels.masked_fill(ignored, -1),
              "weights": (~ignored).double()}
    hidden = causal(TIME)
    if with_documents:
        inputs["documents"] = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 2], [0] * 6])
        hidden = hidden | of_other_documents(inputs["documents"])
    logits = model(tokens, hidden)
    loss = F.cross_entropy(
        logits.reshape(-1, VOCABULARY), labels.masked_fill(ignored, -100).reshape(-1),
        label_smoothing=smoothing, reduction=reduction,
    )
    training = f", label_smoothing: {smoothing}, loss_reduction: {reduction}"
    data = ", end_of_document: 0" if with_documents else ""
    inverse = 1.0 if reduction == "sum" else 1.0 / (~ignored).sum().item()
    golden.write(name, MODEL % (data, training), inputs, loss, parameters(model), inverse)


if __name__ == "__main__":
    make("gpt", smoothing=0.0, with_documents=False, reduction="mean", seed=10)
    make("gpt_documents", smoothing=0.1, with_documents=True, reduction="sum", seed=20)
