"""What a decoder asks of the attention to its memories, however many they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from regard.attend.attention import Attended, Attention
from regard.attend.memory import Memory, filled, present
from regard.attend.question import AttentionState
from regard.ops.noise import Noise


@dataclass(frozen=True)
class Gathered:
    """All memories of a batch, made ready to be attended to: one row per sentence, read-only."""

    parts: tuple[Attended, ...]
    """what each attention reads: one memory each, or all of them as one; none for a decoder without attention"""
    steps: tuple[int, ...]
    """source steps of each memory, padding included"""
    present: Bool[Tensor, "batch memories"] | None = None
    """which memories a row has; None where all have all, or where they are one"""

    def select(self, rows: Int[Tensor, "rows"]) -> "Gathered":
        there = None if self.present is None else self.present.index_select(0, rows)
        return Gathered(tuple(part.select(rows) for part in self.parts), self.steps, there)

    def only_present(self, index: int, told: Float[Tensor, "batch queries *rest"]) -> Tensor:
        """What is told of memory `index`, with zeros for the rows that do not have it."""
        if self.present is None:
            return told
        return told * self.present[:, index].view(-1, *[1] * (told.ndim - 1))


@dataclass
class Looked:
    """What one look at every memory gave, in their order; or all steps' looks, with tgt_len after the rows."""

    contexts: list[Float[Tensor, "rows *steps _"]] = field(default_factory=list)
    """one for each memory, or one of all"""
    weights: list[Float[Tensor, "rows *steps _"]] = field(default_factory=list)
    aux: list[dict[str, Tensor]] = field(default_factory=list)
    """(rows, …) each; one for each memory, or one of all"""

    def rows(self) -> "Looked":
        """With every query a row: (batch, queries, …) → (batch × queries, …)."""
        contexts, weights = ([tensor.flatten(0, 1) for tensor in part] for part in (self.contexts, self.weights))
        return Looked(contexts, weights, [{name: x.flatten(0, 1) for name, x in part.items()} for part in self.aux])


class Combination(nn.Module):
    """What a way of looking at several memories is built on: an attention for each of `memory_dims`.

    A new way sets `context_dim`, all contexts' size together, and writes `forward`; `prepare` too, where it reads the
    memories as one. Iterating gives the attentions. In the state, their names begin with attention.0, attention.1, …

    A row may lack a memory: no real step of it, and length 0. No row may lack all.
    """

    context_dim: int

    def __init__(self, attention: Attention.Config | None, *, query_dim: int, memory_dims: Sequence[int]) -> None:
        super().__init__()
        dims = memory_dims if attention is not None else []
        for index, dim in enumerate(dims):  # named as in a list, which saved weights know them by
            self.add_module(str(index), Attention(cast(Any, attention), query_dim=query_dim, memory_dim=dim))
        self.count = len(dims)

    @staticmethod
    def conflict(attention: Attention.Config) -> str | None:
        """Why it cannot work with these parts of attention, if it cannot."""
        return None

    def __iter__(self) -> Iterator[Attention]:
        return iter([cast(Attention, self._modules[str(index)]) for index in range(self.count)])

    def prepare(self, memories: Sequence[Memory]) -> Gathered:
        """Keys, values and masks: once per batch of sentences."""
        there = present(memories)
        parts = tuple(part.prepare(filled(memory)) for part, memory in zip(self, memories, strict=self.count > 0))
        return Gathered(parts, steps_of(memories), there)

    def start(self, gathered: Gathered) -> AttentionState:
        """Before the first query, a row per sentence."""
        found: AttentionState = {}
        for index, (part, attended) in enumerate(zip(self, gathered.parts, strict=True)):
            found |= {f"attention.{index}.{name}": tensor for name, tensor in part.start(attended).items()}
        return found

    def look(
        self,
        query: Float[Tensor, "batch queries query"],
        gathered: Gathered,
        state: AttentionState,
        noise: Noise | None = None,
    ) -> tuple[Looked, AttentionState]:
        """Every attention's own answer, and its state after it."""
        looked, after = Looked(), AttentionState()
        for index, (part, attended) in enumerate(zip(self, gathered.parts, strict=True)):
            name = f"attention.{index}"
            before = {key.removeprefix(f"{name}."): x for key, x in state.items() if key.startswith(f"{name}.")}
            own = None if noise is None else noise.under(name)
            context, weights, next_state, aux = part(query, attended, before, own)
            looked.contexts.append(context)
            looked.weights.append(gathered.only_present(index, weights))
            looked.aux.append({key: gathered.only_present(index, x) for key, x in aux.items() if key != "heads"})
            after.update({f"{name}.{key}": tensor for key, tensor in next_state.items()})
        return looked, after

    def forward(
        self,
        query: Float[Tensor, "batch queries query"],
        gathered: Gathered,
        state: AttentionState,
        noise: Noise | None = None,
    ) -> tuple[Looked, AttentionState]:
        """Contexts, weights over every memory and auxiliaries; of `state` it reads and returns its own names."""
        raise NotImplementedError


def steps_of(memories: Sequence[Memory]) -> tuple[int, ...]:
    """Source steps of each, padding included."""
    return tuple(memory.values.shape[1] for memory in memories)
