"""What search remembers: one small record a step, from which whole outputs are read backwards.

Copying every beginning whenever the beam is reordered would cost time and memory that grow with the length. Each
row instead keeps its last token and the row it came from one step earlier.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Trellis:
    """Tokens, their log-probabilities and parents, step by step; rows are the decoder's rows at that step."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []
        self.log_probs: list[Tensor] = []
        self.parents: list[Tensor] = []
        self.weights: list[Tensor] = []  # (rows, src_len) while each step's token was chosen; empty: not kept

    def append(self, tokens: Tensor, log_probs: Tensor, parents: Tensor) -> None:
        """The rows of the next step (rows,): what each has chosen, its log-probability, its row in this step."""
        self.tokens.append(tokens)
        self.log_probs.append(log_probs)
        self.parents.append(parents)

    def trace(self, steps: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The beginnings that stood in `rows` when `steps` tokens had been chosen. (ends,) both.

        returns  tokens (ends, longest), log_probs (ends, longest), came (ends, longest + 1): the row each stood
                 in at every step; entries past an end are zero.
        """
        longest = int(steps.max()) if len(steps) else 0
        dtype = self.log_probs[0].dtype if self.log_probs else torch.get_default_dtype()
        tokens = steps.new_zeros(len(steps), longest)
        log_probs = torch.zeros(len(steps), longest, dtype=dtype, device=steps.device)
        came = steps.new_zeros(len(steps), longest + 1)
        for step in range(longest, -1, -1):
            came[:, step] = torch.where(steps >= step, rows, 0)
            if step == 0:
                break
            inside = steps >= step
            here = torch.where(inside, rows, 0)
            tokens[:, step - 1] = self.tokens[step - 1][here].where(inside, 0)
            log_probs[:, step - 1] = self.log_probs[step - 1][here].where(inside, 0)
            rows = self.parents[step - 1][here].where(inside, rows)
        return tokens, log_probs, came
