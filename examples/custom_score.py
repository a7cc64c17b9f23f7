"""An attention score of your own (a cosine, times a learned sharpness), in a small model that learns to copy.

    python examples/custom_score.py 150

The number is that of updates; the loss per token falls from about 3 nats to nearly 0.
"""

import sys
from typing import Literal

import torch
from torch import Tensor, nn

from regard import config
from regard.attend import SCORES, Attention
from regard.attend.scores import dot
from regard.decode import RecurrentDecoder
from regard.decode.embedding import Embedding
from regard.decode.readout import SoftmaxReadout
from regard.encode import BiRNN


class CosineScore(nn.Module):
    class Config(config.Config):
        type: Literal["cosine"] = "cosine"

    def __init__(self, config: Config, *, query_dim: int, memory_dim: int, dim: int) -> None:
        super().__init__()
        self.key_dim = query_dim
        self.project = nn.Linear(memory_dim, query_dim, bias=False)
        self.sharpness = nn.Parameter(torch.tensor(5.0))

    def keys(self, values: Tensor) -> Tensor:  # once per sentence
        return nn.functional.normalize(self.project(values), dim=-1)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:  # for every query: (batch, queries, src_len)
        return self.sharpness * dot(nn.functional.normalize(query, dim=-1), keys)


SCORES["cosine"] = CosineScore  # type: ignore[assignment]

torch.manual_seed(1)
embedding, encoder = Embedding(20, 32), BiRNN(BiRNN.Config(hidden=32), input_size=32)
readout = SoftmaxReadout(64, embedding, tied=True)
attention = Attention.Config(dim=32).model_copy(update={"score": CosineScore.Config()})
sizes = {"memory_dims": [encoder.dim], "summary_size": encoder.summary_size, "attention": attention}
decoder = RecurrentDecoder(RecurrentDecoder.Config(hidden=64), embedding=embedding, readout=readout, **sizes)
optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
for update in range(int(sys.argv[1])):
    ids = torch.randint(4, 20, (32, 8))
    source = decoder.prepare([encoder(embedding(ids), torch.full((32,), 8))])
    features, _ = decoder.teacher_forced(source, torch.cat([torch.full((32, 1), 2), ids[:, :-1]], 1))
    loss = readout.nll(features.flatten(0, 1), ids.flatten()).loss / ids.numel()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"update {update}: loss {loss.item():.3f}")
