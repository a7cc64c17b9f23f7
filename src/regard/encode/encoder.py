"""What a model has to know of an encoder before there is one."""

from typing import Any

from torch import nn


class Encoder(nn.Module):
    """Embedded steps → `Memory`. Built with its config and, by name, `input_size` and `dropout`."""

    by_turns = False
    """whether it has to be told where turns end"""
    by_ids = False
    """whether it has to see the ids of the steps"""

    @property
    def shows(self) -> bool:
        """Whether what its memory's steps count says what each token of the source does."""
        return True

    @staticmethod
    def conflict(config: Any, attended: bool) -> str | None:
        """Why it cannot work with a decoder that attends, or does not, if it cannot."""
        return None
