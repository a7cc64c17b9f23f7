"""Multiplicative attention as one operation, for decoding: scores, softmax and contexts in one pass over a sentence."""

from jaxtyping import Float, Int
from torch import Tensor

from regard.ops import native


class DotLoop:
    """query ↦ context, weights: softmax(query · keys) and the sum of values by it, over one batch's keys and values.

        attend = DotLoop(keys, values, lengths)                  # once per batch of sentences
        context, weights = attend(query)                         # (batch, queries, size), (batch, queries, steps)

    Every query's numbers are the same bits whatever else is in the batch, which is not so of batched products. No
    gradients; `native.usable` says where there is a kernel. `lengths`, on the CPU: the real steps; None: all are.
    """

    def __init__(
        self,
        keys: Float[Tensor, "batch steps dim"],
        values: Float[Tensor, "batch steps size"],
        lengths: Int[Tensor, "batch"] | None = None,
    ) -> None:
        self.keys, self.values = keys.contiguous(), values.contiguous()
        self.lengths = native.counts(lengths, *keys.shape[:2])

    def over(self, keys: Tensor, values: Tensor, lengths: Tensor | None) -> "DotLoop":
        """The same over another batch."""
        return DotLoop(keys, values, lengths)

    def __call__(
        self, query: Float[Tensor, "batch queries dim"]
    ) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch queries steps"]]:
        (sentences, steps, dim), (_, queries, asked) = self.keys.shape, query.shape
        fits = (len(query), asked) == (sentences, dim)
        assert fits, f"queries {tuple(query.shape)} for keys {tuple(self.keys.shape)}"
        size = self.values.shape[2]
        context, weights = query.new_empty(sentences, queries, size), query.new_empty(sentences, queries, steps)
        inputs = (query.contiguous(), self.keys, self.values, self.lengths)
        native.call("dot_forward", sentences, queries, steps, dim, size, *inputs, context, weights)
        return context, weights
