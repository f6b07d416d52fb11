"""GPT with experts as GShard states it (Lepikhin et al. 2020): masks [group, token, expert, slot]
made of one-hot numbers and running counts, products with the masks for dispatch and combine."""

import math

import torch
from torch import nn
from torch.nn import functional as F

import golden
from encoder import HEADS, HIDDEN, WIDE, attention_parameters, block_parameters, causal
from golden import same, transposed

VOCABULARY, TIME, BATCH = 11, 6, 4
EXPERTS, CHOICES, GROUP, FACTOR, AUXILIARY = 4, 2, 12, 1.0, 0.05
CAPACITY = math.ceil(FACTOR * CHOICES * GROUP / EXPERTS)


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.router = nn.Linear(HIDDEN, EXPERTS, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(HIDDEN, WIDE), nn.GELU(), nn.Linear(WIDE, HIDDEN))
            for _ in range(EXPERTS)
        )

    def forward(self, x):
        groups = x.reshape(-1, GROUP, HIDDEN)
        probabilities = self.router(groups).softmax(-1)
        remaining = probabilities
        taken = torch.zeros(len(groups), 1, EXPERTS)
        masks, gates = [], []
        for _ in range(CHOICES):
            chosen = F.one_hot(remaining.argmax(-1), EXPERTS).double()
            place = chosen.cumsum(1) - 1 + taken  # of each token among those of its expert
            taken = taken + chosen.sum(1, keepdim=True)
            kept = chosen * (place < CAPACITY)
            slot = F.one_hot((place * chosen).sum(-1).long().clamp(max=CAPACITY - 1), CAPACITY)
            masks.append(kept[..., None] * slot[:, :, None, :])
            gates.append((probabilities * chosen).sum(-1))
            remaining = remaining * (1 - chosen)
            if len(masks) == 1:
                density = chosen.mean(1)
        total = sum(gates)
        combine = sum((gate / total)[..., None, None] * mask for gate, mask in zip(gates, masks))
        slots = torch.einsum("gsm,gsec->egcm", groups, sum(masks))
        outputs = torch.stack([expert(slots[i]) for i, expert in enumerate(self.experts)])
        y = torch.einsum("egcm,gsec->gsm", outputs, combine)
        self.dropped = CHOICES * GROUP * len(groups) - sum(mask.sum() for mask in masks).item()
        self.balance = (EXPERTS * (density * probabilities.mean(1)).sum(-1)).mean()
        return y.reshape(x.shape)


class ExpertsBlock(nn.Module):
    """An encoder layer whose feed-forward is a mixture of experts."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(HIDDEN)
        self.self_attn = nn.MultiheadAttention(HIDDEN, HEADS, batch_first=True)
        self.norm2 = nn.LayerNorm(HIDDEN)
        self.mixture = Experts()

    def forward(self, x, src_mask):
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, attn_mask=src_mask, need_weights=False)[0]
        return x + self.mixture(self.norm2(x))


class MoeGpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, HIDDEN)
        self.positions = nn.Embedding(TIME, HIDDEN)
        self.dense = nn.TransformerEncoderLayer(
            HIDDEN, HEADS, WIDE, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.sparse = ExpertsBlock()
        self.norm = nn.LayerNorm(HIDDEN)

    def forward(self, tokens):
        hidden = causal(TIME)
        x = self.tokens(tokens) + self.positions(torch.arange(TIME))
        x = self.sparse(self.dense(x, src_mask=hidden), src_mask=hidden)
        return F.linear(self.norm(x), self.tokens.weight)


def parameters(model):
    return [
        ("embedding.weight", model.tokens.weight, same),
        ("positions.weight", model.positions.weight, same),
        ("final_norm.weight", model.norm.weight, same),
        ("final_norm.bias", model.norm.bias, same),
        ("layers.1.experts.router.weight", model.sparse.mixture.router.weight, transposed),
        *block_parameters(0, model.dense),
        *attention_parameters(1, model.sparse),
    ]


def expert_parameters(model):
    """Each expert's parameters are their own here and stacked in the program."""
    experts = model.sparse.mixture.experts
    for name, place in (("in", 0), ("out", 2)):
        weights = [expert[place].weight for expert in experts]
        biases = [expert[place].bias for expert in experts]
        full = f"layers.1.experts.{name}"
        yield f"{full}.weight", weights, lambda all: torch.stack([w.t() for w in all])
        yield f"{full}.bias", biases, torch.stack


if __name__ == "__main__":
    model = MoeGpt()
    golden.draw_parameters(model, seed=50)
    tokens = golden.integers(51, VOCABULARY, BATCH, TIME)
    labels = golden.integers(52, VOCABULARY, BATCH, TIME)
    loss = F.cross_entropy(model(tokens).reshape(-1, VOCABULARY), labels.reshape(-1))
    loss = loss + AUXILIARY * model.sparse.mixture.balance
    assert model.sparse.mixture.dropped > 0
    run_file = (
        f"model: {{preset: moe, layers: 2, hidden: {HIDDEN}, heads: {HEADS}, feed_forward: {WIDE}, "
        f"vocabulary: {VOCABULARY}, sequence: {TIME}, dropout: 0, moe: {{experts: {EXPERTS}, "
        f"every: 2, top_k: {CHOICES}, group: {GROUP}, capacity_factor: {FACTOR}, "
        f"auxiliary_loss: {AUXILIARY}}}}}\n"
        f"data: {{source: synthetic}}\ntraining: {{global_batch: {BATCH}}}\n"
    )
    inputs = {"tokens": tokens, "labels": labels, "weights": torch.ones(BATCH, TIME)}
    golden.write("moe", run_file, inputs, loss, parameters(model), 1.0 / (BATCH * TIME),
                 joined=expert_parameters(model))
