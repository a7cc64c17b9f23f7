"""A recurrent encoder whose steps look at each other before they are a memory."""

from typing import Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from regard.attend.memory import Memory
from regard.attend.self_attention import SelfAttention
from regard.encode.birnn import BiRNN
from regard.encode.encoder import Encoder
from regard.ops.noise import Noise


class SelfAttentive(Encoder):
    """Layers of recurrence, then layers of self-attention over their outputs, each with a residual path.

        x = birnn(x);  x = x + attend(norm(x), norm(x))

    Chen et al. 2018, "The best of both worlds" (RNMT+), and Merity 2019, "Single headed attention RNN", where
    recurrence gives each step its place, so that there are no position embeddings. Norm before attention (pre-norm),
    which trains without warm-up of its own. The summary is the recurrence's. With `bidirectional: false` and a causal
    scope no step knows what follows it.
    """

    class Config(BiRNN.Config):
        """A recurrent encoder with self-attention on top."""

        type: Literal["self_attentive"] = "self_attentive"  # type: ignore[assignment]
        attention: SelfAttention.Config = SelfAttention.Config()
        """Of each layer of self-attention."""
        attention_layers: int = Field(1, ge=1)
        """One, as in Merity 2019."""

    def __init__(self, config: Config, *, input_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        settings = {name: getattr(config, name) for name in BiRNN.Config.model_fields if name != "type"}
        self.recurrence = BiRNN(BiRNN.Config(**settings), input_size=input_size, dropout=dropout)
        self.dim, self.summary_size = self.recurrence.dim, self.recurrence.summary_size
        self.attentions = nn.ModuleList(
            SelfAttention(config.attention, size=self.dim, dropout=dropout) for _ in range(config.attention_layers)
        )

    def forward(
        self, x: Float[Tensor, "batch steps input"], lengths: Int[Tensor, "batch"], noise: Noise | None = None
    ) -> Memory:
        """`lengths` on the CPU, each at least 1."""
        memory = self.recurrence(x, lengths, noise)
        for depth, layer in enumerate(self.attentions):
            memory, _ = layer(memory, None if noise is None else noise.under(f"self.{depth}"), keep_weights=False)
        return memory
