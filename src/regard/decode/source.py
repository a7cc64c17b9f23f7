"""What decoders know of the memories that they look back at."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attend.combination import Gathered
from regard.decode.originals import Originals


class Counted:
    """A batch of sentences with a mask of its steps: how many there are of both."""

    valid: Bool[Tensor, "batch src_len"]

    @property
    def rows(self) -> int:
        return self.valid.shape[0]

    @property
    def src_len(self) -> int:
        return self.valid.shape[1]


@dataclass(frozen=True)
class DecoderSource(Counted):
    """A batch of sentences as the decoder reads them; see `regard.decode.protocol.Source`."""

    attended: Gathered
    """all memories"""
    summary: Float[Tensor, "batch summary"]
    valid: Bool[Tensor, "batch src_len"]
    """of the first memory"""
    originals: Originals | None
    """of the first memory, for a readout that copies"""

    def select(self, rows: Int[Tensor, "rows"]) -> "DecoderSource":
        originals = self.originals and self.originals.select(rows)
        valid = self.valid.index_select(0, rows)
        return DecoderSource(self.attended.select(rows), self.summary.index_select(0, rows), valid, originals)
