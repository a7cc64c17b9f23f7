"""Decoders, what they write with (readouts), and search. One file each, one line here."""

from regard.decode.protocol import Decoder, Source, StepOutput
from regard.decode.recurrent import RecurrentDecoder
from regard.decode.state import State, select

DECODERS = {"recurrent": RecurrentDecoder}
"""What `model.decoder` in a recipe may name."""

__all__ = ["DECODERS", "Decoder", "RecurrentDecoder", "Source", "State", "StepOutput", "select"]
