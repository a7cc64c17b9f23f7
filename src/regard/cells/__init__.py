"""Recurrent cells: one file each, one line here."""

from regard.cells.cell import Cell
from regard.cells.gru import GRU
from regard.cells.lstm import LSTM
from regard.cells.rnn import RNN

CELLS: dict[str, type[Cell]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
"""What `cell:` in a recipe may name."""
