"""Gradients that gather over the steps of a loop, until the loop's anchor passes them on."""

import torch


class Tape:
    """What the backward passes of a loop's steps leave for its anchor; a new pass begins with nothing.

    The anchor is reached only where a gradient of the loop's own tensors is asked for; what was gathered otherwise, or
    before a pass that failed, must not be added to the next one's.
    """

    def __init__(self) -> None:
        self._pass = -1

    def begin_pass(self) -> bool:
        """Whether this is the first step of a new backward pass; what is left of another is to be forgotten then."""
        now = torch._C._current_graph_task_id()
        new, self._pass = now != self._pass, now
        return new
