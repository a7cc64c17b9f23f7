"""Attention as one operation: scores, softmax and contexts of every query in one pass over its sentence."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from regard.ops import native
from regard.ops.tape import Tape


def plain_attention(
    query: Float[Tensor, "batch queries dim"],
    keys: Float[Tensor, "batch steps dim"],
    values: Float[Tensor, "batch steps size"],
    vector: Float[Tensor, "dim"] | None,
    lengths: Int[Tensor, "batch"] | None = None,
) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch queries steps"]]:
    """weights = softmax(vector · tanh(query + keys)), context = weights · values: the definition.

    Without a `vector` the scores are query · keys. `lengths`, on the CPU: the real steps of each sentence; None: all
    are.
    """
    scores = query @ keys.mT if vector is None else torch.tanh(query[:, :, None] + keys[:, None]) @ vector
    valid = None if lengths is None else torch.arange(keys.shape[1]) < lengths[:, None]
    return mix(scores, values, None if valid is None else valid[:, None].to(scores.device))


def mix(
    scores: Float[Tensor, "*batch queries steps"],
    values: Float[Tensor, "*batch steps size"],
    seen: Bool[Tensor, "*#batch #queries steps"] | None = None,
) -> tuple[Float[Tensor, "*batch queries size"], Float[Tensor, "*batch queries steps"]]:
    """weights = softmax(scores) over the steps that are `seen` (None: all), context = weights · values.

    Every query must see a step. Where there are no steps at all, contexts are zero.
    """
    weights = (scores if seen is None else scores.masked_fill(~seen, float("-inf"))).softmax(-1)
    return weights @ values, weights


class AttentionLoop:
    """query ↦ context, weights, over one batch's keys and values, to be called at every step of one loop.

        attend = AttentionLoop(keys, values, vector, lengths)     # once per batch of sentences
        context, weights = attend(query)                         # (batch, queries, size), (batch, queries, steps)

    Results and gradients are `plain_attention`'s to rounding, and a query's numbers are the same bits whatever else is
    in the batch. The gradients of keys, values and vector grow in one buffer each while the steps go back, and tanh is
    computed anew there, so that a step keeps nothing of the size batch × steps × dim. Without a vector there are no
    gradients. Only where `AttentionLoop.takes` says so. Cannot be differentiated twice.
    """

    def __init__(
        self,
        keys: Float[Tensor, "batch steps dim"],
        values: Float[Tensor, "batch steps size"],
        vector: Float[Tensor, "dim"] | None,
        lengths: Int[Tensor, "batch"] | None = None,
    ) -> None:
        self.vector = vector
        self._tape = _Tape(keys, values, vector, lengths)
        self._anchor: Tensor | None = None
        learned = any(part is not None and part.requires_grad for part in (keys, values, vector))
        if torch.is_grad_enabled() and learned:
            assert vector is not None, "only additive attention has a way back"
            # All steps hang on this number, so autograd reaches its backward only when all of theirs are done.
            self._anchor = _Anchor.apply(keys, values, vector, self._tape)

    @staticmethod
    def takes(keys: Tensor, values: Tensor) -> bool:
        """Whether there is a kernel for these."""
        return native.usable(keys, values)

    def over(self, keys: Tensor, values: Tensor, lengths: Tensor | None) -> "AttentionLoop":
        """The same over another batch."""
        return AttentionLoop(keys, values, self.vector, lengths)

    def __call__(
        self, query: Float[Tensor, "batch queries dim"]
    ) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch queries steps"]]:
        if self._anchor is not None or (torch.is_grad_enabled() and query.requires_grad):
            context, weights = _Step.apply(query, self._anchor, self._tape)
            return context, weights
        return self._tape.forward(query.contiguous())


class _Tape(Tape):
    """One batch's keys and values, and what the backward passes of the steps leave for the anchor."""

    def __init__(self, keys: Tensor, values: Tensor, vector: Tensor | None, lengths: Tensor | None) -> None:
        super().__init__()
        self.keys, self.values = keys.detach().contiguous(), values.detach().contiguous()
        self.vector = None if vector is None else vector.detach().contiguous()
        self.lengths = native.counts(lengths, *keys.shape[:2])
        self.grads: tuple[Tensor, Tensor, Tensor] | None = None

    def sizes(self, query: Tensor) -> tuple[int, int, int, int, int]:
        sentences, steps, dim = self.keys.shape
        assert query.shape[::2] == (sentences, dim), f"queries {tuple(query.shape)} for keys {tuple(self.keys.shape)}"
        return sentences, query.shape[1], steps, dim, self.values.shape[2]

    def forward(self, query: Tensor) -> tuple[Tensor, Tensor]:
        sentences, queries, steps, _, size = sizes = self.sizes(query)
        context, weights = query.new_empty(sentences, queries, size), query.new_empty(sentences, queries, steps)
        inputs = (query, self.keys, self.values, self.vector, self.lengths)
        native.call("attention_forward", *sizes, *inputs, context, weights)
        return context, weights

    def backward(self, query: Tensor, weights: Tensor, grad_context: Tensor, grad_weights: Tensor | None) -> Tensor:
        assert self.vector is not None, "only additive attention has a way back"
        if self.begin_pass() or self.grads is None:
            self.grads = torch.zeros_like(self.keys), torch.zeros_like(self.values), torch.zeros_like(self.vector)
        grad_query, spare = torch.empty_like(query), query.new_empty(weights.shape[2])
        inputs = (query, self.keys, self.values, self.vector, self.lengths, weights, grad_context, grad_weights)
        native.call("additive_backward", *self.sizes(query), *inputs, grad_query, *self.grads, spare)
        return grad_query


class _Anchor(Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, values: Tensor, vector: Tensor, tape: _Tape) -> Tensor:
        ctx.tape = tape
        return keys.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        grads, ctx.tape.grads = ctx.tape.grads, None
        return (*(grads or (None, None, None)), None)


class _Step(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, anchor: Tensor | None, tape: _Tape) -> tuple[Tensor, Tensor]:
        query = query.contiguous()
        context, weights = tape.forward(query)
        ctx.save_for_backward(query, weights)
        ctx.tape, ctx.anchored = tape, anchor is not None
        ctx.set_materialize_grads(False)
        return context, weights

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_context: Tensor | None, grad_weights: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        query, weights = ctx.saved_tensors
        if grad_context is None:
            grad_context = query.new_zeros(*query.shape[:2], ctx.tape.values.shape[2])
        if grad_weights is not None:
            grad_weights = grad_weights.contiguous()
        grad_query = ctx.tape.backward(query, weights, grad_context.contiguous(), grad_weights)
        return grad_query, query.new_zeros(()) if ctx.anchored else None, None
