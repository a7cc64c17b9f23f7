"""Recurrent cells: one file each, one line here."""

from regard.cells.attentive import Attentive
from regard.cells.cell import Cell
from regard.cells.gru import GRU
from regard.cells.intra import LSTMN
from regard.cells.lstm import LSTM
from regard.cells.minimal import MinGRU, MinLSTM
from regard.cells.normed import LayerNormGRU, LayerNormLSTM
from regard.cells.rnn import RNN
from regard.cells.simple import SRU, SSRU

CELLS: dict[str, type[Cell]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn": RNN,
    "layer_norm_lstm": LayerNormLSTM,
    "layer_norm_gru": LayerNormGRU,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "sru": SRU,
    "ssru": SSRU,
    "intra": LSTMN,
    "attentive": Attentive,
}
"""What `cell:` in a recipe may name."""
