"""The loop of the tutorials: a GRU that reads, a GRU that writes, additive attention, written as one writes it first.

As in PyTorch's "Translation with a sequence to sequence network and attention", in batches: each step embeds a token,
attends with the state so far (projecting all keys again), feeds [embedding; context] to the GRU and applies the output
layer; padding is computed and ignored by the loss. One direction, no bucketing, greedy search only, as there. The batch
is padded to its own longest sentence, not to the longest of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.protocol import CLIP, DROPOUT, LEARNING_RATE, STEPS, Size, Task, chunks, parameters, serve

PAD, START, END = 0, 1, 2
MARKS = 3


class Encoder(nn.Module):
    def __init__(self, vocab: int, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, size.embed)
        self.gru = nn.GRU(size.embed, size.decoder, num_layers=size.layers, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        outputs, state = self.gru(self.dropout(self.embedding(source)))
        return outputs, state


class Attention(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """query (batch, 1, hidden), keys (batch, src_len, hidden) → context (batch, 1, hidden)"""
        scores = self.score(torch.tanh(self.query(query) + self.key(keys))).transpose(1, 2)
        return torch.bmm(torch.softmax(scores, dim=-1), keys)


class Decoder(nn.Module):
    def __init__(self, vocab: int, size: Size) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, size.embed)
        self.attention = Attention(size.decoder)
        self.gru = nn.GRU(size.embed + size.decoder, size.decoder, num_layers=size.layers, batch_first=True)
        self.out = nn.Linear(size.decoder, vocab)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, outputs: Tensor, state: Tensor, target: Tensor | None) -> Tensor:
        """Teacher-forced along `target` (batch, tgt_len), or STEPS of greedy search; log-probabilities."""
        token = torch.full((len(outputs), 1), START)
        found = []
        for step in range(STEPS if target is None else target.shape[1]):
            logits, state = self.step(token, state, outputs)
            found.append(logits)
            token = target[:, step : step + 1] if target is not None else logits.argmax(-1).detach()
        return torch.log_softmax(torch.cat(found, dim=1), dim=-1)

    def step(self, token: Tensor, state: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.dropout(self.embedding(token))
        context = self.attention(state[-1][:, None], outputs)
        features, state = self.gru(torch.cat((embedded, context), dim=2), state)
        return self.out(features), state


class Tutorial:
    def __init__(self, task: Task) -> None:
        torch.manual_seed(1)
        self.task = task
        self.encoder = Encoder(task.pieces("src") + MARKS, task.size)
        self.decoder = Decoder(task.pieces("tgt") + MARKS, task.size)
        self.model = nn.ModuleList([self.encoder, self.decoder])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.criterion = nn.NLLLoss(ignore_index=PAD)
        self.sources, self.targets, self.tests = (
            [torch.tensor([i + MARKS for i in row] + [END]) for row in task.ids(name)]
            for name in ("train.src", "train.tgt", "test.src")
        )

    def facts(self) -> dict[str, Any]:
        size = self.task.size
        return {
            "version": f"torch {torch.__version__}",
            "parameters": parameters(self.model),
            "tables": parameters(self.encoder.embedding) + parameters(self.decoder.embedding),
            "shape": {
                **{"cell": "gru", "attention": "additive", "attend": "before", "input_feeding": False},
                **{"embed": size.embed, "encoder_hidden": size.decoder, "bidirectional": False},
                **{"decoder_hidden": size.decoder, "layers": size.layers, "batches": "random"},
            },
        }

    def train(self, rows: Sequence[int]) -> int:
        source = nn.utils.rnn.pad_sequence([self.sources[row] for row in rows], batch_first=True)
        target = nn.utils.rnn.pad_sequence([self.targets[row] for row in rows], batch_first=True)
        self.optimizer.zero_grad()
        log_probs = self.decoder(*self.encoder(source), target)
        loss = self.criterion(log_probs.flatten(0, 1), target.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return int((target != PAD).sum())

    def decode(self, rows: Sequence[int], beam: int, batch: int) -> int:
        if beam > 1:
            raise NotImplementedError("the tutorials have no beam search")
        steps = 0
        self.model.eval()
        with torch.no_grad():
            for some in chunks(rows, batch):
                source = nn.utils.rnn.pad_sequence([self.tests[row] for row in some], batch_first=True)
                steps = self.decoder(*self.encoder(source), None).argmax(-1).shape[1]
        self.model.train()
        return steps


if __name__ == "__main__":
    serve(Tutorial)
