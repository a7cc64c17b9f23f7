"""Scheduled sampling: while it learns, a decoder is told some of its own tokens in place of the right ones."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.config import SPECIALS
from regard.data.tokenizer import PAD
from regard.ops.noise import Noise

if TYPE_CHECKING:
    from regard.data.batches import Batch
    from regard.model import Seq2Seq


@torch.no_grad()
def with_own_tokens(model: "Seq2Seq", batch: "Batch", share: float, noise: Noise) -> "Batch":
    """The batch, with this share of the tokens that the decoder is told drawn from what it gives there, all before
    being as told. What it is to say stays.

    Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks" (arXiv:1506.03099),
    section 2.4: a coin for every token. Drawn without dropout, and never a special token: after an end there would be
    nothing to go on from.
    """
    inputs = batch.target_in.clone()
    own = noise.uniform("own.which", inputs.shape).to(inputs.device) < share
    own &= inputs != PAD
    own[:, 0] = False
    if not own.any():
        return batch
    last = int(own.any(0).nonzero().max())
    chances = noise.uniform("own.draws", inputs.shape, torch.float64).to(inputs.device)
    source = model.decoder.prepare([model.encode(batch.source, batch.source_lengths)])
    state = model.decoder.start(source)
    for t in range(last):
        output, state = model.decoder.step(inputs[:, t], state, source)
        rows = own[:, t + 1].nonzero()[:, 0]
        inputs[rows, t + 1] = drawn(output.scores[rows, : output.vocab], chances[rows, t + 1])
    return replace(batch, target_in=inputs)


def drawn(scores: Float[Tensor, "rows vocab"], chances: Float[Tensor, "rows"]) -> Int[Tensor, "rows"]:
    """A token a row by its softmax without special tokens, the one in which the chance, from 0 to 1, falls."""
    scores = scores.to(torch.float64, copy=True)
    scores[:, :SPECIALS] = -torch.inf
    below = scores.softmax(-1).cumsum(-1)
    places = torch.searchsorted(below, chances[:, None] * below[:, -1:], right=True)[:, 0]
    return places.clamp(max=scores.shape[1] - 1)
